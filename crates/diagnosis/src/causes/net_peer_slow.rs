//! # The remote end takes the time, and the network does not
//!
//! **Speaks for it:** answers take many round trips' time, nothing is lost on the way, and no window holds anything up; or
//! the one connection of a job that does nothing has had no answer (`net_unanswered.rs`).
//! **Speaks against it:** waits without a question (subscriptions, replication), answers so long after it that the other end
//! may have been meant to wait (long polls), large answers (the transfer takes the time), and a peer on this machine's
//! loopback: then `app.waits-for-child` can see what it does.
//! **Experiment:** slowing or freezing the peer's process, where it is one of this machine's.

use super::net_unanswered::unanswered;
use crate::{
    Cause, Confidence, Draft, Effect, Scene, Victim,
    network::{Lost, Network, Of, Talk},
    questions::Questions,
    scene::DIALOGUE,
};
use checks::Evidence;
use observe::Ratio;
use std::time::Duration;

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "net.peer-slow", frozen: Effect::Hurts, root_of: &[], judge };

/// ours: an answer that takes less than this many round trips is as fast as the network.
const TRIPS: u32 = 5;

/// ours: an answer within a millisecond is no slow one.
const SLOW: Duration = Duration::from_millis(1);

/// ours: outside of requests, an answer that comes so late may have been meant to.
const LONG_POLL: Duration = Duration::from_secs(1);

/// ours: with more than this part of the waiting due to loss or windows, the network is in it.
const OF_THE_NETWORK: Ratio = Ratio(0.2);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    answers(scene, victim).or_else(|| unanswered(scene, victim)).into_iter().collect()
}

fn answers(scene: &Scene, victim: &Victim) -> Option<Draft> {
    let network = Network::of(scene, victim);
    let found = network.worst(|talk| lost(&network, talk))?;
    let mut confidence = network.grade(&found.lost)?;
    let (talk, lost) = (found.talk, found.lost);
    let answer = mean(talk);
    let in_requests = lost.of == Of::Requests;
    // Outside of requests nobody but the user can say that the answers are waited for.
    if !in_requests && !victim.named {
        return None;
    }
    let may_be_meant = !in_requests && answer >= LONG_POLL;
    if may_be_meant || talk.rtt().is_none() || asks(talk).is_none() {
        confidence = Confidence::Possible;
    }
    let mut culprit = found.peer(scene);
    let here = network.answerer(talk);
    if let Some(pid) = here {
        culprit.pid = Some(pid.0);
        culprit.detail = Some(format!("{}, of this machine, in another network namespace", scene.label(pid)));
    }
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let (host, end) = (talk.host(), &talk.end);
    let mut evidence = vec![
        Evidence::new(format!("mean time until {end} has answered"), ms(answer), "ms")
            .against(format!("> {TRIPS} round trips"))
            .at(if talk.asked.count > 0 { "recording/histograms.parquet" } else { "recording/waits.parquet" }),
    ];
    let mut why = String::new();
    if let Some(rtt) = talk.min_rtt {
        why = format!(
            ", {:.0} times the path's round trip of {:.2} ms",
            answer.as_secs_f64() / rtt.as_secs_f64(),
            ms(rtt)
        );
        evidence.push(Evidence::new("tcp_info: shortest round trip", ms(rtt), "ms").at("recording/series.parquet"));
    }
    evidence.push(
        Evidence::new(
            "connections stood still for lost segments or windows",
            (talk.stalled() + talk.limited()).as_secs_f64(),
            "s",
        )
        .against(format!("< {OF_THE_NETWORK} of the waiting"))
        .at("recording/series.parquet"),
    );
    let questions = Questions::to(scene, victim, |labels| labels.get("peer") == end);
    let often = questions.as_ref().map(|questions| questions.said(end)).unwrap_or_default();
    let doubt = if may_be_meant { " Whether it is meant to answer late cannot be seen from here." } else { "" };
    Some(Draft {
        confidence,
        time: lost.in_time_of(victim),
        summary: format!(
            "{} waits {} for {end}, which takes {:.1} ms for an answer{why}.{often}{doubt}",
            victim.label(),
            lost.how_much(),
            ms(answer),
        ),
        culprit,
        evidence,
        codepath: network.codepath(&talk.receiving()),
        next: match here {
            Some(pid) => vec![format!("look at that process: friday run -p {pid}")],
            None => {
                vec![format!("run friday on {host}, for the process that listens there"), format!("ss -ti dst {host}")]
            }
        }
        .into_iter()
        .chain(questions.map(|questions| questions.next()))
        .collect(),
        removes: found.removes(),
        descriptive: false,
    })
}

/// What a conversation loses to the other end.
fn lost(network: &Network, talk: &Talk) -> Option<Lost> {
    if talk.served || talk.is_loopback() || talk.answerer.is_some() || talk.is_name_server() {
        return None;
    }
    let waits = talk.receiving();
    let count = talk.asked.count.max(waits.iter().map(|wait| wait.count).sum());
    let trip = talk.min_rtt.unwrap_or_default();
    let is_slow = mean(talk) >= SLOW.max(trip * TRIPS);
    if count < DIALOGUE || !is_slow || talk.is_transfer() || talk.is_upload() || asks(talk) == Some(false) {
        return None;
    }
    let held_up = talk.stalled() + talk.limited();
    network.of_waiting(talk, &waits, |time, count| {
        let in_network = held_up + trip.mul_f64(count as f64);
        if held_up > time.mul_f64(OF_THE_NETWORK.0) { Duration::ZERO } else { time.saturating_sub(in_network) }
    })
}

/// The mean time until an answer: of exchanges, or of waits where that is longer. Exchanges may have been followed in
/// slices that are too short for the longest.
fn mean(talk: &Talk) -> Duration {
    let waits = talk.receiving();
    let (time, count) = waits.iter().fold((Duration::ZERO, 0), |(t, n), wait| (t + wait.time, n + wait.count));
    talk.asked.mean_time().max(time.div_f64(count.max(1) as f64))
}

/// Whether the victim asks for what it waits for; `None` where neither its exchanges nor its segments were seen.
fn asks(talk: &Talk) -> Option<bool> {
    let waits: u64 = talk.receiving().iter().map(|wait| wait.count).sum();
    (talk.questions() > 0.0 || talk.received > 0.0).then(|| talk.questions() >= waits as f64 / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, all, one};
    use TimeClass::{BlockedIdle, BlockedNetwork, RunningUser};
    use observe::{TimeClass, catalog};

    const PEER: &str = "10.0.0.2:5432";

    fn client(count: u64, sent: f64) -> System {
        System::new()
            .thread(10, "report", &[(RunningUser, 1.0), (BlockedNetwork, 9.0)])
            .wait(10, BlockedNetwork, "recvfrom", "tcp:10.0.0.2:5432", None, 9.0, count)
            .connection(10, PEER, 0.4, 0.3, sent)
            .target(10)
    }

    #[test]
    fn answers_that_take_many_round_trips_are_the_other_ends() {
        let finding = one(&client(300, 300.0).build(), "net.peer-slow");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), (PEER, Confidence::Likely));
        assert!(finding.summary.contains("30.0 ms for an answer, 100 times"), "{}", finding.summary);
    }

    #[test]
    fn a_subscription_and_a_long_poll_are_no_slow_answers() {
        assert!(all(&client(300, 1.0).build(), "net.peer-slow").is_empty(), "it asks for nothing");
        assert_eq!(one(&client(8, 8.0).build(), "net.peer-slow").confidence, Confidence::Possible);
        assert!(all(&client(3, 3.0).build(), "net.peer-slow").is_empty(), "hardly a dialogue");
    }

    #[test]
    fn windows_and_distance_are_not_the_other_end() {
        let labels = [("pid", "10"), ("local_port", "40000"), ("peer", PEER), ("by", "receive_window")];
        let limited = client(300, 300.0).total(&catalog::TCP_LIMITED, &labels, 4.0);
        assert!(all(&limited.build(), "net.peer-slow").is_empty());
        let far = System::new()
            .thread(10, "report", &[(RunningUser, 1.0), (BlockedNetwork, 9.0)])
            .wait(10, BlockedNetwork, "recvfrom", "tcp:10.0.0.2:5432", None, 9.0, 300)
            .connection(10, PEER, 25.0, 25.0, 300.0)
            .target(10);
        assert!(all(&far.build(), "net.peer-slow").is_empty());
    }

    #[test]
    fn an_event_loop_is_held_up_in_its_requests_only() {
        let gateway = |service: &str| {
            System::new()
                .thread(10, "gateway", &[(RunningUser, 1.0), (BlockedIdle, 9.0)])
                .asked(10, PEER, service, &[(200, 40.0)])
                .connection(10, PEER, 0.4, 0.3, 200.0)
        };
        let serving = gateway("80").request_time(10, "80", 10.0).target(10);
        let finding = one(&serving.build(), "net.peer-slow");
        assert!(finding.confidence == Confidence::Likely && finding.share.0 > 0.7, "{finding:#?}");
        let polling = gateway("").target(10);
        assert_eq!(one(&polling.build(), "net.peer-slow").confidence, Confidence::Likely, "it serves nobody");
        assert!(all(&gateway("").build(), "net.peer-slow").is_empty(), "nobody asked");
        let aside = gateway("").request_time(10, "80", 10.0).target(10);
        assert!(all(&aside.build(), "net.peer-slow").is_empty(), "nobody waits for it");
    }

    #[test]
    fn a_peer_on_the_loopback_is_a_process_to_look_at() {
        let rec = System::new()
            .thread(10, "report", &[(RunningUser, 1.0), (TimeClass::BlockedProcess, 9.0)])
            .wait(10, TimeClass::BlockedProcess, "recvfrom", "tcp:127.0.0.1:5432", None, 9.0, 300)
            .connection(10, "127.0.0.1:5432", 0.03, 0.02, 300.0)
            .target(10);
        assert!(all(&rec.build(), "net.peer-slow").is_empty());
    }
}
