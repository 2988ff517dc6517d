//! # A mount option makes every write wait for the disk
//!
//! **Speaks for it:** plain writes that wait in the file system's sync path, on files of a mount with `sync` or `dirsync`.
//! **Speaks against it:** files that the program itself opens with O_SYNC, or syncs: the option adds nothing then.
//! **Experiment:** `mount -o remount,async` shows its cost, and gives up what the option was meant to give.

use super::disk_sync_writes::is_sync;
use crate::{
    Cause, Draft, Effect, Party, Scene, Victim,
    cause::{grade, how_much},
    code::path,
    path::{Removes, Waits},
};
use checks::Evidence;
use observe::{Recording, TimeClass, Wait, catalog};
use std::{collections::BTreeMap, time::Duration};

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "config.mount",
    frozen: Effect::None,
    root_of: &["disk.sync-writes", "disk.saturated", "disk.slow", "fs.metadata"],
    judge,
};

/// Calls that return at once where a mount does not say otherwise.
const PLAIN: [&str; 16] = [
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "sendfile",
    "splice",
    "copy_file_range",
    "openat",
    "open",
    "creat",
    "unlink",
    "unlinkat",
    "rename",
    "renameat2",
    "mkdir",
];

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let mut mounts: BTreeMap<&str, (Duration, &str, &Wait)> = BTreeMap::new();
    for wait in victim.waits(scene).filter(|wait| PLAIN.contains(&wait.syscall.as_str()) && is_sync(scene, wait)) {
        let Some((mountpoint, option)) = synchronous(scene.rec, wait) else { continue };
        let sum = mounts.entry(mountpoint).or_insert((Duration::ZERO, option, wait));
        sum.0 += wait.time;
        if wait.time > sum.2.time {
            sum.2 = wait;
        }
    }
    let Some((mountpoint, (time, option, heaviest))) = mounts.into_iter().max_by_key(|(_, (time, ..))| *time) else {
        return Vec::new();
    };
    let Some(confidence) = grade(scene, victim, time) else { return Vec::new() };
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} waits for the disk in {} for {}, since {mountpoint} is mounted with `{option}`.",
            victim.label(),
            heaviest.syscall,
            how_much(victim, time),
        ),
        culprit: Party {
            kind: "setting".into(),
            pid: None,
            name: format!("mount option {option} of {mountpoint}"),
            detail: Some(heaviest.resource.clone()),
        },
        evidence: vec![
            Evidence::new(format!("sched_switch: blocked in {}", heaviest.syscall), time.as_secs_f64(), "s")
                .at("recording/waits.parquet"),
            Evidence::new(format!("/proc/self/mountinfo: {mountpoint} has {option}"), 1.0, ""),
        ],
        codepath: path(scene.rec, &heaviest.stack),
        next: vec![
            format!(
                "mount -o remount,{} {mountpoint}, where losing the last seconds in a crash is accepted",
                match option {
                    "dirsync" => "rw",
                    _ => "async",
                }
            ),
            "and let the program sync what must not be lost (fsync, O_DSYNC)".to_owned(),
        ],
        removes: Removes::Waits(Waits {
            classes: vec![TimeClass::BlockedFs, TimeClass::BlockedDisk, TimeClass::BlockedKernelLock],
            syscalls: PLAIN.map(str::to_owned).to_vec(),
            ..Waits::default()
        }),
        descriptive: false,
    }]
}

/// The mount of the file that a wait is about, where it writes at once.
fn synchronous<'a>(rec: &'a Recording, wait: &Wait) -> Option<(&'a str, &'static str)> {
    let file = wait.resource.strip_prefix("file:")?;
    let rows = rec.get(&catalog::MOUNT).ok()?;
    let holds = |mountpoint: &str| {
        file.strip_prefix(mountpoint).is_some_and(|rest| mountpoint == "/" || rest.is_empty() || rest.starts_with('/'))
    };
    let mount = rows
        .iter()
        .filter(|row| holds(row.labels.get("mountpoint")))
        .max_by_key(|row| row.labels.get("mountpoint").len())?;
    let option = ["sync", "dirsync"].into_iter().find(|option| mount.value.split(',').any(|one| one == *option))?;
    Some((mount.labels.get("mountpoint"), option))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, all, one};

    fn writer(options: &str, syscall: &str) -> Recording {
        System::new()
            .thread(10, "spoold", &[(TimeClass::RunningUser, 1.0), (TimeClass::BlockedFs, 7.0)])
            .wait(10, TimeClass::BlockedFs, syscall, "file:/srv/spool/queue", None, 7.0, 700)
            .waiting_in_kernel(&["ext4_file_write_iter", "generic_write_sync", "jbd2_log_wait_commit"])
            .labelled_fact(&catalog::MOUNT, &[("mountpoint", "/"), ("type", "ext4"), ("device", "vda")], "rw,sync")
            .labelled_fact(&catalog::MOUNT, &[("mountpoint", "/srv"), ("type", "ext4"), ("device", "vdb")], options)
            .target(10)
            .build()
    }

    #[test]
    fn writes_on_a_synchronous_mount_are_the_options_doing() {
        let finding = one(&writer("rw,sync,relatime", "write"), "config.mount");
        assert_eq!((finding.culprit.name.as_str(), finding.rank), ("mount option sync of /srv", 1));
    }

    #[test]
    fn other_mounts_and_a_programs_own_syncs_are_not() {
        assert!(all(&writer("rw,relatime", "write"), "config.mount").is_empty(), "the innermost mount counts");
        assert!(all(&writer("rw,sync", "fsync"), "config.mount").is_empty());
        assert!(all(&writer("rw,nosync", "write"), "config.mount").is_empty());
    }
}
