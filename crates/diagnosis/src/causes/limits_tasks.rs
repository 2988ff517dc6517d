//! # No more threads or processes may be started
//!
//! **Speaks for it:** clone or fork fails with EAGAIN again and again, and the caller spins or pauses over it; the pids
//! cgroup counts the same refusals.
//! **Speaks against it:** a few refusals, or EAGAIN of calls on descriptors, which only means "not now".
//! **Experiment:** raising `pids.max`.

use crate::{
    Cause, Draft, Effect, Party, Scene, Victim,
    cause::{MATTERS, how_much, process},
    groups::Groups,
    path::Removes,
    refused::{self, Refused},
};
use checks::Evidence;
use observe::{Pid, Series, catalog};
use std::collections::BTreeSet;

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "limits.tasks",
    frozen: Effect::None,
    root_of: &[
        "app.failing-calls",
        "app.sleeps",
        "app.syscall-storm",
        "app.short-lived",
        "cpu.hot-code",
        "cpu.kernel-time",
    ],
    judge,
};

const STARTS: &[&str] = &["clone", "clone3", "fork", "vfork"];

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let full = full_group(scene, victim);
    // A group that has refused as often, and for which the victim pauses, needs no habit.
    let told =
        || Refused::any(scene, victim, is_want_of_tasks).filter(|refused| full.is_some() && costs(victim, refused));
    let Some(refused) = Refused::of(scene, victim, is_want_of_tasks).or_else(told) else { return Vec::new() };
    let pid = refused.pid;
    let mut evidence = refused.evidence();
    let (culprit, why, next) = match full {
        Some(full) => {
            let refusals = Evidence::new(format!("pids.events max of {}", full.group), full.refused, "refusals");
            evidence.push(refusals.against("> 0").at("recording/series.parquet"));
            let detail = format!("pids.max {}, {:.0} tasks", full.limit, full.tasks);
            (
                Party { kind: "cgroup".into(), pid: None, name: full.group.clone(), detail: Some(detail.clone()) },
                format!("{} may have no more of them ({detail})", full.group),
                format!(
                    "see what they are: ps -eLo pid,tid,comm,cgroup | grep {}; else raise its pids.max",
                    full.group
                ),
            )
        }
        None => (
            process(scene, pid),
            "its user or the system may have no more of them".to_owned(),
            format!(
                "count them: ps -eLo user= | sort | uniq -c; limits: prlimit -p {pid} --nproc, sysctl kernel.threads-max kernel.pid_max"
            ),
        ),
    };
    vec![Draft {
        confidence: refused.grade(scene, victim),
        time: refused.time,
        summary: format!(
            "{} may not start another thread or process: {} fails with {} {:.1} times a second, because {why}. It spends {} \
             on that.",
            scene.label(pid),
            refused.call,
            refused.errno,
            refused.rate,
            how_much(victim, refused.time),
        ),
        culprit,
        evidence,
        codepath: Vec::new(),
        next: vec![next, "a pool of a fixed size needs no more when there is more to do".to_owned()],
        removes: Removes::Unsaid,
        descriptive: false,
    }]
}

/// Whether it loses enough by it to be noticed.
fn costs(victim: &Victim, refused: &Refused) -> bool {
    victim.share(refused.time) >= MATTERS
}

/// Whoever may start no more.
pub fn without(scene: &Scene) -> BTreeSet<Pid> {
    refused::refused(scene, is_want_of_tasks)
}

fn is_want_of_tasks(call: &str, errno: &str) -> bool {
    STARTS.contains(&call) && errno == "EAGAIN"
}

/// A pids cgroup that refused.
struct Full {
    group: String,
    limit: String,
    tasks: f64,
    refused: f64,
}

/// The victim's group that refused most in the window.
fn full_group(scene: &Scene, victim: &Victim) -> Option<Full> {
    let groups = Groups::of(scene, victim);
    let events = scene.rec.get(&catalog::CGROUP_EVENTS).ok()?.iter();
    let refusing =
        events.filter(|row| row.labels.get("event") == "pids.max" && groups.are_in(row.labels.get("cgroup")));
    let grown = |row: &Series| row.increase().unwrap_or(0.0);
    let worst = refusing.filter(|row| grown(row) > 0.0).max_by(|a, b| grown(a).total_cmp(&grown(b)))?;
    let group = worst.labels.get("cgroup");
    let limits = scene.rec.get(&catalog::CGROUP_LIMIT).unwrap_or_default().iter();
    let limit =
        limits.filter(|fact| fact.labels.get("cgroup") == group).find(|fact| fact.labels.get("name") == "pids.max");
    let tasks = scene.rec.get(&catalog::CGROUP_PIDS).unwrap_or_default().iter();
    Some(Full {
        group: group.to_owned(),
        limit: limit.map_or_else(|| "not readable".to_owned(), |fact| fact.value.clone()),
        tasks: tasks.filter(|row| row.labels.get("cgroup") == group).map(Series::max).fold(0.0, f64::max),
        refused: grown(worst),
    })
}

#[cfg(test)]
mod tests {
    use crate::{
        Confidence,
        testing::{System, all, one},
    };
    use observe::{
        TimeClass::{BlockedSleep, RunningUser},
        catalog,
    };

    fn service(failures: u64) -> System {
        System::new()
            .thread(10, "uploadd", &[(RunningUser, 1.0), (BlockedSleep, 8.0)])
            .calls(10, "clone3", 7000, 0.5, 0.0)
            .failures(10, "clone3", "EAGAIN", "", failures)
            .wait(10, BlockedSleep, "clock_nanosleep", "timer", None, 8.0, 7000)
            .member("/uploads", 10)
            .target(10)
    }

    #[test]
    fn the_group_that_refuses_is_the_culprit() {
        let rec = service(6900)
            .limit("/uploads", "pids.max", "24")
            .grows(&catalog::CGROUP_EVENTS, &[("cgroup", "/uploads"), ("event", "pids.max")], 6900.0)
            .sampled(&catalog::CGROUP_PIDS, &[("cgroup", "/uploads")], &[24.0, 24.0])
            .build();
        let finding = one(&rec, "limits.tasks");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("/uploads", Confidence::Likely));
        assert_eq!(finding.culprit.detail.as_deref(), Some("pids.max 24, 24 tasks"));
        assert_eq!(finding.rank, 1);
    }

    #[test]
    fn a_few_refusals_of_a_group_that_cost_long_pauses_are_enough() {
        let few = |refused: f64| {
            System::new()
                .thread(10, "photod", &[(RunningUser, 0.1), (BlockedSleep, 9.0)])
                .calls(10, "clone", 5, 0.0, 0.0)
                .failures(10, "clone", "EAGAIN", "", 5)
                .wait(10, BlockedSleep, "clock_nanosleep", "timer", None, 9.0, 5)
                .member("/photos", 10)
                .limit("/photos", "pids.max", "8")
                .grows(&catalog::CGROUP_EVENTS, &[("cgroup", "/photos"), ("event", "pids.max")], refused)
                .target(10)
                .build()
        };
        let finding = one(&few(5.0), "limits.tasks");
        assert_eq!((finding.culprit.name.as_str(), finding.rank), ("/photos", 1));
        assert!(all(&few(0.0), "limits.tasks").is_empty(), "nobody says that it was refused");
    }

    #[test]
    fn where_no_group_refuses_it_is_the_process_and_what_costs_little_is_possible() {
        let finding = one(&service(6900).build(), "limits.tasks");
        assert_eq!((finding.culprit.pid, finding.confidence), (Some(10), Confidence::Likely));
        assert_eq!(one(&service(20).build(), "limits.tasks").confidence, Confidence::Possible);
    }

    #[test]
    fn not_now_on_descriptors_and_few_refusals_are_none() {
        let rec = service(3).failures(10, "read", "EAGAIN", "", 90_000).build();
        assert!(all(&rec, "limits.tasks").is_empty());
    }
}
