//! # Dirty pages are throttled: the writer waits until others of its pages are on disk
//!
//! **Speaks for it:** time in which the kernel paused a writer because too much was dirty, or had it wait for a page that was
//! being written, outside of any sync of its own.
//! **Speaks against it:** fsync and O_SYNC, which wait because they were asked to (`disk.sync-writes`); reclaim that waits for
//! writeback, which is want of memory.
//! **Experiment:** raising `vm.dirty_ratio` for a while; stopping who else writes to the device.

use super::disk_sync_writes::is_sync;
use crate::{
    Cause, Draft, Effect, Party, Scene, Victim,
    cause::{grade, how_much},
    code::path,
    devices,
    path::{Removes, Waits},
};
use checks::Evidence;
use observe::{Bytes, Series, TimeClass, Wait, catalog};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Stands in the registry.
pub const CAUSE: Cause =
    Cause { id: "fs.writeback", frozen: Effect::None, root_of: &["disk.saturated", "lock.kernel"], judge };

/// Where writers are paused, and where they wait for a page under way.
const PLACES: &[&str] = &[
    "balance_dirty_pages",
    "folio_wait_writeback",
    "wait_on_page_writeback",
    "folio_wait_stable",
    "wait_for_stable_page",
];

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let waits: Vec<&Wait> = victim.waits(scene).filter(|wait| is_throttled(scene, wait)).collect();
    let time: Duration = waits.iter().map(|wait| wait.time).sum();
    let Some(confidence) = grade(scene, victim, time) else { return Vec::new() };
    let Some(heaviest) = waits.iter().max_by_key(|wait| wait.time) else { return Vec::new() };
    let file = file(&waits);
    let device = file.and_then(|file| devices::under(scene.rec, file)).map(|(_, device)| device.to_owned());
    let Some(device) = device.or_else(|| devices::of(scene, victim)) else { return Vec::new() };
    let count: u64 = waits.iter().map(|wait| wait.count).sum();
    let longest = waits.iter().map(|wait| wait.longest).max().unwrap_or_default();
    let most = |state: &str| {
        let rows = scene.rec.get(&catalog::MEMORY).unwrap_or_default().iter();
        Bytes(rows.filter(|row| row.labels.get("state") == state).map(Series::max).fold(0.0, f64::max) as u64)
    };
    let (dirty, under_way) = (most("dirty"), most("writeback"));
    let settings = ["vm.dirty_ratio", "vm.dirty_bytes", "vm.dirty_background_ratio"]
        .into_iter()
        .filter_map(|name| Some(format!("{name} {}", scene.fact(name).filter(|value| *value != "0")?)));
    let settings: Vec<String> = settings.collect();
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} is paused while it writes, until {device} has taken what is dirty, for {}: {count} pauses, the longest {:.0} \
             ms{}.",
            victim.label(),
            how_much(victim, time),
            longest.as_secs_f64() * 1e3,
            file.map_or_else(String::new, |file| format!(", mostly for {file}")),
        ),
        culprit: Party { kind: "device".into(), pid: None, name: device.clone(), detail: file.map(str::to_owned) },
        evidence: vec![
            Evidence::new("sched_switch: blocked in balance_dirty_pages or for writeback", time.as_secs_f64(), "s")
                .at("recording/waits.parquet"),
            Evidence::new("/proc/meminfo Dirty, at most", dirty.0 as f64, "bytes").at("recording/series.parquet"),
            Evidence::new("/proc/meminfo Writeback, at most", under_way.0 as f64, "bytes")
                .at("recording/series.parquet"),
            Evidence::new(
                format!("/proc/diskstats: {device} busy"),
                devices::load(scene.rec, &device).0.0 * 100.0,
                "%",
            )
            .at("recording/series.parquet"),
        ],
        codepath: path(scene.rec, &heaviest.stack),
        next: vec![
            format!("write less or more evenly to {device}; a faster device; keep others from writing to it"),
            match settings.is_empty() {
                true => {
                    "see what may be dirty: sysctl vm.dirty_ratio vm.dirty_bytes; /sys/class/bdi/*/max_ratio".to_owned()
                }
                false => format!(
                    "more may be dirty, if the bursts are short: now {}; /sys/class/bdi/*/max_ratio",
                    settings.join(", ")
                ),
            },
        ],
        removes: Removes::Waits(Waits {
            classes: vec![TimeClass::BlockedFs],
            syscalls: waits.iter().map(|w| w.syscall.clone()).collect::<BTreeSet<_>>().into_iter().collect(),
            ..Waits::default()
        }),
        descriptive: false,
    }]
}

fn is_throttled(scene: &Scene, wait: &Wait) -> bool {
    let place = |name: &str| PLACES.iter().any(|place| name.starts_with(place));
    wait.class == TimeClass::BlockedFs
        && !is_sync(scene, wait)
        && wait.stack.iter().any(|id| place(&scene.rec.frame(*id).name))
}

/// The file that most of the time was spent on.
fn file<'w>(waits: &[&'w Wait]) -> Option<&'w str> {
    let mut files: BTreeMap<&str, Duration> = BTreeMap::new();
    for wait in waits {
        if let Some(file) = wait.resource.strip_prefix("file:") {
            *files.entry(file).or_default() += wait.time;
        }
    }
    files.into_iter().max_by_key(|(_, time)| *time).map(|(file, _)| file)
}

#[cfg(test)]
mod tests {
    use crate::{
        Confidence,
        testing::{System, all, one},
    };
    use observe::{
        TimeClass::{BlockedFs, RunningKernel},
        catalog,
    };

    fn capture(syscall: &str, kernel: &[&str], time: f64) -> System {
        let mounts = [("/", "vda"), ("/stick", "loop0")];
        let system = System::new()
            .thread(10, "capture", &[(RunningKernel, 2.0), (BlockedFs, time)])
            .wait(10, BlockedFs, syscall, "file:/stick/trace", None, time, 80)
            .waiting_in_kernel(kernel)
            .target(10);
        mounts.into_iter().fold(system, |system, (place, device)| {
            system.labelled_fact(&catalog::MOUNT, &[("mountpoint", place), ("device", device)], "rw")
        })
    }

    #[test]
    fn the_device_under_the_file_is_the_culprit() {
        let rec =
            capture("write", &["generic_perform_write", "balance_dirty_pages", "io_schedule_timeout"], 6.0).build();
        let finding = one(&rec, "fs.writeback");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("loop0", Confidence::Likely));
        assert!((finding.share.0 - 0.75).abs() < 0.01);
    }

    #[test]
    fn waiting_for_ones_own_sync_and_a_little_are_none() {
        let sync = ["ext4_sync_file", "file_write_and_wait_range", "folio_wait_writeback"];
        assert!(all(&capture("fsync", &sync, 6.0).build(), "fs.writeback").is_empty());
        assert!(all(&capture("write", &sync, 6.0).build(), "fs.writeback").is_empty(), "O_SYNC");
        assert!(all(&capture("write", &["balance_dirty_pages"], 0.05).build(), "fs.writeback").is_empty());
    }
}
