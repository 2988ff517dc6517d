//! What the time of a thread is made of: where it waited for another thread, what that one did meanwhile, and so on.

use super::timeline::{Doing, Ns, Off, Timeline};
use observe::{Pid, TIMER, Tid, TimeClass, Wait};

/// ours: chains of waiting longer than this are cut; what is left is said to be spent waiting.
pub const DEEPEST: usize = 24;

/// A part of the critical path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    /// Since when.
    pub from: Ns,
    /// Until when.
    pub to: Ns,
    /// The thread on the path.
    pub tid: Tid,
    /// Its process.
    pub pid: Pid,
    /// What it did: running, waiting for a CPU, or blocked with nobody behind that could be followed.
    pub class: TimeClass,
    /// Who ran meanwhile on the CPU it waited for, or for whom it waited and who could not be followed.
    pub by: Option<(Pid, Tid)>,
    /// Row of the waits, where it was blocked.
    pub wait: Option<u32>,
    /// Row of the requests, where it waited for the answer to one that went out.
    pub asked: Option<usize>,
    /// How many threads were followed to get here.
    pub depth: usize,
}

/// What a thread's time between two moments is made of. The segments are in no order; they cover the time once.
/// `wanted`: somebody waits for it all that time, so that it never idles.
pub fn critical_path(timeline: &Timeline, tid: Tid, from: Ns, to: Ns, wanted: bool) -> Vec<Segment> {
    let mut walk = Walk { timeline, wanted, chain: vec![tid], out: Vec::new() };
    walk.follow(tid, from, to);
    walk.out
}

/// Waits that another thread ended by doing something for the waiter.
fn followed(class: TimeClass, wanted: bool, same_process: bool) -> bool {
    match class {
        TimeClass::BlockedProcess
        | TimeClass::BlockedThread
        | TimeClass::BlockedLock
        | TimeClass::BlockedKernelLock => true,
        // Who is not waited for idles when nobody else sends it work. Else it is a helper, and waits itself.
        TimeClass::BlockedIdle => wanted || same_process,
        _ => false,
    }
}

/// A walk, and how it got to where it is.
struct Walk<'t> {
    timeline: &'t Timeline<'t>,
    wanted: bool,
    chain: Vec<Tid>,
    out: Vec<Segment>,
}

impl Walk<'_> {
    fn follow(&mut self, tid: Tid, from: Ns, to: Ns) {
        let timeline = self.timeline;
        let Some(thread) = timeline.thread(tid) else { return };
        let depth = self.chain.len() - 1;
        let segment = |from: Ns, to: Ns, class: TimeClass| Segment {
            from,
            to,
            tid,
            pid: thread.pid,
            class,
            by: None,
            wait: None,
            asked: None,
            depth,
        };
        for (a, b, doing) in timeline.pieces(tid, from, to) {
            match doing {
                Doing::Running => self.out.push(segment(a, b, TimeClass::RunningUser)),
                Doing::Runnable(off) => {
                    waited_for_cpu(timeline, &off, segment(a, b, TimeClass::RunnableBusy), &mut self.out);
                }
                Doing::Blocked(off) => {
                    let class = timeline.wait(&off).map_or(TimeClass::BlockedUnknown, |wait| self.class(wait));
                    let leaf = Segment { wait: off.wait, by: by(timeline, &off), ..segment(a, b, class) };
                    let next = off.by.filter(|by| {
                        let same_process = timeline.thread(*by).is_some_and(|other| other.pid == thread.pid);
                        followed(class, self.wanted || depth > 0, same_process)
                    });
                    match next.filter(|by| self.may_follow(*by)) {
                        Some(next) => self.into(next, a, b, leaf),
                        None => self.out.push(leaf),
                    }
                }
            }
        }
        // Before it was born, its parent was on the way to make it; after its end nobody waits for it.
        let (begin, end) = (thread.from.clamp(from, to), thread.to.clamp(from, to));
        for (a, b) in [(from, begin), (end, to)] {
            if a < b {
                let leaf = segment(a, b, TimeClass::BlockedUnknown);
                match thread.parent.filter(|parent| b == begin && self.may_follow(*parent)) {
                    Some(parent) => self.into(parent, a, b, leaf),
                    None => self.out.push(leaf),
                }
            }
        }
    }

    /// Who is waited for all the time, and has a timer wake it, sleeps: it looks for no work.
    fn class(&self, wait: &Wait) -> TimeClass {
        match wait.class {
            TimeClass::BlockedIdle if self.wanted && wait.resource == TIMER => TimeClass::BlockedSleep,
            class => class,
        }
    }

    fn may_follow(&self, tid: Tid) -> bool {
        self.timeline.thread(tid).is_some() && !self.chain.contains(&tid) && self.chain.len() < DEEPEST
    }

    /// Follows the one who ended a wait through the time that it took.
    fn into(&mut self, next: Tid, from: Ns, to: Ns, leaf: Segment) {
        self.chain.push(next);
        let before = self.out.len();
        self.follow(next, from, to);
        self.chain.pop();
        let covered: Ns = self.out[before..].iter().map(|segment| segment.to - segment.from).sum();
        if covered == 0 {
            self.out.push(leaf);
        }
    }
}

fn by(timeline: &Timeline, off: &Off) -> Option<(Pid, Tid)> {
    let tid = off.by?;
    timeline.thread(tid).map(|thread| (thread.pid, tid))
}

/// Splits a wait for a CPU: held back by a quota first, then kept to CPUs that were taken, then behind whoever ran.
fn waited_for_cpu(timeline: &Timeline, off: &Off, whole: Segment, out: &mut Vec<Segment>) {
    let throttled = (off.woken + off.throttled).clamp(whole.from, whole.to);
    let pinned = (throttled + off.pinned).min(whole.to);
    for (from, to, class) in [
        (whole.from, throttled, TimeClass::RunnableThrottled),
        (throttled, pinned, TimeClass::RunnablePinned),
        (pinned, whole.to, TimeClass::RunnableBusy),
    ] {
        if from >= to {
            continue;
        }
        // ours: as in the ledger: an idle CPU takes no longer to wake up.
        const LONGEST_WAKING: Ns = 1_000_000;
        let alone = |from: Ns, to: Ns| match class {
            TimeClass::RunnableBusy if to - from <= LONGEST_WAKING => TimeClass::RunnableWaking,
            class => class,
        };
        let mut at = from;
        for run in timeline.ran(off.cpu, from, to).filter(|run| run.tid != whole.tid) {
            if class != TimeClass::RunnableThrottled && run.from >= at {
                if run.from > at {
                    out.push(Segment { from: at, to: run.from, class: alone(at, run.from), ..whole });
                }
                out.push(Segment { from: run.from, to: run.to, class, by: Some((run.pid, run.tid)), ..whole });
                at = run.to;
            }
        }
        if at < to {
            out.push(Segment { from: at, to, class: alone(at, to), ..whole });
        }
    }
}
