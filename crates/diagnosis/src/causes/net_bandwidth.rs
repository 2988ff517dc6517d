//! # An interface or a shaper is full
//!
//! **Speaks for it:** packets queue: the victim's own connections take far longer for a round trip than the path needs,
//! while it is blocked until it may send more, or waits for answers that come through the same queue.
//! **Speaks against it:** a window or send buffer that holds the flow up, or losses without a queue. Without a queue, a
//! steady transfer is only `possible`: the speed of the link is not known here.
//! **Experiment:** stopping the heaviest sender empties the queue.

use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    network::{Lost, Network, Talk},
    path::Removes,
};
use checks::Evidence;
use observe::{Bytes, Pid, Ratio, Recording, Series, catalog};
use std::{collections::BTreeMap, time::Duration};

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "net.bandwidth",
    frozen: Effect::None,
    root_of: &["net.retransmits", "net.latency", "net.peer-slow", "net.drops"],
    judge,
};

/// DSLReports: above grade B. Longer than acknowledgements are delayed, too.
const QUEUES: Duration = Duration::from_millis(60);

/// ours: a full queue holds at least as much as the path does.
const STANDING: u32 = 2;

/// ours: below a millisecond, it may be the other end's scheduling.
const LEAST: Duration = Duration::from_millis(1);

/// ours: held up for this part of the time with data to send, it is not the path that limits.
const WINDOWS: Ratio = Ratio(0.3);

/// ours: a flow slower than this (bytes a second) fills no link.
const FAST: f64 = 128.0 * 1024.0;

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let network = Network::of(scene, victim);
    let Some(found) = network.worst(|talk| lost(scene, &network, talk)) else { return Vec::new() };
    let Some(mut confidence) = network.grade(&found.lost) else { return Vec::new() };
    let (talk, lost) = (found.talk, found.lost);
    let queued = talk.queueing().max(talk.queueing_back());
    // Who sends little sees a queue only where it is longer than acknowledgements are delayed.
    let sends_much = !talk.sending().is_empty() || talk.is_upload();
    let full = queues(talk) && (talk.queueing() >= QUEUES || sends_much) || queues_back(talk);
    if !full {
        confidence = Confidence::Possible;
    }
    // Interfaces of other network namespaces are not read.
    let carried = (talk.transmitted + talk.received) / scene.window().as_secs_f64();
    let device = busiest(scene.rec).filter(|(_, rate)| *rate >= carried / 2.0);
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let mut evidence = vec![
        Evidence::new(format!("tcp_info: round trip to {} above its shortest", talk.end), ms(queued), "ms")
            .against(format!("> {} ms", ms(talk.min_rtt.unwrap_or_default() * (STANDING - 1))))
            .at("recording/series.parquet"),
        match &device {
            Some((device, rate)) => Evidence::new(format!("/proc/net/dev: {device}"), *rate, "By/s"),
            None => Evidence::new(format!("tcp_info: to and from {}", talk.end), carried, "By/s"),
        }
        .at("recording/series.parquet"),
    ];
    let heaviest = heaviest(scene);
    if let Some((pid, bytes)) = heaviest {
        let source = format!("tcp_info: sent by {}", scene.label(pid));
        evidence.push(Evidence::new(source, bytes, "By").at("recording/series.parquet"));
    }
    let who = heaviest.map(|(pid, _)| match victim.contains(pid) {
        true => "mostly with what it sends itself".to_owned(),
        false => format!("mostly with what {} sends", scene.label(pid)),
    });
    let why = match full {
        true => format!("a round trip takes {:.1} ms longer than it need", ms(queued)),
        false => "the connection carries data all the time, and nothing else is seen to limit it".to_owned(),
    };
    vec![Draft {
        confidence,
        time: lost.in_time_of(victim),
        summary: format!(
            "{} loses {} on a path to {} that is full ({}{}/s): {why}.",
            victim.label(),
            lost.how_much(),
            talk.end,
            device.as_ref().map_or_else(String::new, |(device, _)| format!("{device}: ")),
            Bytes(device.as_ref().map_or(carried, |(_, rate)| *rate) as u64),
        ),
        culprit: match &device {
            Some((device, _)) => Party { kind: "device".into(), pid: None, name: device.clone(), detail: who },
            None => found.peer(scene),
        },
        evidence,
        codepath: network.codepath(&talk.sending()),
        next: vec![
            match &device {
                Some((device, _)) => {
                    format!("tc -s qdisc show dev {device} (rate, backlog, overlimits); ethtool {device} | grep Speed")
                }
                None => "tc -s qdisc on each hop (rate, backlog, overlimits)".to_owned(),
            },
            "send less (compress, cache), spread it over time, or give the small flows a queue of their own (fq_codel)"
                .to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: !full,
    }]
}

/// What a conversation loses to a full path.
fn lost(scene: &Scene, network: &Network, talk: &Talk) -> Option<Lost> {
    if talk.served || talk.is_loopback() || talk.limited() >= talk.busy.mul_f64(WINDOWS.0).max(LEAST) {
        return None;
    }
    let rate = (talk.transmitted + talk.received) / scene.window().as_secs_f64();
    if talk.is_lossy() && !queues(talk) {
        return None;
    }
    let fast = rate >= FAST;
    let sends = (fast && !talk.sending().is_empty()).then(|| network.of_threads(&talk.sending(), |time, _| time));
    let uploads =
        (fast && talk.is_upload()).then(|| network.of_waiting(talk, &talk.receiving(), |time, _| time.min(talk.busy)));
    let receives = (fast && talk.is_transfer() && !limited_back(talk))
        .then(|| network.of_waiting(talk, &talk.receiving(), |time, _| time));
    let queued = talk.queueing();
    let waits = (queued >= QUEUES && queues(talk))
        .then(|| network.of_waiting(talk, &talk.receiving(), |time, count| time.min(queued.mul_f64(count as f64))));
    [sends, uploads.flatten(), receives.flatten(), waits.flatten()]
        .into_iter()
        .flatten()
        .max_by(|a, b| a.part.0.total_cmp(&b.part.0))
}

/// Packets stand in a queue on the way.
fn queues(talk: &Talk) -> bool {
    let shortest = talk.min_rtt.unwrap_or_default();
    !shortest.is_zero() && talk.queueing() >= (shortest * (STANDING - 1)).max(LEAST)
}

/// The same on the way to the victim: who sends all the time is told of each segment at once, and once its window is full,
/// what is not on the way stands in a queue.
fn queues_back(talk: &Talk) -> bool {
    let shortest = talk.back.min_rtt.unwrap_or_default();
    !shortest.is_zero() && talk.queueing_back() >= (shortest / 2).max(LEAST)
}

/// What is sent to the victim is held up by something else than the path's rate.
fn limited_back(talk: &Talk) -> bool {
    let windows = talk.back.limited() >= talk.back.busy.mul_f64(WINDOWS.0).max(LEAST);
    windows || (talk.is_lossy_back() || talk.has_gaps()) && !queues_back(talk)
}

/// The interface that carries most, and its bytes a second in the direction that carries more: of the target's own where it
/// has some.
fn busiest(rec: &Recording) -> Option<(String, f64)> {
    let rows = rec.get(&catalog::NET_IO).ok()?;
    let device = |row: &Series| row.labels.get("device").to_owned();
    let own = rows.iter().any(|row| device(row).starts_with(TARGETS));
    let rates = rows.iter().filter(|row| device(row).starts_with(TARGETS) == own).filter_map(|row| {
        let name = device(row).trim_start_matches(TARGETS).to_owned();
        Some((name, row.rate()?)).filter(|(name, _)| name != "lo")
    });
    rates.max_by(|a, b| a.1.total_cmp(&b.1))
}

/// What names of interfaces begin with where the target has a network namespace of its own.
const TARGETS: &str = "target/";

/// Who sends most.
fn heaviest(scene: &Scene) -> Option<(Pid, f64)> {
    let mut by_process: BTreeMap<Pid, f64> = BTreeMap::new();
    let sent = |row: &&Series| row.labels.get("direction") == "transmit";
    for row in scene.rec.get(&catalog::TCP_IO).ok()?.iter().filter(sent) {
        *by_process.entry(row.labels.pid()?).or_default() += row.last();
    }
    by_process.into_iter().filter(|(pid, _)| !scene.is_background(*pid)).max_by(|a, b| a.1.total_cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Conclusion, diagnose,
        testing::{System, all, one},
    };
    use TimeClass::{BlockedNetwork, RunningUser};
    use observe::TimeClass;

    const PEER: &str = "10.0.0.2:873";

    fn carries(system: System, pid: &str, bytes: f64) -> System {
        let labels = [("pid", pid), ("local_port", "40000"), ("peer", PEER), ("direction", "transmit")];
        system
            .total(&catalog::TCP_IO, &labels, bytes)
            .grows(&catalog::NET_IO, &[("device", "eth0"), ("direction", "transmit")], bytes)
            .grows(&catalog::NET_IO, &[("device", "lo"), ("direction", "transmit")], bytes * 9.0)
    }

    fn sender(rtt_ms: f64) -> System {
        let system = System::new()
            .thread(10, "backup", &[(RunningUser, 0.5), (BlockedNetwork, 9.0)])
            .wait(10, BlockedNetwork, "sendto", "tcp:10.0.0.2:873", None, 9.0, 900)
            .connection(10, PEER, rtt_ms, 0.4, 9000.0)
            .target(10);
        carries(system, "10", 12e6)
    }

    #[test]
    fn a_sender_behind_a_standing_queue_has_filled_its_interface() {
        let finding = one(&sender(38.0).build(), "net.bandwidth");
        assert_eq!((finding.culprit.kind.as_str(), finding.culprit.name.as_str()), ("device", "eth0"));
        assert_eq!(finding.confidence, Confidence::Likely);
    }

    #[test]
    fn a_transfer_without_a_queue_is_what_it_is() {
        let rec = sender(0.5).build();
        assert_eq!(one(&rec, "net.bandwidth").confidence, Confidence::Possible);
        assert_ne!(diagnose(&rec, &[]).conclusion, Conclusion::Found);
        let labels = [("pid", "10"), ("local_port", "40000"), ("peer", PEER)];
        let limited = sender(38.0)
            .total(&catalog::TCP_LIMITED, &[labels[0], labels[1], labels[2], ("by", "busy")], 9.5)
            .total(&catalog::TCP_LIMITED, &[labels[0], labels[1], labels[2], ("by", "receive_window")], 6.0);
        assert!(all(&limited.build(), "net.bandwidth").is_empty(), "a window limits it");
    }

    #[test]
    fn who_fetches_much_at_once_waits_for_the_transfer() {
        let fetches = |rtt_ms| {
            let labels = [("pid", "10"), ("local_port", "40000"), ("peer", PEER), ("direction", "receive")];
            System::new()
                .thread(10, "fetch", &[(RunningUser, 0.5), (BlockedNetwork, 9.0)])
                .wait(10, BlockedNetwork, "recvfrom", "tcp:10.0.0.2:873", None, 9.0, 900)
                .connection(10, PEER, rtt_ms, 0.4, 5.0)
                .total(&catalog::TCP_IO, &labels, 12e6)
                .grows(&catalog::NET_IO, &[("device", "eth0"), ("direction", "receive")], 12.5e6)
                .target(10)
                .build()
        };
        assert_eq!(one(&fetches(0.5), "net.bandwidth").confidence, Confidence::Possible);
        assert_eq!(one(&fetches(90.0), "net.bandwidth").confidence, Confidence::Likely);
        assert!(all(&fetches(0.5), "net.peer-slow").is_empty());
    }

    #[test]
    fn small_questions_wait_in_the_queue_of_others() {
        let client = |rtt_ms| {
            let system = System::new()
                .thread(10, "report", &[(RunningUser, 0.5), (BlockedNetwork, 9.0)])
                .thread(20, "backup", &[(RunningUser, 0.5)])
                .wait(10, BlockedNetwork, "recvfrom", "tcp:10.0.0.2:873", None, 9.0, 80)
                .connection(10, PEER, rtt_ms, 0.4, 80.0)
                .target(10);
            carries(system, "20", 12e6).build()
        };
        let finding = one(&client(100.0), "net.bandwidth");
        assert!(finding.culprit.detail.is_some_and(|detail| detail.contains("backup (pid 20)")));
        assert!(all(&client(40.0), "net.bandwidth").is_empty(), "acknowledgements may be delayed so long");
    }

    #[test]
    fn the_senders_books_tell_of_the_queue_on_the_way_to_the_victim() {
        let finding = one(&System::fetching(10, 12e6, 18.0).target(10).build(), "net.bandwidth");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("10.0.0.2:80", Confidence::Likely));
        let finding = one(&System::fetching(10, 12e6, 11.0).target(10).build(), "net.bandwidth");
        assert_eq!(finding.confidence, Confidence::Possible, "no queue");
        // Nobody has to ask about it: it does nothing else.
        assert_eq!(one(&System::fetching(10, 12e6, 18.0).build(), "net.bandwidth").confidence, Confidence::Likely);
    }

    #[test]
    fn a_long_question_is_on_its_way_until_it_is_acknowledged() {
        let labels = [("pid", "10"), ("local_port", "40000"), ("peer", PEER), ("by", "busy")];
        let upload = |busy: f64| {
            let system = System::new()
                .thread(10, "ship", &[(RunningUser, 0.5), (BlockedNetwork, 9.5)])
                .wait(10, BlockedNetwork, "epoll_wait", "tcp:10.0.0.2:873", None, 9.5, 20)
                .connection(10, PEER, 25.0, 0.1, 8000.0)
                .asked(10, PEER, "", &[(20, 470.0)])
                .total(&catalog::TCP_LIMITED, &labels, busy)
                .target(10);
            carries(system, "10", 12e6).build()
        };
        let finding = one(&upload(9.4), "net.bandwidth");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("eth0", Confidence::Likely));
        assert!(all(&upload(9.4), "net.peer-slow").is_empty());
        assert!(all(&upload(1.0), "net.bandwidth").is_empty(), "the other end takes its time over it");
        assert_eq!(all(&upload(1.0), "net.peer-slow").len(), 1);
    }
}
