//! # The victim waits for its CPUs while others idle
//!
//! **Speaks for it:** runnable time in which a CPU that the thread may not use was idle.
//! **Speaks against it:** no restriction of its CPUs.
//! **Experiment:** widening the affinity helps the victim.

use crate::{
    Cause, Draft, Effect, Scene, Victim,
    cause::{grade, how_much, process},
    path::Removes,
};
use checks::Evidence;
use observe::{Pid, TimeClass};
use std::{collections::BTreeMap, time::Duration};

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "cpu.pinned", frozen: Effect::None, root_of: &[], judge };

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let time = victim.times[TimeClass::RunnablePinned];
    let Some(confidence) = grade(scene, victim, time) else { return Vec::new() };
    let pinned = |pid: &&Pid| scene.rec.processes.get(pid).is_some_and(|p| p.allowed_cpus > 0);
    let process_of = victim.pids.iter().find(pinned).or(victim.pids.first());
    let Some(pid) = process_of.copied() else { return Vec::new() };
    let allowed = scene.rec.processes.get(&pid).map_or(0, |p| p.allowed_cpus);
    let mut behind: BTreeMap<Pid, Duration> = BTreeMap::new();
    for wait in victim.waits(scene).filter(|w| w.class == TimeClass::RunnablePinned) {
        if let Some((runner, _)) = wait.by {
            *behind.entry(runner).or_default() += wait.time;
        }
    }
    let runner = behind.iter().max_by_key(|(_, time)| **time).map(|(pid, _)| *pid);
    let occupied = match runner {
        Some(runner) if victim.contains(runner) => " Its own threads crowd there.".to_owned(),
        Some(runner) => format!(" On them, {} ran meanwhile.", scene.label(runner)),
        None => String::new(),
    };
    let cpus = scene.rec.host.cpus;
    let may = if allowed > 0 { format!("{allowed} of {cpus} CPUs") } else { format!("fewer than {cpus} CPUs") };
    let mut culprit = process(scene, pid);
    culprit.detail = Some(format!("may run on {may}"));
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} waits for its CPUs for {} while others idle: it may run on {may}.{occupied}",
            victim.label(),
            how_much(victim, time),
        ),
        culprit,
        evidence: vec![
            Evidence::new("sched_switch: runnable while a CPU it may not use was idle", time.as_secs_f64(), "s")
                .at("recording/ledger.parquet"),
            Evidence::new("Cpus_allowed", f64::from(allowed), "CPUs").against(format!("{cpus} online")),
        ],
        codepath: Vec::new(),
        next: vec![
            format!("see who set it: taskset -pc {pid}; grep Cpus_allowed_list /proc/{pid}/status; its cpuset"),
            format!("widen it: taskset -apc 0-{} {pid}, or the cpuset of its cgroup", cpus.saturating_sub(1)),
        ],
        removes: Removes::Held(TimeClass::RunnablePinned),
        descriptive: false,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Confidence,
        testing::{System, all, one},
    };

    #[test]
    fn waiting_beside_an_idle_cpu_is_pinning() {
        let times = [(TimeClass::RunningUser, 2.0), (TimeClass::RunnablePinned, 4.0), (TimeClass::RunnableBusy, 1.0)];
        let rec = System::new().thread(10, "api", &times).allowed(10, 1).target(10).build();
        let finding = one(&rec, "cpu.pinned");
        assert_eq!((finding.culprit.pid, finding.confidence), (Some(10), Confidence::Likely));
        let few = [(TimeClass::RunningUser, 9.0), (TimeClass::RunnablePinned, 0.2)];
        assert!(all(&System::new().thread(10, "api", &few).target(10).build(), "cpu.pinned").is_empty());
    }
}
