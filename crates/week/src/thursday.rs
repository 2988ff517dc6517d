//! Thursday: how is latency distributed, with which outliers?

use crate::{Seen, requests};
use case::RequestRow;
use observe::{Histogram, Pid, Ratio, catalog};
use std::time::Duration;

/// ours: services that are named, the busiest.
const MOST_SERVICES: usize = 3;

/// One line each for the run queue, the busiest services, block devices and the slowest system call of the target, and
/// the outliers.
pub(crate) fn known(seen: &Seen) -> Vec<String> {
    let rec = seen.rec;
    let mut known = Vec::new();
    let of_interest = |pid: Option<Pid>| match pid {
        Some(pid) => !rec.is_friday(pid) && (!rec.target.is_named() || rec.target.contains(pid)),
        None => !rec.target.is_named(),
    };
    if let Ok(rows) = rec.get(&catalog::RUN_QUEUE_WAIT) {
        let mut all = Histogram::default();
        rows.iter().filter(|h| of_interest(h.labels.pid())).for_each(|h| all.merge(h));
        known.extend(line("run-queue latency", &all));
    }
    known.extend(requests::services(rec).iter().filter(|row| row.count > 0).take(MOST_SERVICES).map(requests_line));
    for hist in rec.get(&catalog::BLOCK_LATENCY).into_iter().flatten() {
        let what = format!("{} {} latency", hist.labels.get("device"), hist.labels.get("direction"));
        known.extend(line(&what, hist));
    }
    if rec.target.is_named()
        && let Ok(rows) = rec.get(&catalog::SYSCALL_TIME)
    {
        let mut calls: Vec<&Histogram> = rows.iter().filter(|h| of_interest(h.labels.pid())).collect();
        calls.sort_by_key(|h| (std::cmp::Reverse(h.sum), h.labels.clone()));
        for hist in calls.into_iter().take(3) {
            known.extend(line(&format!("{} latency", hist.labels.get("syscall")), hist));
        }
    }
    let outliers: Vec<String> = [
        (&catalog::SLOW_RUN_QUEUE, "waits for a CPU"),
        (&catalog::SLOW_BLOCK_IO, "block requests"),
        (&catalog::SLOW_SYSCALL, "system calls"),
    ]
    .into_iter()
    .filter_map(|(metric, what)| {
        let events = rec.get(metric).ok()?.iter().filter(|e| of_interest(e.pid));
        let (count, worst) = events.fold((0u64, 0.0f64), |(n, worst), e| (n + 1, worst.max(e.value)));
        (count > 0).then(|| format!("{count} {what} (slowest {})", show(Duration::from_secs_f64(worst))))
    })
    .collect();
    if !outliers.is_empty() {
        known.push(format!("outliers: {}", outliers.join(", ")));
    }
    known
}

fn line(what: &str, hist: &Histogram) -> Option<String> {
    let quantile = |part| hist.quantile_time(Ratio(part)).map(show);
    Some(format!(
        "{what}: p50 {}, p99 {}, max {} over {}",
        quantile(0.5)?,
        quantile(0.99)?,
        show(Duration::from_nanos(hist.max)),
        hist.count
    ))
}

/// `requests on port 6379 (redis-server): 81,000/s, p50 …, p99 …; of that 60 % queued, 40 % running; …`.
fn requests_line(row: &RequestRow) -> String {
    let seconds = |value: f64| show(Duration::try_from_secs_f64(value).unwrap_or_default());
    let place = if row.path.is_empty() { format!("port {}", row.port) } else { row.path.clone() };
    let rate = if row.rate < 10.0 { format!("{:.1}", row.rate) } else { grouped(row.rate.round() as u64) };
    let mut line = format!(
        "requests on {place} ({}): {rate}/s, p50 {}, p99 {}",
        row.service,
        seconds(row.p50_s),
        seconds(row.p99_s)
    );
    let parts: Vec<String> = ["queued", "running", "runnable", "blocked", "elsewhere"]
        .into_iter()
        .filter_map(|part| Some((part, *row.shares.get(part)?)))
        .filter(|(_, share)| *share >= LEAST_SHARE)
        .map(|(part, share)| format!("{} {part}", Ratio(share)))
        .collect();
    if !parts.is_empty() {
        line += &format!("; of that {}", parts.join(", "));
    }
    if let Some(upstream) = row.upstreams.first().filter(|upstream| upstream.count > 0) {
        let server = if upstream.server.is_empty() { String::new() } else { format!(" ({})", upstream.server) };
        let share = Ratio::of_counts(upstream.seconds, row.seconds);
        line += &format!("; {}{server} was asked meanwhile for {share} of it", upstream.peer);
    }
    if let (1.., Some(oldest)) = (row.in_flight, row.oldest_s) {
        line += &format!("; {} in flight at the end, for up to {}", grouped(row.in_flight), seconds(oldest));
    }
    line
}

/// ours: less is not worth a word in a line.
const LEAST_SHARE: f64 = 0.005;

fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group).into_owned());
    groups.collect::<Vec<_>>().join(",")
}

fn show(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} µs", s * 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use case::UpstreamRow;

    #[test]
    fn a_service_has_a_line() {
        let shares = [("queued", 0.6), ("running", 0.398), ("blocked", 0.002)];
        let mut row = RequestRow {
            service: "redis-server".into(),
            port: 6379,
            rate: 81_000.4,
            count: 1,
            p50_s: 0.00021,
            p99_s: 0.0012,
            seconds: 2.0,
            shares: shares.map(|(part, share)| (part.to_owned(), share)).into(),
            ..RequestRow::default()
        };
        let line =
            "requests on port 6379 (redis-server): 81,000/s, p50 210 µs, p99 1.2 ms; of that 60 % queued, 40 % running";
        assert_eq!(requests_line(&row), line);
        row.upstreams =
            vec![UpstreamRow { peer: "10.0.0.2:80".into(), count: 3, seconds: 0.5, ..UpstreamRow::default() }];
        (row.in_flight, row.oldest_s) = (2, Some(3.0));
        let more = "; 10.0.0.2:80 was asked meanwhile for 25 % of it; 2 in flight at the end, for up to 3.00 s";
        assert_eq!(requests_line(&row), format!("{line}{more}"));
    }
}
