//! # A window or a buffer limits the flow
//!
//! **Speaks for it:** the victim is blocked until it may send, while the kernel's books say that its connections had data to
//! send and the other end's window, or their own send buffer, held them up. Or it waits for a transfer whose sender, on this
//! machine, is held up by the victim's own window, or of which each round trip brings about as much as the victim offers to
//! take.
//! **Speaks against it:** a reader that is slow on purpose, such as one who plays what it gets: for clients of the victim it
//! is only `possible`.
//! **Experiment:** none from outside; larger buffers at the end that lacks them.

use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    network::{Found, Lost, Network, Of, Talk},
    path::Removes,
};
use checks::Evidence;
use observe::{Bytes, Ratio};
use std::time::Duration;

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "net.small-window", frozen: Effect::None, root_of: &["net.peer-slow"], judge };

/// ours: held up for less of the time with data to send, something else limits the flow.
const MUCH: Ratio = Ratio(0.3);

/// ours: a buffer that the kernel sizes takes twice what a round trip brings (`tcp_rcv_space_adjust`); this is far more.
const FILLED: f64 = 0.8;

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let network = Network::of(scene, victim);
    let Some(found) = network.worst(|talk| lost(scene, &network, talk)) else { return Vec::new() };
    let Some(mut confidence) = network.grade(&found.lost) else { return Vec::new() };
    let (talk, lost) = (found.talk, found.lost);
    if lost.of == Of::Answers {
        confidence = Confidence::Possible;
    }
    if takes_little(scene, talk) {
        return vec![receiving(&network, victim, &found, confidence)];
    }
    let seconds = |time: Duration| time.as_secs_f64();
    let its_buffer = talk.send_buffer > talk.receive_window;
    let part = Ratio::of(talk.limited(), talk.busy);
    let by = match (its_buffer, talk.peer_window) {
        (true, _) => "its send buffer is too small for the path".to_owned(),
        (false, Some(window)) if window > 0.0 => {
            format!("the other end takes no more at a time (it offered {} at least)", Bytes(window as u64))
        }
        (false, Some(_)) => "the other end does not read: it offered no room at all".to_owned(),
        (false, None) => "the other end takes no more at a time".to_owned(),
    };
    let (host, end) = (talk.host(), &talk.end);
    let filter =
        if talk.served { format!("sport = :{}", end.trim_start_matches("port ")) } else { format!("dst {host}") };
    vec![Draft {
        confidence,
        time: lost.in_time_of(victim),
        summary: format!("{} loses {} sending to {end}: {by}.", victim.label(), lost.how_much()),
        culprit: found.peer(scene),
        evidence: vec![
            Evidence::new("tcp_info: held up by the other end's window", seconds(talk.receive_window), "s")
                .at("recording/series.parquet"),
            Evidence::new("tcp_info: held up by the send buffer", seconds(talk.send_buffer), "s")
                .at("recording/series.parquet"),
            Evidence::new("of the time with data to send", part.0 * 100.0, "%")
                .against(format!(">= {MUCH}"))
                .at("recording/series.parquet"),
        ],
        codepath: network.codepath(&talk.sending()),
        next: vec![
            format!("ss -tmi '{filter}' (rwnd_limited, sndbuf_limited, snd_wnd, skmem)"),
            match its_buffer {
                true => "drop SO_SNDBUF, so that the kernel sizes it, or raise net.ipv4.tcp_wmem and net.core.wmem_max"
                    .to_owned(),
                false => "at the other end: does its program keep up, and is SO_RCVBUF or net.ipv4.tcp_rmem small?"
                    .to_owned(),
            },
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    }]
}

/// A transfer that the victim's own window holds up.
fn receiving(network: &Network, victim: &Victim, found: &Found, confidence: Confidence) -> Draft {
    let (talk, lost) = (found.talk, found.lost);
    let offers = talk.window.map_or_else(String::new, |window| format!(" ({} at most)", Bytes(window as u64)));
    let mut evidence = vec![
        Evidence::new("tcp_info of the sender: held up by that window", talk.back.receive_window.as_secs_f64(), "s")
            .at("recording/series.parquet"),
    ];
    if let Some(window) = talk.window {
        evidence.push(Evidence::new("tcp_info: offers to take", window, "By").at("recording/series.parquet"));
    }
    if let Some(rtt) = talk.min_rtt {
        let source = format!("tcp_info: shortest round trip to {}", talk.end);
        evidence.push(Evidence::new(source, rtt.as_secs_f64() * 1e3, "ms").at("recording/series.parquet"));
    }
    Draft {
        confidence,
        time: lost.in_time_of(victim),
        summary: format!(
            "{} loses {} receiving from {}: what it offers to take at a time{offers} is little for the path's round trip.",
            victim.label(),
            lost.how_much(),
            talk.end,
        ),
        culprit: Party {
            kind: "peer".into(),
            pid: talk.answerer.map(|pid| pid.0),
            name: talk.end.clone(),
            detail: Some("the receiver's own window".into()),
        },
        evidence,
        codepath: network.codepath(&talk.receiving()),
        next: vec![
            format!("ss -tmi dst {} (rcv_space, skmem: rb; rwnd_limited at the sender)", talk.host()),
            "drop SO_RCVBUF, so that the kernel sizes it, or raise net.ipv4.tcp_rmem and net.core.rmem_max".to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    }
}

/// What a conversation loses to windows and buffers.
fn lost(scene: &Scene, network: &Network, talk: &Talk) -> Option<Lost> {
    if takes_little(scene, talk) {
        return network.of_waiting(talk, &talk.receiving(), |time, _| time);
    }
    let limited = talk.limited();
    if limited < talk.busy.mul_f64(MUCH.0) || talk.is_loopback() {
        return None;
    }
    if talk.served {
        return network.serves().then(|| network.of_answers(limited));
    }
    network.of_waiting(talk, &talk.sending(), |time, _| time.min(limited))
}

/// The victim's own window holds up what is sent to it.
fn takes_little(scene: &Scene, talk: &Talk) -> bool {
    if talk.served || talk.is_loopback() || !talk.is_transfer() {
        return false;
    }
    let held_up = talk.back.receive_window;
    let seen = !held_up.is_zero() && held_up >= talk.back.busy.mul_f64(MUCH.0);
    let trip = talk.min_rtt.unwrap_or_default().as_secs_f64();
    let brings = talk.received / scene.window().as_secs_f64() * trip;
    seen || talk.window.is_some_and(|window| window > 0.0 && brings >= window * FILLED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, all, one};
    use TimeClass::{BlockedIdle, BlockedNetwork, RunningUser};
    use observe::{TimeClass, catalog};

    const PEER: &str = "10.0.0.2:873";

    fn limited(system: System, port: &str, peer: &str, by: &str, time: f64) -> System {
        let labels = [("pid", "10"), ("local_port", port), ("peer", peer)];
        system.total(&catalog::TCP_LIMITED, &[labels[0], labels[1], labels[2], ("by", "busy")], 9.5).total(
            &catalog::TCP_LIMITED,
            &[labels[0], labels[1], labels[2], ("by", by)],
            time,
        )
    }

    fn sender(syscall: &str) -> System {
        System::new()
            .thread(10, "backup", &[(RunningUser, 0.5), (BlockedNetwork, 9.0)])
            .wait(10, BlockedNetwork, syscall, "tcp:10.0.0.2:873 (small window)", None, 9.0, 900)
            .target(10)
    }

    #[test]
    fn who_may_not_send_is_told_why() {
        let finding = one(&limited(sender("sendto"), "40000", PEER, "receive_window", 8.8).build(), "net.small-window");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), (PEER, Confidence::Likely));
        let finding = one(&limited(sender("sendto"), "40000", PEER, "send_buffer", 8.8).build(), "net.small-window");
        assert!(finding.summary.contains("send buffer is too small"), "{}", finding.summary);
    }

    #[test]
    fn other_limits_and_other_waits_are_not_windows() {
        let seldom = limited(sender("sendto"), "40000", PEER, "receive_window", 2.0);
        assert!(all(&seldom.build(), "net.small-window").is_empty());
        let reading = limited(sender("recvfrom"), "40000", PEER, "receive_window", 8.8);
        assert!(all(&reading.build(), "net.small-window").is_empty(), "it waits for an answer");
    }

    #[test]
    fn a_client_that_reads_slowly_may_mean_it() {
        let server = System::new()
            .thread(10, "media", &[(RunningUser, 1.0), (BlockedIdle, 9.0)])
            .durations(&catalog::REQUESTS, &[("pid", "10"), ("service", "80")], &[(100, 20.0)])
            .request_time(10, "80", 2.0)
            .target(10);
        let rec = limited(server, "80", "10.0.0.9:51000", "receive_window", 8.0).build();
        assert_eq!(one(&rec, "net.small-window").confidence, Confidence::Possible);
    }

    #[test]
    fn a_receiver_that_takes_little_holds_itself_up() {
        let window = [("pid", "10"), ("local_port", "40000"), ("peer", "10.0.0.2:80")];
        let fetch =
            |offers: f64| System::fetching(10, 8e6, 10.5).total(&catalog::TCP_WINDOW, &window, offers).target(10);
        let finding = one(&fetch(8688.0).build(), "net.small-window");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("10.0.0.2:80", Confidence::Likely));
        assert!(all(&fetch(8688.0).build(), "net.latency").is_empty(), "it does not wait for round trips");
        assert!(all(&fetch(65536.0).build(), "net.small-window").is_empty());
        let sender = [("pid", "30"), ("local_port", "80"), ("peer", "10.0.0.1:40000"), ("by", "receive_window")];
        let told = fetch(65536.0).total(&catalog::TCP_LIMITED, &sender, 6.0).build();
        assert_eq!(one(&told, "net.small-window").confidence, Confidence::Likely);
        assert!(all(&told, "net.bandwidth").is_empty());
    }

    #[test]
    fn a_poll_for_room_to_send_is_a_wait_for_it() {
        let finding = one(&limited(sender("poll"), "40000", PEER, "receive_window", 8.8).build(), "net.small-window");
        assert_eq!(finding.confidence, Confidence::Likely);
    }
}
