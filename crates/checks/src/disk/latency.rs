//! # Do disks answer slowly?
//!
//! **Measures** the time from issue to completion of a request, by disk and direction.
//! **Matters** because a read stops its thread, and a flush stops whoever called fsync.
//! **Misleads** for writes in the background, which nobody awaits, for discards (left out), and over few requests.
//! **Confirm** by paced 4 KiB direct reads on the idle disk (`--allow load`).

use crate::{Check, Evidence, Light, Verdict, counter::Growth, disk::lost_to};
use observe::{Absent, Histogram, Observed, Ratio, Recording, catalog};
use std::{cmp::Reverse, time::Duration};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "disk.latency",
    group: "block devices",
    question: "Do disks answer slowly?",
    source: include_str!("latency.rs"),
    judge,
};

/// Netdata: mean.
const SLOW: Duration = Duration::from_millis(10);

/// awesome-prometheus-alerts (there of the mean): as a 99th percentile, one in a hundred that a person notices.
const SLOW_P99: Duration = Duration::from_millis(100);

/// ours: a 99th percentile of fewer requests is one request.
const MIN_REQUESTS: u64 = 100;

fn judge(rec: &Recording) -> Observed<Verdict> {
    let rows: Vec<&Histogram> = rec
        .get(&catalog::BLOCK_LATENCY)?
        .iter()
        .filter(|h| h.count > 0 && matches!(h.labels.get("direction"), "read" | "write" | "flush"))
        .collect();
    let known: Vec<&str> = rows.iter().map(|h| h.labels.get("device")).collect();
    let judged = rows.iter().map(|h| (light(rec, h, &known), *h));
    // The worst light, then the most waiting.
    let Some(((light, victim), worst)) = judged.max_by_key(|((light, _), h)| (*light, h.sum, Reverse(&h.labels)))
    else {
        return nothing(rec);
    };
    let p99 = worst.quantile_time(Ratio(0.99)).unwrap_or_default();
    let what = format!("{} {}", worst.labels.get("device"), worst.labels.get("direction"));
    let few = if worst.count < MIN_REQUESTS { " (too few to call it slow)" } else { "" };
    let mut why = format!(
        "{what}: mean {:.2} ms, p99 {:.2} ms over {} requests{few}, {} lost; the worst of {} disks and directions",
        ms(worst.mean_time()),
        ms(p99),
        worst.count,
        rec.cost.lost_events,
        rows.len(),
    );
    if let Some(victim) = victim {
        why += &format!("; {victim}");
    }
    let evidence = |which: &str, value, threshold| {
        Evidence::new(format!("block_rq_issue to block_rq_complete, {what}: {which}"), ms(value), "ms")
            .against(format!("> {} ms", ms(threshold)))
            .at("recording/histograms.parquet")
    };
    Ok(Verdict {
        light,
        why,
        evidence: vec![evidence("mean", worst.mean_time(), SLOW), evidence("p99", p99, SLOW_P99)],
    })
}

/// The light of one distribution, and who waits.
fn light(rec: &Recording, h: &Histogram, known: &[&str]) -> (Light, Option<String>) {
    if h.count < MIN_REQUESTS {
        return (Light::Good, None);
    }
    if h.mean_time() > SLOW {
        let lost = lost_to(rec, h.labels.get("device"), known).ok();
        let victim = lost.as_ref().and_then(|lost| lost.felt()).map(|loss| loss.text());
        return (if victim.is_some() { Light::Bad } else { Light::Maybe }, victim);
    }
    let tail = h.quantile_time(Ratio(0.99)).is_some_and(|p99| p99 > SLOW_P99);
    (if tail { Light::Maybe } else { Light::Good }, None)
}

/// No request seen: good only when the disks' own counters agree.
fn nothing(rec: &Recording) -> Observed<Verdict> {
    let mut completed = 0.0;
    for row in rec.get(&catalog::DISK_OPERATIONS)? {
        if row.labels.get("direction") != "discard" {
            completed += Growth::of(row)?.by;
        }
    }
    if completed > 0.0 {
        return Err(Absent::Failed(format!("disks completed {completed:.0} requests that no tracepoint showed")));
    }
    Ok(Verdict { light: Light::Good, why: "no request reached a disk".into(), evidence: Vec::new() })
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};
    use observe::TimeClass;

    fn sizes(sizes: &[(u64, f64)]) -> Machine {
        Machine::new().sizes(&catalog::BLOCK_LATENCY, &[("device", "vda"), ("direction", "read")], sizes)
    }

    #[test]
    fn boundaries() {
        assert_eq!(light(&CHECK, &sizes(&[(100, 10.0)])), Light::Good);
        assert_eq!(light(&CHECK, &sizes(&[(100, 10.1)])), Light::Maybe);
        assert_eq!(light(&CHECK, &sizes(&[(99, 500.0)])), Light::Good, "too few");
        assert_eq!(light(&CHECK, &sizes(&[(980, 1.0), (20, 100.0)])), Light::Good);
        assert_eq!(light(&CHECK, &sizes(&[(980, 1.0), (20, 101.0)])), Light::Maybe, "the tail");
        assert_eq!(light(&CHECK, &sizes(&[(995, 1.0), (5, 101.0)])), Light::Good, "less than one in a hundred");
    }

    #[test]
    fn bad_when_somebody_waits_for_this_disk() {
        let waits = |disk, is_kernel| {
            let times = [(TimeClass::RunningUser, 2.0), (TimeClass::BlockedDisk, 8.0)];
            let machine = sizes(&[(500, 20.0)])
                .thread(7, "db", &times)
                .wait(7, TimeClass::BlockedDisk, disk, None, 8.0, 500)
                .histogram(&catalog::BLOCK_LATENCY, &[("device", "vdb"), ("direction", "read")], 500, 1.0);
            light(&CHECK, &if is_kernel { machine.kernel(7) } else { machine })
        };
        assert_eq!(waits("disk:vda", false), Light::Bad);
        assert_eq!(waits("disk:dm-0", false), Light::Bad, "a device mapped onto it");
        assert_eq!(waits("disk:vdb", false), Light::Maybe);
        assert_eq!(waits("disk:vda", true), Light::Maybe, "a kernel thread");
    }

    #[test]
    fn no_request_is_good_only_when_the_counters_agree() {
        let mut machine = Machine::new();
        machine.rec.set(&catalog::BLOCK_LATENCY, Ok(Vec::new()));
        assert_eq!(light(&CHECK, &machine), Light::Untested);
        assert_eq!(light(&CHECK, &machine.disk("vda", 0.0, 0.0, 0.0)), Light::Good);
        let mut machine = Machine::new().disk("vda", 0.1, 0.1, 10.0);
        machine.rec.set(&catalog::BLOCK_LATENCY, Ok(Vec::new()));
        assert_eq!(light(&CHECK, &machine), Light::Untested);
    }
}
