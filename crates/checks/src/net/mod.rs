//! The network: what is lost, refused, dropped or held up, and who feels it.

pub(crate) mod connect;
pub(crate) mod dns;
pub(crate) mod drops;
pub(crate) mod listen_queue;
pub(crate) mod nic_errors;
pub(crate) mod retransmits;
pub(crate) mod rtt;
#[cfg(test)]
mod testing;
pub(crate) mod windows;

use crate::{
    counter::Growth,
    lost::{ENOUGH, FELT, full_ledger, is_ordinary},
};
use observe::{Labels, Observed, Pid, Ratio, Recording, Series, Wait, catalog, catalog::Metric};
use std::time::Duration;

/// DSLReports: up to this part of all segments sent again is fine.
const FEW_RETRANSMITS: Ratio = Ratio(0.01);

/// Netdata: dropped packets are judged from here on.
const MIN_PACKETS: f64 = 10_000.0;

/// A counter of the protocols.
fn protocol(rec: &Recording, protocol: &str, counter: &str) -> Observed<Growth> {
    Growth::find(rec, &catalog::NET_PROTOCOL, &[("protocol", protocol), ("counter", counter)])
}

/// Segments sent again, as a part of all that were sent.
fn retransmitted(rec: &Recording) -> Observed<(Growth, Ratio)> {
    let again = protocol(rec, "Tcp", "RetransSegs")?;
    let sent = protocol(rec, "Tcp", "OutSegs")?;
    // The kernel leaves segments that are sent again out of those that are sent.
    Ok((again, Ratio::of_counts(again.by, sent.by + again.by)))
}

/// The connections for which an ordinary process stood still longest.
fn stood_still(rec: &Recording) -> Option<&Series> {
    let rows = rec.get(&catalog::TCP_RTO_WAIT).ok()?.iter();
    let theirs = rows.filter(|row| row.last() > 0.0 && is_somebodys(rec, &row.labels));
    theirs.max_by(|a, b| a.last().total_cmp(&b.last()))
}

/// `api (pid 7)`; `a process that is gone` when nobody is known to hold the socket.
fn who(rec: &Recording, labels: &Labels) -> String {
    match labels.pid() {
        Some(pid) => format!("{} (pid {pid})", rec.process_name(pid)),
        None => "a process that is not known".to_owned(),
    }
}

/// Neither friday's nor a kernel thread's. A socket without a known owner is somebody's.
fn is_somebodys(rec: &Recording, labels: &Labels) -> bool {
    labels.pid().is_none_or(|pid| is_ordinary(rec, pid))
}

/// The value of a total with these labels and one more; zero when there is none.
fn total(rec: &Recording, metric: &Metric<Series>, like: &Labels, more: (&str, &str)) -> f64 {
    let same = |row: &&Series| {
        ["pid", "local_port", "peer"].iter().all(|name| row.labels.get(name) == like.get(name))
            && row.labels.get(more.0) == more.1
    };
    rec.get(metric).ok().and_then(|rows| rows.iter().find(same)).map_or(0.0, Series::last)
}

/// Time that an ordinary process was blocked on some waits for the network or its other end; zero when it is not known.
fn waited(rec: &Recording, pid: Option<Pid>, is: impl Fn(&Wait) -> bool) -> Duration {
    let Some(pid) = pid.filter(|pid| is_ordinary(rec, *pid) && full_ledger(rec).is_ok()) else { return Duration::ZERO };
    let waits = rec.get(&catalog::WAITS).into_iter().flatten();
    waits.filter(|wait| wait.pid == pid && is(wait)).map(|wait| wait.time).sum()
}

/// Waits on one connection, by its other end, or by its port where this end is the server.
fn is_on(wait: &Wait, labels: &Labels) -> bool {
    let Some(end) = wait.end() else { return false };
    end == labels.get("peer") || end.strip_prefix("port ").is_some_and(|port| port == labels.get("local_port"))
}

/// A sum that is zero, not minus zero, when there is nothing.
fn sum(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |all, value| all + value)
}

/// Whether a time is felt as a part of the window.
fn is_felt(rec: &Recording, time: Duration) -> bool {
    Ratio::of(time, rec.window.length) >= FELT
}

/// Whether a time is more than a trifle.
fn is_noticed(rec: &Recording, seconds: f64) -> bool {
    Ratio::of_counts(seconds, rec.window.length.as_secs_f64()) >= ENOUGH
}
