//! The critical path through the event window, and what a cause is really worth: what would be gained without it.

mod jobs;
mod replay;
mod summary;
#[cfg(test)]
mod tests;
mod timeline;
mod walk;

pub use summary::{Path, PathRow, summarize};
pub use timeline::{Doing, Timeline};

use crate::{Scene, Victim};
use observe::{Pid, Ratio, Tid, TimeClass, Wait};
use replay::{Without, nothing, replay};
use std::time::Duration;

/// One kind of wait or work: what a cause would take away.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Removes {
    /// Not said: only an upper bound of the cause's share is known.
    #[default]
    Unsaid,
    /// Waits of some classes; of these resources only, and ended by these processes only, where any are named.
    Waits {
        /// The classes.
        classes: Vec<TimeClass>,
        /// Resources; empty: any.
        resources: Vec<String>,
        /// Who ended them; empty: anybody.
        by: Vec<Pid>,
    },
    /// The running of these processes on the CPUs the victim waits for.
    Runners(Vec<Pid>),
    /// Time in which the victim is held back: throttled, or kept to CPUs that are taken.
    Held(TimeClass),
    /// This part of the victim's own running time.
    Work(f64),
}

impl Removes {
    /// Every wait of some classes.
    pub fn waits(classes: &[TimeClass]) -> Self {
        Removes::Waits { classes: classes.to_vec(), resources: Vec::new(), by: Vec::new() }
    }

    /// So much of what the victim runs.
    pub fn work(victim: &Victim, time: Duration) -> Self {
        Removes::Work(Ratio::of(time, victim.times.sum(TimeClass::is_running)).0)
    }
}

/// What would be gained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain {
    /// Part of the victim's time that goes away.
    pub share: Ratio,
    /// Part of its time in the event window that is of the removed kind, on the path or not.
    pub present: Ratio,
}

impl Gain {
    /// Whether the event window has seen as much of it as the whole window has: a fault that comes and goes may be missing.
    pub fn typical(&self, at_most: Ratio) -> bool {
        /// ours: half as much is still the same trouble.
        const ALIKE: f64 = 0.5;
        self.present.0 >= at_most.0 * ALIKE
    }
}

/// What part of the victim's time goes away with it: by replaying the event window without it. `None` where nothing of the
/// victim's work lies in the event window, or what it removes is not said.
pub fn gain(scene: &Scene, timeline: &Timeline, victim: &Victim, removes: &Removes) -> Option<Gain> {
    let jobs = jobs::of(scene, timeline, victim);
    if jobs.is_empty() {
        return None;
    }
    let own = |pid: Pid| victim.contains(pid);
    let base = nothing();
    let row = |at: u32| timeline.waits.get(at as usize);
    let waits = |pid: Pid, tid: Tid, at: u32| match removes {
        Removes::Waits { classes, resources, by } => {
            let taken = |wait: &Wait| {
                classes.contains(&wait.class)
                    && (resources.is_empty() || resources.contains(&wait.resource))
                    && (by.is_empty() || wait.by.is_some_and(|(pid, _)| by.contains(&pid)))
            };
            own(pid) && tid.0 != 0 && row(at).is_some_and(taken)
        }
        _ => false,
    };
    let runner = |pid: Pid, _: Tid| matches!(removes, Removes::Runners(pids) if pids.contains(&pid));
    let held = |pid: Pid, class: TimeClass| own(pid) && matches!(removes, Removes::Held(held) if *held == class);
    let work = |pid: Pid, _: Tid| match removes {
        Removes::Work(part) if own(pid) => 1.0 - part.clamp(0.0, 1.0),
        _ => 1.0,
    };
    let without = match removes {
        Removes::Unsaid => return None,
        Removes::Waits { .. } => Without { wait: &waits, ..base },
        Removes::Runners(_) => Without { runner: &runner, ..base },
        Removes::Held(_) => Without { held: &held, ..base },
        Removes::Work(_) => Without { work: &work, ..base },
    };
    let replayed = replay(timeline, &without);
    let (mut all, mut saved, mut present) = (0.0, 0.0, 0.0);
    for job in &jobs {
        let Some(done) = replayed.get(&job.tid) else { continue };
        all += job.weight * job.active(timeline, victim) as f64;
        saved += job.weight * (done.before as f64 - done.after).max(0.0);
    }
    // Summed as the ledger sums: every working thread alike.
    let mut active = 0;
    for job in &jobs::workers(scene, timeline, victim) {
        for (a, b, doing) in timeline.pieces(job.tid, job.from, job.to) {
            let thread = timeline.thread(job.tid).map_or(Pid(0), |thread| thread.pid);
            let idle = matches!(doing, Doing::Blocked(off)
                if timeline.wait(&off).is_some_and(|wait| wait.class == TimeClass::BlockedIdle));
            active += if idle { 0 } else { b - a };
            let part = match doing {
                Doing::Blocked(off) if off.wait.is_some_and(|at| waits(thread, job.tid, at)) => b - a,
                Doing::Runnable(off) => match removes {
                    Removes::Held(TimeClass::RunnableThrottled) => off.throttled.min(b - a),
                    Removes::Held(TimeClass::RunnablePinned) => off.pinned.min(b - a),
                    Removes::Runners(pids) => {
                        let runs = timeline.ran(off.cpu, a, b).filter(|run| pids.contains(&run.pid));
                        runs.map(|run| run.to - run.from).sum()
                    }
                    _ => 0,
                },
                Doing::Running => match removes {
                    Removes::Work(work) => ((b - a) as f64 * work) as u64,
                    _ => 0,
                },
                _ => 0,
            };
            present += part as f64;
        }
    }
    (all > 0.0 && active > 0)
        .then(|| Gain { share: Ratio((saved / all).min(1.0)), present: Ratio((present / active as f64).min(1.0)) })
}
