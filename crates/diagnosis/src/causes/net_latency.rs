//! # The path's round trip is long
//!
//! **Speaks for it:** the shortest round trip to the peer, once for each wait, explains most of the victim's waiting for it.
//! **Speaks against it:** waits that are many round trips long, and those within a stream: what is sent in a round trip is
//! limited by windows, losses or the path's rate. A server that acknowledges only with its answer, up to 40 ms
//! later, makes the round trip look longer than it is: where no handshake was seen, and answers do not all take alike, a
//! short one is only `possible`.
//! **Experiment:** none from here; `ping` measures the same path without the peer's program.

use crate::{
    Cause, Confidence, Draft, Effect, Scene, Victim,
    network::{Lost, Network, Talk, is_sending},
    questions::Questions,
};
use checks::Evidence;
use observe::catalog;
use std::time::Duration;

/// Stands in the registry.
pub const CAUSE: Cause =
    Cause { id: "net.latency", frozen: Effect::None, root_of: &["net.peer-slow", "net.small-window"], judge };

/// ours: within a data centre a round trip takes less.
const FAR: Duration = Duration::from_millis(1);

/// ours: round trips must explain this part of the waiting.
const EXPLAINS: f64 = 0.5;

/// ours: no server answers everything in the same time to a fifth, for the minutes by which the kernel knows the shortest.
const ALIKE: f64 = 0.8;

/// The longest that Linux delays an acknowledgement once both ends talk in turns (TCP_DELACK_MIN), with the timer's tick.
const DELAYED_ACK: Duration = Duration::from_millis(44);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let network = Network::of(scene, victim);
    let Some(found) = network.worst(|talk| lost(&network, talk)) else { return Vec::new() };
    let Some(mut confidence) = network.grade(&found.lost) else { return Vec::new() };
    let (talk, lost) = (found.talk, found.lost);
    let rtt = talk.min_rtt.unwrap_or_default();
    let handshake = handshake(scene, talk);
    let alike = lost.time >= found.waited().mul_f64(ALIKE);
    let seen_apart = alike || rtt > DELAYED_ACK || handshake.is_some_and(|handshake| handshake >= rtt / 2);
    if !seen_apart {
        confidence = Confidence::Possible;
    }
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let (host, end) = (talk.host(), &talk.end);
    let mut evidence = vec![
        Evidence::new(format!("tcp_info: shortest round trip to {end}"), ms(rtt), "ms")
            .against(format!("> {} ms", ms(FAR)))
            .at("recording/series.parquet"),
        Evidence::new("round trips that were waited for", lost.time.as_secs_f64() / rtt.as_secs_f64(), "round trips"),
    ];
    if let Some(handshake) = handshake {
        let source = "inet_sock_set_state: fastest connection to it";
        evidence.push(Evidence::new(source, ms(handshake), "ms").at("recording/histograms.parquet"));
    }
    let questions = Questions::to(scene, victim, |labels| labels.get("peer") == end);
    let often = questions.as_ref().map(|questions| questions.said(end)).unwrap_or_default();
    let doubt = if seen_apart { "" } else { " Whether the path or the other end takes it cannot be told from here." };
    vec![Draft {
        confidence,
        time: lost.in_time_of(victim),
        summary: format!(
            "{} waits {} for round trips to {end}, the shortest of which takes {:.1} ms.{often}{doubt}",
            victim.label(),
            lost.how_much(),
            ms(rtt),
        ),
        culprit: found.peer(scene),
        evidence,
        codepath: network.codepath(&talk.receiving()),
        next: vec![
            format!("ping -c 20 {host}: the same without the program at the other end"),
            questions.map_or_else(
                || "ask less often: batch, pipeline or cache; or move the two closer together".to_owned(),
                |questions| questions.next(),
            ),
        ],
        removes: found.removes(),
        descriptive: false,
    }]
}

/// The fastest that anybody connected to that host in: the other end's kernel answers at once.
fn handshake(scene: &Scene, talk: &Talk) -> Option<Duration> {
    let made = scene.rec.get(&catalog::TCP_CONNECT).ok()?.iter();
    let there =
        made.filter(|hist| hist.labels.get("peer").rsplit_once(':').is_some_and(|(host, _)| host == talk.host()));
    let fastest = there.filter_map(|hist| hist.buckets.first()).map(|bucket| bucket.high).min();
    fastest.map(Duration::from_nanos)
}

/// What a conversation loses to the distance.
fn lost(network: &Network, talk: &Talk) -> Option<Lost> {
    let rtt = talk.min_rtt.filter(|rtt| *rtt >= FAR && !talk.served && !talk.is_name_server() && !talk.is_stream())?;
    let trips = |time: Duration, count: u64| {
        let trips = time.min(rtt.mul_f64(count as f64));
        if trips >= time.mul_f64(EXPLAINS) { trips } else { Duration::ZERO }
    };
    network.of_waiting(talk, &talk.blocking(|wait| !is_sending(wait)), trips)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, all, one};
    use TimeClass::{BlockedIdle, BlockedNetwork, RunningUser};
    use observe::TimeClass;

    const PEER: &str = "10.0.0.2:5432";

    fn client(count: u64, rtt_ms: f64) -> System {
        System::new()
            .thread(10, "report", &[(RunningUser, 1.0), (BlockedNetwork, 9.0)])
            .wait(10, BlockedNetwork, "recvfrom", "tcp:10.0.0.2:5432", None, 9.0, count)
            .connection(10, PEER, rtt_ms, rtt_ms, count as f64)
            .target(10)
    }

    #[test]
    fn many_waits_of_a_round_trip_each_are_the_distance() {
        let finding = one(&client(170, 50.0).build(), "net.latency");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), (PEER, Confidence::Likely));
        assert!((finding.share.0 - 0.85).abs() < 1e-9, "{finding:#?}");
    }

    #[test]
    fn a_short_round_trip_must_be_seen_apart_from_delayed_acknowledgements() {
        let made = |system: System| {
            system.durations(&catalog::TCP_CONNECT, &[("pid", "10"), ("peer", PEER)], &[(3, 20.0)]).build()
        };
        assert_eq!(one(&client(300, 20.0).build(), "net.latency").confidence, Confidence::Possible);
        assert_eq!(one(&made(client(300, 20.0)), "net.latency").confidence, Confidence::Likely);
        assert_eq!(one(&client(440, 20.0).build(), "net.latency").confidence, Confidence::Likely, "all alike");
    }

    #[test]
    fn waits_of_many_round_trips_and_short_ones_are_not() {
        assert!(all(&client(40, 50.0).build(), "net.latency").is_empty(), "the other end takes 175 ms");
        assert!(all(&client(9000, 0.9).build(), "net.latency").is_empty(), "near");
    }

    #[test]
    fn an_event_loop_waits_in_its_requests() {
        let server = |count: u64| {
            System::new()
                .thread(10, "gateway", &[(RunningUser, 1.0), (BlockedIdle, 9.0)])
                .asked(10, PEER, "80", &[(count, 60.0)])
                .request_time(10, "80", 10.0)
                .connection(10, PEER, 50.0, 50.0, count as f64)
        };
        assert!(all(&server(150).build(), "net.latency").is_empty(), "nobody named it, and it loses nothing else");
        let finding = one(&server(150).target(10).build(), "net.latency");
        assert!(finding.confidence == Confidence::Likely && (finding.share.0 - 0.75).abs() < 1e-9, "{finding:#?}");
    }
}
