//! # Others are preferred
//!
//! **Speaks for it:** runnable time in which threads ran that the scheduler prefers: a real-time class, a niceness five
//! steps better or more, or a control group of three times the weight.
//! **Speaks against it:** a victim that nobody named, whom nobody asks for anything, and that was made less important on
//! purpose (a batch at nice 19).
//! **Experiment:** freezing the preferred one helps the victim; so does the same priority for both.

use crate::{
    Cause, Draft, Effect, Party, Scene, Victim,
    cause::{grade, how_much, process},
    path::Removes,
};
use checks::Evidence;
use observe::{Pid, TimeClass, Wait, catalog};
use std::{collections::BTreeMap, time::Duration};

/// Stands in the registry.
pub const CAUSE: Cause =
    Cause { id: "cpu.priority", frozen: Effect::Helps, root_of: &["cpu.saturated", "cpu.pinned"], judge };

/// ours: what five steps of niceness come to, as for threads of one group.
const OUTWEIGHS: f64 = 3.0;

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let meant = || victim.pids.iter().all(|pid| gave_way(scene, *pid)) && !victim.serves(scene);
    if !victim.named && meant() {
        return Vec::new();
    }
    let mut by_runner: BTreeMap<Pid, Duration> = BTreeMap::new();
    for wait in victim.waits(scene).filter(|wait| preferred(scene, wait)) {
        if let Some((runner, _)) = wait.by.filter(|(pid, _)| !victim.contains(*pid) && !scene.rec.is_friday(*pid)) {
            *by_runner.entry(runner).or_default() += wait.time;
        }
    }
    let time = by_runner.values().sum::<Duration>().min(victim.times.sum(TimeClass::is_behind_others));
    let Some(confidence) = grade(scene, victim, time) else { return Vec::new() };
    let Some((runner, ran)) = by_runner.iter().max_by_key(|(_, time)| **time).map(|(pid, time)| (*pid, *time)) else {
        return Vec::new();
    };
    let (theirs, own) = (importance(scene, runner), importance(scene, victim.pids[0]));
    let mut culprit: Party = process(scene, runner);
    culprit.detail = Some(match culprit.detail {
        Some(detail) => format!("{theirs}; {detail}"),
        None => theirs.clone(),
    });
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} waits for a CPU for {} while the scheduler prefers others: {} ({theirs}) ran during {:.1} s of that, \
             and it has {own}.",
            victim.label(),
            how_much(victim, time),
            scene.label(runner),
            ran.as_secs_f64(),
        ),
        culprit,
        evidence: vec![
            Evidence::new("sched_switch: runnable while preferred threads ran", time.as_secs_f64(), "s")
                .against("a real-time class, 5 steps of niceness, or 3 times the weight")
                .at("recording/waits.parquet"),
        ],
        codepath: Vec::new(),
        next: vec![
            format!("compare: ps -o pid,cls,rtprio,ni,comm -p {runner},{}", victim.pids[0]),
            format!(
                "give both the same: renice -n 0 -p {runner}; chrt -o -p 0 {runner}; or the weights of their groups"
            ),
        ],
        removes: Removes::Runners(by_runner.into_keys().collect()),
        descriptive: false,
    }]
}

/// Whether the runner of such a wait was preferred to who waited.
fn preferred(scene: &Scene, wait: &Wait) -> bool {
    match wait.class {
        TimeClass::RunnableOutranked => true,
        TimeClass::RunnableBusy => wait.by.is_some_and(|(runner, _)| {
            group(scene, runner) != group(scene, wait.pid)
                && weight(scene, runner) >= OUTWEIGHS * weight(scene, wait.pid)
        }),
        _ => false,
    }
}

/// Whether a process was made less important than others.
pub fn gave_way(scene: &Scene, pid: Pid) -> bool {
    scene.rec.processes.get(&pid).is_some_and(|p| p.nice > 0 || p.policy == "idle" || p.policy == "batch")
}

fn group<'a>(scene: &Scene<'a>, pid: Pid) -> &'a str {
    scene.rec.processes.get(&pid).map_or("", |p| p.cgroup.as_str())
}

/// The weight of a process' group where it has one, in parts of the usual one.
fn weight(scene: &Scene, pid: Pid) -> f64 {
    let group = group(scene, pid);
    let rows = scene.rec.get(&catalog::CGROUP_LIMIT).into_iter().flatten();
    let weights = rows.filter(|fact| fact.labels.get("cgroup") == group).filter_map(|fact| {
        let usual = match fact.labels.get("name") {
            "cpu.weight" => 100.0,
            "cpu.shares" => 1024.0,
            _ => return None,
        };
        Some(fact.value.trim().parse::<f64>().ok()? / usual)
    });
    weights.fold(1.0, |_, weight| weight)
}

/// What the scheduler goes by, in words.
fn importance(scene: &Scene, pid: Pid) -> String {
    let Some(process) = scene.rec.processes.get(&pid) else { return "unknown priority".to_owned() };
    let weight = weight(scene, pid);
    let group = if weight == 1.0 { String::new() } else { format!(", {weight:.2} times the usual group weight") };
    match process.policy.as_str() {
        "" => format!("nice {}{group}", process.nice),
        policy => format!("policy {policy}{group}"),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{System, all, one};
    use observe::{
        TimeClass::{RunnableBusy, RunnableOutranked, RunningUser},
        catalog,
    };

    fn outranked() -> System {
        System::new()
            .cpu_busy(0.99)
            .thread(10, "api", &[(RunningUser, 1.0), (RunnableOutranked, 4.0)])
            .thread(20, "render", &[(RunningUser, 9.0)])
            .wait(10, RunnableOutranked, "", "cpu", Some((20, 20)), 4.0, 100)
    }

    #[test]
    fn who_is_preferred_is_the_culprit_and_comes_before_saturation() {
        let rec = outranked().policy(20, 0, "fifo 50").target(10).build();
        let finding = one(&rec, "cpu.priority");
        assert_eq!(finding.culprit.pid, Some(20));
        assert!(finding.culprit.detail.unwrap().starts_with("policy fifo 50"));
        assert_eq!(finding.rank, 1);
        assert!(all(&rec, "cpu.saturated").iter().all(|f| f.summary.contains("It follows from cpu.priority")));
    }

    #[test]
    fn a_batch_that_was_made_unimportant_is_nobodys_victim() {
        assert!(all(&outranked().policy(10, 19, "").build(), "cpu.priority").is_empty());
    }

    #[test]
    fn who_answers_requests_was_not_meant_to_wait() {
        let served = outranked().policy(10, 10, "").total(
            &catalog::REQUEST_TIME,
            &[("pid", "10"), ("service", "80"), ("part", "queued")],
            4.0,
        );
        let served = served.durations(&catalog::REQUESTS, &[("pid", "10"), ("service", "80")], &[(300, 0.01)]);
        assert_eq!(one(&served.build(), "cpu.priority").culprit.pid, Some(20));
    }

    #[test]
    fn a_heavier_group_is_preferred_and_an_equal_one_is_not() {
        let grouped = |shares: &str| {
            System::new()
                .cpu_busy(0.99)
                .thread(10, "api", &[(RunningUser, 1.0), (RunnableBusy, 4.0)])
                .thread(20, "render", &[(RunningUser, 9.0)])
                .behind(10, 20, 4.0)
                .cgroup(10, "/small")
                .limit("/small", "cpu.shares", shares)
                .target(10)
                .build()
        };
        assert_eq!(one(&grouped("100"), "cpu.priority").culprit.pid, Some(20));
        assert!(all(&grouped("1024"), "cpu.priority").is_empty());
    }
}
