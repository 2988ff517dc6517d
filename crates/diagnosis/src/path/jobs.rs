//! Which threads' time is the victim's: those that do its work, or the one that ends the job.

use super::timeline::{Doing, Ns, Timeline};
use crate::{Scene, Victim};
use observe::{TargetKind, Tid, TimeClass};

/// A thread whose time counts, from one moment to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Job {
    /// The thread.
    pub tid: Tid,
    /// Since when.
    pub from: Ns,
    /// Until when.
    pub to: Ns,
    /// How much it counts: all jobs of a victim together count 1.
    pub weight: f64,
    /// Somebody waits for its end, so that it never idles: a command.
    pub wanted: bool,
}

/// ours: where a thread runs for half of the event window, those that run less than half as much help it, and count where it
/// waits for them.
const MAIN: f64 = 0.5;

/// The victim's jobs. A command's is its first thread's life, if it has ended: what an open wait is for is not known yet.
/// Else they are the threads that do its work: where one is at work most of the time, those like it, each counting by what
/// it wanted to run; where none is, all alike, as whoever is held up runs little.
pub fn of(scene: &Scene, timeline: &Timeline, victim: &Victim) -> Vec<Job> {
    let target = &scene.rec.target;
    if target.kind == TargetKind::Command
        && let Some(pid) = target.pid.filter(|pid| victim.contains(*pid))
        && let Some(thread) = timeline.thread(Tid(pid.0)).filter(|thread| thread.ended)
    {
        return vec![Job { tid: Tid(pid.0), from: thread.from, to: thread.to, weight: 1.0, wanted: true }];
    }
    let mut jobs = workers(scene, timeline, victim);
    let most = jobs.iter().map(|job| job.weight).fold(0.0, f64::max);
    if most >= (timeline.end - timeline.begin) as f64 * MAIN {
        jobs.retain(|job| job.weight >= most * MAIN);
    } else {
        jobs.iter_mut().for_each(|job| job.weight = 1.0);
    }
    let all: f64 = jobs.iter().map(|job| job.weight).sum();
    jobs.iter_mut().for_each(|job| job.weight /= all);
    jobs
}

/// Every thread that does any of the victim's work, each counting by what it ran, or would have but for a CPU or a lock.
pub fn workers(scene: &Scene, timeline: &Timeline, victim: &Victim) -> Vec<Job> {
    let workers = victim.pids.iter().flat_map(|pid| scene.workers(*pid)).map(|thread| thread.tid);
    let mut jobs: Vec<Job> = workers
        .filter_map(|tid| {
            let thread = timeline.thread(tid)?;
            let weight = wanted(timeline, tid, thread.from, thread.to) as f64;
            Some(Job { tid, from: thread.from, to: thread.to, weight, wanted: false })
        })
        .collect();
    jobs.sort_by_key(|job| job.tid);
    jobs.dedup_by_key(|job| job.tid);
    jobs
}

fn wanted(timeline: &Timeline, tid: Tid, from: Ns, to: Ns) -> Ns {
    let wants = |doing: &Doing| match doing {
        Doing::Running | Doing::Runnable(_) => true,
        Doing::Blocked(off) => {
            let locked = |class| matches!(class, TimeClass::BlockedLock | TimeClass::BlockedKernelLock);
            timeline.wait(off).is_some_and(|wait| locked(wait.class))
        }
    };
    let pieces = timeline.pieces(tid, from, to).into_iter();
    pieces.filter(|(_, _, doing)| wants(doing)).map(|(a, b, _)| b - a).sum()
}

impl Job {
    /// Its time without that in which nobody of the victim's could have given it work.
    pub fn active(&self, timeline: &Timeline, victim: &Victim) -> Ns {
        if self.wanted {
            return self.to - self.from;
        }
        let idle = timeline.pieces(self.tid, self.from, self.to).into_iter().filter(|(_, _, doing)| {
            let Doing::Blocked(off) = doing else { return false };
            let idle = timeline.wait(off).is_some_and(|wait| wait.class == TimeClass::BlockedIdle);
            let own = off.by.and_then(|by| timeline.thread(by)).is_some_and(|thread| victim.contains(thread.pid));
            idle && !own
        });
        (self.to - self.from).saturating_sub(idle.map(|(a, b, _)| b - a).sum())
    }
}
