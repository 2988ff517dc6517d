//! # The device's mean is fine and its tail is not
//!
//! **Speaks for it:** a few requests take ten times as long as the typical one or longer, and hold most of the time that all
//! of them take; the victim's longest waits hold its time alike.
//! **Speaks against it:** a queue, in which some requests wait longer than others; a device that is slow as a rule
//! (`disk.slow`).
//! **Experiment:** none; the distribution is the proof.

use super::disk_slow::{ENOUGH, NO_QUEUE, TYPICAL};
use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{grade, how_much},
    devices,
    path::Removes,
};
use checks::Evidence;
use observe::{Histogram, Ratio, TimeClass, Wait};
use std::time::Duration;

/// Stands in the registry.
pub const CAUSE: Cause =
    Cause { id: "disk.outliers", frozen: Effect::None, root_of: &["cache.misses", "mem.major-faults"], judge };

/// ours: from so many times the typical request on, a request is an outlier.
const TIMES: u32 = 10;

/// ours: when they hold less than this part of the time of all requests, the others are the story.
const MOST: Ratio = Ratio(0.5);

/// ours: fewer may be one hiccup.
const PATTERN: u64 = 5;

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let Some(device) = devices::of(scene, victim) else { return Vec::new() };
    let (_, queue) = devices::load(scene.rec, &device);
    let requests = devices::latency(scene, &device, |pid| victim.contains(pid)).filter(|h| h.count >= ENOUGH);
    let Some(requests) = requests.filter(|_| queue <= NO_QUEUE) else { return Vec::new() };
    let Some(median) = requests.quantile_time(Ratio(0.5)).filter(|median| *median < TYPICAL) else { return Vec::new() };
    let tail = Tail::of(requests, median);
    // What the victim's waits take beyond the typical request, where its longest are outliers.
    let hit = |wait: &&Wait| wait.class == TimeClass::BlockedDisk && wait.longest >= median * TIMES;
    let waits: Vec<&Wait> = devices::waits(scene, victim, &device).filter(hit).collect();
    let beyond = |wait: &&Wait| wait.time.saturating_sub(median.mul_f64(wait.count as f64));
    let time: Duration = waits.iter().map(beyond).sum();
    let Some(mut confidence) = grade(scene, victim, time).filter(|_| tail.part >= MOST) else { return Vec::new() };
    if tail.count < PATTERN {
        confidence = Confidence::Possible;
    }
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let longest = waits.iter().map(|wait| wait.longest).max().unwrap_or_default();
    let evidence = |which: &str, value, unit: &str| {
        Evidence::new(format!("block_rq_issue to block_rq_complete, {device}: {which}"), value, unit)
            .at("recording/histograms.parquet")
    };
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} waits {} for a few slow requests of disk {device}: {} of {} took {TIMES} times the typical {:.2} ms or \
             longer, up to {:.0} ms, and held {} of the time of all; its own longest wait took {:.0} ms.",
            victim.label(),
            how_much(victim, time),
            tail.count,
            requests.count,
            ms(median),
            ms(Duration::from_nanos(requests.max)),
            tail.part,
            ms(longest),
        ),
        culprit: Party {
            kind: "device".into(),
            pid: None,
            name: device.clone(),
            detail: Some(format!(
                "median {:.2} ms, longest {:.0} ms",
                ms(median),
                ms(Duration::from_nanos(requests.max))
            )),
        },
        evidence: vec![
            evidence("median", ms(median), "ms"),
            evidence("mean", ms(requests.mean_time()), "ms"),
            evidence("p99.9", requests.quantile_time(Ratio(0.999)).map_or(0.0, ms), "ms")
                .against(format!("> {TIMES} times the median")),
            evidence("time held by outliers", tail.part.0 * 100.0, "%").against(format!("> {MOST}")),
            Evidence::new("ledger: blocked beyond the typical request", time.as_secs_f64(), "s")
                .at("recording/waits.parquet"),
        ],
        codepath: Vec::new(),
        next: vec![
            format!("see when they come, and what the device reports: biolatency, smartctl -a, dmesg | grep {device}"),
            "retries, garbage collection inside the device, and a volume's burst limit look like this".to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    }]
}

/// The requests that take many times as long as the typical one.
struct Tail {
    count: u64,
    /// Of the time of all requests.
    part: Ratio,
}

impl Tail {
    fn of(all: &Histogram, median: Duration) -> Self {
        let from = (median * TIMES).as_nanos() as u64;
        let (short, long): (Vec<_>, Vec<_>) = all.buckets.iter().partition(|bucket| bucket.low < from);
        let middle = |bucket: &&observe::Bucket| bucket.count as f64 * (bucket.low + bucket.high) as f64 / 2.0;
        let short: f64 = short.iter().map(middle).sum();
        Tail {
            count: long.iter().map(|bucket| bucket.count).sum(),
            part: Ratio::of_counts((all.sum as f64 - short).max(0.0), all.sum as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        Confidence,
        testing::{System, all, one},
    };
    use observe::{
        TimeClass::{BlockedDisk, RunningUser},
        catalog,
    };

    fn index(times: &[(u64, f64)], queue: f64) -> System {
        let blocked = times.iter().map(|(count, ms)| *count as f64 * ms / 1e3).sum();
        let count: u64 = times.iter().map(|(count, _)| count).sum();
        let longest = times.iter().map(|(_, ms)| *ms).fold(0.0, f64::max);
        System::new()
            .thread(10, "index", &[(RunningUser, 1.0), (BlockedDisk, blocked)])
            .wait(10, BlockedDisk, "pread64", "disk:loop0", None, blocked, count)
            .longest(longest)
            .disk("loop0", 0.9, queue)
            .durations(&catalog::BLOCK_LATENCY, &[("device", "loop0"), ("direction", "read")], times)
            .target(10)
    }

    #[test]
    fn the_device_whose_tail_holds_the_time_is_the_culprit() {
        let finding = one(&index(&[(4000, 0.2), (20, 250.0)], 0.9).build(), "disk.outliers");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("loop0", Confidence::Likely));
        assert!(finding.summary.contains("20 of 4020"), "{}", finding.summary);
    }

    #[test]
    fn one_hiccup_is_only_possible() {
        let rec = index(&[(4000, 0.2), (2, 900.0)], 0.9).build();
        assert_eq!(one(&rec, "disk.outliers").confidence, Confidence::Possible);
    }

    #[test]
    fn a_queue_a_short_tail_and_a_slow_device_are_other_stories() {
        for (times, queue) in [
            (&[(4000, 0.2), (20, 250.0)][..], 9.0),
            (&[(4000, 0.8), (20, 20.0)], 0.9),
            (&[(500, 12.0), (20, 250.0)], 0.9),
        ] {
            assert!(all(&index(times, queue).build(), "disk.outliers").is_empty(), "{times:?} {queue}");
        }
    }
}
