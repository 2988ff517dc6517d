//! What would be gained: the event window once more, with one kind of wait or work taken out of it.

use super::timeline::{Ns, Off, Thread, Timeline};
use observe::{Pid, Tid, TimeClass};
use std::collections::HashMap;

/// What is taken out.
pub struct Without<'a> {
    /// Waits of which nothing is left. Asked with the waiting thread's process and the row of the waits.
    pub wait: &'a dyn Fn(Pid, Tid, u32) -> bool,
    /// Whose running makes nobody wait for a CPU.
    pub runner: &'a dyn Fn(Pid, Tid) -> bool,
    /// Time held back by quotas and by being kept to some CPUs.
    pub held: &'a dyn Fn(Pid, TimeClass) -> bool,
    /// What part of a thread's running time is left.
    pub work: &'a dyn Fn(Pid, Tid) -> f64,
}

/// For how long a thread still needs for what it did in the event window, and for how long it did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replayed {
    /// Then.
    pub before: Ns,
    /// Without what was taken out.
    pub after: f64,
}

/// Where a thread has got to: at this moment of the event window, then at that one of the replay.
type Mark = (Ns, f64);

/// Replays every thread in the order in which things happened: work takes as long as it did, a wait for another thread ends
/// when that one gets there, one for a lock takes no longer than it did, and any other as long as it did. What is taken out takes no time.
pub fn replay(timeline: &Timeline, without: &Without) -> HashMap<Tid, Replayed> {
    let mut order: Vec<(Ns, Tid, usize)> = timeline
        .threads()
        .flat_map(|(tid, thread)| thread.offs.iter().enumerate().map(move |(at, off)| (off.on, tid, at)))
        .collect();
    order.sort_unstable();
    let mut marks: HashMap<Tid, Vec<Mark>> = HashMap::new();
    for (tid, thread) in timeline.threads() {
        if thread.parent.is_none() {
            marks.insert(tid, vec![(thread.from, thread.from as f64)]);
        }
    }
    let work: HashMap<Tid, f64> =
        timeline.threads().map(|(tid, thread)| (tid, (without.work)(thread.pid, tid))).collect();
    // When a thread would be where it was at a moment at which it ran.
    let then = |marks: &HashMap<Tid, Vec<Mark>>, tid: Tid, at: Ns| -> f64 {
        let Some(list) = marks.get(&tid) else { return at as f64 };
        let last = list.partition_point(|(moment, _)| *moment <= at).saturating_sub(1);
        let (moment, replayed) = list[last];
        replayed + at.saturating_sub(moment) as f64 * work.get(&tid).copied().unwrap_or(1.0)
    };
    for (_, tid, at) in order {
        let Some(thread) = timeline.thread(tid) else { continue };
        let off = &thread.offs[at];
        let born = (off.off == thread.from).then_some(thread.parent).flatten();
        let left = match born {
            Some(parent) => then(&marks, parent, off.off),
            None => then(&marks, tid, off.off),
        };
        let (mut back, mut gone) = (left, false);
        if off.blocked {
            gone = off.wait.is_some_and(|wait| (without.wait)(thread.pid, tid, wait));
            back = match off.by.filter(|by| timeline.thread(*by).is_some() && *by != tid) {
                _ if gone => left,
                Some(by) => {
                    let there = then(&marks, by, off.woken).max(left);
                    // Whom one meets at a lock is chance: at another time it may be free. Not every lock looks like one.
                    if is_lock(timeline, off) { there.min(left + (off.woken - off.off) as f64) } else { there }
                }
                None => left + (off.woken - off.off) as f64,
            };
        }
        // Who does not wait needs no CPU anew.
        let queued = if gone { 0 } else { queue(timeline, thread, tid, off, without) };
        marks.entry(tid).or_default().push((off.on, back + queued as f64));
    }
    timeline
        .threads()
        .map(|(tid, thread)| {
            let begun = marks.get(&tid).and_then(|list| list.first()).map_or(thread.from as f64, |mark| mark.1);
            let after = (then(&marks, tid, thread.to) - begun).max(0.0);
            (tid, Replayed { before: thread.to - thread.from, after })
        })
        .collect()
}

fn is_lock(timeline: &Timeline, off: &Off) -> bool {
    timeline.wait(off).is_some_and(|wait| {
        let lock = matches!(wait.class, TimeClass::BlockedLock | TimeClass::BlockedKernelLock);
        lock || wait.resource.starts_with("futex:")
    })
}

/// What is left of a wait for a CPU.
fn queue(timeline: &Timeline, thread: &Thread, tid: Tid, off: &Off, without: &Without) -> Ns {
    let whole = off.on - off.woken;
    if whole == 0 {
        return 0;
    }
    let mut gone = 0;
    if (without.held)(thread.pid, TimeClass::RunnableThrottled) {
        gone += off.throttled;
    }
    if (without.held)(thread.pid, TimeClass::RunnablePinned) {
        gone += off.pinned;
    }
    let behind = timeline.ran(off.cpu, off.woken + off.throttled, off.on);
    let behind = behind.filter(|run| run.tid != tid && (without.runner)(run.pid, run.tid));
    gone += behind.map(|run| run.to - run.from).sum::<Ns>();
    whole.saturating_sub(gone)
}

/// Nothing is taken out.
pub fn nothing<'a>() -> Without<'a> {
    Without { wait: &|_, _, _| false, runner: &|_, _| false, held: &|_, _| false, work: &|_, _| 1.0 }
}
