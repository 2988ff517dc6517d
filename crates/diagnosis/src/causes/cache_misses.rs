//! # Reads miss the page cache that used to hold, or should hold, them
//!
//! **Speaks for it:** time blocked in reads of files through the page cache, on a device that nobody else keeps busy, and a
//! sign that the data had been in memory: pages that come back soon after they were evicted, more read from disk than the
//! file is large, a page cache that is thrown away again and again.
//! **Speaks against it:** direct I/O, which has no cache; data that is read for the first time, as far as can be seen: that is
//! only possible.
//! **Experiment:** reading the file once ahead, if memory is left for it.

use super::disk_saturated;
use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{grade, how_much},
    code::path,
    memory::{self, PAGE},
    path::{Removes, Waits},
    reads,
    scene::totals_of,
};
use checks::Evidence;
use observe::{Bytes, Ratio, Series, TimeClass, catalog};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "cache.misses", frozen: Effect::None, root_of: &["disk.saturated"], judge };

/// ours: when this part of what was read had been evicted or thrown away, it is read again.
const AGAIN: Ratio = Ratio(0.5);

/// ours: reading ahead and reading twice by chance make less than this of a file's size.
const MORE_THAN_ALL: f64 = 1.25;

/// ours: a file that most of the waits are for.
const MOST: Ratio = Ratio(0.8);

/// ours: a page cache that shrinks less often than this in a window lost something, and is not thrown away.
const SHRINKS: usize = 3;

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let blocked = reads::blocked(scene, victim);
    let Some(confidence) = grade(scene, victim, blocked.time) else { return Vec::new() };
    if disk_saturated::is_held_by_others(scene, victim) {
        return Vec::new();
    }
    let file = file(scene, victim);
    let again = again(scene, victim, file.as_ref());
    let read = reads::from_disk(scene, victim);
    let mean = blocked.time.as_secs_f64() * 1e3 / blocked.count.max(1) as f64;
    let heaviest = reads::waits(scene, victim).max_by_key(|wait| wait.time);
    let syscalls = reads::waits(scene, victim).map(|wait| wait.syscall.clone()).collect::<BTreeSet<_>>();
    let name = file.as_ref().map_or_else(|| "a file that could not be named".to_owned(), |file| file.name.clone());
    let size = file.as_ref().and_then(|file| file.size);
    let mut evidence = vec![
        Evidence::new("sched_switch: blocked in reads of files", blocked.time.as_secs_f64(), "s")
            .at("recording/waits.parquet"),
        Evidence::new("block_rq_issue: read by it from disk", read.0 as f64, "bytes").at("recording/series.parquet"),
        Evidence::new("mean wait", mean, "ms").at("recording/waits.parquet"),
    ];
    if let Some(sign) = &again {
        evidence.push(Evidence::new(sign.source, sign.value, sign.unit).against(sign.threshold.clone()));
    }
    vec![Draft {
        confidence: if again.is_some() { confidence } else { Confidence::Possible },
        time: blocked.time,
        summary: format!(
            "{} waits for reads that the page cache does not answer for {}: {} times {mean:.2} ms, mostly {name}; {}.",
            victim.label(),
            how_much(victim, blocked.time),
            blocked.count,
            match &again {
                Some(sign) => sign.text.clone(),
                None => format!("{read} were read from disk, as far as can be seen for the first time"),
            },
        ),
        culprit: Party {
            kind: "file".into(),
            pid: None,
            name: name.clone(),
            detail: size.map(|size| format!("{size} large")),
        },
        evidence,
        codepath: heaviest.map(|wait| path(scene.rec, &wait.stack)).unwrap_or_default(),
        next: vec![
            format!("see what of it is in memory: fincore {name}; read it ahead: vmtouch -t {name}"),
            "find what evicts it: who else fills the page cache, drop_caches, POSIX_FADV_DONTNEED, a memory limit"
                .to_owned(),
        ],
        removes: Removes::Waits(Waits {
            classes: vec![TimeClass::BlockedDisk],
            syscalls: syscalls.into_iter().collect(),
            ..Waits::default()
        }),
        descriptive: false,
    }]
}

/// What says that the same had been in memory before.
struct Sign {
    text: String,
    source: &'static str,
    value: f64,
    unit: &'static str,
    threshold: String,
}

fn again(scene: &Scene, victim: &Victim, file: Option<&File>) -> Option<Sign> {
    let read = reads::from_disk(scene, victim);
    let seconds = scene.window().as_secs_f64();
    let refaults = Bytes((memory::paging(scene, "refault_file").unwrap_or(0.0) * seconds * PAGE) as u64);
    if reads::again(scene, victim, refaults) >= AGAIN {
        return Some(Sign {
            text: format!("{refaults} of {read} had been evicted shortly before"),
            source: "/proc/vmstat workingset_refault_file",
            value: refaults.0 as f64,
            unit: "bytes",
            threshold: format!("> {AGAIN} of what it read"),
        });
    }
    let size = file.filter(|file| file.part >= MOST).and_then(|file| file.size);
    if let Some(size) = size.filter(|size| size.0 > 0 && read.0 as f64 >= size.0 as f64 * MORE_THAN_ALL) {
        return Some(Sign {
            text: format!("{read} were read from disk of a file of {size}"),
            source: "read from disk, against the file's size",
            value: read.0 as f64 / size.0 as f64,
            unit: "times",
            threshold: format!("> {MORE_THAN_ALL}"),
        });
    }
    let dropped = memory::paging(scene, "drop_cache").unwrap_or(0.0) * seconds;
    if dropped >= 1.0 {
        return Some(Sign {
            text: format!("somebody emptied the page cache {dropped:.0} times (drop_caches)"),
            source: "/proc/vmstat drop_pagecache",
            value: dropped,
            unit: "times",
            threshold: "> 0".to_owned(),
        });
    }
    let thrown_away = thrown_away(scene).filter(|_| !advises(scene, victim))?;
    (read.0 > 0 && Ratio::of_counts(thrown_away.0 as f64, read.0 as f64) >= AGAIN).then(|| Sign {
        text: format!("the page cache shrank by {thrown_away} meanwhile, while it read {read}"),
        source: "/proc/meminfo Cached: sum of what it fell by",
        value: thrown_away.0 as f64,
        unit: "bytes",
        threshold: format!("> {AGAIN} of what it read"),
    })
}

/// By how much the page cache shrank, where it did so again and again.
fn thrown_away(scene: &Scene) -> Option<Bytes> {
    let rows = scene.rec.get(&catalog::MEMORY).ok()?;
    let cached = rows.iter().find(|row| row.labels.get("state") == "cached")?;
    let falls = cached.points.windows(2).map(|pair| pair[0].value - pair[1].value).filter(|fall| *fall > 0.0);
    let falls: Vec<f64> = falls.collect();
    (falls.len() >= SHRINKS).then(|| Bytes(falls.iter().sum::<f64>() as u64))
}

/// Whether the victim itself says what it will not need any more.
fn advises(scene: &Scene, victim: &Victim) -> bool {
    let rows = scene.rec.get(&catalog::SYSCALL_TIME).unwrap_or_default().iter();
    rows.filter(|h| h.labels.get("syscall").starts_with("fadvise"))
        .any(|h| h.labels.pid().is_some_and(|p| victim.contains(p)))
}

/// The file that most of the waits are for.
struct File {
    name: String,
    size: Option<Bytes>,
    /// Of all that the victim waits for files.
    part: Ratio,
}

fn file(scene: &Scene, victim: &Victim) -> Option<File> {
    let mine = |pid| victim.contains(pid);
    let mut files: BTreeMap<&str, Duration> = BTreeMap::new();
    for row in totals_of(scene.rec.get(&catalog::FILE_WAITS).ok()?, mine) {
        if reads::CALLS.contains(&row.labels.get("for")) {
            *files.entry(row.labels.get("file")).or_default() += Duration::try_from_secs_f64(row.last()).ok()?;
        }
    }
    let all = files.values().sum();
    let (name, time) = files.into_iter().max_by_key(|(_, time)| *time)?;
    let sizes = totals_of(scene.rec.get(&catalog::FILE_SIZE).unwrap_or_default(), mine);
    let size = sizes.filter(|row| row.labels.get("file") == name).map(Series::last).next();
    Some(File { name: name.to_owned(), size: size.map(|size| Bytes(size as u64)), part: Ratio::of(time, all) })
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

    /// It reads 400 MB from disk, of a file of 200 MB or 1 GB.
    fn catalogue(size: f64) -> System {
        on_disk(size, 0.6, 0.7)
    }

    fn on_disk(size: f64, busy: f64, queue: f64) -> System {
        let file = [("pid", "10"), ("file", "/data/parts"), ("for", "pread64")];
        System::new()
            .thread(10, "pickd", &[(RunningUser, 2.0), (BlockedDisk, 7.0)])
            .wait(10, BlockedDisk, "pread64", "disk:vda", None, 7.0, 70_000)
            .waiting_in_kernel(&["filemap_read", "io_schedule"])
            .disk("vda", busy, queue)
            .total(&catalog::BLOCK_ISSUED, &[("pid", "10"), ("device", "vda"), ("direction", "read")], 4e8)
            .total(&catalog::FILE_WAITS, &file, 7.0)
            .total(&catalog::FILE_SIZE, &file[..2], size)
            .target(10)
    }

    fn shrinking(system: System) -> System {
        let values = [5e9, 4.9e9, 4.95e9, 4.85e9, 4.9e9, 4.8e9];
        system.sampled(&catalog::MEMORY, &[("state", "cached")], &values)
    }

    #[test]
    fn a_file_that_is_read_again_and_again_is_the_culprit() {
        let finding = one(&catalogue(2e8).build(), "cache.misses");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("/data/parts", Confidence::Likely));
        assert!((finding.share.0 - 7.0 / 9.0).abs() < 0.01);
    }

    #[test]
    fn evictions_and_dropped_caches_are_signs_and_a_first_reading_is_possible() {
        let large = || catalogue(1e9);
        let counter = |name: &str, by: f64| large().grows(&catalog::PAGING, &[("type", name)], by).build();
        assert_eq!(one(&large().build(), "cache.misses").confidence, Confidence::Possible);
        assert_eq!(one(&counter("refault_file", 9e4), "cache.misses").confidence, Confidence::Likely);
        assert_eq!(one(&counter("refault_file", 9e3), "cache.misses").confidence, Confidence::Possible);
        assert_eq!(one(&counter("drop_cache", 3.0), "cache.misses").confidence, Confidence::Likely);
        assert_eq!(one(&shrinking(large()).build(), "cache.misses").confidence, Confidence::Likely);
        let own = shrinking(large()).calls(10, "fadvise64", 90, 0.1, 0.0).build();
        assert_eq!(
            one(&own, "cache.misses").confidence,
            Confidence::Possible,
            "it throws away what it has read itself"
        );
    }

    #[test]
    fn direct_reads_and_a_device_that_others_hold_are_other_stories() {
        let direct = System::new()
            .thread(10, "db", &[(RunningUser, 2.0), (BlockedDisk, 7.0)])
            .wait(10, BlockedDisk, "pread64", "disk:vda", None, 7.0, 70_000)
            .waiting_in_kernel(&["__iomap_dio_rw", "io_schedule"])
            .target(10);
        assert!(all(&direct.build(), "cache.misses").is_empty());
        let held = on_disk(2e8, 0.99, 9.0).issued(20, "vda", 90.0).issued(10, "vda", 4.0);
        assert!(all(&held.build(), "cache.misses").is_empty());
    }
}
