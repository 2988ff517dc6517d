//! # Are connections slow to be made, refused, or never answered?
//!
//! **Measures** the time until connections are established, by process and peer, those that failed, and those that were
//! still waiting.
//! **Matters** because a process that cannot connect waits: a first segment that is lost is sent again after one second.
//! **Misleads** when a program tries several addresses on purpose and the first is known not to answer, or connects in the
//! background; an event loop that waits for the connection among others is not seen to lose time.
//! **Confirm** by connecting to the same address by hand, from this machine and from another.

use crate::{
    Check, Evidence, Light, Verdict,
    lost::FELT,
    net::{is_felt, is_on, is_somebodys, sum, waited, who},
};
use observe::{Histogram, Labels, Observed, Ratio, Recording, catalog};
use std::{collections::BTreeMap, time::Duration};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "net.connect",
    group: "tcp",
    question: "Are connections slow to be made, refused, or never answered?",
    source: include_str!("connect.rs"),
    judge,
};

/// RFC 6298: the first segment is sent again after one second, so a connection that took as long lost it.
const SLOW: Duration = Duration::from_secs(1);

/// ours: a refusal or two is a service that starts, or the wrong one of two addresses.
const MIN_FAILED: f64 = 5.0;

/// ours: a peer that mostly answers is there. Part of the attempts.
const MOSTLY: Ratio = Ratio(0.5);

/// Every local port for that peer is taken.
const NO_PORT: &str = "EADDRNOTAVAIL";

/// Ends of an attempt that are no error by themselves: a closed port, and what the process or the window cut short.
const SOFT: [&str; 4] = ["ECONNREFUSED", "given up", "pending", NO_PORT];

/// Attempts of one process to reach one peer.
#[derive(Default)]
struct Attempts {
    made: f64,
    failed: f64,
    /// How most of them failed.
    why: (String, f64),
    no_port: f64,
    /// Failed with an error of the network's: timed out, unreachable, reset.
    errors: f64,
    /// Seconds in attempts that failed, and in those that took longer than [`SLOW`].
    wasted: f64,
    slowest: Duration,
}

impl Attempts {
    /// The time is somebody's when the process was blocked on it.
    fn light(&self, rec: &Recording, labels: &Labels) -> Light {
        let long = Ratio::of_counts(self.wasted, rec.window.length.as_secs_f64()) >= FELT;
        let hit = || is_felt(rec, waited(rec, labels.pid(), |wait| is_on(wait, labels)));
        if self.no_port >= 1.0 || (long && (self.errors >= 1.0 || hit())) {
            Light::Bad
        } else if long
            || self.slowest >= SLOW
            || (self.failed >= MIN_FAILED && Ratio::of_counts(self.failed, self.failed + self.made) >= MOSTLY)
        {
            Light::Maybe
        } else {
            Light::Good
        }
    }
}

fn judge(rec: &Recording) -> Observed<Verdict> {
    let mut attempts: BTreeMap<(&str, &str), (&Labels, Attempts)> = BTreeMap::new();
    let made = rec.get(&catalog::TCP_CONNECT)?.iter().filter(|h| is_somebodys(rec, &h.labels));
    for hist in made {
        let one = of(&mut attempts, &hist.labels);
        one.made += hist.count as f64;
        one.slowest = one.slowest.max(Duration::from_nanos(hist.max));
        one.wasted += slow_part(hist).as_secs_f64();
    }
    for row in rec.get(&catalog::TCP_CONNECT_FAILED)?.iter().filter(|row| is_somebodys(rec, &row.labels)) {
        let (one, why) = (of(&mut attempts, &row.labels), row.labels.get("why"));
        one.failed += row.last();
        if row.last() > one.why.1 {
            one.why = (why.to_owned(), row.last());
        }
        if why == NO_PORT {
            one.no_port += row.last();
        }
        if !SOFT.contains(&why) {
            one.errors += row.last();
        }
    }
    for row in rec.get(&catalog::TCP_CONNECT_WASTED)?.iter().filter(|row| is_somebodys(rec, &row.labels)) {
        of(&mut attempts, &row.labels).wasted += row.last();
    }
    let made = sum(attempts.values().map(|(_, one)| one.made));
    let failed = sum(attempts.values().map(|(_, one)| one.failed));
    let judged = attempts.values().map(|(labels, one)| (one.light(rec, labels), *labels, one));
    let worst = judged.max_by(|a, b| {
        let key = |one: &Attempts| (one.wasted, one.failed);
        a.0.cmp(&b.0).then(key(a.2).partial_cmp(&key(b.2)).unwrap_or(std::cmp::Ordering::Equal))
    });
    let mut why =
        format!("{made:.0} connections made and {failed:.0} not, in {:.1} s", rec.window.length.as_secs_f64());
    let mut evidence = Vec::new();
    let mut light = Light::Good;
    if let Some((of_worst, labels, one)) = worst.filter(|(light, ..)| *light != Light::Good) {
        light = of_worst;
        why += &format!("; {} to {}: {:.0} made", who(rec, labels), labels.get("peer"), one.made);
        if one.slowest >= SLOW {
            why += &format!(", the slowest in {:.2} s", one.slowest.as_secs_f64());
        }
        if one.failed > 0.0 {
            why += &format!(", {:.0} not (most: {})", one.failed, one.why.0);
        }
        why += &format!(", {:.2} s lost to that", one.wasted);
        let source = "inet_sock_set_state: in connections that failed or were slow";
        evidence.push(
            Evidence::new(source, one.wasted, "s")
                .against(format!(">= {FELT} of the window"))
                .at("recording/series.parquet"),
        );
    }
    why += &format!(", {} lost", rec.cost.lost_events);
    Ok(Verdict { light, why, evidence })
}

fn of<'m, 'a>(
    attempts: &'m mut BTreeMap<(&'a str, &'a str), (&'a Labels, Attempts)>,
    labels: &'a Labels,
) -> &'m mut Attempts {
    let key = (labels.get("pid"), labels.get("peer"));
    &mut attempts.entry(key).or_insert_with(|| (labels, Attempts::default())).1
}

/// Time in connections that took longer than [`SLOW`], by the lower bounds of their buckets.
fn slow_part(hist: &Histogram) -> Duration {
    let slow = hist.buckets.iter().filter(|bucket| bucket.high > SLOW.as_nanos() as u64);
    Duration::from_nanos(slow.map(|bucket| bucket.low * bucket.count).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};
    use observe::TimeClass;

    fn failed(why: &str, count: f64, seconds: f64) -> Machine {
        Machine::new().connects(7, "10.0.0.2:80", &[(5, 1.0)]).not_connected(7, "10.0.0.2:80", why, count, seconds)
    }

    #[test]
    fn refusals_may_be_wanted() {
        assert_eq!(light(&CHECK, &failed("ECONNREFUSED", 4.0, 0.01)), Light::Good);
        assert_eq!(light(&CHECK, &failed("ECONNREFUSED", 5.0, 0.01)), Light::Maybe);
        assert_eq!(light(&CHECK, &failed("ECONNREFUSED", 5.0, 0.01).friday(7)), Light::Good);
        let mostly = Machine::new().connects(7, "10.0.0.2:80", &[(6, 1.0)]);
        assert_eq!(
            light(&CHECK, &mostly.not_connected(7, "10.0.0.2:80", "ECONNREFUSED", 5.0, 0.01)),
            Light::Good,
            "most are made"
        );
    }

    /// The process is blocked on that peer.
    fn waits(machine: Machine, time: f64) -> Machine {
        machine.thread(7, "api", &[(TimeClass::BlockedNetwork, time)]).wait(
            7,
            TimeClass::BlockedNetwork,
            "tcp:10.0.0.2:80",
            None,
            time,
            1,
        )
    }

    #[test]
    fn time_lost_is_bad() {
        assert_eq!(light(&CHECK, &failed("given up", 1.0, 1.4)), Light::Good);
        assert_eq!(light(&CHECK, &failed("given up", 1.0, 1.5)), Light::Maybe, "in the background, perhaps");
        assert_eq!(light(&CHECK, &waits(failed("given up", 1.0, 1.5), 1.5)), Light::Bad);
        assert_eq!(light(&CHECK, &waits(failed("given up", 1.0, 1.5), 1.4)), Light::Maybe);
        assert_eq!(light(&CHECK, &waits(failed("given up", 1.0, 1.4), 5.0)), Light::Good, "waits for something else");
    }

    #[test]
    fn errors_are_bad() {
        assert_eq!(light(&CHECK, &failed("ETIMEDOUT", 1.0, 1.5)), Light::Bad);
        assert_eq!(light(&CHECK, &failed("ETIMEDOUT", 1.0, 1.4)), Light::Good, "little time");
        assert_eq!(light(&CHECK, &failed("EADDRNOTAVAIL", 1.0, 0.0)), Light::Bad);
    }

    #[test]
    fn a_second_means_that_the_first_segment_was_lost() {
        let slow = |ms| Machine::new().connects(7, "10.0.0.2:80", &[(100, 2.0), (1, ms)]);
        assert_eq!([light(&CHECK, &slow(999.0)), light(&CHECK, &slow(1000.0))], [Light::Good, Light::Maybe]);
        assert_eq!(light(&CHECK, &waits(slow(1500.0), 1.6)), Light::Bad);
    }

    #[test]
    fn none_is_good_only_when_it_was_watched() {
        let mut machine = Machine::new();
        assert_eq!(light(&CHECK, &machine), Light::Untested);
        machine.rec.set(&catalog::TCP_CONNECT, Ok(Vec::new()));
        machine.rec.set(&catalog::TCP_CONNECT_FAILED, Ok(Vec::new()));
        machine.rec.set(&catalog::TCP_CONNECT_WASTED, Ok(Vec::new()));
        assert_eq!(light(&CHECK, &machine), Light::Good);
    }
}
