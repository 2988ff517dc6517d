//! # Packets are dropped on this machine
//!
//! **Speaks for it:** the victim's own socket had no room for datagrams; or an interface or queue of this machine drops
//! packets while the victim's connections stand still for lost segments.
//! **Speaks against it:** drops by intent: filters, closed ports, leftovers of closed connections. Whose packets an
//! interface drops is not seen, so that is only `possible`; so is a socket whose reader is busy all the time.
//! **Experiment:** none from outside; a larger ring, queue or buffer ends them.

use super::net_retransmits;
use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{FELT, MATTERS},
    network::{Lost, Network, Of, counted, mine},
    path::Removes,
};
use checks::Evidence;
use observe::{Labels, Pid, Ratio, Series, TimeClass, Wait, catalog, catalog::Metric};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "net.drops", frozen: Effect::None, root_of: &["net.retransmits"], judge };

/// Netdata: part of the packets.
const MANY: Ratio = Ratio(0.02);

/// ours: with little traffic, a share says little.
const SOME: f64 = 50.0;

/// ours: a reader that runs for this part of the window cannot come more often.
const BUSY: Ratio = Ratio(0.8);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    datagrams(scene, victim).into_iter().chain(interface(scene, victim)).collect()
}

/// Datagrams that the victim's own sockets had no room for: gone, with whatever waits for them.
fn datagrams(scene: &Scene, victim: &Victim) -> Option<Draft> {
    let dropped: f64 = mine(scene, victim, &catalog::UDP_DROPS).map(Series::last).sum();
    let worst = mine(scene, victim, &catalog::UDP_DROPS).max_by(|a, b| a.last().total_cmp(&b.last()))?;
    // Of all that came to this machine: of the victim's own it is more.
    let part = Ratio::of_counts(dropped, dropped + counted(scene.rec, "Udp", "InDatagrams")?);
    let idles = Ratio::of(victim.active(), scene.window()) < FELT;
    let polled = in_vain(scene, victim);
    let in_vain = Lost::new(polled, victim.active() + polled, Of::Exchanges);
    let waits = in_vain.grade(scene) == Some(Confidence::Likely);
    if dropped < SOME || part < MANY || idles && !waits {
        return None;
    }
    let busiest = victim.busiest_thread(scene);
    let port = worst.labels.get("local_port");
    let room = busiest < BUSY;
    let why = match room {
        true => "they come in bursts that its receive buffer does not hold",
        false => "it reads them no faster than its thread runs",
    };
    Some(Draft {
        confidence: if room && part >= MATTERS { Confidence::Likely } else { Confidence::Possible },
        time: if idles { in_vain.in_time_of(victim) } else { victim.active().mul_f64(part.0) },
        summary: format!(
            "{} loses {part} of the datagrams sent to it at port {port} ({dropped:.0}): {why}.",
            victim.label()
        ),
        culprit: Party {
            kind: "device".into(),
            pid: worst.labels.pid().map(|pid| pid.0),
            name: format!("receive buffer of UDP port {port}"),
            detail: None,
        },
        evidence: vec![
            Evidence::new("sock_diag: datagrams dropped by its socket", dropped, "packets")
                .at("recording/series.parquet"),
            Evidence::new("of the datagrams that came", part.0 * 100.0, "%")
                .against(format!(">= {MANY} (Netdata)"))
                .at("recording/series.parquet"),
            Evidence::new("busiest thread on CPU", busiest.0 * 100.0, "% of the window").against(format!("< {BUSY}")),
        ],
        codepath: Vec::new(),
        next: vec![
            format!("ss -uamn 'sport = :{port}' (skmem: rb against r, and d for drops); nstat -az UdpRcvbufErrors"),
            "raise SO_RCVBUF and net.core.rmem_max, read in batches (recvmmsg), or share the port (SO_REUSEPORT)"
                .to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    })
}

/// Time in which a victim polled for datagrams of the one peer that its socket is for, and none came.
fn in_vain(scene: &Scene, victim: &Victim) -> Duration {
    let of_a_peer = |end: &str| !end.starts_with("port ") && !end.ends_with(":0");
    let nobody_came = |wait: &&Wait| {
        let idle = wait.class == TimeClass::BlockedIdle && wait.by.is_none();
        idle && wait.end().is_some_and(of_a_peer)
    };
    victim.waits(scene).filter(nobody_came).map(|wait| wait.time).sum()
}

/// Processes whose sockets have no room for much of what is sent to them.
pub fn without_room(scene: &Scene) -> BTreeSet<Pid> {
    let mut dropped: BTreeMap<Pid, f64> = BTreeMap::new();
    for row in scene.rec.get(&catalog::UDP_DROPS).into_iter().flatten() {
        if let Some(pid) = row.labels.pid() {
            *dropped.entry(pid).or_default() += row.last();
        }
    }
    let came = counted(scene.rec, "Udp", "InDatagrams");
    let much = |lost: f64| lost >= SOME && came.is_some_and(|came| Ratio::of_counts(lost, lost + came) >= MATTERS);
    dropped.into_iter().filter(|(_, lost)| much(*lost)).map(|(pid, _)| pid).collect()
}

/// An interface that drops packets while the victim's connections lose segments.
fn interface(scene: &Scene, victim: &Victim) -> Option<Draft> {
    let network = Network::of(scene, victim);
    let lost = network.worst(|talk| net_retransmits::lost(&network, talk))?.lost;
    let worst = dropping(scene)?;
    network.grade(&lost)?;
    let device = worst.device.trim_start_matches("target/");
    Some(Draft {
        confidence: Confidence::Possible,
        time: lost.in_time_of(victim),
        summary: format!(
            "{} loses {} to lost segments, and {} drops packets on {}: {:.0} ({}).",
            victim.label(),
            lost.how_much(),
            worst.device,
            worst.direction,
            worst.dropped,
            worst.part(),
        ),
        culprit: Party {
            kind: "device".into(),
            pid: None,
            name: worst.device.clone(),
            detail: Some(format!("dropped or broken on {}", worst.direction)),
        },
        evidence: vec![
            Evidence::new(format!("/proc/net/dev: {} {}", worst.device, worst.direction), worst.part().0 * 100.0, "%")
                .against(format!(">= {MANY} (Netdata)"))
                .at("recording/series.parquet"),
            Evidence::new("lost to segments sent again", lost.time.as_secs_f64(), "s").at("recording/series.parquet"),
        ],
        codepath: Vec::new(),
        next: vec![
            format!(
                "ip -s -s link show {device}; ethtool -S {device}; tc -s qdisc show dev {device}: which layer drops them?"
            ),
            format!("larger rings (ethtool -G {device} rx ...), a longer queue, or a better cable"),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    })
}

struct Dropping {
    device: String,
    direction: String,
    dropped: f64,
    packets: f64,
}

impl Dropping {
    fn part(&self) -> Ratio {
        Ratio::of_counts(self.dropped, self.dropped + self.packets)
    }
}

/// The interface and direction that lose the largest part of their packets.
fn dropping(scene: &Scene) -> Option<Dropping> {
    let grew = |metric: &Metric<Series>, labels: &Labels| {
        let rows = scene.rec.get(metric).unwrap_or_default();
        rows.iter().find(|row| row.labels == *labels).and_then(Series::increase).unwrap_or(0.0)
    };
    let all = scene.rec.get(&catalog::NET_PACKETS).ok()?.iter().map(|row| Dropping {
        device: row.labels.get("device").to_owned(),
        direction: row.labels.get("direction").to_owned(),
        dropped: grew(&catalog::NET_DROPPED, &row.labels) + grew(&catalog::NET_ERRORS, &row.labels),
        packets: row.increase().unwrap_or(0.0),
    });
    let many = all.filter(|one| one.dropped >= SOME && one.part() >= MANY);
    many.max_by(|a, b| a.part().0.total_cmp(&b.part().0))
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

    fn receiver(dropped: f64, runs: f64) -> System {
        System::new()
            .thread(10, "statsd", &[(RunningUser, runs), (BlockedIdle, 10.0 - runs)])
            .total(&catalog::UDP_DROPS, &[("pid", "10"), ("local_port", "8125")], dropped)
            .grows(&catalog::NET_PROTOCOL, &[("protocol", "Udp"), ("counter", "InDatagrams")], 7000.0)
            .target(10)
    }

    #[test]
    fn a_socket_without_room_loses_datagrams() {
        let finding = one(&receiver(3000.0, 3.0).build(), "net.drops");
        assert!(finding.confidence == Confidence::Likely && finding.culprit.name.contains("8125"), "{finding:#?}");
        assert_eq!(one(&receiver(3000.0, 9.0).build(), "net.drops").confidence, Confidence::Possible, "busy");
        assert_eq!(one(&receiver(300.0, 3.0).build(), "net.drops").confidence, Confidence::Possible);
        assert!(all(&receiver(100.0, 3.0).build(), "net.drops").is_empty(), "few of many");
        assert!(all(&receiver(3000.0, 0.01).build(), "net.drops").is_empty(), "it hardly does anything");
    }

    fn client(dropped: f64) -> System {
        let labels = [("device", "eth0"), ("direction", "transmit")];
        let resent = [("pid", "10"), ("local_port", ""), ("peer", "10.0.0.2:80")];
        System::new()
            .thread(10, "report", &[(RunningUser, 1.0), (BlockedNetwork, 9.0)])
            .wait(10, BlockedNetwork, "recvfrom", "tcp:10.0.0.2:80 (sent again)", None, 8.0, 30)
            .total(&catalog::TCP_RETRANSMITS, &[resent[0], resent[1], resent[2], ("kind", "timeout")], 30.0)
            .total(&catalog::TCP_RTO_WAIT, &resent, 8.0)
            .grows(&catalog::NET_PACKETS, &labels, 1000.0)
            .grows(&catalog::NET_DROPPED, &labels, dropped)
            .target(10)
    }

    #[test]
    fn an_interface_that_drops_is_possible_beside_the_loss_that_is_seen() {
        let rec = client(60.0).build();
        let finding = one(&rec, "net.drops");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("eth0", Confidence::Possible));
        assert_eq!(diagnose(&rec, &[]).findings[0].cause, "net.retransmits");
        assert!(all(&client(10.0).build(), "net.drops").is_empty(), "few");
    }

    #[test]
    fn who_polls_for_what_was_dropped_waits_in_vain() {
        let asks = |polled: f64| {
            receiver(3000.0, 0.05).wait(10, BlockedIdle, "poll", "tcp:127.0.0.1:11211", None, polled, 90).build()
        };
        let finding = one(&asks(9.0), "net.drops");
        assert!(finding.confidence == Confidence::Likely && finding.share.0 > 0.9, "{finding:#?}");
        assert!(all(&asks(0.0), "net.drops").is_empty());
        let serves = receiver(3000.0, 0.05).wait(10, BlockedIdle, "poll", "tcp:0.0.0.0:0", None, 9.0, 90);
        assert!(all(&serves.build(), "net.drops").is_empty(), "it waits for whoever comes");
    }

    #[test]
    fn who_loses_much_of_what_is_sent_to_it_is_a_victim() {
        let system = |dropped: f64| {
            System::new()
                .thread(10, "tracker", &[(RunningUser, 3.0)])
                .total(&catalog::UDP_DROPS, &[("pid", "10"), ("local_port", "8125")], dropped)
                .grows(&catalog::NET_PROTOCOL, &[("protocol", "Udp"), ("counter", "InDatagrams")], 7000.0)
                .build()
        };
        assert_eq!(one(&system(3000.0), "net.drops").confidence, Confidence::Likely);
        assert!(all(&system(300.0), "net.drops").is_empty());
    }
}
