//! # A listening socket's queue overflows
//!
//! **Speaks for it:** the socket that the victim listens on turned connections away, or one on this machine turned the
//! victim's away while it waited to connect. Each costs its client a second at least.
//! **Speaks against it:** attempts that are dropped for other reasons, when nothing overflowed.
//! **Experiment:** a larger backlog, which the program must ask for; why it accepts slowly is another finding's matter.

use crate::{
    Cause, Draft, Effect, Party, Scene, Victim,
    network::{Attempts, Lost, Network, counted},
    path::Removes,
};
use checks::Evidence;
use observe::{Ratio, Recording, Series, catalog, catalog::Metric};
use std::{net::SocketAddr, time::Duration};

/// Stands in the registry.
pub const CAUSE: Cause =
    Cause { id: "net.listen-overflow", frozen: Effect::None, root_of: &["net.connect", "net.retransmits"], judge };

/// RFC 6298: the client's first segment is sent again after one second.
const COST: Duration = Duration::from_secs(1);

struct Overflow<'a> {
    row: &'a Series,
    dropped: f64,
    lost: Lost,
}

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    if overflowed(scene.rec) == Some(0.0) {
        return Vec::new();
    }
    let network = Network::of(scene, victim);
    let rows = scene.rec.get(&catalog::LISTEN_DROPS).into_iter().flatten();
    let overflows = rows.filter_map(|row| of(scene, victim, &network, row));
    let Some(worst) = overflows.max_by(|a, b| a.lost.part.0.total_cmp(&b.lost.part.0)) else { return Vec::new() };
    let Some(confidence) = network.grade(&worst.lost) else { return Vec::new() };
    let (address, dropped, labels) = (worst.row.labels.get("address"), worst.dropped, &worst.row.labels);
    let (port, listener) = (port(worst.row), labels.pid());
    let queue = |metric: &Metric<Series>| {
        let rows = scene.rec.get(metric).unwrap_or_default();
        rows.iter().find(|row| row.labels == *labels).map_or(0.0, Series::max)
    };
    let (waiting, backlog) = (queue(&catalog::LISTEN_QUEUE), queue(&catalog::LISTEN_BACKLOG));
    let somaxconn = scene.fact("net.core.somaxconn").unwrap_or("unknown");
    let whose = match listener {
        Some(pid) if victim.contains(pid) => "on which it listens itself".to_owned(),
        Some(pid) => format!("on which {} listens", scene.label(pid)),
        None => "whose owner is not known".to_owned(),
    };
    vec![Draft {
        confidence,
        time: worst.lost.in_time_of(victim),
        summary: format!(
            "{} loses {} to connections that were turned away at {address}, {whose}: {dropped:.0} did not fit into its \
             queue of {backlog:.0}.",
            victim.label(),
            worst.lost.how_much(),
        ),
        culprit: Party {
            kind: "port".into(),
            pid: listener.map(|pid| pid.0),
            name: address.to_owned(),
            detail: Some(format!("backlog {backlog:.0}, net.core.somaxconn {somaxconn}")),
        },
        evidence: vec![
            Evidence::new("sock_diag: connections dropped by the listening socket", dropped, "connections")
                .against("> 0 (PCP)")
                .at("recording/series.parquet"),
            Evidence::new("most that waited to be accepted", waiting, "connections")
                .against(format!("of {backlog:.0}"))
                .at("recording/series.parquet"),
            Evidence::new("of all that came", part_of_arrivals(scene, port, dropped).0 * 100.0, "%")
                .at("recording/series.parquet"),
        ],
        codepath: Vec::new(),
        next: vec![
            format!(
                "ss -ltn 'sport = :{port}' (Recv-Q against Send-Q); nstat -az TcpExtListenOverflows TcpExtListenDrops"
            ),
            format!(
                "find out why it accepts slowly; then a larger backlog in listen(2), with net.core.somaxconn above it \
                 (now {somaxconn})"
            ),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    }]
}

/// What a listening socket's overflow costs the victim, as its owner or as its client.
fn of<'a>(scene: &Scene, victim: &Victim, network: &Network, row: &'a Series) -> Option<Overflow<'a>> {
    let dropped = row.increase().filter(|dropped| *dropped > 0.0)?;
    let lost = match row.labels.pid() {
        Some(pid) if victim.contains(pid) => network.of_answers(COST.mul_f64(dropped)),
        _ => as_client(scene, victim, network, row)?,
    };
    Some(Overflow { row, dropped, lost })
}

/// How many attempts found a queue full: the sockets' own counters have what is dropped for other reasons, too.
fn overflowed(rec: &Recording) -> Option<f64> {
    let everywhere = rec.get(&catalog::LISTEN_OVERFLOWS).ok().and_then(|rows| rows.first()).map(Series::last);
    everywhere.or_else(|| counted(rec, "TcpExt", "ListenOverflows"))
}

/// What the victim's own late connections to a socket of this machine cost it.
fn as_client(scene: &Scene, victim: &Victim, network: &Network, row: &Series) -> Option<Lost> {
    let listening: SocketAddr = row.labels.get("address").parse().ok()?;
    let attempts = Attempts::of(scene, victim);
    let there = |peer: &str| {
        peer.parse::<SocketAddr>().is_ok_and(|peer| {
            // Another network namespace's addresses are not known, but the connections in it that were made.
            let is_here = || network.talks.iter().any(|talk| talk.end == peer.to_string() && talk.back.is_seen());
            let everywhere = listening.ip().is_unspecified() && (peer.ip().is_loopback() || is_here());
            peer.port() == listening.port() && (peer.ip() == listening.ip() || everywhere)
        })
    };
    let late = attempts.iter().find(|(peer, one)| there(peer) && !one.lost().is_zero());
    late.map(|(peer, one)| network.of_connecting(peer, one))
}

fn port(row: &Series) -> u16 {
    row.labels.get("address").parse::<SocketAddr>().map_or(0, |address| address.port())
}

/// Those that were turned away, of all that came to a port.
fn part_of_arrivals(scene: &Scene, port: u16, dropped: f64) -> Ratio {
    let rows = scene.rec.get(&catalog::TCP_ACCEPTED).into_iter().flatten();
    let accepted: f64 = rows.filter(|row| row.labels.get("local_port") == port.to_string()).map(Series::last).sum();
    Ratio::of_counts(dropped, dropped + accepted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Confidence, diagnose,
        testing::{System, all, one},
    };
    use TimeClass::{BlockedProcess, RunningUser};
    use observe::TimeClass;

    const LABELS: [(&str, &str); 2] = [("address", "0.0.0.0:80"), ("pid", "20")];

    fn system(dropped: f64, overflows: f64) -> System {
        System::new()
            .thread(10, "client", &[(RunningUser, 0.5), (BlockedProcess, 9.0)])
            .thread(20, "web", &[(RunningUser, 4.0)])
            .request_time(20, "80", 4.0)
            .grows(&catalog::LISTEN_DROPS, &LABELS, dropped)
            .total(&catalog::LISTEN_BACKLOG, &LABELS, 8.0)
            .grows(&catalog::NET_PROTOCOL, &[("protocol", "TcpExt"), ("counter", "ListenOverflows")], overflows)
    }

    #[test]
    fn the_servers_clients_are_turned_away() {
        let finding = one(&system(12.0, 12.0).target(20).build(), "net.listen-overflow");
        assert_eq!((finding.culprit.kind.as_str(), finding.culprit.name.as_str()), ("port", "0.0.0.0:80"));
        assert!(finding.confidence == Confidence::Likely && (finding.share.0 - 0.75).abs() < 1e-9, "{finding:#?}");
    }

    #[test]
    fn a_client_of_this_machine_waits_to_connect() {
        let rec = system(9.0, 9.0)
            .wait(10, BlockedProcess, "connect", "tcp:127.0.0.1:80", None, 9.0, 9)
            .durations(&catalog::TCP_CONNECT, &[("pid", "10"), ("peer", "127.0.0.1:80")], &[(40, 0.1), (9, 1010.0)])
            .target(10)
            .build();
        let finding = &diagnose(&rec, &[]).findings[0];
        assert_eq!((finding.cause.as_str(), finding.culprit.pid), ("net.listen-overflow", Some(20)), "{finding:#?}");
    }

    #[test]
    fn one_in_a_busy_hour_and_other_drops_are_nothing() {
        assert!(all(&system(0.0, 0.0).target(20).build(), "net.listen-overflow").is_empty());
        assert!(all(&system(12.0, 0.0).target(20).build(), "net.listen-overflow").is_empty(), "nothing overflowed");
        let busy = system(1.0, 1.0).request_time(20, "80", 96.0).target(20);
        assert!(all(&busy.build(), "net.listen-overflow").is_empty());
    }

    #[test]
    fn an_overflow_in_another_network_namespace_counts() {
        let labels = [("address", "10.0.0.2:5432"), ("pid", "20")];
        let overflows = |count: f64| {
            System::new()
                .thread(10, "report", &[(RunningUser, 0.5), (TimeClass::BlockedNetwork, 9.0)])
                .thread(20, "database", &[(RunningUser, 4.0)])
                .wait(10, TimeClass::BlockedNetwork, "connect", "tcp:10.0.0.2:5432", None, 9.0, 9)
                .durations(&catalog::TCP_CONNECT, &[("pid", "10"), ("peer", "10.0.0.2:5432")], &[(9, 1010.0)])
                .grows(&catalog::LISTEN_DROPS, &labels, 9.0)
                .total(&catalog::LISTEN_OVERFLOWS, &[], count)
                .grows(&catalog::NET_PROTOCOL, &[("protocol", "TcpExt"), ("counter", "ListenOverflows")], 0.0)
                .target(10)
                .build()
        };
        let findings = diagnose(&overflows(9.0), &[]).findings;
        assert_eq!((findings[0].cause.as_str(), findings[0].culprit.pid), ("net.listen-overflow", Some(20)));
        assert!(all(&overflows(0.0), "net.listen-overflow").is_empty());
    }
}
