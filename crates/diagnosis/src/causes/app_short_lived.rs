//! # Starting short-lived processes takes the time
//!
//! **Speaks for it:** many processes that live for milliseconds, started by the victim, whose time goes into starting and
//! awaiting them.
//! **Speaks against it:** children that live long enough to do work: then the child is the one to look at. What they sleep
//! (`sleep 0.1` in a loop) is a pause. Where they fail again and again, that is the point (`app.crash-loop`).
//! **Experiment:** none that is gentle.

use super::app_crash_loop;
use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{MATTERS, grade, how_much},
    path::Removes,
    scene::totals_of,
};
use checks::Evidence;
use observe::{Event, Pid, Ratio, TimeClass, catalog};
use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
    time::Duration,
};

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "app.short-lived", frozen: Effect::None, root_of: &[], judge };

/// ours: fewer starts a second than this are ordinary shell life.
const RATE: f64 = 5.0;

/// ours: a process this short has spent much of its life being started and ended (fork, exec, dynamic linking and exit
/// take a few milliseconds).
const SHORT: Duration = Duration::from_millis(150);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let Some(churn) = churn(scene, victim) else { return Vec::new() };
    let time = churn.time;
    let Some(mut confidence) = grade(scene, victim, time) else { return Vec::new() };
    if app_crash_loop::starters(scene).contains(&churn.parent) {
        confidence = Confidence::Possible;
    }
    let rate = churn.count as f64 / scene.window().as_secs_f64();
    let life = churn.median.as_secs_f64() * 1e3;
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} spends {} starting and awaiting short-lived processes: {} of them ({rate:.0} a second), mostly {}, \
             with a median life of {life:.1} ms, started by {}.",
            victim.label(),
            how_much(victim, time),
            churn.count,
            churn.name,
            churn.parent_name,
        ),
        culprit: Party {
            kind: "process".into(),
            pid: None,
            name: churn.name.clone(),
            detail: Some(format!("started by {} (pid {})", churn.parent_name, churn.parent)),
        },
        evidence: vec![
            Evidence::new("sched_process_exit: processes that ended", rate, "processes/s")
                .against("> 5/s")
                .at("recording/events.parquet"),
            Evidence::new("median life span", life, "ms").against("< 150 ms"),
            Evidence::new("time starting and awaiting them", time.as_secs_f64(), "s"),
        ],
        codepath: Vec::new(),
        next: vec![
            format!("look at the loop in {} that starts {}", churn.parent_name, churn.name),
            "do the work inside the process (a builtin, a library), or pass many items to one process".to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    }]
}

/// Whether the victim's children are short-lived, so that waiting for them is waiting for starts.
pub fn explains(scene: &Scene, victim: &Victim) -> bool {
    churn(scene, victim).is_some_and(|c| victim.share(c.time) >= MATTERS)
}

/// What starting and awaiting short-lived processes takes.
pub fn time(scene: &Scene, victim: &Victim) -> Duration {
    churn(scene, victim).map(|churn| churn.time).unwrap_or_default()
}

/// The short-lived processes that a victim starts in such numbers: what they use, it uses itself.
pub fn offspring(scene: &Scene, victim: &Victim) -> BTreeSet<Pid> {
    churn(scene, victim).map(|churn| churn.pids).unwrap_or_default()
}

/// Short-lived processes that are started in such numbers, each with the one that goes on and starts them, be it through
/// others that are as short-lived.
pub fn started_by(scene: &Scene) -> BTreeMap<Pid, Pid> {
    let exits = scene.rec.get(&catalog::PROCESS_EXIT).into_iter().flatten();
    let short = exits.filter(|e| e.value <= SHORT.as_secs_f64());
    let parents: BTreeMap<Pid, Pid> =
        short.filter_map(|e| Some((e.pid?, Pid(e.labels.get("parent").parse().ok()?)))).collect();
    /// ours: a pipeline's parts are started by a shell that a shell has started.
    const GENERATIONS: usize = 4;
    let lasting = |pid: &Pid| iter::successors(Some(*pid), |pid| parents.get(pid).copied()).take(GENERATIONS).last();
    let by_starter: BTreeMap<Pid, Pid> = parents.keys().filter_map(|pid| Some((*pid, lasting(pid)?))).collect();
    let mut counts: BTreeMap<Pid, usize> = BTreeMap::new();
    by_starter.values().for_each(|starter| *counts.entry(*starter).or_default() += 1);
    let often = |starter: &Pid| counts[starter] as f64 / scene.window().as_secs_f64() >= RATE;
    by_starter.into_iter().filter(|(_, starter)| starter.0 > 1 && often(starter)).collect()
}

struct Churn {
    count: usize,
    pids: BTreeSet<Pid>,
    median: Duration,
    name: String,
    parent: Pid,
    parent_name: String,
    time: Duration,
}

fn churn(scene: &Scene, victim: &Victim) -> Option<Churn> {
    let exits = scene.rec.get(&catalog::PROCESS_EXIT).ok()?;
    let parent_of = |e: &Event| e.labels.get("parent").parse().ok().map(Pid);
    let mine: Vec<&Event> = exits.iter().filter(|e| parent_of(e).is_some_and(|p| victim.contains(p))).collect();
    let mut lives: Vec<f64> = mine.iter().map(|e| e.value).collect();
    lives.sort_by(f64::total_cmp);
    let median = Duration::from_secs_f64(lives.get(lives.len() / 2).copied()?.max(0.0));
    let of_short: f64 = lives.iter().filter(|life| **life <= SHORT.as_secs_f64()).sum();
    let mostly_short = of_short >= lives.iter().sum::<f64>() * 0.5;
    if (mine.len() as f64) / scene.window().as_secs_f64() < RATE || median > SHORT || !mostly_short {
        return None;
    }
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut parents: BTreeMap<Pid, usize> = BTreeMap::new();
    for exit in &mine {
        *names.entry(exit.labels.get("name")).or_default() += 1;
        if let Some(parent) = parent_of(exit) {
            *parents.entry(parent).or_default() += 1;
        }
    }
    let (name, _) = names.into_iter().max_by_key(|(_, count)| *count)?;
    let (parent, _) = parents.into_iter().max_by_key(|(_, count)| *count)?;
    // Time of the starters: awaiting children, and the calls that make them. For a group, its children's own time too.
    let children = mine.iter().filter_map(|e| e.pid).filter(|pid| victim.contains(*pid) && *pid != parent);
    let of_children: Duration = children.map(|pid| scene.times(pid).active()).sum();
    let awaiting: Duration = victim
        .waits(scene)
        .filter(|w| w.class == TimeClass::BlockedProcess)
        .filter(|w| w.by.is_none_or(|(by, _)| !victim.contains(by)) && victim.pids.len() == 1)
        .map(|w| w.time)
        .sum();
    let starting: f64 = scene
        .rec
        .get(&catalog::SYSCALL_CPU)
        .into_iter()
        .flat_map(|rows| totals_of(rows, |pid| victim.contains(pid)))
        .filter(|row| matches!(row.labels.get("syscall"), "clone" | "clone3" | "fork" | "vfork" | "execve" | "wait4"))
        .map(observe::Series::last)
        .sum();
    let pids: BTreeSet<Pid> = mine.iter().filter_map(|e| e.pid).collect();
    // Who starts more than the CPUs get done waits for what it has started.
    let behind = victim.waits(scene).filter(|w| w.class.is_behind_others());
    let behind: Duration =
        behind.filter(|w| w.by.is_some_and(|(by, _)| pids.contains(&by) && !victim.contains(by))).map(|w| w.time).sum();
    let of_children = of_children.max(Duration::from_secs_f64(starting.max(0.0)));
    Some(Churn {
        count: mine.len(),
        pids,
        median,
        name: name.to_owned(),
        parent,
        parent_name: scene.rec.process_name(parent),
        time: awaiting.mul_f64(1.0 - slept(scene, &mine)) + of_children + behind,
    })
}

/// The part of the processes' lives in which they slept by their own timer: a pause, not the price of starting them.
fn slept(scene: &Scene, ended: &[&Event]) -> f64 {
    let (mut slept, mut lived) = (Duration::ZERO, Duration::ZERO);
    for thread in ended.iter().filter_map(|e| e.pid).flat_map(|pid| scene.threads(pid)) {
        slept += thread.classes[TimeClass::BlockedSleep];
        lived += thread.wall;
    }
    Ratio::of(slept, lived).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, all, one};

    fn script(life: f64, count: usize) -> System {
        System::new()
            .thread(10, "nightly.sh", &[(TimeClass::RunningKernel, 1.0), (TimeClass::BlockedProcess, 8.0)])
            .wait(10, TimeClass::BlockedProcess, "wait4", "child", None, 8.0, count as u64)
            .exits(10, "nightly.sh", "grep", life, count)
            .target(10)
    }

    #[test]
    fn a_script_that_starts_hundreds_of_greps() {
        let finding = one(&script(0.004, 900).build(), "app.short-lived");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("grep", Confidence::Likely));
    }

    #[test]
    fn a_server_waits_for_cpus_behind_the_processes_that_it_starts() {
        let mut system = System::new()
            .cpu_busy(0.97)
            .thread(10, "postmaster", &[(TimeClass::RunningKernel, 1.0), (TimeClass::RunnableBusy, 4.0)])
            .exits(10, "postmaster", "session", 0.02, 900)
            .target(10);
        for n in 0..40 {
            system = system.behind(10, 100_000 + n, 0.1);
        }
        let findings = crate::diagnose(&system.build(), &[]).findings;
        assert_eq!(findings[0].cause, "app.short-lived", "{findings:#?}");
        assert!(findings[0].share.0 > 0.7 && findings.iter().all(|f| f.cause != "cpu.saturated"), "{findings:#?}");
    }

    #[test]
    fn pauses_in_a_loop_are_not_churn() {
        let paused = |class| {
            let mut system = script(0.1, 90);
            for n in 0..90 {
                system = system.short_thread(100_000 + n, 100_000 + n, "sleep", class, 0.1);
            }
            all(&system.build(), "app.short-lived")
        };
        assert!(paused(TimeClass::BlockedSleep).is_empty());
        assert_eq!(paused(TimeClass::RunningUser).len(), 1);
    }

    #[test]
    fn children_that_work_are_not_churn() {
        assert!(all(&script(0.9, 900).build(), "app.short-lived").is_empty());
        assert!(all(&script(0.004, 20).build(), "app.short-lived").is_empty());
    }
}
