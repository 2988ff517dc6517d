//! # The victim waits for its own fsync, O_SYNC writes or journal commits
//!
//! **Speaks for it:** time blocked in the file system's sync path, on files that the victim itself syncs.
//! **Speaks against it:** a device that others keep busy: then `disk.saturated` comes first.
//! **Experiment:** none without changing durability; twenty fsyncs of a temporary file show what the device can do.

use crate::{
    Cause, Draft, Effect, Party, Scene, Victim,
    cause::{MATTERS, grade, how_much},
    code::path,
    path::{Removes, Waits},
};
use checks::Evidence;
use observe::{Ratio, Series, TimeClass, Wait, catalog};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "disk.sync-writes", frozen: Effect::None, root_of: &["lock.contention"], judge };

const SYNCS: &[&str] = &["fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync"];

const BLOCKED: [TimeClass; 3] = [TimeClass::BlockedFs, TimeClass::BlockedDisk, TimeClass::BlockedKernelLock];

/// What a write does at its end when the file was opened with O_SYNC or O_DSYNC.
const SYNC_PATHS: &[&str] = &[
    "generic_write_sync",
    "ext4_sync_file",
    "vfs_fsync_range",
    "xfs_file_fsync",
    "btrfs_sync_file",
    "iomap_dio_complete",
];

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let syncs: Vec<&Wait> = victim.waits(scene).filter(|w| is_sync(scene, w)).collect();
    let blocked: Duration = syncs.iter().map(|w| w.time).sum();
    // On a fast device, much of a sync is the kernel's own work. Waiting for a CPU meanwhile is no part of it.
    let time = (blocked + cpu_of_sync_calls(scene, victim)).min(victim.active());
    let Some(confidence) = grade(scene, victim, time) else { return Vec::new() };
    let mut files: BTreeMap<&str, (Duration, u64)> = BTreeMap::new();
    for wait in &syncs {
        let file = files.entry(wait.resource.strip_prefix("file:").unwrap_or("")).or_default();
        file.0 += wait.time;
        file.1 += wait.count;
    }
    let named = files.iter().filter(|(name, _)| !name.is_empty()).max_by_key(|(_, (time, _))| *time);
    let (file, (on_file, count)) = named.or(files.first_key_value()).map(|(n, v)| (*n, *v)).unwrap_or_default();
    let Some(heaviest) = syncs.iter().max_by_key(|w| w.time) else { return Vec::new() };
    let name = if file.is_empty() { "a file that could not be named" } else { file };
    // Calls are counted where they are traced; waits leave out the calls that did not block.
    let (count, spent) = match sync_calls(scene, victim) {
        (0, _) => (count, on_file),
        calls => calls,
    };
    let mean = spent.as_secs_f64() * 1e3 / count.max(1) as f64;
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} waits for its own {} for {}: {count} times {mean:.3} ms, mostly on {name}.",
            victim.label(),
            heaviest.syscall,
            how_much(victim, time),
        ),
        culprit: Party {
            kind: "file".into(),
            pid: None,
            name: name.to_owned(),
            detail: Some(heaviest.syscall.clone()),
        },
        evidence: vec![
            Evidence::new("blocked in sync calls, and their CPU time", time.as_secs_f64(), "s"),
            Evidence::new(format!("sched_switch: blocked in {}", heaviest.syscall), blocked.as_secs_f64(), "s")
                .at("recording/waits.parquet"),
            Evidence::new("mean", mean, "ms"),
        ],
        codepath: path(scene.rec, &heaviest.stack),
        next: vec![
            "group commits: one sync for many records".to_owned(),
            "or put the log on a device with a protected write cache; only then relax durability".to_owned(),
        ],
        removes: Removes::Waits(Waits {
            classes: BLOCKED.to_vec(),
            syscalls: syncs.iter().map(|wait| wait.syscall.clone()).collect::<BTreeSet<_>>().into_iter().collect(),
            work: Ratio::of(cpu_of_sync_calls(scene, victim), victim.times.sum(TimeClass::is_running)).0,
            ..Waits::default()
        }),
        descriptive: false,
    }]
}

/// Whether syncing explains the victim's kernel time.
pub fn explains(scene: &Scene, victim: &Victim) -> bool {
    victim.share(cpu_of_sync_calls(scene, victim)) >= MATTERS
}

/// Number and duration of the victim's sync calls.
fn sync_calls(scene: &Scene, victim: &Victim) -> (u64, Duration) {
    let rows = scene.rec.get(&catalog::SYSCALL_TIME).into_iter().flatten();
    let mine = rows.filter(|h| h.labels.pid().is_some_and(|pid| victim.contains(pid)));
    mine.filter(|h| SYNCS.contains(&h.labels.get("syscall")))
        .fold((0, Duration::ZERO), |(count, time), h| (count + h.count, time + Duration::from_nanos(h.sum)))
}

/// CPU time of the victim's sync calls.
fn cpu_of_sync_calls(scene: &Scene, victim: &Victim) -> Duration {
    let rows = scene.rec.get(&catalog::SYSCALL_CPU).into_iter().flatten();
    let mine = rows.filter(|row| row.labels.pid().is_some_and(|pid| victim.contains(pid)));
    let spent = mine.filter(|row| SYNCS.contains(&row.labels.get("syscall"))).map(Series::last).sum();
    Duration::try_from_secs_f64(spent).unwrap_or_default()
}

/// Whether a wait is part of making data durable.
pub fn is_sync(scene: &Scene, wait: &Wait) -> bool {
    BLOCKED.contains(&wait.class)
        && (SYNCS.contains(&wait.syscall.as_str())
            || wait.stack.iter().any(|id| SYNC_PATHS.contains(&scene.rec.frame(*id).name.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Confidence, ShareIs,
        path::tests::Window,
        testing::{System, all, one},
    };

    #[test]
    fn the_file_that_is_synced_is_the_culprit() {
        let rec = System::new()
            .thread(10, "ledgerd", &[(TimeClass::RunningUser, 1.0), (TimeClass::BlockedFs, 7.0)])
            .wait(10, TimeClass::BlockedFs, "fsync", "file:/var/lib/ledger/journal", None, 7.0, 3500)
            .target(10)
            .build();
        let finding = one(&rec, "disk.sync-writes");
        assert_eq!(finding.culprit.name, "/var/lib/ledger/journal");
        assert_eq!(finding.confidence, Confidence::Likely);
        assert!(finding.summary.contains("2.000 ms"));
    }

    #[test]
    fn reading_is_not_syncing() {
        let rec = System::new()
            .thread(10, "db", &[(TimeClass::BlockedDisk, 8.0)])
            .wait(10, TimeClass::BlockedDisk, "pread64", "disk:vda", None, 8.0, 100)
            .target(10)
            .build();
        assert!(all(&rec, "disk.sync-writes").is_empty());
    }

    /// Five requests come at a time, every 20 ms; a sync of 2 ms comes before their answers, and nothing is left to do.
    #[test]
    fn a_sync_that_is_little_to_its_thread_can_be_much_to_requests() {
        let mut window = Window::new(&[(10, TimeClass::BlockedFs)]).running(10, 9.0);
        for n in 0..50 {
            let at = n * 20;
            for connection in 1..=5 {
                window = window.request(10, connection, at, 0, at + 3, None);
            }
            window = window.blocked(10, TimeClass::BlockedFs, at, at + 2, None).in_call("fdatasync");
        }
        let mut rec = window.build();
        let mut wait = rec.get(&catalog::EPISODE_WAITS).unwrap()[0].clone();
        (wait.time, wait.count) = (Duration::from_secs(1), 500);
        rec.push(&catalog::WAITS, wait);
        let finding = one(&rec, "disk.sync-writes");
        assert_eq!((finding.confidence, finding.share_is), (Confidence::Likely, ShareIs::Estimate));
        assert!((finding.share.0 - 2.0 / 3.0).abs() < 0.02, "{finding:#?}");
    }

    /// Four threads take turns at a lock, under which each syncs for most of its turn.
    #[test]
    fn a_lock_is_waited_for_because_of_the_sync_under_it() {
        use TimeClass::{BlockedFs, BlockedLock};
        let threads = [100, 101, 102, 103];
        let mut window = Window::new(&threads.map(|tid| (tid, BlockedLock)));
        for (at, turn) in (0..10).flat_map(|round| (0..4).map(move |turn| (round * 100, turn))) {
            let (tid, begin) = (threads[turn as usize], at + turn * 25);
            let before = threads[(turn as usize + 3) % 4];
            if begin >= 75 {
                window = window.blocked(tid, BlockedLock, begin - 74, begin, Some(before));
            }
            window = window.blocked(tid, BlockedFs, begin + 2, begin + 24, None).in_call("fsync");
        }
        let mut rec = window.build();
        for (class, syscall, seconds) in [(BlockedLock, "futex", 28.0), (BlockedFs, "fsync", 8.8)] {
            let waits = rec.get(&catalog::EPISODE_WAITS).unwrap();
            let mut wait = waits.iter().find(|wait| wait.class == class).unwrap().clone();
            (wait.time, wait.count, wait.syscall) = (Duration::from_secs_f64(seconds), 400, syscall.to_owned());
            rec.push(&catalog::WAITS, wait);
        }
        let mut times = rec.get(&catalog::THREAD_TIME).unwrap().to_vec();
        for thread in times.iter_mut().filter(|thread| threads.contains(&thread.tid.0)) {
            thread.classes = Default::default();
            for (class, part) in [(BlockedLock, 0.7), (BlockedFs, 0.22), (TimeClass::RunningUser, 0.08)] {
                thread.classes.add(class, thread.wall.mul_f64(part));
            }
        }
        rec.set(&catalog::THREAD_TIME, Ok(times));
        let found = crate::diagnose(&rec, &[]).findings;
        let said: Vec<_> = found.iter().map(|f| (f.cause.as_str(), f.confidence)).collect();
        assert_eq!(
            said[..2],
            [("disk.sync-writes", Confidence::Likely), ("lock.contention", Confidence::Likely)],
            "{found:#?}"
        );
        assert!(found[0].share.0 > 0.8, "{found:#?}");
        assert!(found[0].summary.contains("(8.8 s; 80 % with the threads that wait behind it)"), "{found:#?}");
        assert!(found[1].summary.contains("It follows from disk.sync-writes"), "{found:#?}");
    }
}
