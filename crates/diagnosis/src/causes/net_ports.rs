//! # Ephemeral ports are used up
//!
//! **Speaks for it:** connects fail for want of an address, and the victim has made or holds about as many connections to one
//! peer as there are ports, each of which rests for a minute after its use.
//! **Speaks against it:** few connections: then it is an address that this machine does not have. Connection tracking is not
//! counted here.
//! **Experiment:** a wider range of ports, for a while.

use super::app_failing_calls::pauses_after;
use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    network::{Attempts, Lost, Of, mine},
    path::Removes,
};
use checks::Evidence;
use observe::{Ratio, Series, TimeClass, Wait, catalog};
use std::time::Duration;

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "net.ports",
    frozen: Effect::None,
    root_of: &["app.failing-calls", "net.connect", "cpu.kernel-time", "app.sleeps"],
    judge,
};

/// No port was left, or no such address is there.
const NO_PORT: &str = "EADDRNOTAVAIL";

/// Of an address to connect from, that none of its ports is left.
const IN_USE: &str = "EADDRINUSE";

/// TCP_TIMEWAIT_LEN: a port rests for so long after its use.
const REST: Duration = Duration::from_secs(60);

/// ours: fewer failures are a hiccup.
const MIN_FAILED: f64 = 5.0;

/// ours: so many of the ports must be in use that the kernel may find none in time.
const MOST: Ratio = Ratio(0.5);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let attempts = Attempts::of(scene, victim);
    let short = attempts.iter().max_by(|a, b| a.1.failed_with(NO_PORT).total_cmp(&b.1.failed_with(NO_PORT)));
    let (peer, made, failed) = short.map_or(("", 0.0, 0.0), |(peer, one)| (peer, one.made, one.failed_with(NO_PORT)));
    let range = scene.fact("net.ipv4.ip_local_port_range").unwrap_or_default();
    let taken = made * REST.as_secs_f64() / scene.window().as_secs_f64();
    let rested = used_up(scene);
    let exhausted = rested.is_some() || ports(range).is_some_and(|ports| taken.max(held(scene)) >= ports * MOST.0);
    // An address of its own that has no port left is in use; so is a port that another program listens on.
    let bound = if rested.is_some() { in_calls(scene, victim, "bind", IN_USE) } else { 0.0 };
    let failed = failed.max(in_calls(scene, victim, "connect", NO_PORT)).max(bound);
    if failed < MIN_FAILED {
        return Vec::new();
    }
    let lost = lost(scene, victim, failed);
    let Some(mut confidence) = lost.grade(scene) else { return Vec::new() };
    if !exhausted {
        confidence = Confidence::Possible;
    }
    let doubt = if exhausted { "" } else { " Or the address it connects from is none of this machine's." };
    let to = if peer.is_empty() { String::new() } else { format!(", {made:.0} to {peer} were made") };
    let (used, ports) = rested.or(ports(range).map(|ports| (taken.max(held(scene)), ports))).unwrap_or((0.0, 0.0));
    vec![Draft {
        confidence,
        time: lost.in_time_of(victim),
        summary: format!(
            "{} loses {} to connects for which no local port is left: {failed:.0} failed{to}.{doubt}",
            victim.label(),
            lost.how_much(),
        ),
        culprit: Party {
            kind: "setting".into(),
            pid: None,
            name: "net.ipv4.ip_local_port_range".into(),
            detail: Some(range.to_owned()).filter(|range| !range.is_empty()),
        },
        evidence: vec![
            Evidence::new(format!("connect = {NO_PORT}, bind = {IN_USE}"), failed, "connections")
                .at("recording/series.parquet"),
            Evidence::new("ports in use, or resting for 60 s after it", used, "ports")
                .against(format!(">= {MOST} of {ports:.0}"))
                .at("recording/series.parquet"),
        ],
        codepath: Vec::new(),
        next: vec![
            "keep connections (a pool, HTTP keep-alive) instead of making one for each request".to_owned(),
            "ss -s (timewait); sysctl net.ipv4.ip_local_port_range net.ipv4.tcp_tw_reuse: a wider range, or more addresses"
                .to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    }]
}

/// How many ports a range has, given by its first and last.
fn ports(range: &str) -> Option<f64> {
    let mut ends = range.split_whitespace().map(str::parse::<f64>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    Some(last - first + 1.0)
}

/// Connections that were listed.
fn held(scene: &Scene) -> f64 {
    let rows = scene.rec.get(&catalog::NET_SOCKETS).into_iter().flatten();
    rows.filter(|row| row.labels.get("what") == "read").map(Series::last).sum()
}

/// Ports in use and those that there are, of the network namespace that has fewest left, where those are as good as none.
fn used_up(scene: &Scene) -> Option<(f64, f64)> {
    let rows = scene.rec.get(&catalog::TCP_PORTS).ok()?;
    let of = |namespace: &str, what: &str| {
        let is = |row: &&Series| row.labels.get("namespace") == namespace && row.labels.get("what") == what;
        rows.iter().find(is).map(Series::last)
    };
    let ranges = rows.iter().filter(|row| row.labels.get("what") == "range");
    let all = ranges.filter_map(|row| Some((of(row.labels.get("namespace"), "used")?, row.last())));
    let worst = all.filter(|(_, ports)| *ports > 0.0).max_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)))?;
    (worst.0 >= worst.1 * MOST.0).then_some(worst)
}

/// What the failures cost: CPU time, and pauses that follow them or, of a program that calls others after each failure, that
/// are about as many.
fn lost(scene: &Scene, victim: &Victim, failed: f64) -> Lost {
    let busy = (pauses_after(scene, victim, failed) + in_connect(scene, victim)).min(victim.active());
    let pause = |w: &&Wait| w.by.is_none() && matches!(w.class, TimeClass::BlockedSleep | TimeClass::BlockedIdle);
    let (mut pauses, mut count) = (Duration::ZERO, 0);
    for wait in victim.waits(scene).filter(pause) {
        pauses += wait.time;
        count += wait.count;
    }
    let one_each = victim.named && (failed / 2.0..=failed * 2.0).contains(&(count as f64));
    if one_each && pauses > busy {
        let idle = pauses.min(victim.times[TimeClass::BlockedIdle]);
        return Lost::new(pauses, victim.active() + idle, Of::Exchanges);
    }
    Lost::new(busy, victim.active(), Of::Threads)
}

/// Calls that failed so, by what system calls returned.
fn in_calls(scene: &Scene, victim: &Victim, syscall: &str, errno: &str) -> f64 {
    let failed = |row: &&Series| row.labels.get("syscall") == syscall && row.labels.get("errno") == errno;
    mine(scene, victim, &catalog::SYSCALL_ERRORS).filter(failed).map(Series::last).sum()
}

/// CPU time in connect, which looks for a port at every other one of the range.
fn in_connect(scene: &Scene, victim: &Victim) -> Duration {
    let rows = mine(scene, victim, &catalog::SYSCALL_CPU).filter(|row| row.labels.get("syscall") == "connect");
    Duration::try_from_secs_f64(rows.map(Series::last).sum()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnose,
        testing::{System, all, one},
    };
    use TimeClass::{BlockedSleep, RunningKernel};
    use observe::TimeClass;

    const PEER: &str = "10.0.0.2:80";

    fn client(failed: f64, made: u64) -> System {
        let labels = [("pid", "10"), ("peer", PEER)];
        System::new()
            .thread(10, "poller", &[(RunningKernel, 3.0), (BlockedSleep, 6.0)])
            .wait(10, BlockedSleep, "clock_nanosleep", "timer", None, 6.0, 60)
            .after_failure()
            .calls(10, "connect", made + failed as u64, 2.5, 0.0)
            .failures(10, "connect", NO_PORT, PEER, failed as u64)
            .total(&catalog::TCP_CONNECT_FAILED, &[labels[0], labels[1], ("why", NO_PORT)], failed)
            .durations(&catalog::TCP_CONNECT, &labels, &[(made, 0.3)])
            .fact("net.ipv4.ip_local_port_range", "32768 60999")
            .target(10)
    }

    #[test]
    fn as_many_connections_as_there_are_ports() {
        let rec = client(5000.0, 4000).build();
        let finding = one(&rec, "net.ports");
        assert_eq!((finding.culprit.kind.as_str(), finding.confidence), ("setting", Confidence::Likely));
        assert_eq!(diagnose(&rec, &[]).findings[0].cause, "net.ports");
    }

    #[test]
    fn an_address_that_is_not_there_may_be_it() {
        assert_eq!(one(&client(60.0, 0).build(), "net.ports").confidence, Confidence::Possible);
        assert!(all(&client(3.0, 4000).build(), "net.ports").is_empty(), "a hiccup");
        assert!(all(&client(0.0, 4000).build(), "net.ports").is_empty());
    }

    fn counted(used: &str, range: &str) -> System {
        let of = |what| [("namespace", "7"), ("what", what)];
        let number = |text: &str| text.parse().unwrap();
        client(60.0, 0).total(&catalog::TCP_PORTS, &of("range"), number(range)).total(
            &catalog::TCP_PORTS,
            &of("used"),
            number(used),
        )
    }

    #[test]
    fn a_namespace_without_a_port_left_tells() {
        let rec = counted("200", "200").build();
        assert_eq!(one(&rec, "net.ports").confidence, Confidence::Likely);
        assert_eq!(diagnose(&rec, &[]).findings[0].cause, "net.ports");
        assert_eq!(one(&counted("20", "200").build(), "net.ports").confidence, Confidence::Possible);
    }

    #[test]
    fn an_address_that_is_in_use_has_no_port_left() {
        let till = |used: f64| {
            System::new()
                .thread(10, "till", &[(RunningKernel, 0.1)])
                .wait(10, TimeClass::BlockedIdle, "ppoll", "descriptors", None, 9.0, 450)
                .calls(10, "bind", 450, 0.01, 0.0)
                .failures(10, "bind", IN_USE, "", 450)
                .total(&catalog::TCP_PORTS, &[("namespace", "7"), ("what", "range")], 200.0)
                .total(&catalog::TCP_PORTS, &[("namespace", "7"), ("what", "used")], used)
                .target(10)
                .build()
        };
        let finding = one(&till(203.0), "net.ports");
        assert!(finding.confidence == Confidence::Likely && finding.share.0 > 0.9, "{finding:#?}");
        assert!(all(&till(3.0), "net.ports").is_empty(), "another listens there");
    }
}
