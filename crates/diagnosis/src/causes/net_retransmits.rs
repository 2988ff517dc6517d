//! # Segments are lost on the way and sent again
//!
//! **Speaks for it:** the victim's own connections, or the other ends of them on this machine, sent segments again while
//! the victim waited, or stood still until the retransmission timer ran out.
//! **Speaks against it:** a share of lost segments that is fine, and clients that are gone: their timers run out for
//! nobody. What another machine sends again is not seen here, only that what it sends comes out of order, as on some paths
//! that lose nothing: that is only `possible`.
//! **Experiment:** none from here; `ping` and `mtr` to the peer show where the path loses packets.

use super::{net_silent::silent, net_unanswered::sent_again};
use crate::{
    Cause, Confidence, Draft, Effect, Scene, Victim,
    network::{Lost, Network, Talk},
    path::Removes,
};
use checks::Evidence;
use observe::Ratio;
use std::time::Duration;

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "net.retransmits",
    frozen: Effect::None,
    root_of: &["net.peer-slow", "net.latency", "net.small-window", "app.waits-for-child"],
    judge,
};

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let drafts = [segments(scene, victim), silent(scene, victim), sent_again(scene, victim)];
    // Where nothing comes through at all, that says more.
    drafts.into_iter().flatten().max_by_key(|draft| draft.confidence).into_iter().collect()
}

/// Segments that were sent again, and the time that was lost by it.
fn segments(scene: &Scene, victim: &Victim) -> Option<Draft> {
    let network = Network::of(scene, victim);
    let found = network.worst(|talk| lost(&network, talk))?;
    let mut confidence = network.grade(&found.lost)?;
    let (talk, lost) = (found.talk, found.lost);
    // Some paths turn the order around without losing anything.
    if talk.has_gaps() && talk.lost_segments() == 0.0 {
        confidence = Confidence::Possible;
    }
    let mut culprit = found.peer(scene);
    if let Some(remote) = talk.most_stalled().filter(|_| talk.served) {
        culprit.name = remote.to_owned();
        culprit.detail = Some(format!("a client at {}", talk.end));
    }
    let segments: f64 = found.talks.iter().map(|talk| talk.lost_segments()).sum();
    let stalled: Duration = found.talks.iter().map(|talk| talk.stalled()).sum();
    let host = if talk.served { culprit.name.clone() } else { talk.host().to_owned() };
    let mut evidence = vec![
        Evidence::new("tcp_retransmit_skb: sent again", segments, "segments").at("recording/series.parquet"),
        Evidence::new("connections stood still until then", stalled.as_secs_f64(), "s").at("recording/series.parquet"),
    ];
    if talk.resent.segments() > 0.0 && talk.sent > 0.0 {
        let source = "tcp_info: sent again, of its segments with data";
        evidence.push(
            Evidence::new(source, talk.loss().0 * 100.0, "%")
                .against("> 1 % (DSLReports)")
                .at("recording/series.parquet"),
        );
    }
    if talk.out_of_order > 0.0 {
        evidence.push(
            Evidence::new("tcp_info: came before others that belong in front of them", talk.out_of_order, "packets")
                .at("recording/series.parquet"),
        );
    }
    let what = match segments > 0.0 {
        true => format!("{segments:.0} were sent again"),
        false => format!("{:.0} packets came before others that belong in front of them", talk.out_of_order),
    };
    Some(Draft {
        confidence,
        time: lost.in_time_of(victim),
        summary: format!(
            "{} loses {} to lost segments on the path to {}: {what}.",
            victim.label(),
            lost.how_much(),
            culprit.name,
        ),
        culprit,
        evidence,
        codepath: network.codepath(&talk.sent_again()),
        next: vec![
            format!(
                "ss -ti dst {host} (retrans, rto, lost); ping -i 0.2 -c 100 {host}, or mtr, to find the hop that loses"
            ),
            "tc -s qdisc; ip -s link; ethtool -S on the interface to it: are they dropped on this machine?".to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    })
}

/// What a conversation loses to it.
pub fn lost(network: &Network, talk: &Talk) -> Option<Lost> {
    let stalled = talk.stalled();
    if talk.served {
        return (talk.is_lossy() && network.serves()).then(|| network.of_answers(stalled));
    }
    // Loss on the way to the victim slows down all of a transfer: its sender takes it for congestion.
    if talk.is_transfer() && (talk.is_lossy_back() || talk.has_gaps()) {
        return network.of_waiting(talk, &talk.receiving(), |time, _| time);
    }
    if talk.lost_segments() == 0.0 && talk.sent_again().is_empty() {
        return None;
    }
    // A long wait with one harmless loss in it is no loss of all its time.
    let again =
        network.of_threads(&talk.sent_again(), |time, _| if talk.is_lossy() { time } else { time.min(stalled) });
    let stood = network.of_waiting(talk, &talk.blocking(|_| true), |time, count| {
        time.saturating_sub(without_loss(talk).mul_f64(count as f64)).min(stalled)
    });
    [Some(again), stood].into_iter().flatten().max_by(|a, b| a.part.0.total_cmp(&b.part.0))
}

/// What an exchange takes that loses nothing: as long as the quickest tenth. Zero where exchanges were not followed.
fn without_loss(talk: &Talk) -> Duration {
    talk.asked.quantile_time(Ratio(0.1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::{
        Confidence,
        testing::{System, all, one},
    };
    use TimeClass::{BlockedIdle, BlockedNetwork, RunningUser};
    use observe::{TimeClass, catalog};

    const PEER: &str = "10.0.0.2:5432";

    fn resent(system: System, port: &str, peer: &str, segments: f64, stood: f64) -> System {
        let labels = [("pid", "10"), ("local_port", port), ("peer", peer)];
        system
            .total(&catalog::TCP_RETRANSMITS, &[labels[0], labels[1], labels[2], ("kind", "timeout")], segments)
            .total(&catalog::TCP_RTO_WAIT, &labels, stood)
    }

    fn client() -> System {
        System::new()
            .thread(10, "report", &[(RunningUser, 1.0), (BlockedNetwork, 9.0)])
            .wait(10, BlockedNetwork, "recvfrom", "tcp:10.0.0.2:5432 (sent again)", None, 6.0, 25)
            .wait(10, BlockedNetwork, "recvfrom", "tcp:10.0.0.2:5432", None, 3.0, 300)
            .connection(10, PEER, 0.5, 0.3, 350.0)
            .target(10)
    }

    #[test]
    fn who_waits_for_lost_segments_is_told_which_path_loses_them() {
        let finding = one(&resent(client(), "", PEER, 25.0, 5.5).build(), "net.retransmits");
        assert_eq!((finding.culprit.kind.as_str(), finding.culprit.name.as_str()), ("peer", PEER));
        assert_eq!(finding.confidence, Confidence::Likely);
        assert!((finding.share.0 - 0.6).abs() < 1e-9, "{finding:#?}");
    }

    #[test]
    fn what_follows_from_it_comes_after_it() {
        let rec = resent(client(), "", PEER, 25.0, 5.5).asked(10, PEER, "", &[(325, 27.0)]).build();
        let findings = crate::diagnose(&rec, &[]).findings;
        assert_eq!(findings[0].cause, "net.retransmits", "{findings:#?}");
    }

    #[test]
    fn one_harmless_loss_in_a_long_wait_is_no_loss_of_the_wait() {
        let rec = System::new()
            .thread(10, "copy", &[(RunningUser, 1.0), (BlockedNetwork, 9.0)])
            .wait(10, BlockedNetwork, "recvfrom", "tcp:10.0.0.2:5432 (sent again)", None, 9.0, 3)
            .connection(10, PEER, 0.5, 0.3, 100_000.0)
            .target(10);
        assert!(all(&resent(rec, "", PEER, 1.0, 0.2).build(), "net.retransmits").is_empty());
    }

    #[test]
    fn a_server_loses_its_answers() {
        let server = |segments, stood| {
            let rec = System::new()
                .thread(10, "web", &[(RunningUser, 2.0), (BlockedIdle, 8.0)])
                .durations(&catalog::REQUESTS, &[("pid", "10"), ("service", "80")], &[(100, 20.0)])
                .request_time(10, "80", 2.0)
                .connection(10, "10.0.0.9:51000", 0.5, 0.3, 500.0)
                .target(10);
            // Its socket is one that it accepted: the rows of the books go by its port.
            let labels = [("pid", "10"), ("local_port", "80"), ("peer", "10.0.0.9:51000"), ("what", "sent")];
            resent(rec.total(&catalog::TCP_SEGMENTS, &labels, 500.0), "80", "10.0.0.9", segments, stood).build()
        };
        let finding = one(&server(20.0, 5.0), "net.retransmits");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("10.0.0.9", Confidence::Likely));
        assert!(all(&server(12.0, 20.0), "net.retransmits").is_empty(), "a client that is gone");
        assert!(all(&server(3.0, 5.0), "net.retransmits").is_empty(), "few");
    }

    #[test]
    fn the_other_end_on_this_machine_loses_them_too() {
        let rec = client()
            .total(
                &catalog::TCP_RETRANSMITS,
                &[("pid", "20"), ("local_port", ""), ("peer", "10.0.0.1:40000"), ("kind", "timeout")],
                20.0,
            )
            .total(&catalog::TCP_RTO_WAIT, &[("pid", "20"), ("local_port", ""), ("peer", "10.0.0.1:40000")], 5.0);
        assert_eq!(one(&rec.build(), "net.retransmits").confidence, Confidence::Likely);
    }

    #[test]
    fn who_waits_for_lost_segments_is_a_victim_without_being_named() {
        let mut rec = resent(client(), "", PEER, 25.0, 5.5).build();
        rec.target = observe::Target::system("host");
        assert_eq!(one(&rec, "net.retransmits").victim.pid, Some(10));
    }

    #[test]
    fn small_questions_of_a_program_that_polls_wait_for_the_timer_each() {
        let labels = [("pid", "10"), ("local_port", "40000"), ("peer", PEER)];
        let rec = System::new()
            .thread(10, "bench", &[(RunningUser, 0.2), (BlockedIdle, 9.8)])
            .asked(10, PEER, "", &[(600, 4.2), (33, 214.0)])
            .connection(10, PEER, 14.0, 4.0, 633.0)
            .total(&catalog::TCP_IO, &[labels[0], labels[1], labels[2], ("direction", "transmit")], 30_000.0)
            .total(&catalog::TCP_IO, &[labels[0], labels[1], labels[2], ("direction", "receive")], 9_000.0)
            .total(&catalog::TCP_RETRANSMITS, &[labels[0], ("local_port", ""), labels[2], ("kind", "probe")], 17.0)
            .total(
                &catalog::TCP_RETRANSMITS,
                &[("pid", ""), ("local_port", ""), ("peer", "10.0.0.1:40000"), ("kind", "probe")],
                16.0,
            )
            .target(10)
            .build();
        let findings = crate::diagnose(&rec, &[]).findings;
        assert_eq!((findings[0].cause.as_str(), findings[0].confidence), ("net.retransmits", Confidence::Likely));
        assert!((0.6..0.8).contains(&findings[0].share.0), "{findings:#?}");
    }

    #[test]
    fn a_path_without_loss_is_healthy() {
        let rec = System::new()
            .thread(10, "report", &[(RunningUser, 1.0), (BlockedNetwork, 9.0)])
            .wait(10, BlockedNetwork, "recvfrom", "tcp:10.0.0.2:5432", None, 9.0, 300)
            .connection(10, PEER, 0.5, 0.3, 350.0)
            .target(10);
        assert!(all(&rec.build(), "net.retransmits").is_empty());
    }

    #[test]
    fn loss_on_the_way_to_the_victim_slows_down_all_of_a_transfer() {
        let sent_again = [("pid", "30"), ("local_port", "80"), ("peer", "10.0.0.1:40000"), ("kind", "fast")];
        let fetch = |segments: f64| {
            let system = System::fetching(10, 3e6, 10.5).target(10);
            system.total(&catalog::TCP_RETRANSMITS, &sent_again, segments).build()
        };
        let finding = one(&fetch(60.0), "net.retransmits");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("10.0.0.2:80", Confidence::Likely));
        assert!(finding.share.0 > 0.9 && all(&fetch(60.0), "net.bandwidth").is_empty(), "{finding:#?}");
        assert!(all(&fetch(5.0), "net.retransmits").is_empty(), "few");
    }

    #[test]
    fn what_comes_out_of_order_from_another_machine_may_be_loss() {
        let labels = [("pid", "10"), ("local_port", "40000"), ("peer", PEER)];
        let fetch = |out_of_order: f64| {
            System::new()
                .thread(10, "fetch", &[(RunningUser, 0.5), (BlockedNetwork, 9.5)])
                .wait(10, BlockedNetwork, "recvfrom", "tcp:10.0.0.2:5432", None, 9.5, 900)
                .connection(10, PEER, 10.0, 10.0, 0.0)
                .total(&catalog::TCP_IO, &[labels[0], labels[1], labels[2], ("direction", "receive")], 3e6)
                .total(&catalog::TCP_SEGMENTS, &[labels[0], labels[1], labels[2], ("what", "received")], 2000.0)
                .total(
                    &catalog::TCP_SEGMENTS,
                    &[labels[0], labels[1], labels[2], ("what", "out_of_order")],
                    out_of_order,
                )
                .target(10)
                .build()
        };
        assert_eq!(one(&fetch(300.0), "net.retransmits").confidence, Confidence::Possible);
        assert!(all(&fetch(60.0), "net.retransmits").is_empty());
    }
}
