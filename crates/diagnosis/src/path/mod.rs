//! The critical path through the event window, and what a cause is really worth: what would be gained without it.

mod alone;
mod jobs;
mod replay;
mod requests;
mod summary;
#[cfg(test)]
pub(crate) mod tests;
mod ticks;
mod timeline;
mod walk;

pub use summary::{Path, PathRow, summarize};
pub use ticks::{POLLS, go_on_after_ticks};
pub use timeline::{Doing, Timeline, ns};

use crate::{Scene, Victim};
use observe::{Pid, Ratio, Request, TimeClass, Wait};
use replay::{Replayed, Without, replay};
use std::time::Duration;
use timeline::Ns;

/// One kind of wait or work: what a cause would take away.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Removes {
    /// Not said: only an upper bound of the cause's share is known.
    #[default]
    Unsaid,
    /// These waits.
    Waits(Waits),
    /// The running of these processes on the CPUs the victim waits for.
    Runners(Vec<Pid>),
    /// Whatever these processes do that somebody waits for.
    Party(Vec<Pid>),
    /// Time in which the victim is held back: throttled, or kept to CPUs that are taken.
    Held(TimeClass),
    /// This part of the victim's own running time.
    Work(f64),
}

/// Waits that a cause would take away, and what goes with them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Waits {
    /// Of these classes.
    pub classes: Vec<TimeClass>,
    /// In these system calls; empty: wherever.
    pub syscalls: Vec<String>,
    /// For these resources; empty: for any.
    pub resources: Vec<String>,
    /// Ended by these processes; empty: by anybody.
    pub by: Vec<Pid>,
    /// This part of the victim's own running time goes with them: what the calls themselves cost.
    pub work: f64,
}

impl Removes {
    /// Every wait of some classes.
    pub fn waits(classes: &[TimeClass]) -> Self {
        Removes::Waits(Waits { classes: classes.to_vec(), ..Waits::default() })
    }

    /// So much of what the victim runs.
    pub fn work(victim: &Victim, time: Duration) -> Self {
        Removes::Work(Ratio::of(time, victim.times.sum(TimeClass::is_running)).0)
    }
}

/// What would be gained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain {
    /// It is the time of requests, not that of threads.
    pub of_requests: bool,
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

    /// The same of the whole window, in which the cause takes no more than this part of the threads' time. Where threads wait
    /// for one another, that time is worth more than itself: each of them loses little, and all of them lose the sum.
    /// Requests queue behind one another, and together lose more than the threads that serve them.
    pub fn in_all(&self, at_most: Ratio) -> Ratio {
        let worth = if self.present.0 > 0.0 { (self.share.0 / self.present.0).max(1.0) } else { 1.0 };
        let most = if self.of_requests { 1.0 } else { at_most.0 * worth };
        Ratio(self.share.0.min(most))
    }
}

/// What part of the victim's time goes away with it: by replaying the event window without it. Where requests can be told,
/// it is the time of these; else that of the threads that do its work. `None` where nothing of the victim's work lies in the
/// event window, or what it removes is not said.
pub fn gain(scene: &Scene, timeline: &Timeline, victim: &Victim, removes: &Removes) -> Option<Gain> {
    let jobs = jobs::of(scene, timeline, victim);
    if jobs.is_empty() || *removes == Removes::Unsaid {
        return None;
    }
    let removed = Removed { timeline, victim, removes };
    let replayed = removed.replay();
    let (mut all, mut saved) = (0.0, 0.0);
    let requests = requests::of(timeline, victim);
    for request in &requests {
        let before = requests::length(request) as f64;
        all += before;
        saved += (before - requests::left(timeline, &replayed, request, &|asked| removed.answer(asked))).max(0.0);
    }
    for job in jobs.iter().filter(|_| requests.is_empty()) {
        let (from, to) = (job.from, job.to);
        all += job.weight * job.active(timeline, victim) as f64;
        saved += job.weight * ((to - from) as f64 - replayed.left(job.tid, from, to)).max(0.0);
    }
    let present = removed.present(&jobs::workers(scene, timeline, victim))?;
    (all > 0.0).then(|| Gain { of_requests: !requests.is_empty(), share: Ratio((saved / all).min(1.0)), present })
}

/// What a cause would take away from a victim.
struct Removed<'a> {
    timeline: &'a Timeline<'a>,
    victim: &'a Victim,
    removes: &'a Removes,
}

impl Removed<'_> {
    fn replay(&self) -> Replayed {
        replay(
            self.timeline,
            &Without {
                wait: &|pid, _, row| self.is_party(pid) || self.victim.contains(pid) && self.wait(row),
                runner: &|pid, _| matches!(self.removes, Removes::Runners(pids) if pids.contains(&pid)),
                held: &|pid, class| {
                    self.victim.contains(pid) && matches!(self.removes, Removes::Held(held) if *held == class)
                },
                work: &|pid, _| match self.victim.contains(pid) {
                    _ if self.is_party(pid) => 0.0,
                    true => 1.0 - self.work(),
                    false => 1.0,
                },
            },
        )
    }

    fn is_party(&self, pid: Pid) -> bool {
        matches!(self.removes, Removes::Party(pids) if pids.contains(&pid))
    }

    /// Whether a wait of the victim's goes away, by its row.
    fn wait(&self, row: u32) -> bool {
        let Some(Wait { class, resource, by, syscall, .. }) = self.timeline.waits.get(row as usize) else {
            return false;
        };
        self.takes(*class, syscall, resource, by.map(|(pid, _)| pid))
    }

    /// Whether the wait for an answer does.
    fn answer(&self, asked: &Request) -> bool {
        let by = self.timeline.other_end(asked).map(|other| other.pid);
        if by.is_some_and(|by| self.is_party(by)) {
            return true;
        }
        let class = if by.is_some() { TimeClass::BlockedProcess } else { TimeClass::BlockedNetwork };
        self.victim.contains(asked.pid) && self.takes(class, "", &resource(asked), by)
    }

    fn takes(&self, class: TimeClass, syscall: &str, resource: &str, by: Option<Pid>) -> bool {
        let Removes::Waits(waits) = self.removes else { return false };
        waits.classes.contains(&class)
            && (waits.syscalls.is_empty() || waits.syscalls.iter().any(|other| other == syscall))
            && (waits.resources.is_empty() || waits.resources.iter().any(|other| other == resource))
            && (waits.by.is_empty() || by.is_some_and(|by| waits.by.contains(&by)))
    }

    /// Which part of the victim's running time goes away.
    fn work(&self) -> f64 {
        match self.removes {
            Removes::Work(part) | Removes::Waits(Waits { work: part, .. }) => part.clamp(0.0, 1.0),
            _ => 0.0,
        }
    }

    /// Which part of the workers' time is of that kind, summed as the ledger sums: every working thread alike.
    fn present(&self, workers: &[jobs::Job]) -> Option<Ratio> {
        let (mut active, mut present) = (0, 0.0);
        for job in workers {
            for (a, b, doing) in self.timeline.pieces(job.tid, job.from, job.to) {
                let idle = matches!(doing, Doing::Blocked(off)
                    if self.timeline.wait(&off).is_some_and(|wait| wait.class == TimeClass::BlockedIdle));
                active += if idle { 0 } else { b - a };
                present += self.part(a, b, doing);
            }
        }
        (active > 0).then(|| Ratio((present / active as f64).min(1.0)))
    }

    /// How much of what a thread of the victim's did between two moments is of that kind.
    fn part(&self, from: Ns, to: Ns, doing: Doing) -> f64 {
        let ns = match (doing, self.removes) {
            (Doing::Running, _) => return (to - from) as f64 * self.work(),
            (Doing::Blocked(off), Removes::Party(_)) => {
                // Who is behind it may be behind others.
                let others = self.timeline.wait(&off).is_some_and(|wait| wait.class == TimeClass::BlockedProcess);
                if others { to - from } else { 0 }
            }
            (Doing::Blocked(off), _) if off.wait.is_some_and(|row| self.wait(row)) => to - from,
            (Doing::Runnable(off), Removes::Held(TimeClass::RunnableThrottled)) => off.throttled.min(to - from),
            (Doing::Runnable(off), Removes::Held(TimeClass::RunnablePinned)) => off.pinned.min(to - from),
            (Doing::Runnable(off), Removes::Runners(pids)) => {
                let runs = self.timeline.ran(off.cpu, from, to).filter(|run| pids.contains(&run.pid));
                runs.map(|run| run.to - run.from).sum()
            }
            _ => 0,
        };
        ns as f64
    }
}

/// Whom a request that went out was asked of, named as waits name it.
fn resource(asked: &Request) -> String {
    let kind = if asked.place.starts_with(['/', '@']) { "unix" } else { "tcp" };
    format!("{kind}:{}", asked.place)
}
