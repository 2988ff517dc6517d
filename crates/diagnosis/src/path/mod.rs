//! The critical path through the event window, and what a cause is really worth: what would be gained without it.

mod jobs;
mod replay;
mod summary;
mod timeline;
mod walk;

pub use summary::{Path, PathRow, summarize};
pub use timeline::Timeline;

use crate::{Scene, Victim};
use observe::{Pid, Ratio, Tid, TimeClass, Wait};
use replay::{Without, nothing, replay};

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

/// What part of the victim's time goes away with it: by replaying the event window without it. `None` where nothing of the
/// victim's work lies in the event window, or what it removes is not said.
pub fn gain(scene: &Scene, timeline: &Timeline, victim: &Victim, removes: &Removes) -> Option<Ratio> {
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
    let (mut all, mut saved) = (0.0, 0.0);
    for job in &jobs {
        let Some(done) = replayed.get(&job.tid) else { continue };
        all += job.weight * job.active(timeline, victim) as f64;
        saved += job.weight * (done.before as f64 - done.after).max(0.0);
    }
    (all > 0.0).then(|| Ratio((saved / all).min(1.0)))
}
