//! Thursday: how is latency distributed, with which outliers?

use crate::Seen;
use observe::{Histogram, Pid, Ratio, catalog};
use std::time::Duration;

/// One line each for the run queue, block devices and the slowest system call of the target, and the outliers.
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

fn show(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} µs", s * 1e6),
    }
}
