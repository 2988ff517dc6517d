//! # Path lookups, directory scans, opens or stats dominate
//!
//! **Speaks for it:** the calls that look files up hold much of the victim's time, running in them and waiting in them.
//! **Speaks against it:** calls that fail (`app.failing-calls`): their part is left out. Short-lived processes open what they
//! are linked with (`app.short-lived`).
//! **Experiment:** none from outside; the calls and their time are the proof.

use super::app_short_lived;
use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{MATTERS, grade, how_much},
    code::path,
    path::{Removes, Waits},
    scene::totals_of,
};
use checks::Evidence;
use observe::{Ratio, Series, TimeClass, Wait, catalog, catalog::Metric};
use std::{collections::BTreeMap, time::Duration};

/// Stands in the registry.
pub const CAUSE: Cause =
    Cause { id: "fs.metadata", frozen: Effect::None, root_of: &["cpu.kernel-time", "cpu.single-thread"], judge };

/// ours: with less of its time in them, looking files up does not dominate.
const DOMINATES: Ratio = Ratio(0.30);

/// Calls that look up paths, list directories or change them.
const CALLS: &[&str] = &[
    "open",
    "openat",
    "openat2",
    "creat",
    "stat",
    "lstat",
    "newfstatat",
    "fstatat",
    "statx",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
    "getdents",
    "getdents64",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "mkdir",
    "mkdirat",
    "rmdir",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "chmod",
    "fchmodat",
    "chown",
    "fchownat",
    "utimensat",
    "getxattr",
    "lgetxattr",
    "listxattr",
    "mknod",
    "mknodat",
];

const BLOCKED: [TimeClass; 3] = [TimeClass::BlockedDisk, TimeClass::BlockedFs, TimeClass::BlockedKernelLock];

/// One call's part.
#[derive(Default)]
struct Call {
    count: f64,
    ran: Duration,
    blocked: Duration,
}

impl Call {
    fn time(&self) -> Duration {
        self.ran + self.blocked
    }
}

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let calls = calls(scene, victim);
    let sum = |part: fn(&Call) -> Duration| calls.values().map(part).sum::<Duration>();
    let (ran, blocked) = (sum(|call| call.ran), sum(|call| call.blocked));
    let time = (ran + blocked).min(victim.active());
    // Its own work is of interest where somebody asks for it; waits are where somebody is held up.
    let asked = victim.named || victim.share(blocked) >= MATTERS;
    let grade = grade(scene, victim, time).filter(|_| victim.share(time) >= MATTERS && asked);
    let Some(mut confidence) = grade else { return Vec::new() };
    let Some((name, most)) = calls.iter().max_by_key(|(_, call)| call.time()) else { return Vec::new() };
    if victim.share(time) < DOMINATES {
        confidence = Confidence::Possible;
    }
    if app_short_lived::explains(scene, victim) {
        return Vec::new();
    }
    let rate = calls.values().map(|call| call.count).sum::<f64>() / scene.window().as_secs_f64();
    let heaviest = waits(victim, scene).max_by_key(|wait| wait.time);
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} spends {} looking files up: {rate:.0} calls a second, most of the time in {name} ({:.0} calls, {:.1} µs \
             each); {:.1} s of it waiting.",
            victim.label(),
            how_much(victim, time),
            most.count,
            most.time().as_secs_f64() * 1e6 / most.count.max(1.0),
            blocked.as_secs_f64(),
        ),
        culprit: Party {
            kind: "syscall".into(),
            pid: None,
            name: (*name).to_owned(),
            detail: Some(format!("{:.0} a second", most.count / scene.window().as_secs_f64())),
        },
        evidence: vec![
            Evidence::new("CPU time in such calls", ran.as_secs_f64(), "s").at("recording/series.parquet"),
            Evidence::new("sched_switch: blocked in them", blocked.as_secs_f64(), "s").at("recording/waits.parquet"),
            Evidence::new("of its active time", victim.share(time).0 * 100.0, "%").against(format!("> {DOMINATES}")),
            Evidence::new("sys_exit: calls that did not fail", rate, "calls/s").at("recording/histograms.parquet"),
        ],
        codepath: heaviest.map(|wait| path(scene.rec, &wait.stack)).unwrap_or_default(),
        next: vec![
            match victim.pids.first() {
                Some(pid) => {
                    format!("see which paths: strace -f -c -e trace=%file -p {pid}, then without -c for a moment")
                }
                None => String::new(),
            },
            "look once and remember (inotify tells of changes), keep files open, fewer and larger files in a directory"
                .to_owned(),
        ],
        removes: Removes::Waits(Waits {
            classes: BLOCKED.to_vec(),
            syscalls: CALLS.iter().map(|call| (*call).to_owned()).collect(),
            work: Ratio::of(ran, victim.times.sum(TimeClass::is_running)).0,
            ..Waits::default()
        }),
        descriptive: false,
    }]
}

/// What each such call takes, without its part that fails.
fn calls<'a>(scene: &Scene<'a>, victim: &'a Victim) -> BTreeMap<&'a str, Call> {
    let total = |metric: &Metric<Series>, call: &str| -> f64 {
        let rows = totals_of(scene.rec.get(metric).unwrap_or_default(), |pid| victim.contains(pid));
        rows.filter(|row| row.labels.get("syscall") == call).map(Series::last).sum()
    };
    let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
    for row in scene.rec.get(&catalog::SYSCALL_TIME).unwrap_or_default() {
        let call = row.labels.get("syscall");
        if row.labels.pid().is_some_and(|pid| victim.contains(pid)) && CALLS.contains(&call) {
            *counts.entry(call).or_default() += row.count as f64;
        }
    }
    let of = |(name, count): (&'a str, f64)| {
        let works = 1.0 - Ratio::of_counts(total(&catalog::SYSCALL_ERRORS, name), count).0.min(1.0);
        let ran = Duration::try_from_secs_f64(total(&catalog::SYSCALL_CPU, name)).unwrap_or_default();
        let blocked: Duration = waits(victim, scene).filter(|wait| wait.syscall == name).map(|wait| wait.time).sum();
        (name, Call { count: count * works, ran: ran.mul_f64(works), blocked: blocked.mul_f64(works) })
    };
    counts.into_iter().map(of).collect()
}

fn waits<'s>(victim: &'s Victim, scene: &'s Scene) -> impl Iterator<Item = &'s Wait> {
    victim.waits(scene).filter(|wait| BLOCKED.contains(&wait.class) && CALLS.contains(&wait.syscall.as_str()))
}

#[cfg(test)]
mod tests {
    use crate::{
        Confidence,
        testing::{System, all, one},
    };
    use observe::TimeClass::{BlockedDisk, RunningKernel, RunningUser};

    fn tool(stats: f64) -> System {
        System::new()
            .thread(10, "tool", &[(RunningUser, 2.0), (RunningKernel, 6.0)])
            .calls(10, "newfstatat", 1_000_000, stats, 0.0)
            .calls(10, "getdents64", 10_000, 0.5, 0.0)
            .target(10)
    }

    #[test]
    fn the_call_that_takes_most_is_the_culprit_and_kernel_time_follows() {
        let finding = one(&tool(5.0).build(), "fs.metadata");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("newfstatat", Confidence::Likely));
        assert_eq!(finding.rank, 1);
        assert!(one(&tool(5.0).build(), "cpu.kernel-time").summary.contains("It follows from fs.metadata"));
    }

    #[test]
    fn waiting_in_them_counts_for_victims_that_nobody_named() {
        let mut rec = System::new()
            .thread(10, "maild", &[(RunningUser, 1.0), (BlockedDisk, 6.0)])
            .calls(10, "openat", 900, 0.1, 0.0)
            .wait(10, BlockedDisk, "openat", "disk:vda", None, 6.0, 800)
            .target(10)
            .build();
        rec.target = observe::Target::system("host");
        assert_eq!(one(&rec, "fs.metadata").culprit.name, "openat");
    }

    #[test]
    fn a_part_is_possible_and_what_fails_or_is_little_is_another_story() {
        assert_eq!(one(&tool(1.2).build(), "fs.metadata").confidence, Confidence::Possible);
        assert!(all(&tool(0.3).build(), "fs.metadata").is_empty());
        let rec = tool(5.0).failures(10, "newfstatat", "ENOENT", "/nowhere", 990_000).build();
        assert!(all(&rec, "fs.metadata").is_empty());
    }
}
