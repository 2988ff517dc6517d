//! When only one of a program's threads ran: the serial part of a job, which more threads or CPUs do not shorten.

use super::timeline::{Doing, Ns, Timeline};
use crate::Victim;

/// The moments at which exactly one thread of a program ran, in order; empty where it never was more than one.
#[derive(Debug, Default)]
pub struct Alone(Vec<(Ns, Ns)>);

impl Alone {
    /// Of a victim in the event window.
    pub fn of(timeline: &Timeline, victim: &Victim) -> Self {
        let mut changes: Vec<(Ns, i32)> = Vec::new();
        for (tid, thread) in timeline.threads().filter(|(_, thread)| victim.contains(thread.pid)) {
            for (from, to, doing) in timeline.pieces(tid, thread.from, thread.to) {
                if matches!(doing, Doing::Running) {
                    changes.extend([(from, 1), (to, -1)]);
                }
            }
        }
        changes.sort_unstable();
        let (mut running, mut most, mut since, mut alone) = (0, 0, 0, Vec::new());
        for (at, change) in changes {
            if running == 1 && since < at {
                alone.push((since, at));
            }
            running += change;
            since = at;
            most = most.max(running);
        }
        if most > 1 { Alone(alone) } else { Alone::default() }
    }

    /// How much of the time between two moments that was; `None` where the program never ran in parallel.
    pub fn within(&self, from: Ns, to: Ns) -> Option<Ns> {
        if self.0.is_empty() {
            return None;
        }
        let first = self.0.partition_point(|(_, end)| *end <= from);
        let met = self.0[first..].iter().take_while(|(begin, _)| *begin < to);
        Some(met.map(|(begin, end)| (*end).min(to) - (*begin).max(from)).sum())
    }
}
