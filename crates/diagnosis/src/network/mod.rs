//! With whom a victim talks over the network, how long it waits for them, and what the kernel's books say of these
//! connections.

mod attempts;
mod lost;
mod resent;
mod talk;

pub use attempts::Attempts;
pub use lost::{Lost, Of};
pub use talk::{HELD, Talk, is_connecting, is_sending};

use crate::{Confidence, Party, Scene, Victim, code::path, path::Removes, scene::totals_of};
use observe::{Labels, Pid, Ratio, Recording, Series, TimeClass, Wait, catalog, catalog::Metric};
use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

/// A victim's conversations.
pub struct Network<'s> {
    scene: &'s Scene<'s>,
    victim: &'s Victim,
    /// One for each end.
    pub talks: Vec<Talk<'s>>,
    /// The time of the requests that it serves, from their arrival until their answer is handed to the kernel.
    pub requests: Duration,
}

impl<'s> Network<'s> {
    /// Reads all that is known of a victim's connections.
    pub fn of(scene: &'s Scene<'_>, victim: &'s Victim) -> Self {
        let mut talks = talk::Talks::new(listening(scene.rec));
        for wait in victim.waits(scene) {
            talks.waited(wait);
        }
        for row in scene.rec.get(&catalog::UPSTREAM).into_iter().flatten() {
            if row.labels.pid().is_some_and(|pid| victim.contains(pid)) {
                talks.asked(row);
            }
        }
        for (metric, add) in talk::BOOKS {
            for row in mine(scene, victim, metric) {
                talks.add(row, *add);
            }
        }
        for (metric, add) in talk::OF_THE_OTHER_END {
            let others = |pid| !victim.contains(pid);
            for row in scene.rec.get(metric).into_iter().flatten().filter(|row| row.labels.pid().is_some_and(others)) {
                talks.of_the_other_end(row, *add);
            }
        }
        for (metric, add) in resent::ROWS {
            for row in mine(scene, victim, metric) {
                talks.resent(row, add);
            }
            let others = |pid| !victim.contains(pid);
            for row in scene.rec.get(metric).into_iter().flatten().filter(|row| row.labels.pid().is_none_or(others)) {
                talks.by_the_other_end(row, add);
            }
        }
        let requests = mine(scene, victim, &catalog::REQUEST_TIME).map(Series::last).sum();
        Network { scene, victim, talks: talks.all, requests: duration(requests) }
    }

    /// The end that costs most by some measure, with the sum over all ends that cost something of that kind.
    pub fn worst(&self, cost: impl Fn(&Talk<'s>) -> Option<Lost>) -> Option<Found<'_, 's>> {
        let mut costly: Vec<(&Talk, Lost)> = self.talks.iter().filter_map(|talk| Some((talk, cost(talk)?))).collect();
        costly.retain(|(_, lost)| !lost.time.is_zero());
        costly.sort_by(|a, b| b.1.part.0.total_cmp(&a.1.part.0));
        let (talk, most) = *costly.first()?;
        costly.retain(|(_, lost)| lost.of == most.of);
        let mut lost = most;
        costly[1..].iter().for_each(|(_, other)| lost.add(*other));
        Some(Found { talk, lost, talks: costly.into_iter().map(|(talk, _)| talk).collect() })
    }

    /// Time in which its threads were blocked. Waits for somebody who idles, and those of pollers, are not in its
    /// active time.
    pub fn of_threads(&self, waits: &[&Wait], lose: impl Fn(Duration, u64) -> Duration) -> Lost {
        let of = |class| waits.iter().filter(move |wait| wait.class == class).map(|wait| wait.time).sum::<Duration>();
        let all: Duration = waits.iter().map(|wait| wait.time).sum();
        let for_processes = self.victim.waits(self.scene).filter(|wait| wait.class == TimeClass::BlockedProcess);
        let in_vain = for_processes.map(|wait| wait.time).sum::<Duration>();
        let in_vain = in_vain.saturating_sub(self.victim.times[TimeClass::BlockedProcess]);
        let outside = of(TimeClass::BlockedIdle) + of(TimeClass::BlockedProcess).min(in_vain);
        let count = waits.iter().map(|wait| wait.count).sum();
        Lost::new(lose(all, count), self.victim.active() + outside, Of::Threads)
    }

    /// What is lost of the time in which the victim waits for the other end, wherever that shows most: in blocked
    /// threads, in the requests that it serves, or in exchanges that an event loop waits for.
    pub fn of_waiting(&self, talk: &Talk, waits: &[&Wait], lose: impl Fn(Duration, u64) -> Duration) -> Option<Lost> {
        let in_requests = || {
            let (time, count) = talk.in_requests;
            Lost::new(lose(time, count), self.requests, Of::Requests)
        };
        let threads = (!waits.is_empty()).then(|| self.of_threads(waits, &lose));
        let requests = (!self.requests.is_zero() && talk.in_requests.1 > 0).then(in_requests);
        let measures = [threads, requests, self.of_exchanges(talk, &lose)].into_iter().flatten();
        measures.max_by(|a, b| a.part.0.total_cmp(&b.part.0))
    }

    /// Of the exchanges of a program that serves nobody and polls: its threads idle meanwhile. Only the user can say that
    /// it is meant.
    fn of_exchanges(&self, talk: &Talk, lose: impl Fn(Duration, u64) -> Duration) -> Option<Lost> {
        let asked = Duration::from_nanos(talk.asked.sum);
        let polled = asked.saturating_sub(talk.blocked());
        if !self.victim.named || !self.requests.is_zero() || polled <= asked / 2 {
            return None;
        }
        let idle = polled.min(self.victim.times[TimeClass::BlockedIdle]);
        let lost = lose(asked, talk.asked.count).mul_f64(Ratio::of(idle, asked).0);
        Some(Lost::new(lost, self.victim.active() + idle, Of::Exchanges))
    }

    /// Time in which answers to its clients stood still, beside the time in which they were made. Without known requests
    /// that is beside its active time.
    pub fn of_answers(&self, time: Duration) -> Lost {
        let made = if self.requests.is_zero() { self.victim.active() } else { self.requests };
        Lost::new(time, made + time, Of::Answers)
    }

    /// Time in which it waited for connections to an end that failed, or whose first segment was lost. Where no thread was
    /// blocked on that, it polled.
    pub fn of_connecting(&self, peer: &str, attempts: &Attempts) -> Lost {
        let waits = self.waits_for(peer);
        if !waits.is_empty() {
            return self.of_threads(&waits, |time, _| time.min(attempts.lost()));
        }
        let polled = attempts.lost().min(self.victim.times[TimeClass::BlockedIdle]);
        Lost::new(polled, self.victim.active() + polled, Of::Exchanges)
    }

    /// The waits for an end.
    pub fn waits_for(&self, end: &str) -> Vec<&'s Wait> {
        self.talks.iter().filter(|talk| talk.end == end).flat_map(|talk| talk.waits.iter().copied()).collect()
    }

    /// Whether a loss can be measured against the requests that it delays.
    pub fn serves(&self) -> bool {
        !self.requests.is_zero()
    }

    /// The process that answers there, where it is one of this machine in another network namespace.
    pub fn answerer(&self, talk: &Talk) -> Option<Pid> {
        let requests = self.scene.rec.get(&catalog::EPISODE_REQUESTS).ok()?;
        let asked = requests.iter().find(|r| !r.served && self.victim.contains(r.pid) && r.place == talk.end)?;
        requests.iter().find(|r| r.served && r.connection == asked.connection).map(|r| r.pid)
    }

    /// The code path of the longest of some waits.
    pub fn codepath(&self, waits: &[&Wait]) -> Vec<String> {
        let longest = waits.iter().max_by_key(|wait| wait.time);
        longest.map(|wait| path(self.scene.rec, &wait.stack)).unwrap_or_default()
    }

    /// What a loss comes to: `likely` where it matters.
    pub fn grade(&self, lost: &Lost) -> Option<Confidence> {
        lost.grade(self.scene)
    }
}

/// What was found about some ends, the worst first.
pub struct Found<'n, 's> {
    /// The worst.
    pub talk: &'n Talk<'s>,
    /// What all cost.
    pub lost: Lost,
    /// All.
    pub talks: Vec<&'n Talk<'s>>,
}

impl Found<'_, '_> {
    /// The worst end as a culprit.
    pub fn peer(&self, scene: &Scene) -> Party {
        let others = self.talks.len() - 1;
        let answers = self.talk.answerer.map(|pid| format!("answered by {}", scene.label(pid)));
        let others = (others > 0).then(|| format!("and {others} others"));
        let detail: Vec<String> = answers.into_iter().chain(others).collect();
        Party {
            kind: "peer".into(),
            pid: self.talk.answerer.map(|pid| pid.0),
            name: self.talk.end.clone(),
            detail: Some(detail.join(", ")).filter(|detail| !detail.is_empty()),
        }
    }

    /// The time in which the victim waited for all these ends, where the loss shows.
    pub fn waited(&self) -> Duration {
        let of = |talk: &&Talk| match self.lost.of {
            Of::Threads => talk.blocked(),
            Of::Requests => talk.in_requests.0,
            Of::Exchanges | Of::Answers => Duration::from_nanos(talk.asked.sum),
        };
        self.talks.iter().map(of).sum()
    }

    /// The waits for all these ends, where nearly all of them goes away.
    pub fn removes(&self) -> Removes {
        /// ours: with more left than a fifth, replaying without the whole wait would promise too much.
        const NEARLY_ALL: f64 = 0.8;
        if matches!(self.lost.of, Of::Exchanges | Of::Answers) || self.lost.time < self.waited().mul_f64(NEARLY_ALL) {
            return Removes::Unsaid;
        }
        Removes::Waits(crate::path::Waits {
            classes: vec![TimeClass::BlockedNetwork, TimeClass::BlockedProcess],
            resources: self
                .talks
                .iter()
                .flat_map(|talk| talk.resources())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            ..Default::default()
        })
    }
}

/// Ports that are listened on.
fn listening(rec: &Recording) -> BTreeSet<String> {
    let sockets = rec.get(&catalog::LISTEN_QUEUE).into_iter().flatten();
    let ports =
        sockets.filter_map(|row| Some(row.labels.get("address").parse::<SocketAddr>().ok()?.port().to_string()));
    let services = rec.get(&catalog::REQUESTS).into_iter().flatten().map(|row| row.labels.get("service").to_owned());
    ports.chain(services.filter(|service| service.parse::<u16>().is_ok())).collect()
}

/// The rows of a total that are a victim's.
pub fn mine<'r>(scene: &'r Scene, victim: &'r Victim, metric: &Metric<Series>) -> impl Iterator<Item = &'r Series> {
    totals_of(scene.rec.get(metric).unwrap_or_default(), |pid| victim.contains(pid))
}

/// By how much a counter of the protocols grew; `None` when it was not read.
pub fn counted(rec: &Recording, protocol: &str, counter: &str) -> Option<f64> {
    let is = |labels: &Labels| labels.get("protocol") == protocol && labels.get("counter") == counter;
    rec.get(&catalog::NET_PROTOCOL).ok()?.iter().find(|row| is(&row.labels))?.increase()
}

/// A length of time from a total that may be off below zero.
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// The name server that a wait is for.
pub fn name_server(wait: &Wait) -> Option<&str> {
    let end = wait.end()?;
    end.ends_with(":53").then_some(end)
}

/// Whether a blocked wait for the network is certainly no idleness: something is known to have held it up.
pub fn is_held_up(wait: &Wait) -> bool {
    let told = wait.reason().is_some() || is_connecting(wait) || name_server(wait).is_some();
    wait.class == TimeClass::BlockedNetwork && told
}
