//! # Does the kernel throw packets away for want of room?
//!
//! **Measures** packets dropped by the kernel's own reasons, those that mean a full queue or buffer or broken data, against
//! all packets that came in.
//! **Matters** because TCP sends them again later, and datagrams are gone.
//! **Misleads** when packets are dropped by intent: filters, closed ports, duplicates and leftovers of closed
//! connections are left out.
//! **Confirm** by the reason: each names its layer, and the socket's own count names the process.

use crate::{
    Check, Evidence, Light, Verdict,
    counter::Growth,
    net::{FEW_RETRANSMITS, MIN_PACKETS, is_somebodys, retransmitted, stood_still, sum, who},
};
use observe::{Observed, Ratio, Recording, Series, catalog};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "net.drops",
    group: "network interfaces",
    question: "Does the kernel throw packets away for want of room?",
    source: include_str!("drops.rs"),
    judge,
};

/// Netdata: part of the packets.
const MAYBE: Ratio = Ratio(0.02);

/// ours: with little traffic, as many drops as would be a part of the smallest traffic that is judged.
const MIN_DROPS: f64 = MAYBE.0 * MIN_PACKETS;

/// A queue or buffer was full, memory was short, or the data was broken.
const HURTS: &[&str] = &[
    "SOCKET_RCVBUFF",
    "SOCKET_BACKLOG",
    "PROTO_MEM",
    "TCP_OFO_QUEUE_PRUNE",
    "TCP_OFO_DROP",
    "TCP_LISTEN_OVERFLOW",
    "QDISC_DROP",
    "QDISC_OVERLIMIT",
    "QDISC_CONGESTED",
    "FQ_BAND_LIMIT",
    "FQ_FLOW_LIMIT",
    "CPU_BACKLOG",
    "FULL_RING",
    "NOMEM",
    "PFMEMALLOC",
    "NEIGH_QUEUEFULL",
    "NEIGH_FAILED",
    "FRAG_REASM_TIMEOUT",
    "PKT_TOO_BIG",
    "IP_CSUM",
    "TCP_CSUM",
    "UDP_CSUM",
    "SKB_CSUM",
];

fn judge(rec: &Recording) -> Observed<Verdict> {
    let rows = rec.get(&catalog::PACKET_DROPS)?;
    let received = rec
        .get(&catalog::NET_PACKETS)?
        .iter()
        .filter(|row| row.labels.get("direction") == "receive" && !row.labels.get("device").starts_with("target/"))
        .filter_map(|row| Growth::of(row).ok());
    let packets = sum(received.map(|growth| growth.by));
    let mut hurtful: Vec<&Series> = rows.iter().filter(|row| HURTS.contains(&row.labels.get("reason"))).collect();
    hurtful.sort_by(|a, b| b.last().total_cmp(&a.last()));
    let dropped = sum(hurtful.iter().map(|row| row.last()));
    let share = Ratio::of_counts(dropped, packets);
    let many = dropped >= MIN_DROPS && share >= MAYBE;
    let datagrams = rec.get(&catalog::UDP_DROPS).unwrap_or_default();
    let loser = datagrams
        .iter()
        .filter(|row| row.last() > 0.0 && row.labels.pid().is_some() && is_somebodys(rec, &row.labels))
        .max_by(|a, b| a.last().total_cmp(&b.last()));
    let sent_again = retransmitted(rec).is_ok_and(|(_, share)| share > FEW_RETRANSMITS) && stood_still(rec).is_some();
    let light = match many {
        true if loser.is_some() || sent_again => Light::Bad,
        true => Light::Maybe,
        false => Light::Good,
    };
    let mut why = format!("{dropped:.0} packets were dropped for want of room or as broken, {share} of {packets:.0}");
    if let Some(worst) = hurtful.first() {
        why += &format!(", most of them as {} ({:.0})", worst.labels.get("reason"), worst.last());
    }
    if let Some(row) = loser {
        let (who, port) = (who(rec, &row.labels), row.labels.get("local_port"));
        why += &format!("; {who} lost {:.0} datagrams for good at port {port}", row.last());
    }
    let others = sum(rows.iter().filter(|row| !HURTS.contains(&row.labels.get("reason"))).map(Series::last));
    why += &format!("; {others:.0} for other reasons");
    let evidence = Evidence::new("kfree_skb: dropped for want of room", share.0 * 100.0, "%");
    Ok(Verdict { light, why, evidence: vec![evidence.against(format!(">= {MAYBE}")).at("recording/series.parquet")] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};
    use observe::Absent;

    fn drops(reason: &str, count: f64, packets: f64) -> Machine {
        Machine::new().dropped(reason, count).interface("eth0", packets, 0.0, 0.0)
    }

    #[test]
    fn boundaries() {
        assert_eq!(light(&CHECK, &drops("QDISC_DROP", 399.0, 20_000.0)), Light::Good);
        assert_eq!(light(&CHECK, &drops("QDISC_DROP", 400.0, 20_000.0)), Light::Maybe);
        assert_eq!(light(&CHECK, &drops("QDISC_DROP", 199.0, 1000.0)), Light::Good, "little traffic");
        assert_eq!(light(&CHECK, &drops("QDISC_DROP", 200.0, 1000.0)), Light::Maybe);
        assert_eq!(light(&CHECK, &drops("NO_SOCKET", 9000.0, 20_000.0)), Light::Good, "by intent");
    }

    #[test]
    fn bad_when_it_is_gone_for_good_or_sent_again() {
        let machine = || drops("SOCKET_RCVBUFF", 900.0, 20_000.0);
        assert_eq!(light(&CHECK, &machine().datagrams_lost(7, 900.0)), Light::Bad);
        assert_eq!(light(&CHECK, &machine().datagrams_lost(7, 900.0).friday(7)), Light::Maybe);
        let again = || machine().segments(900.0, 20_000.0);
        assert_eq!(light(&CHECK, &again()), Light::Maybe, "nobody is seen to stand still");
        assert_eq!(light(&CHECK, &again().stood_still(7, "10.0.0.2:443", 0.2)), Light::Bad);
    }

    #[test]
    fn unseen_is_not_none() {
        let mut machine = Machine::new().interface("eth0", 1e6, 0.0, 0.0);
        machine.rec.set(&catalog::PACKET_DROPS, Err(Absent::Unsupported("before Linux 5.17".into())));
        assert_eq!(light(&CHECK, &machine), Light::Untested);
    }
}
