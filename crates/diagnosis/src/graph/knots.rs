//! Knots: threads that wait for one another and for nobody else. Where a victim's time ends in one, it bounds the throughput
//! (wPerf, OSDI 2018): nothing outside can make it faster.

use super::{Node, WaitGraph};
use observe::{Pid, Ratio, Tid};
use std::collections::{BTreeMap, BTreeSet};

/// ours: a wait that is less than this part of a thread's active time does not tie it to anybody.
const TIES: Ratio = Ratio(0.1);

/// A knot's threads.
pub type Knot = BTreeSet<(Pid, Tid)>;

impl WaitGraph {
    /// The strongly connected sets of two threads or more that nothing leads out of, in order of their threads.
    pub fn knots(&self) -> Vec<Knot> {
        let index: BTreeMap<(Pid, Tid), usize> = self.threads.keys().enumerate().map(|(at, key)| (*key, at)).collect();
        let mut open = vec![false; index.len()];
        let mut next: Vec<Vec<usize>> = Vec::with_capacity(index.len());
        for (at, account) in self.threads.values().enumerate() {
            let active = account.active();
            let ties = account.edges.iter().filter(|e| !e.housekeeping && Ratio::of(e.time, active) >= TIES);
            let mut ends = Vec::new();
            for edge in ties {
                match &edge.to {
                    // Threads that take turns on a CPU wait for the CPU, not for what the other does.
                    Node::Thread(pid, tid) if !edge.class.is_runnable() && index.contains_key(&(*pid, *tid)) => {
                        ends.push(index[&(*pid, *tid)]);
                    }
                    _ => open[at] = true,
                }
            }
            next.push(ends);
        }
        let keys: Vec<(Pid, Tid)> = index.into_keys().collect();
        let mut knots: Vec<Knot> = components(&next)
            .into_iter()
            .filter(|set| {
                set.len() > 1 && set.iter().all(|at| !open[*at] && next[*at].iter().all(|to| set.contains(to)))
            })
            .map(|set| set.into_iter().map(|at| keys[at]).collect())
            .collect();
        knots.sort();
        knots
    }
}

/// Strongly connected components (Tarjan 1972), with a stack of its own: chains may be as long as there are threads.
fn components(next: &[Vec<usize>]) -> Vec<BTreeSet<usize>> {
    const NEW: usize = usize::MAX;
    let mut found = Vec::new();
    let (mut order, mut low) = (vec![NEW; next.len()], vec![NEW; next.len()]);
    let mut pending = vec![false; next.len()];
    let (mut stack, mut count) = (Vec::new(), 0);
    for start in 0..next.len() {
        let mut calls = if order[start] == NEW { vec![(start, 0)] } else { Vec::new() };
        while let Some((at, edge)) = calls.pop() {
            if edge == 0 {
                (order[at], low[at], pending[at]) = (count, count, true);
                stack.push(at);
                count += 1;
            }
            if let Some(to) = next[at].get(edge).copied() {
                calls.push((at, edge + 1));
                if order[to] == NEW {
                    calls.push((to, 0));
                } else if pending[to] {
                    low[at] = low[at].min(order[to]);
                }
                continue;
            }
            if let Some((caller, _)) = calls.last() {
                low[*caller] = low[*caller].min(low[at]);
            }
            if low[at] == order[at] {
                let mut set = BTreeSet::new();
                while let Some(one) = stack.pop() {
                    pending[one] = false;
                    set.insert(one);
                    if one == at {
                        break;
                    }
                }
                found.push(set);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Scene, testing::System};
    use observe::TimeClass::*;

    #[test]
    fn components_are_those_that_reach_each_other() {
        let sets = components(&[vec![1], vec![2], vec![0, 3], vec![4], vec![3], vec![]]);
        let sets: BTreeSet<Vec<usize>> = sets.into_iter().map(|set| set.into_iter().collect()).collect();
        assert_eq!(sets, BTreeSet::from([vec![0, 1, 2], vec![3, 4], vec![5]]));
        let long: Vec<Vec<usize>> = (0..200_000).map(|at| vec![(at + 1) % 200_000]).collect();
        assert_eq!(components(&long).len(), 1);
    }

    #[test]
    fn two_that_take_turns_on_a_cpu_are_none() {
        let times = [(RunningUser, 5.0), (RunnableBusy, 5.0)];
        let turns =
            System::new().thread(10, "a", &times).thread(20, "b", &times).behind(10, 20, 5.0).behind(20, 10, 5.0);
        assert!(Scene::new(&turns.build()).graph().knots().is_empty());
    }

    #[test]
    fn a_convoy_is_a_knot_unless_it_waits_for_somebody_else() {
        let convoy = |disk: f64| {
            System::new()
                .thread(10, "a", &[(RunningUser, 4.0), (BlockedLock, 5.0)])
                .thread_of(10, 11, "b", &[(RunningUser, 2.0), (BlockedDisk, disk), (BlockedLock, 4.0)])
                .thread(20, "client", &[(BlockedProcess, 9.0)])
                .wait(20, BlockedProcess, "read", "pipe:1", Some((10, 10)), 9.0, 90)
                .wait(10, BlockedLock, "futex", "futex:0x1", Some((10, 11)), 5.0, 90)
                .wait_of(10, 11, BlockedLock, "futex:0x1", Some((10, 10)), 4.0)
                .build()
        };
        let knots = |rec| Scene::new(&rec).graph().knots();
        let both = BTreeSet::from([(Pid(10), Tid(10)), (Pid(10), Tid(11))]);
        let both = vec![both];
        assert_eq!(knots(convoy(0.0)), both);
        assert_eq!(knots(convoy(0.3)), both, "too little to tie it to the disk");
        assert!(knots(convoy(3.0)).is_empty());
    }
}
