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

/// Where a thread has got to: at this moment of the event window, then at that one of the replay.
type Mark = (Ns, f64);

/// The event window once more.
pub struct Replayed {
    marks: HashMap<Tid, Vec<Mark>>,
    /// What part of its running time is left of a thread's.
    work: HashMap<Tid, f64>,
}

impl Replayed {
    /// When a thread gets to where it was at a moment of the event window.
    pub fn then(&self, tid: Tid, at: Ns) -> f64 {
        let Some(list) = self.marks.get(&tid) else { return at as f64 };
        let next = list.partition_point(|(moment, _)| *moment <= at);
        let (moment, replayed) = list[next.saturating_sub(1)];
        let since = at.saturating_sub(moment) as f64;
        match list.get(next).filter(|_| next > 0) {
            Some((later, then)) => replayed + (then - replayed) * since / (later - moment) as f64,
            None => replayed + since * self.work.get(&tid).copied().unwrap_or(1.0),
        }
    }

    /// What is left of a thread's time between two moments.
    pub fn left(&self, tid: Tid, from: Ns, to: Ns) -> f64 {
        (self.then(tid, to) - self.then(tid, from)).max(0.0)
    }

    fn mark(&mut self, tid: Tid, at: Ns, then: f64) {
        let list = self.marks.entry(tid).or_default();
        match list.last_mut().filter(|(moment, _)| *moment >= at) {
            Some(last) => last.1 = then,
            None => list.push((at, then)),
        }
    }
}

/// Replays every thread in the order in which things happened: work takes as long as it did, a wait for another thread ends
/// when that one gets there, one for what may be a lock takes no longer than it did, and any other as long as it did. What is
/// taken out takes no time.
pub fn replay(timeline: &Timeline, without: &Without) -> Replayed {
    let mut order: Vec<(Ns, Tid, usize)> = timeline
        .threads()
        .flat_map(|(tid, thread)| thread.offs.iter().enumerate().map(move |(at, off)| (off.on, tid, at)))
        .collect();
    order.sort_unstable();
    let work = timeline.threads().map(|(tid, thread)| (tid, (without.work)(thread.pid, tid))).collect();
    let mut replayed = Replayed { marks: HashMap::new(), work };
    for (tid, thread) in timeline.threads() {
        if thread.parent.is_none() {
            replayed.mark(tid, thread.from, thread.from as f64);
        }
    }
    for (_, tid, at) in order {
        let Some(thread) = timeline.thread(tid) else { continue };
        let off = &thread.offs[at];
        let born = (off.off == thread.from).then_some(thread.parent).flatten();
        let left = replayed.then(born.unwrap_or(tid), off.off);
        let (mut back, mut gone) = (left, false);
        if off.blocked {
            gone = off.wait.is_some_and(|wait| (without.wait)(thread.pid, tid, wait));
            back = match off.by.filter(|by| timeline.thread(*by).is_some() && *by != tid) {
                _ if gone => left,
                Some(by) => {
                    let there = replayed.then(by, off.woken).max(left);
                    // Whom one meets at a lock is chance: at another time it may be free. Not every lock looks like one.
                    if is_lock(timeline, off) { there.min(left + (off.woken - off.off) as f64) } else { there }
                }
                None => left + (off.woken - off.off) as f64,
            };
        }
        // Who does not wait needs no CPU anew.
        let queued = if gone { 0 } else { queue(timeline, thread, tid, off, without) };
        replayed.mark(tid, off.off, left);
        replayed.mark(tid, off.woken, back);
        replayed.mark(tid, off.on, back + queued as f64);
    }
    replayed
}

/// Whether it may be a lock. Who waits for work, or for the others' part of it, has none before they get there.
fn is_lock(timeline: &Timeline, off: &Off) -> bool {
    timeline.wait(off).is_some_and(|wait| {
        let lock = matches!(wait.class, TimeClass::BlockedLock | TimeClass::BlockedKernelLock);
        lock || wait.class != TimeClass::BlockedIdle && wait.resource.starts_with("futex:")
    })
}

/// What is left of a wait for a CPU.
fn queue(timeline: &Timeline, thread: &Thread, tid: Tid, off: &Off, without: &Without) -> Ns {
    // Clocks of two CPUs may be some nanoseconds apart.
    let whole = off.on.saturating_sub(off.woken);
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
