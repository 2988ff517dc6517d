//! # The device answers slowly without being busy
//!
//! **Speaks for it:** the victim waits for a device whose typical request takes long, while hardly any are in flight: nobody
//! is queued before it. Or the device is busy all the time with less than any healthy one does.
//! **Speaks against it:** a queue, for which others or the victim itself are to blame (`disk.saturated`); a few slow requests
//! among fast ones (`disk.outliers`); a limit that holds requests back before they reach it (`disk.throttled`).
//! **Experiment:** paced small direct reads of the idle device are as slow.

use crate::{
    Cause, Draft, Effect, Party, Scene, Victim,
    cause::{grade, how_much},
    devices,
    path::{Removes, Waits},
};
use checks::Evidence;
use observe::{Histogram, Ratio, TimeClass};
use std::time::Duration;

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "disk.slow",
    frozen: Effect::None,
    root_of: &["cache.misses", "mem.major-faults", "disk.saturated", "fs.metadata"],
    judge,
};

/// Netdata: mean.
pub const SLOW: Duration = Duration::from_millis(10);

/// Half of that must be what every second request takes: a mean alone may be the work of a few.
pub const TYPICAL: Duration = Duration::from_millis(5);

/// ours: with no more than so many in flight, nobody waits long for others.
pub const NO_QUEUE: f64 = 2.0;

/// ours: fewer requests say little of a device.
pub const ENOUGH: u64 = 20;

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let waits = |device| devices::waits(scene, victim, device).filter(|wait| wait.class != TimeClass::BlockedFs);
    let Some(device) = devices::of(scene, victim) else { return Vec::new() };
    let blocked: Duration = waits(&device).map(|wait| wait.time).sum();
    let Some(confidence) = grade(scene, victim, blocked) else { return Vec::new() };
    let (busy, queue) = devices::load(scene.rec, &device);
    let requests = devices::latency(scene, &device, |pid| victim.contains(pid)).filter(|h| h.count >= ENOUGH);
    let median = requests.and_then(|h| h.quantile_time(Ratio(0.5)));
    let mean = requests.map(Histogram::mean_time).or_else(|| devices::mean(scene.rec, &device));
    let slow = mean.is_some_and(|mean| mean >= SLOW) && median.is_none_or(|median| median >= TYPICAL);
    let crawl = devices::crawls(scene.rec, &device);
    let Some(mean) = mean.filter(|_| slow && (queue <= NO_QUEUE || crawl.is_some())) else { return Vec::new() };
    let how = match crawl.filter(|_| queue > NO_QUEUE) {
        Some(crawl) => format!("does no more than {:.0} requests and {} a second", crawl.requests, crawl.bytes),
        None => "answers slowly without being busy".to_owned(),
    };
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let count: u64 = waits(&device).map(|wait| wait.count).sum();
    let mut evidence = vec![
        Evidence::new("ledger: blocked on the device", blocked.as_secs_f64(), "s").at("recording/waits.parquet"),
        Evidence::new(format!("{device}: mean from issue to completion"), ms(mean), "ms")
            .against(format!("> {} ms (Netdata)", ms(SLOW)))
            .at("recording/histograms.parquet"),
        Evidence::new(format!("/proc/diskstats: {device} mean queue length"), queue, "requests")
            .against(format!("< {NO_QUEUE}"))
            .at("recording/series.parquet"),
        Evidence::new(format!("/proc/diskstats: {device} busy"), busy.0 * 100.0, "%").at("recording/series.parquet"),
    ];
    if let Some((median, p99)) = median.zip(requests.and_then(|h| h.quantile_time(Ratio(0.99)))) {
        evidence.push(Evidence::new(format!("{device}: median"), ms(median), "ms").at("recording/histograms.parquet"));
        evidence.push(Evidence::new(format!("{device}: p99"), ms(p99), "ms").at("recording/histograms.parquet"));
    }
    vec![Draft {
        confidence,
        time: blocked,
        summary: format!(
            "{} waits for disk {device}, which {how}, for {}: {:.1} ms a request on average with {queue:.1} in flight, over \
             {count} waits.",
            victim.label(),
            how_much(victim, blocked),
            ms(mean),
        ),
        culprit: Party {
            kind: "device".into(),
            pid: None,
            name: device.clone(),
            detail: Some(format!("{:.1} ms a request", ms(mean))),
        },
        evidence,
        codepath: Vec::new(),
        next: vec![
            format!(
                "see what is behind {device}: lsblk -s /dev/{device}, smartctl -a, dmesg; for a volume, its provider's metrics"
            ),
            "or wait less for it: read ahead, many requests at once, a cache in memory, a faster device".to_owned(),
        ],
        removes: Removes::Waits(Waits {
            classes: vec![TimeClass::BlockedDisk, TimeClass::BlockedMemory],
            resources: [format!("disk:{device}"), "disk".to_owned(), super::MAJOR_FAULT.to_owned()].to_vec(),
            ..Waits::default()
        }),
        descriptive: false,
    }]
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

    fn index(resource: &str, times: &[(u64, f64)], queue: f64) -> System {
        System::new()
            .thread(10, "index", &[(RunningUser, 1.0), (BlockedDisk, 8.0)])
            .wait(10, BlockedDisk, "pread64", resource, None, 8.0, 700)
            .disk("loop0", 0.9, queue)
            .issued(10, "loop0", 8.0)
            .durations(&catalog::BLOCK_LATENCY, &[("device", "loop0"), ("direction", "read")], times)
            .target(10)
    }

    #[test]
    fn a_slow_device_without_a_queue_is_the_culprit() {
        for resource in ["disk:loop0", "disk"] {
            let finding = one(&index(resource, &[(700, 12.0)], 0.9).build(), "disk.slow");
            assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("loop0", Confidence::Likely));
            assert!((finding.share.0 - 8.0 / 9.0).abs() < 0.01);
        }
    }

    #[test]
    fn a_queue_a_fast_device_and_a_few_slow_ones_are_other_stories() {
        for (times, queue) in [(&[(700, 12.0)][..], 6.0), (&[(700, 9.0)], 0.9), (&[(680, 0.2), (20, 400.0)], 0.9)] {
            assert!(all(&index("disk:loop0", times, queue).build(), "disk.slow").is_empty(), "{times:?} {queue}");
        }
    }

    #[test]
    fn a_queue_before_a_device_that_does_hardly_anything_is_its_fault() {
        let read = |requests: f64| {
            let labels = [("device", "loop0"), ("direction", "read")];
            let system = index("disk:loop0", &[(60, 250.0)], 3.0).disk("loop0", 0.99, 3.0);
            let system = system.grows(&catalog::DISK_OPERATIONS, &labels, requests);
            system.grows(&catalog::DISK_IO, &labels, requests * 1e6).build()
        };
        let finding = one(&read(60.0), "disk.slow");
        assert!(finding.summary.contains("no more than 6 requests and 5.7 MiB a second"), "{}", finding.summary);
        assert!(all(&read(60.0), "disk.saturated").is_empty());
        assert!(all(&read(6000.0), "disk.slow").is_empty());
    }

    #[test]
    fn a_mapped_device_is_known_by_its_counters() {
        let operations = [("device", "dm-0"), ("direction", "read")];
        let rec = System::new()
            .thread(10, "index", &[(RunningUser, 1.0), (BlockedDisk, 8.0)])
            .wait(10, BlockedDisk, "pread64", "disk:dm-0", None, 8.0, 300)
            .disk("dm-0", 0.8, 0.8)
            .grows(&catalog::DISK_OPERATIONS, &operations, 320.0)
            .target(10)
            .build();
        assert!(one(&rec, "disk.slow").summary.contains("25.0 ms a request"));
    }
}
