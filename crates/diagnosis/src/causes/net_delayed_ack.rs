//! # Nagle's algorithm against delayed acknowledgements
//!
//! **Speaks for it:** small data is held back until an acknowledgement comes, which the other end delays by 40 ms, while the
//! round trip is far shorter: seen at the victim, or at the other end where that is on this machine.
//! **Speaks against it:** a round trip of that length, or a server that takes 40 ms: answers that gather there are only
//! `possible` where nobody was seen to hold data back.
//! **Experiment:** none from outside; TCP_NODELAY in the sender ends it.

use crate::{
    Cause, Confidence, Draft, Effect, Scene, Victim,
    network::{HELD, Lost, Network, Talk, is_sending},
    scene::DIALOGUE,
};
use checks::Evidence;
use observe::{Histogram, Ratio, Wait, catalog};
use std::time::Duration;

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "net.delayed-ack",
    frozen: Effect::None,
    root_of: &["net.peer-slow", "net.latency", "app.waits-for-child"],
    judge,
};

/// TCP_DELACK_MIN (40 ms) to TCP_DELACK_MAX (200 ms), a tick and a millisecond or two of work around them.
const DELAYS: [(Duration, Duration); 2] =
    [(Duration::from_millis(36), Duration::from_millis(50)), (Duration::from_millis(195), Duration::from_millis(215))];

/// ours: a path this short does not make 40 ms.
const NEAR: Duration = Duration::from_millis(10);

/// ours: this part of the exchanges must gather there.
const GATHER: Ratio = Ratio(0.5);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let network = Network::of(scene, victim);
    let held = network.worst(|talk| held(&network, talk));
    let own = held.is_some();
    let Some(found) = held.or_else(|| network.worst(|talk| gathers(&network, talk))) else { return Vec::new() };
    let Some(mut confidence) = network.grade(&found.lost) else { return Vec::new() };
    let (talk, lost) = (found.talk, found.lost);
    let part = at_a_delay(&talk.asked);
    let count = held_times(&if own { held_waits(talk) } else { held_at_the_other_end(scene, talk) });
    let seen = count >= DIALOGUE;
    if !seen {
        confidence = Confidence::Possible;
    }
    let mut evidence = Vec::new();
    if seen {
        let source = "waits that began while small data was held back (nonagle off, unsent < MSS)";
        evidence.push(Evidence::new(source, count as f64, "waits").at("recording/waits.parquet"));
    }
    if talk.asked.count > 0 {
        evidence.push(
            Evidence::new("exchanges of 36 to 50 or 195 to 215 ms", part.0 * 100.0, "%")
                .against(format!(">= {GATHER}"))
                .at("recording/histograms.parquet"),
        );
    }
    if let Some(rtt) = talk.min_rtt {
        evidence.push(
            Evidence::new("tcp_info: shortest round trip", rtt.as_secs_f64() * 1e3, "ms")
                .against(format!("< {} ms", NEAR.as_millis()))
                .at("recording/series.parquet"),
        );
    }
    let who = if own { "it" } else { "the other end" };
    let how = match seen {
        true => format!("{count} times {who} waited while Nagle's algorithm held the rest of what it had sent back"),
        false => format!("{part} of its exchanges take as long as an acknowledgement is delayed"),
    };
    vec![Draft {
        confidence,
        time: lost.in_time_of(victim),
        summary: format!(
            "{} loses {} to delayed acknowledgements from {}: {how}.",
            victim.label(),
            lost.how_much(),
            talk.end,
        ),
        culprit: found.peer(scene),
        evidence,
        codepath: network.codepath(&held_waits(talk)),
        next: vec![
            "set TCP_NODELAY on the connection, or send each message with one call (writev, MSG_MORE)".to_owned(),
            format!("strace -f -T -e trace=network -p {} shows the small sends before the wait", victim.pids[0]),
        ],
        removes: found.removes(),
        descriptive: false,
    }]
}

/// The waits that began while Nagle's algorithm held small data back. A server waits for its next question meanwhile.
fn held_waits<'t>(talk: &'t Talk) -> Vec<&'t Wait> {
    talk.waits.iter().copied().filter(|wait| wait.reason() == Some(HELD) && !is_sending(wait)).collect()
}

/// The same of a server on this machine that the victim asks.
fn held_at_the_other_end<'s>(scene: &'s Scene, talk: &Talk) -> Vec<&'s Wait> {
    let Some((_, port)) = talk.end.rsplit_once(':').filter(|_| talk.is_loopback()) else { return Vec::new() };
    let resource = format!("tcp:port {port} ({HELD})");
    scene.rec.get(&catalog::WAITS).into_iter().flatten().filter(|wait| wait.resource == resource).collect()
}

fn held_times(waits: &[&Wait]) -> u64 {
    waits.iter().map(|wait| wait.count).sum()
}

/// What is lost to data that was seen to be held back.
fn held(network: &Network, talk: &Talk) -> Option<Lost> {
    let waits = held_waits(talk);
    let (time, count) = (waits.iter().map(|wait| wait.time).sum::<Duration>(), held_times(&waits));
    if count < DIALOGUE || talk.min_rtt.is_some_and(|rtt| rtt >= NEAR) {
        return None;
    }
    // The client's next question may come long after the rest of the answer has reached it.
    let each = DELAYS[0].0.mul_f64(count as f64);
    if talk.served {
        return Some(network.of_answers(time.min(each)));
    }
    let delayed = time >= each.mul_f64(0.5);
    delayed.then(|| network.of_threads(&waits, |time, _| time))
}

/// What is lost where answers gather at the delay.
fn gathers(network: &Network, talk: &Talk) -> Option<Lost> {
    let part = at_a_delay(&talk.asked);
    let near = talk.min_rtt.is_some_and(|rtt| rtt < NEAR);
    if talk.asked.count < DIALOGUE || part < GATHER || !near {
        return None;
    }
    network.of_waiting(talk, &talk.blocking(|_| true), |time, _| time.mul_f64(part.0))
}

/// The part of some exchanges that took as long as an acknowledgement is delayed.
fn at_a_delay(asked: &Histogram) -> Ratio {
    let is_delay = |low: u64, high: u64| {
        DELAYS.iter().any(|(from, to)| u128::from(low) >= from.as_nanos() && u128::from(high) <= to.as_nanos())
    };
    let delayed: u64 = asked.buckets.iter().filter(|b| is_delay(b.low, b.high)).map(|bucket| bucket.count).sum();
    Ratio::of_counts(delayed as f64, asked.count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnose,
        testing::{System, all, one},
    };
    use TimeClass::{BlockedIdle, BlockedNetwork, BlockedProcess, RunningUser};
    use observe::TimeClass;

    const PEER: &str = "10.0.0.2:5432";

    #[test]
    fn data_that_is_held_back_while_its_answer_is_waited_for() {
        let rec = System::new()
            .thread(10, "client", &[(RunningUser, 0.5), (BlockedProcess, 9.0)])
            .thread(20, "server", &[(RunningUser, 0.5), (BlockedIdle, 9.5)])
            .wait(
                10,
                BlockedProcess,
                "recvfrom",
                "tcp:127.0.0.1:80 (held by Nagle's algorithm)",
                Some((20, 20)),
                9.0,
                220,
            )
            .connection(10, "127.0.0.1:80", 0.1, 0.05, 440.0)
            .target(10)
            .build();
        let finding = one(&rec, "net.delayed-ack");
        assert_eq!((finding.confidence, finding.culprit.name.as_str()), (Confidence::Likely, "127.0.0.1:80"));
        assert_eq!(diagnose(&rec, &[]).findings[0].cause, "net.delayed-ack");
    }

    #[test]
    fn a_server_holds_the_rest_of_its_answers_back() {
        let server = |count| {
            System::new()
                .thread(10, "web", &[(RunningUser, 0.5), (BlockedIdle, 9.5)])
                .wait(10, BlockedIdle, "recvfrom", "tcp:port 80 (held by Nagle's algorithm)", None, 9.0, count)
                .request_time(10, "80", 0.6)
                .target(10)
                .build()
        };
        assert_eq!(one(&server(200), "net.delayed-ack").confidence, Confidence::Likely);
        assert!(all(&server(4), "net.delayed-ack").is_empty(), "hardly ever");
    }

    fn gathering(ms: f64, rtt_ms: f64) -> System {
        System::new()
            .thread(10, "client", &[(RunningUser, 0.5), (BlockedNetwork, 9.0)])
            .wait(10, BlockedNetwork, "recvfrom", "tcp:10.0.0.2:5432", None, 9.0, 220)
            .asked(10, PEER, "", &[(220, ms)])
            .connection(10, PEER, rtt_ms, rtt_ms, 440.0)
            .target(10)
    }

    #[test]
    fn a_cluster_is_possible_until_somebody_is_seen_to_hold_data_back() {
        assert_eq!(one(&gathering(41.0, 0.3).build(), "net.delayed-ack").confidence, Confidence::Possible);
        let local = System::new()
            .thread(10, "client", &[(RunningUser, 0.5), (BlockedProcess, 9.0)])
            .thread(20, "server", &[(RunningUser, 0.5), (BlockedIdle, 9.5)])
            .wait(10, BlockedProcess, "recvfrom", "tcp:127.0.0.1:80", Some((20, 20)), 9.0, 220)
            .wait(20, BlockedIdle, "recvfrom", "tcp:port 80 (held by Nagle's algorithm)", Some((10, 10)), 9.0, 220)
            .asked(10, "127.0.0.1:80", "", &[(220, 41.0)])
            .connection(10, "127.0.0.1:80", 0.1, 0.05, 220.0)
            .target(10);
        assert_eq!(one(&local.build(), "net.delayed-ack").confidence, Confidence::Likely);
    }

    #[test]
    fn other_times_and_long_paths_are_something_else() {
        assert!(all(&gathering(30.0, 0.3).build(), "net.delayed-ack").is_empty());
        assert!(all(&gathering(60.0, 0.3).build(), "net.delayed-ack").is_empty());
        assert!(all(&gathering(41.0, 40.0).build(), "net.delayed-ack").is_empty());
    }
}
