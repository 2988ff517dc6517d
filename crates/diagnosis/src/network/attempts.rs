//! Attempts to connect, by the end that was tried.

use super::{
    duration, mine,
    talk::{SENT_AGAIN, is_connecting},
};
use crate::{Scene, Victim};
use observe::catalog;
use std::{collections::BTreeMap, time::Duration};

/// RFC 6298: a first segment that is not answered is sent again after one second.
const SYN_TIMEOUT: Duration = Duration::from_secs(1);

/// Why an attempt is not made yet.
const PENDING: &str = "not answered yet";

/// A victim's attempts to reach one end.
#[derive(Default)]
pub struct Attempts {
    /// Established.
    pub made: f64,
    /// Of these, those that took longer than a lost first segment costs.
    pub late: f64,
    /// The time of these.
    late_time: Duration,
    /// Not made, by why.
    pub failed: BTreeMap<String, f64>,
    /// Time until these had failed.
    wasted: Duration,
}

impl Attempts {
    /// All of a victim's, by peer.
    pub fn of(scene: &Scene, victim: &Victim) -> BTreeMap<String, Attempts> {
        let mut by_peer: BTreeMap<String, Attempts> = BTreeMap::new();
        let made = scene.rec.get(&catalog::TCP_CONNECT).into_iter().flatten();
        for hist in made.filter(|hist| hist.labels.pid().is_some_and(|pid| victim.contains(pid))) {
            let one = by_peer.entry(hist.labels.get("peer").to_owned()).or_default();
            one.made += hist.count as f64;
            for bucket in hist.buckets.iter().filter(|bucket| bucket.high > SYN_TIMEOUT.as_nanos() as u64) {
                one.late += bucket.count as f64;
                one.late_time += Duration::from_nanos(bucket.low * bucket.count);
            }
        }
        for row in mine(scene, victim, &catalog::TCP_CONNECT_FAILED) {
            let one = by_peer.entry(row.labels.get("peer").to_owned()).or_default();
            *one.failed.entry(row.labels.get("why").to_owned()).or_default() += row.last();
        }
        for row in mine(scene, victim, &catalog::TCP_CONNECT_WASTED) {
            by_peer.entry(row.labels.get("peer").to_owned()).or_default().wasted += duration(row.last());
        }
        // One that had begun before anybody looked, and is not over, is known by who is blocked in it.
        let pending = victim.waits(scene).filter(|wait| is_connecting(wait) && wait.reason() == Some(SENT_AGAIN));
        for wait in pending {
            let Some(end) = wait.end().filter(|end| !by_peer.contains_key(*end)) else { continue };
            let failed = [(PENDING.to_owned(), wait.count as f64)].into();
            by_peer.insert(end.to_owned(), Attempts { failed, wasted: wait.time, ..Attempts::default() });
        }
        by_peer
    }

    /// All that were not made.
    pub fn failures(&self) -> f64 {
        self.failed.values().sum()
    }

    /// Those that failed for one reason.
    pub fn failed_with(&self, why: &str) -> f64 {
        self.failed.get(why).copied().unwrap_or(0.0)
    }

    /// Time in attempts that failed or lost their first segment.
    pub fn lost(&self) -> Duration {
        self.late_time + self.wasted
    }

    /// `12 ETIMEDOUT, 3 late`.
    pub fn text(&self) -> String {
        let failed = self.failed.iter().map(|(why, count)| format!("{count:.0} {why}"));
        let late = (self.late > 0.0).then(|| format!("{:.0} only when the first segment was sent again", self.late));
        failed.chain(late).collect::<Vec<_>>().join(", ")
    }
}
