//! # Connections time out, or are refused from afar, and are tried again
//!
//! **Speaks for it:** the victim waits while attempts to connect fail or are made only when the first segment was sent again
//! (after 1 s, 3 s, 7 s); or another machine refuses most of them, and the time goes into the pauses between.
//! **Speaks against it:** one of several addresses that is known not to answer while another does: who polls may not wait
//! for it. What this machine itself refuses is `app.failing-calls`: nobody listens, and no peer is to blame.
//! **Experiment:** none from here; connecting by hand shows the same.

use super::app_failing_calls::pauses_after;
use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    network::{Attempts, Lost, Network, Of},
    path::Removes,
};
use checks::Evidence;
use observe::Ratio;
use std::net::SocketAddr;

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "net.connect",
    frozen: Effect::None,
    root_of: &["app.failing-calls", "app.sleeps", "net.latency", "net.retransmits"],
    judge,
};

/// ours: a refusal or two is a service that starts.
const MIN_REFUSED: f64 = 5.0;

/// ours: a peer that mostly answers is there.
const MOSTLY: Ratio = Ratio(0.5);

/// A closed port.
const REFUSED: &str = "ECONNREFUSED";

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let network = Network::of(scene, victim);
    let attempts = Attempts::of(scene, victim);
    let costs = attempts.iter().filter_map(|(peer, one)| Some((peer, one, lost(scene, victim, &network, peer, one)?)));
    let Some((peer, one, lost)) = costs.max_by(|a, b| a.2.part.0.total_cmp(&b.2.part.0)) else { return Vec::new() };
    let Some(mut confidence) = network.grade(&lost) else { return Vec::new() };
    if lost.of == Of::Exchanges {
        confidence = Confidence::Possible;
    }
    let host = peer.rsplit_once(':').map_or(peer.as_str(), |(host, _)| host);
    let failed = Ratio::of_counts(one.failures() + one.late, one.failures() + one.made);
    vec![Draft {
        confidence,
        time: lost.in_time_of(victim),
        summary: format!(
            "{} loses {} connecting to {peer}: {} of {:.0} attempts.",
            victim.label(),
            lost.how_much(),
            one.text(),
            one.failures() + one.made,
        ),
        culprit: Party { kind: "peer".into(), pid: None, name: peer.clone(), detail: Some(one.text()) },
        evidence: vec![
            Evidence::new("inet_sock_set_state: in attempts that failed or were late", one.lost().as_secs_f64(), "s")
                .at("recording/series.parquet"),
            Evidence::new("attempts that failed or were late", failed.0 * 100.0, "%").at("recording/series.parquet"),
            Evidence::new("ledger: lost", lost.time.as_secs_f64(), "s").at("recording/waits.parquet"),
        ],
        codepath: network.codepath(&network.waits_for(peer)),
        next: vec![
            match one.failed_with(REFUSED) > one.failures() / 2.0 {
                true => format!("start the service at {peer}, or correct the address: that machine refuses it"),
                false => format!(
                    "ss -tn state syn-sent dst {host}; ping {host}: is it down, or does a filter drop the segments?"
                ),
            },
            "give attempts a short timeout, and remember which address answered".to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    }]
}

/// What attempts to reach one end cost.
fn lost(scene: &Scene, victim: &Victim, network: &Network, peer: &str, one: &Attempts) -> Option<Lost> {
    let refused = one.failed_with(REFUSED);
    let mostly_refused = refused >= MIN_REFUSED && Ratio::of_counts(refused, one.failures() + one.made) >= MOSTLY;
    if !mostly_refused {
        return (!one.lost().is_zero()).then(|| network.of_connecting(peer, one));
    }
    let here = peer.parse::<SocketAddr>().is_ok_and(|peer| peer.ip().is_loopback());
    let pauses = pauses_after(scene, victim, refused);
    (!here).then(|| Lost::new(pauses + network.of_connecting(peer, one).time, victim.active(), Of::Threads))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnose,
        testing::{System, all, one},
    };
    use TimeClass::{BlockedIdle, BlockedNetwork, BlockedSleep, RunningKernel, RunningUser};
    use observe::{TimeClass, catalog};

    const PEER: &str = "10.0.0.2:80";

    fn failed(system: System, peer: &str, why: &str, count: f64, time: f64) -> System {
        let labels = [("pid", "10"), ("peer", peer), ("why", why)];
        system
            .total(&catalog::TCP_CONNECT_FAILED, &labels, count)
            .total(&catalog::TCP_CONNECT_WASTED, &labels, time)
            .target(10)
    }

    fn blocked() -> System {
        System::new().thread(10, "sync", &[(RunningUser, 1.0), (BlockedNetwork, 9.0)]).wait(
            10,
            BlockedNetwork,
            "connect",
            "tcp:10.0.0.2:80",
            None,
            9.0,
            3,
        )
    }

    #[test]
    fn attempts_that_nobody_answers() {
        let finding = one(&failed(blocked(), PEER, "given up", 3.0, 9.0).build(), "net.connect");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), (PEER, Confidence::Likely));
        let mut pending = System::new().thread(10, "sync", &[(BlockedNetwork, 10.0)]);
        pending = pending.wait(10, BlockedNetwork, "connect", "tcp:10.0.0.2:80 (sent again)", None, 10.0, 1);
        let finding = one(&pending.target(10).build(), "net.connect");
        assert!(finding.summary.contains("1 not answered yet of 1"), "{}", finding.summary);
        let late = blocked().durations(&catalog::TCP_CONNECT, &[("pid", "10"), ("peer", PEER)], &[(3, 3010.0)]);
        assert_eq!(one(&late.target(10).build(), "net.connect").confidence, Confidence::Likely);
    }

    #[test]
    fn quick_connections_and_quick_failures_cost_nothing() {
        let quick = blocked().durations(&catalog::TCP_CONNECT, &[("pid", "10"), ("peer", PEER)], &[(300, 30.0)]);
        assert!(all(&quick.target(10).build(), "net.connect").is_empty());
        assert!(all(&failed(blocked(), PEER, "ECONNRESET", 3.0, 0.01).build(), "net.connect").is_empty());
    }

    #[test]
    fn who_polls_may_not_wait_for_it() {
        let polls = System::new().thread(10, "gateway", &[(RunningUser, 1.0), (BlockedIdle, 9.0)]);
        let finding = one(&failed(polls, PEER, "given up", 3.0, 9.0).build(), "net.connect");
        assert_eq!(finding.confidence, Confidence::Possible);
    }

    #[test]
    fn refusals_are_the_peers_from_afar_and_failing_calls_at_home() {
        let retries = |peer: &str| {
            let system = System::new()
                .thread(10, "sync", &[(RunningKernel, 1.0), (BlockedSleep, 8.0)])
                .wait(10, BlockedSleep, "clock_nanosleep", "timer", None, 8.0, 1000)
                .after_failure()
                .calls(10, "connect", 1000, 0.5, 0.0)
                .failures(10, "connect", "ECONNREFUSED", peer, 1000);
            diagnose(&failed(system, peer, "ECONNREFUSED", 1000.0, 0.1).build(), &[]).findings
        };
        assert_eq!(retries(PEER)[0].cause, "net.connect");
        let at_home = retries("127.0.0.1:80");
        assert_eq!(at_home[0].cause, "app.failing-calls");
        assert!(at_home.iter().all(|finding| finding.cause != "net.connect"));
    }

    #[test]
    fn who_tries_in_vain_is_a_victim_though_it_polls() {
        let labels = [("pid", "10"), ("peer", "10.0.0.9:80"), ("why", "given up")];
        let tries = |wasted: f64| {
            System::new()
                .thread(10, "dispatch", &[(TimeClass::RunningUser, 0.2)])
                .total(&catalog::TCP_CONNECT_FAILED, &labels, 9.0)
                .total(&catalog::TCP_CONNECT_WASTED, &labels, wasted)
                .build()
        };
        assert_eq!(one(&tries(9.0), "net.connect").confidence, Confidence::Possible);
        assert!(all(&tries(0.0), "net.connect").is_empty());
    }
}
