//! On whom waiting time rests in the end: cascaded redistribution (Zhou and others, "wPerf", OSDI 2018).
//!
//! Time that is waited for somebody is handed on by what that one does: it rests where code runs, on a device, a peer, a
//! timer, and goes on where that one waits for somebody else. wPerf follows each wait by its moments; a recording holds
//! sums, so time is handed on in proportion to the books of whoever is waited for. What does not belong to the wait is left
//! out of them: idleness, waits for the waiter itself, and waits for the lock that is waited for.

use super::{Account, Edge, Node, WaitGraph, account::MANY};
use crate::Scene;
use observe::{Pid, Ratio, Tid, TimeClass};
use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

/// ours: time that is still on its way after so many steps goes round among processes of which none does anything.
const DEEPEST: usize = 64;

/// ours: a part of the time at hand smaller than this is not followed on.
const LEAST: f64 = 1e-3;

/// ours: a thread that was at work for less of the time that it was waited for has handed the work to others of its process.
const AT_WORK: f64 = 0.3;

/// Where time rests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Root {
    /// On whom or what.
    pub node: Node,
    /// What that one does: run, idle, have the CPU that somebody waits for (`runnable.…`); for a resource, the class of the
    /// wait. `blocked.unknown` where a process was not followed further.
    pub class: TimeClass,
}

/// A part of somebody's time.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Where it rests.
    pub root: Root,
    /// The processes by way of which it got there, the one whose time it is first.
    pub path: Vec<Pid>,
    /// The first other process on the way.
    pub first: Option<Pid>,
    /// How long.
    pub time: Duration,
}

impl Part {
    /// It was waited for somebody who idles, or of whom nothing is known: nobody is to blame.
    pub fn in_vain(&self) -> bool {
        let unknown = |name: &str| name != MANY;
        let nobody = matches!(&self.root.node, Node::Resource(TimeClass::BlockedProcess, name) if unknown(name));
        let nobody = nobody && self.first.is_some();
        nobody || matches!(self.root.class, TimeClass::BlockedIdle | TimeClass::BlockedUnknown) && self.first.is_some()
    }
}

/// The active time of some threads, split by where it rests; edges that `keep` refuses are left out. The parts sum to the
/// time that is kept, the largest first.
pub fn redistribute(scene: &Scene, of: &[(Pid, Tid)], keep: impl Fn(&Edge) -> bool) -> Vec<Part> {
    let mut flow = Flow { graph: scene.graph(), rests: BTreeMap::new(), frontier: BTreeMap::new() };
    for (pid, tid) in of {
        let Some(account) = flow.graph.threads.get(&(*pid, *tid)) else { continue };
        for (class, time) in &account.own {
            flow.rest(None, vec![*pid], Root { node: Node::Thread(*pid, *tid), class: *class }, time.as_secs_f64());
        }
        for edge in account.edges.iter().filter(|e| !e.housekeeping && keep(e)) {
            flow.step(None, &[*pid], (*pid, Some(*tid)), edge, edge.time.as_secs_f64());
        }
    }
    let all: f64 = flow.frontier.values().sum();
    for _ in 0..DEEPEST {
        for (at, time) in std::mem::take(&mut flow.frontier) {
            if time < all * LEAST { flow.stop(at, time) } else { flow.hand_on(at, time) }
        }
    }
    for (at, time) in std::mem::take(&mut flow.frontier) {
        flow.stop(at, time);
    }
    flow.parts()
}

/// Time on its way: where it is, how it got there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    first: Option<Pid>,
    path: Vec<Pid>,
    at: Node,
    /// Who waited.
    from: (Pid, Option<Tid>),
    /// For which lock, where it was one.
    lock: Option<String>,
}

/// Time that rests, and time that is still to be handed on, in seconds.
struct Flow<'g> {
    graph: &'g WaitGraph,
    rests: BTreeMap<(Option<Pid>, Vec<Pid>, Root), f64>,
    frontier: BTreeMap<Place, f64>,
}

impl Flow<'_> {
    fn rest(&mut self, first: Option<Pid>, path: Vec<Pid>, root: Root, time: f64) {
        *self.rests.entry((first, path, root)).or_default() += time;
    }

    fn stop(&mut self, place: Place, time: f64) {
        self.rest(place.first, place.path, Root { node: place.at, class: TimeClass::BlockedUnknown }, time);
    }

    /// Hands time on by the books of whoever it is at.
    fn hand_on(&mut self, place: Place, time: f64) {
        let graph = self.graph;
        let Some(account) = graph.account(&place.at) else { return self.stop(place, time) };
        let parts: Vec<&Edge> = account.edges.iter().filter(|e| place.counts(e)).collect();
        let of = place.at_work(account).as_secs_f64();
        let me = match place.at {
            Node::Thread(pid, tid) => (pid, Some(tid)),
            _ => (place.path[place.path.len() - 1], None),
        };
        for (class, own) in &account.own {
            let root = Root { node: place.at.clone(), class: *class };
            self.rest(place.first, place.path.clone(), root, time * own.as_secs_f64() / of);
        }
        for edge in parts {
            self.step(place.first, &place.path, me, edge, time * edge.time.as_secs_f64() / of);
        }
    }

    /// Time that was waited for one thing: it rests there, or is at somebody, as far as that one was at work meanwhile.
    fn step(&mut self, first: Option<Pid>, path: &[Pid], from: (Pid, Option<Tid>), edge: &Edge, time: f64) {
        let Some(pid) = edge.to.pid() else {
            return self.rest(first, path.to_vec(), Root { node: edge.to.clone(), class: edge.class }, time);
        };
        let first = first.or((pid != from.0).then_some(pid));
        let path = extended(path, pid);
        if edge.class.is_runnable() || matches!(edge.to, Node::Ahead(..)) {
            return self.rest(first, path, Root { node: edge.to.clone(), class: edge.class }, time);
        }
        let is_lock = matches!(edge.class, TimeClass::BlockedLock | TimeClass::BlockedKernelLock);
        let lock = (is_lock && !edge.resource.is_empty()).then(|| edge.resource.clone());
        let mut place = Place { first, path, at: edge.to.clone(), from, lock };
        let waited = edge.most.as_secs_f64();
        let mut part = self.part_at_work(&place, waited);
        if part < AT_WORK {
            let process = Place { at: Node::Process(pid), ..place.clone() };
            let together = self.part_at_work(&process, waited);
            if together > part {
                (place, part) = (process, together);
            }
        }
        if part < 1.0 {
            let known = self.graph.processes.contains_key(&pid);
            let class = if known { TimeClass::BlockedIdle } else { TimeClass::BlockedUnknown };
            let nobody = Root { node: place.at.clone(), class };
            self.rest(place.first, place.path.clone(), nobody, time * (1.0 - part));
        }
        if part > 0.0 {
            *self.frontier.entry(place).or_default() += time * part;
        }
    }

    /// For which part of the time that somebody was waited for it can have been at work.
    fn part_at_work(&self, place: &Place, waited: f64) -> f64 {
        let Some(account) = self.graph.account(&place.at) else { return 0.0 };
        let own = place.at_work(account);
        let time = match &place.at {
            Node::Process(pid) => {
                let process = &self.graph.processes[pid];
                process.at_work.mul_f64(Ratio::of(own, process.account.active().max(own)).0)
            }
            _ => own,
        };
        if time.is_zero() { 0.0 } else { (time.as_secs_f64() / waited.max(f64::MIN_POSITIVE)).min(1.0) }
    }

    fn parts(self) -> Vec<Part> {
        let mut parts: Vec<Part> = self
            .rests
            .into_iter()
            .map(|((first, path, root), time)| Part { root, path, first, time: Duration::from_secs_f64(time) })
            .collect();
        parts.sort_by_key(|part| Reverse(part.time));
        parts
    }
}

impl Place {
    /// Whether somebody's wait belongs to the time for which it is waited for.
    fn counts(&self, edge: &Edge) -> bool {
        let lock = self.lock.as_ref().is_some_and(|lock| edge.resource == *lock);
        // Who waits does not run meanwhile, and sends no work to the process that it waits for.
        let back = match edge.to {
            Node::Thread(pid, tid) if self.from == (pid, Some(tid)) => true,
            Node::Thread(pid, _) | Node::Process(pid) => {
                pid == self.from.0 && self.at.pid() != Some(pid) && !edge.class.is_runnable()
            }
            _ => false,
        };
        !lock && !back && (!edge.housekeeping || self.lock.is_some())
    }

    fn at_work(&self, account: &Account) -> Duration {
        let own: Duration = account.own.iter().map(|(_, time)| *time).sum();
        own + account.edges.iter().filter(|e| self.counts(e)).map(|e| e.time).sum::<Duration>()
    }
}

impl WaitGraph {
    fn account(&self, node: &Node) -> Option<&Account> {
        match node {
            Node::Thread(pid, tid) => self.threads.get(&(*pid, *tid)),
            Node::Process(pid) => self.processes.get(pid).map(|process| &process.account),
            Node::Ahead(..) | Node::Resource(..) => None,
        }
    }
}

/// A way with one more process on it. Who was there before ends a loop, which is cut off.
fn extended(path: &[Pid], pid: Pid) -> Vec<Pid> {
    let known = path.iter().position(|one| *one == pid);
    let mut path = path[..known.map_or(path.len(), |at| at + 1)].to_vec();
    if known.is_none() {
        path.push(pid);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::System;
    use TimeClass::*;

    /// The process' time, by way and root, in tenths of a second.
    fn split(system: System, pid: u32) -> Vec<(String, u64)> {
        let rec = system.build();
        let scene = Scene::new(&rec);
        let mut rows: BTreeMap<String, Duration> = BTreeMap::new();
        let workers: Vec<_> = scene.workers(Pid(pid)).iter().map(|t| (t.pid, t.tid)).collect();
        for part in redistribute(&scene, &workers, |_| true) {
            let way: Vec<String> = part.path.iter().map(|pid| rec.process_name(*pid)).collect();
            let root = match &part.root.node {
                Node::Resource(_, name) => name.clone(),
                _ => part.root.class.name().to_owned(),
            };
            *rows.entry(format!("{} {root}", way.join(">"))).or_default() += part.time;
        }
        let mut rows: Vec<_> =
            rows.into_iter().map(|(way, time)| (way, (time.as_secs_f64() * 10.0).round() as u64)).collect();
        rows.retain(|(_, time)| *time > 0);
        rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        rows
    }

    fn rows(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
        expected.iter().map(|(way, time)| ((*way).to_owned(), *time)).collect()
    }

    #[test]
    fn a_server_with_a_thread_a_connection_is_one_party() {
        let mut system = System::new().thread(10, "proxy", &[(RunningUser, 1.0), (BlockedProcess, 9.0)]).thread(
            20,
            "backend",
            &[(BlockedIdle, 10.0)],
        );
        for tid in 21..=200 {
            system = system
                .wait(10, BlockedProcess, "epoll_wait", "descriptors", Some((20, tid)), 0.05, 1)
                .short_thread(20, tid, "handler", RunningUser, 0.05);
        }
        assert_eq!(split(system, 10), rows(&[("proxy>backend running.user", 90), ("proxy running.user", 10)]));
    }

    #[test]
    fn three_processes_that_call_each_other() {
        let rpc = System::new()
            .thread(10, "front", &[(RunningUser, 0.5), (BlockedProcess, 9.5)])
            .thread(20, "api", &[(RunningUser, 1.0), (BlockedProcess, 8.0)])
            .thread(30, "db", &[(RunningUser, 7.8), (RunningKernel, 0.2)])
            .wait(10, BlockedProcess, "recvfrom", "tcp:127.0.0.1:80", Some((20, 20)), 9.5, 900)
            .wait(20, BlockedProcess, "recvfrom", "tcp:127.0.0.1:81", Some((30, 30)), 8.0, 900);
        // 9 of the 9.5 s that it was waited for, api was at work; 8 of 9 s it waited for db.
        let expected = [
            ("front>api>db running.user", 78),
            ("front>api running.user", 10),
            ("front running.user", 5),
            ("front>api blocked.idle", 5),
            ("front>api>db running.kernel", 2),
        ];
        assert_eq!(split(rpc, 10), rows(&expected));
    }

    #[test]
    fn a_pipe_chain_ends_at_its_slow_stage_in_both_directions() {
        let pipes = || {
            System::new()
                .thread(10, "a", &[(RunningUser, 1.0), (BlockedProcess, 9.0)])
                .thread(20, "b", &[(RunningUser, 10.0)])
                .thread(30, "c", &[(RunningUser, 1.0), (BlockedProcess, 9.0)])
                .wait(10, BlockedProcess, "write", "pipe:1", Some((20, 20)), 9.0, 900)
                .wait(30, BlockedProcess, "read", "pipe:2", Some((20, 20)), 9.0, 900)
        };
        assert_eq!(split(pipes(), 10)[0], ("a>b running.user".to_owned(), 90));
        assert_eq!(split(pipes(), 30)[0], ("c>b running.user".to_owned(), 90));
        // The slow stage is the last one: both before it wait to write, and what b waits for a is no part of it.
        let last = System::new()
            .thread(10, "a", &[(RunningUser, 1.0), (BlockedProcess, 9.0)])
            .thread(20, "b", &[(RunningUser, 0.5), (BlockedProcess, 9.5)])
            .thread(30, "c", &[(RunningUser, 10.0)])
            .wait(10, BlockedProcess, "write", "pipe:1", Some((20, 20)), 9.0, 900)
            .wait(20, BlockedProcess, "read", "pipe:1", Some((10, 10)), 0.5, 900)
            .wait(20, BlockedProcess, "write", "pipe:2", Some((30, 30)), 9.0, 900);
        assert_eq!(split(last, 10)[0], ("a>b>c running.user".to_owned(), 85));
    }

    #[test]
    fn a_lock_holder_that_waits_for_a_disk_leads_to_the_disk() {
        let locks = System::new()
            .thread(10, "web", &[(RunningUser, 1.0), (BlockedLock, 8.0)])
            .thread_of(10, 11, "flusher", &[(RunningUser, 1.0), (BlockedDisk, 8.0), (BlockedLock, 1.0)])
            .thread(20, "backup", &[(RunningKernel, 1.0), (BlockedDisk, 9.0)])
            .wait(10, BlockedLock, "futex", "futex:0x10", Some((10, 11)), 8.0, 80)
            .wait_of(10, 11, BlockedLock, "futex:0x10", Some((10, 10)), 1.0)
            .wait_of(10, 11, BlockedDisk, "disk:vda", None, 8.0)
            .queued(10, "vda", 20, 6.0);
        // Of the 8 s behind the lock, 8/9 were the disk's, and 8 s of the holder's own; backup was ahead for 3/4 of that.
        let found = split(locks, 10);
        assert_eq!(found[0], ("web>backup blocked.disk".to_owned(), 113), "{found:?}");
        assert_eq!(found[2], ("web disk:vda".to_owned(), 38), "{found:?}");
    }

    #[test]
    fn two_clients_of_one_server_get_what_each_waits() {
        let clients = || {
            System::new()
                .thread(10, "one", &[(RunningUser, 1.0), (BlockedProcess, 6.0)])
                .thread(11, "two", &[(RunningUser, 1.0), (BlockedProcess, 3.0)])
                .thread(20, "server", &[(RunningUser, 4.5), (BlockedDisk, 4.5)])
                .wait(10, BlockedProcess, "recvfrom", "unix socket", Some((20, 20)), 6.0, 600)
                .wait(11, BlockedProcess, "recvfrom", "unix socket", Some((20, 20)), 3.0, 300)
                .wait(20, BlockedDisk, "pread64", "disk:vda", None, 4.5, 300)
        };
        let one = [("one>server disk:vda", 30), ("one>server running.user", 30), ("one running.user", 10)];
        assert_eq!(split(clients(), 10), rows(&one));
        let two = [("two>server disk:vda", 15), ("two>server running.user", 15), ("two running.user", 10)];
        assert_eq!(split(clients(), 11), rows(&two));
    }

    #[test]
    fn who_waits_is_not_whom_the_server_waits_for() {
        let pair = System::new()
            .thread(10, "client", &[(RunningUser, 2.0), (BlockedProcess, 8.0)])
            .thread(20, "server", &[(RunningUser, 8.0), (RunnableBusy, 1.0), (BlockedProcess, 1.0)])
            .wait(10, BlockedProcess, "read", "pipe:1", Some((20, 20)), 8.0, 80)
            .wait(20, BlockedProcess, "read", "pipe:2", Some((10, 10)), 1.0, 80)
            .behind(20, 10, 1.0);
        assert_eq!(split(pair, 10), rows(&[("client>server running.user", 80), ("client running.user", 20)]));
    }

    #[test]
    fn cycles_end_where_somebody_runs_or_are_said_to_have_no_end() {
        let cycle = |work: f64| {
            let times = [(RunningUser, work), (BlockedProcess, 8.0)];
            System::new()
                .thread(10, "a", &times)
                .thread(20, "b", &times)
                .thread(30, "c", &times)
                .wait(10, BlockedProcess, "read", "pipe:1", Some((20, 20)), 8.0, 80)
                .wait(20, BlockedProcess, "read", "pipe:2", Some((30, 30)), 8.0, 80)
                .wait(30, BlockedProcess, "read", "pipe:3", Some((10, 10)), 8.0, 80)
        };
        let found = split(cycle(2.0), 10);
        let sum: u64 = found.iter().map(|(_, time)| time).sum();
        assert!((98..=102).contains(&sum) && found.len() >= 3, "{found:?}");
        assert!(found.iter().all(|(way, _)| way.ends_with("running.user")), "{found:?}");
        assert!(split(cycle(0.0), 10)[0].0.ends_with("blocked.unknown"));
    }

    #[test]
    fn an_idle_pool_is_nobodys_fault() {
        let mut pool = System::new()
            .thread(10, "client", &[(RunningUser, 0.1), (BlockedProcess, 9.5)])
            .thread(20, "pool", &[(RunningUser, 0.1), (BlockedIdle, 9.9)])
            .wait(10, BlockedProcess, "read", "unix socket", Some((20, 20)), 9.5, 9);
        for tid in 21..30 {
            pool = pool.thread_of(20, tid, "worker", &[(BlockedIdle, 10.0)]);
        }
        assert_eq!(split(pool, 10)[0], ("client>pool blocked.idle".to_owned(), 94));
    }

    #[test]
    fn who_had_the_cpu_is_where_it_rests() {
        let busy = System::new()
            .thread(10, "api", &[(RunningUser, 1.0), (RunnableBusy, 3.0)])
            .thread(20, "batch", &[(RunningUser, 5.0), (BlockedDisk, 5.0)])
            .behind(10, 20, 2.5);
        let expected = [("api>batch runnable.busy", 25), ("api running.user", 10), ("api cpu", 5)];
        assert_eq!(split(busy, 10).iter().map(|(way, t)| (way.trim_end(), *t)).collect::<Vec<_>>()[..2], expected[..2]);
    }
}
