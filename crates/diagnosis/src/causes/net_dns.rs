//! # Name resolution is slow or fails
//!
//! **Speaks for it:** the victim is blocked on a socket to a name server, for long at a time or to no answer.
//! **Speaks against it:** quick answers: many of them only make it `possible`. A thread that resolves for others is not seen
//! to hold them up. Questions over TLS or HTTPS look like any other peer.
//! **Experiment:** none from here; asking the server by hand takes as long.

use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    network::{Lost, Network, Of, mine, name_server},
    path::Removes,
};
use checks::Evidence;
use observe::{Series, Wait, catalog};
use std::{collections::BTreeMap, time::Duration};

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "net.dns",
    frozen: Effect::None,
    root_of: &["net.peer-slow", "net.latency", "app.waits-for-child"],
    judge,
};

/// Coroot (there of the 95th percentile): here of the mean, as single waits are not kept.
const SLOW: Duration = Duration::from_millis(100);

/// ours: a mean of fewer waits is one lookup, or two.
const MIN_WAITS: u64 = 3;

/// ours, from resolv.conf(5): the resolver waits five seconds for an answer; more than half of that is no answer.
const NO_ANSWER: Duration = Duration::from_millis(2500);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let asked = Asked::of(scene, victim);
    let Some(first) = asked.iter().max_by_key(|(_, asked)| asked.time()) else { return Vec::new() };
    let (server, worst) = first;
    let network = Network::of(scene, victim);
    let lost = lost(&network, victim, asked.values());
    let Some(mut confidence) = network.grade(&lost) else { return Vec::new() };
    if lost.of == Of::Exchanges || !asked.values().any(Asked::is_slow) {
        confidence = Confidence::Possible;
    }
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let (mean, longest) = (worst.mean(), worst.longest());
    let lookups: f64 = mine(scene, victim, &catalog::DNS_LOOKUPS).map(Series::last).sum();
    let unanswered = if longest >= NO_ANSWER { ", which does not always answer" } else { "" };
    let address = server.trim_end_matches(":53");
    vec![Draft {
        confidence,
        time: lost.in_time_of(victim),
        summary: format!(
            "{} waits {} for the name server {address}{unanswered}: {:.1} ms each time, {:.1} ms at most.",
            victim.label(),
            lost.how_much(),
            ms(mean),
            ms(longest),
        ),
        culprit: Party {
            kind: "peer".into(),
            pid: None,
            name: (*server).to_owned(),
            detail: Some("name server".into()),
        },
        evidence: vec![
            Evidence::new("mean wait for the name server", ms(mean), "ms")
                .against(format!("> {} ms", ms(SLOW)))
                .at("recording/waits.parquet"),
            Evidence::new("longest wait for it", ms(longest), "ms")
                .against(format!(">= {} ms", ms(NO_ANSWER)))
                .at("recording/waits.parquet"),
            Evidence::new("questions", lookups, "lookups").at("recording/series.parquet"),
        ],
        codepath: network.codepath(&worst.waits),
        next: vec![
            format!(
                "dig @{address} and the name it asks for (strace -f -e trace=network -p {}): is the answer slow, or lost?",
                victim.pids[0]
            ),
            "cat /etc/resolv.conf: fewer search domains and servers that answer; cache names, or keep connections"
                .to_owned(),
        ],
        removes: Removes::Waits(crate::path::Waits {
            classes: worst.waits.iter().map(|wait| wait.class).collect(),
            resources: asked.values().flat_map(|asked| &asked.waits).map(|wait| wait.resource.clone()).collect(),
            ..Default::default()
        }),
        descriptive: false,
    }]
}

/// What waiting for name servers costs. Threads that do little else resolve for others.
fn lost<'a>(network: &Network, victim: &Victim, asked: impl Iterator<Item = &'a Asked<'a>>) -> Lost {
    let (mut waits, mut helpers) = (Vec::new(), Duration::ZERO);
    for one in asked {
        waits.extend(&one.waits);
        helpers += one.by_helpers;
    }
    let own = network.of_threads(&waits, |time, _| time);
    if own.time >= helpers { own } else { Lost::new(helpers, victim.active() + helpers, Of::Exchanges) }
}

/// Waits for one name server.
#[derive(Default)]
struct Asked<'s> {
    /// Of the threads that do the victim's work.
    waits: Vec<&'s Wait>,
    /// Time of its other threads.
    by_helpers: Duration,
    all: Vec<&'s Wait>,
}

impl<'s> Asked<'s> {
    fn of(scene: &'s Scene, victim: &Victim) -> BTreeMap<&'s str, Self> {
        let mut servers: BTreeMap<&str, Self> = BTreeMap::new();
        for pid in &victim.pids {
            let workers: Vec<_> = scene.workers(*pid).iter().map(|thread| thread.tid).collect();
            for wait in scene.waits(*pid).iter().copied() {
                let Some(server) = name_server(wait) else { continue };
                let asked = servers.entry(server).or_default();
                asked.all.push(wait);
                match workers.contains(&wait.tid) {
                    true => asked.waits.push(wait),
                    false => asked.by_helpers += wait.time,
                }
            }
        }
        servers
    }

    fn time(&self) -> Duration {
        self.all.iter().map(|wait| wait.time).sum()
    }

    fn count(&self) -> u64 {
        self.all.iter().map(|wait| wait.count).sum()
    }

    fn mean(&self) -> Duration {
        self.time().div_f64(self.count().max(1) as f64)
    }

    fn longest(&self) -> Duration {
        self.all.iter().map(|wait| wait.longest).max().unwrap_or_default()
    }

    fn is_slow(&self) -> bool {
        self.count() >= MIN_WAITS && self.mean() > SLOW || self.longest() >= NO_ANSWER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnose,
        testing::{System, all, one},
    };
    use TimeClass::{BlockedIdle, BlockedNetwork, RunningUser};
    use observe::TimeClass;

    fn resolves(class: TimeClass, server: &str, time: f64, count: u64) -> System {
        System::new()
            .thread(10, "mailer", &[(RunningUser, 1.0), (class, time)])
            .wait(10, class, "poll", &format!("tcp:{server}:53"), None, time, count)
            .target(10)
    }

    #[test]
    fn a_name_server_that_is_slow_or_silent() {
        let finding = one(&resolves(BlockedNetwork, "10.0.0.53", 8.0, 40).build(), "net.dns");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("10.0.0.53:53", Confidence::Likely));
        let rec = resolves(BlockedNetwork, "10.0.0.53", 8.0, 40).build();
        assert!(diagnose(&rec, &[]).findings.iter().all(|finding| finding.cause == "net.dns"));
        let silent = resolves(BlockedIdle, "127.0.0.53", 5.0, 1).build();
        assert!(one(&silent, "net.dns").summary.contains("does not always answer"));
    }

    #[test]
    fn many_quick_answers_are_possible_and_few_are_nothing() {
        let quick = resolves(BlockedNetwork, "10.0.0.53", 4.0, 400).build();
        assert_eq!(one(&quick, "net.dns").confidence, Confidence::Possible);
        assert!(all(&resolves(BlockedNetwork, "10.0.0.53", 0.04, 4).build(), "net.dns").is_empty());
        let another = System::new()
            .thread(10, "mailer", &[(RunningUser, 1.0), (BlockedNetwork, 8.0)])
            .wait(10, BlockedNetwork, "recvfrom", "tcp:10.0.0.53:5353", None, 8.0, 40)
            .target(10);
        assert!(all(&another.build(), "net.dns").is_empty(), "another port");
    }

    #[test]
    fn a_helper_thread_holds_up_nobody_for_certain() {
        let rec = System::new()
            .thread(10, "node", &[(RunningUser, 2.0), (BlockedIdle, 8.0)])
            .thread_of(10, 11, "pool", &[(BlockedNetwork, 8.0)])
            .wait_of(10, 11, BlockedNetwork, "tcp:10.0.0.53:53", None, 8.0)
            .target(10);
        let mut rec = rec.build();
        assert_eq!(one(&rec, "net.dns").confidence, Confidence::Possible);
        rec.set(&catalog::WAITS, Err(observe::Absent::NoPermission("run as root".into())));
        assert!(all(&rec, "net.dns").is_empty(), "not seen");
    }
}
