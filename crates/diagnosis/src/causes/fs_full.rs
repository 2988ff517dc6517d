//! # A file system has no space or inodes left
//!
//! **Speaks for it:** calls that need space fail with ENOSPC or EDQUOT again and again, and a file system is full.
//! **Speaks against it:** the same error of calls that need no file system (inotify, epoll, BPF), which have limits of their
//! own.
//! **Experiment:** making room.

use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::how_much,
    path::Removes,
    refused::{self, Refused},
};
use checks::Evidence;
use observe::{Bytes, Pid, Ratio, Series, TimeClass, catalog, catalog::Metric};
use std::collections::BTreeSet;

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "fs.full",
    frozen: Effect::None,
    root_of: &[
        "app.failing-calls",
        "app.sleeps",
        "app.syscall-storm",
        "app.pool",
        "app.waits-for-child",
        "cpu.hot-code",
        "cpu.kernel-time",
        "lock.contention",
    ],
    judge,
};

/// node_exporter mixin: less than this part left is critical.
const LEFT: Ratio = Ratio(0.03);

/// ours: where less than a thousandth is left, whoever needs a block finds none.
const NONE_LEFT: Ratio = Ratio(0.001);

/// ours: who runs no more than this part of its active time does hardly anything.
const HARDLY: Ratio = Ratio(0.1);

/// Calls that need no file system.
const OTHERS: &[&str] =
    &["inotify", "epoll", "bpf", "perf", "mq_", "add_key", "keyctl", "io_uring", "ioctl", "sem", "shm", "msg"];

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let Some(refused) = Refused::of(scene, victim, is_want_of_space) else {
        return waiting(scene, victim).into_iter().collect();
    };
    let full = full(scene, &refused.argument);
    let quota = refused.errno == "EDQUOT";
    let mut evidence = refused.evidence();
    if let Some(full) = &full {
        let left =
            Evidence::new(format!("statvfs: {} of {} left", full.what(), full.mountpoint), full.left().0 * 100.0, "%");
        evidence.push(left.against(format!("< {LEFT}")).at("recording/series.parquet"));
    }
    let place = full.as_ref().map_or("the file system that it writes to", |full| full.mountpoint);
    let what = match &full {
        _ if quota => "quota",
        Some(full) => full.what(),
        None => "space",
    };
    vec![Draft {
        confidence: refused.grade(scene, victim),
        time: refused.time,
        summary: format!(
            "{} has no {what} left on {place}: {} fails with {} {:.0} times a second. It spends {} on that.",
            scene.label(refused.pid),
            refused.call,
            refused.errno,
            refused.rate,
            how_much(victim, refused.time),
        ),
        culprit: Party {
            kind: "file system".into(),
            pid: None,
            name: place.to_owned(),
            detail: full.as_ref().map(|full| full.detail(scene)),
        },
        evidence,
        codepath: Vec::new(),
        next: match &full {
            _ if quota => vec!["see whose quota is used up: repquota -a, or quota -v".to_owned()],
            full => next(place, full.as_ref().is_some_and(|full| full.inodes)),
        },
        removes: Removes::Unsaid,
        descriptive: false,
    }]
}

fn next(place: &str, inodes: bool) -> Vec<String> {
    if inodes {
        return vec![
            format!("find where the files are: du --inodes -x {place} | sort -n | tail"),
            "remove small files, or make the file system anew with more inodes (mkfs -N)".to_owned(),
        ];
    }
    vec![
        format!("find what takes the space: du -x {place} | sort -n | tail; deleted but open: lsof +L1"),
        format!("remove it, or enlarge {place}"),
    ]
}

/// A victim that does hardly anything but wait, and has files open for writing where nothing is left: it may have been
/// refused before anybody looked, and try again in a minute.
fn waiting(scene: &Scene, victim: &Victim) -> Option<Draft> {
    let rows = scene.rec.get(&catalog::FILESYSTEM_WRITERS).ok()?.iter();
    let mine = rows.filter(|row| row.labels.pid().is_some_and(|pid| victim.contains(pid)));
    let most = mine.max_by(|a, b| a.last().total_cmp(&b.last()))?;
    let full = full(scene, &format!("{}/", most.labels.get("mountpoint"))).filter(|full| full.left() < NONE_LEFT)?;
    use TimeClass::*;
    let waits = |class| matches!(class, BlockedLock | BlockedThread | BlockedFs | BlockedSleep | BlockedProcess);
    let time = victim.times.sum(waits).min(victim.active());
    if victim.share(victim.times.sum(TimeClass::is_running)) > HARDLY || victim.share(time) < Ratio(1.0 - HARDLY.0) {
        return None;
    }
    let (place, what) = (full.mountpoint, full.what());
    Some(Draft {
        confidence: Confidence::Possible,
        time,
        summary: format!(
            "{} does hardly anything but wait ({}), and has {:.0} files open for writing on {place}, which has no {what} left. \
             Whether it was refused any was not seen: that may have been earlier.",
            victim.label(),
            how_much(victim, time),
            most.last(),
        ),
        culprit: Party {
            kind: "file system".into(),
            pid: None,
            name: place.to_owned(),
            detail: Some(full.detail(scene)),
        },
        evidence: vec![
            Evidence::new(format!("statvfs: {what} of {place} left"), full.left().0 * 100.0, "%")
                .against(format!("< {NONE_LEFT}"))
                .at("recording/series.parquet"),
            Evidence::new("files open for writing there", most.last(), "files"),
        ],
        codepath: Vec::new(),
        next: [
            vec![format!(
                "see its log for `No space left on device`, or wait for its next try: strace -f -e trace=%desc -p {}",
                most.labels.get("pid")
            )],
            next(place, full.inodes),
        ]
        .concat(),
        removes: Removes::Unsaid,
        descriptive: false,
    })
}

/// Whoever has no room left.
pub fn without(scene: &Scene) -> BTreeSet<Pid> {
    refused::refused(scene, is_want_of_space)
}

fn is_want_of_space(call: &str, errno: &str) -> bool {
    matches!(errno, "ENOSPC" | "EDQUOT") && !OTHERS.iter().any(|other| call.starts_with(other))
}

/// A file system, by what it has least of.
struct Full<'a> {
    mountpoint: &'a str,
    inodes: bool,
    used: f64,
    free: f64,
}

impl Full<'_> {
    fn what(&self) -> &'static str {
        if self.inodes { "inodes" } else { "space" }
    }

    fn left(&self) -> Ratio {
        Ratio::of_counts(self.free, self.used + self.free)
    }

    /// `loop0: 0 B of 16.0 MiB left`.
    fn detail(&self, scene: &Scene) -> String {
        let mounts = scene.rec.get(&catalog::MOUNT).unwrap_or_default().iter();
        let mut device =
            mounts.filter(|mount| mount.labels.get("mountpoint") == self.mountpoint).map(|m| m.labels.get("device"));
        let all = self.used + self.free;
        let amount = |value: f64| if self.inodes { format!("{value:.0}") } else { Bytes(value as u64).to_string() };
        let unit = if self.inodes { " inodes" } else { "" };
        let device = device.next_back().map_or_else(String::new, |device| format!("{device}: "));
        format!("{device}{} of {}{unit} left", amount(self.free), amount(all))
    }
}

/// The file system that a path is on, if it is full; where no path is known, the fullest.
fn full<'a>(scene: &Scene<'a>, path: &str) -> Option<Full<'a>> {
    let all = usage(scene, &catalog::FILESYSTEM_USAGE, false).chain(usage(scene, &catalog::FILESYSTEM_INODES, true));
    let mut full: Vec<Full> = all.filter(|one| one.left() < LEFT).collect();
    if path.starts_with('/') {
        let on = |mountpoint: &str| std::path::Path::new(path).starts_with(mountpoint);
        let all = scene.rec.get(&catalog::FILESYSTEM_USAGE).unwrap_or_default().iter();
        let nearest = all.map(|row| row.labels.get("mountpoint")).filter(|m| on(m)).max_by_key(|m| m.len())?;
        full.retain(|one| one.mountpoint == nearest);
    }
    full.into_iter().min_by(|a, b| a.left().0.total_cmp(&b.left().0))
}

fn usage<'a>(scene: &Scene<'a>, metric: &Metric<Series>, inodes: bool) -> impl Iterator<Item = Full<'a>> {
    let rows = scene.rec.get(metric).unwrap_or_default();
    let of = move |mountpoint: &str, state: &str| {
        let row =
            rows.iter().find(|row| row.labels.get("mountpoint") == mountpoint && row.labels.get("state") == state);
        row.map_or(0.0, Series::last)
    };
    let mountpoints: BTreeSet<&str> = rows.iter().map(|row| row.labels.get("mountpoint")).collect();
    mountpoints.into_iter().map(move |mountpoint| Full {
        mountpoint,
        inodes,
        used: of(mountpoint, "used"),
        free: of(mountpoint, "free"),
    })
}

#[cfg(test)]
mod tests {
    use crate::{
        Confidence,
        testing::{System, all, one},
    };
    use observe::{
        TimeClass::{BlockedLock, BlockedSleep, RunningUser},
        catalog,
    };

    fn spool(call: &str, path: &str, failures: u64) -> System {
        let usage = |system: System, mountpoint: &str, used: f64, free: f64| {
            let labels = |state| [("mountpoint", mountpoint), ("state", state)];
            system.total(&catalog::FILESYSTEM_USAGE, &labels("used"), used).total(
                &catalog::FILESYSTEM_USAGE,
                &labels("free"),
                free,
            )
        };
        let system = System::new()
            .thread(10, "spooler", &[(RunningUser, 1.0), (BlockedSleep, 8.0)])
            .calls(10, call, 2000, 0.1, 0.0)
            .failures(10, call, "ENOSPC", path, failures)
            .wait(10, BlockedSleep, "clock_nanosleep", "timer", None, 8.0, 1900)
            .target(10);
        usage(usage(system, "/", 5e9, 4e9), "/var/spool", 1.6e7, 0.0)
    }

    #[test]
    fn the_full_file_system_is_the_culprit() {
        let finding = one(&spool("write", "", 1900).build(), "fs.full");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("/var/spool", Confidence::Likely));
        assert!(finding.culprit.detail.as_deref().unwrap().contains("0 B of 15.3 MiB left"), "{finding:?}");
        assert_eq!(finding.rank, 1);
    }

    #[test]
    fn inodes_run_out_too_and_a_path_says_where() {
        let inodes = |state| [("mountpoint", "/"), ("state", state)];
        let rec = spool("openat", "/home/news/1", 1900)
            .total(&catalog::FILESYSTEM_INODES, &inodes("used"), 512.0)
            .total(&catalog::FILESYSTEM_INODES, &inodes("free"), 0.0)
            .build();
        let finding = one(&rec, "fs.full");
        assert!(finding.summary.contains("no inodes left on /:"), "{}", finding.summary);
        let unknown = one(&spool("openat", "/home/news/1", 1900).build(), "fs.full");
        assert!(unknown.culprit.name.contains("that it writes to"), "the full one is another");
    }

    #[test]
    fn a_process_that_waits_with_files_open_where_nothing_is_left_is_possible() {
        let labels = |state| [("mountpoint", "/var/lib/db"), ("state", state)];
        let database = |free: f64, running: f64| {
            System::new()
                .thread(10, "database", &[(RunningUser, running), (BlockedLock, 9.0)])
                .total(&catalog::FILESYSTEM_USAGE, &labels("used"), 4e7)
                .total(&catalog::FILESYSTEM_USAGE, &labels("free"), free)
                .total(&catalog::FILESYSTEM_WRITERS, &[("pid", "10"), ("mountpoint", "/var/lib/db")], 3.0)
                .target(10)
                .build()
        };
        let finding = one(&database(4096.0, 0.01), "fs.full");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("/var/lib/db", Confidence::Possible));
        assert!(all(&database(4e6, 0.01), "fs.full").is_empty(), "there is room");
        assert!(all(&database(4096.0, 3.0), "fs.full").is_empty(), "it works");
    }

    #[test]
    fn other_limits_with_the_same_error_and_few_refusals_are_none() {
        assert!(all(&spool("inotify_add_watch", "/etc", 1900).build(), "fs.full").is_empty());
        assert!(all(&spool("write", "", 3).build(), "fs.full").is_empty());
    }
}
