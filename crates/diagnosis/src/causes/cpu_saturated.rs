//! # The victim waits for CPUs that are all busy
//!
//! **Speaks for it:** run-queue time in which somebody else ran on the CPU, while the machine had no idle CPU to offer.
//! **Speaks against it:** idle CPUs (that is placement, not saturation); the victim's own threads in its way, or the
//! short-lived processes that it starts (that is its own appetite).
//! **Experiment:** freezing or slowing the culprit helps the victim.

use super::app_short_lived::offspring;
use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{grade, how_much, process},
    path::Removes,
};
use checks::Evidence;
use observe::{Pid, Ratio, TimeClass};
use std::{collections::BTreeMap, time::Duration};

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "cpu.saturated", frozen: Effect::Helps, root_of: &[], judge };

/// Coroot and awesome-prometheus-alerts: above 80 % of CPU time, CPUs are called highly utilised.
const BUSY: Ratio = Ratio(0.80);

/// ours: one process is the culprit when it ran in at least this part of the victim's waits.
const MOST: Ratio = Ratio(0.4);

/// ours: processes that do not work with the victim are the ones to look at when they ran this part of its waits.
const STRANGERS: Ratio = Ratio(0.3);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let mut by_runner: BTreeMap<Pid, Duration> = BTreeMap::new();
    let own = offspring(scene, victim);
    for wait in victim.waits(scene).filter(|w| w.class.is_behind_others()) {
        if let Some((runner, _)) = wait.by
            && !victim.contains(runner)
            && !scene.rec.is_friday(runner)
            && !own.contains(&runner)
            && (victim.named || !scene.siblings(wait.pid, runner))
        {
            *by_runner.entry(runner).or_default() += wait.time;
        }
    }
    let behind_others: Duration = by_runner.values().sum();
    let behind_others = behind_others.min(victim.times.sum(TimeClass::is_behind_others));
    let Some(mut confidence) = grade(scene, victim, behind_others) else { return Vec::new() };
    // Where the whole machine is not busy, the victim may still be confined to CPUs that are.
    let confined = victim.pids.iter().any(|pid| scene.rec.processes.get(pid).is_some_and(|p| p.allowed_cpus > 0));
    let busy = scene.cpu_busy().unwrap_or(Ratio(1.0));
    if busy < BUSY && !confined {
        return Vec::new();
    }
    let Some((culprit, time, members)) = culprit(scene, victim, &by_runner) else { return Vec::new() };
    let partner = culprit.pid.is_some_and(|pid| victim.pids.iter().any(|mine| scene.partners(*mine, Pid(pid))));
    if Ratio::of(time, behind_others) < MOST || partner {
        confidence = Confidence::Possible;
    }
    let latency = victim.pids.iter().filter_map(|pid| scene.run_queue(*pid)).max_by_key(|h| h.sum);
    let mut evidence = vec![
        Evidence::new("sched_switch: runnable behind other processes", behind_others.as_secs_f64(), "s")
            .at("recording/waits.parquet"),
        Evidence::new("/proc/stat: CPU busy", busy.0 * 100.0, "%").against("> 80 %").at("recording/series.parquet"),
    ];
    if let Some(p99) = latency.and_then(|h| h.quantile_time(Ratio(0.99))) {
        evidence.push(
            Evidence::new("run-queue latency p99", p99.as_secs_f64() * 1e3, "ms").at("recording/histograms.parquet"),
        );
    }
    let name = culprit.name.clone();
    let runners = by_runner.keys().copied().filter(|pid| scene.rec.process_name(*pid) == name).collect();
    let pid = culprit.pid.map_or(String::new(), |pid| format!("pid {pid}"));
    let who = match members {
        1 => format!("{name} ({pid})"),
        _ => format!("{members} processes named {name} (the busiest: {pid})"),
    };
    vec![Draft {
        confidence,
        time: behind_others,
        summary: format!(
            "{} waits for a busy CPU for {}, mostly behind {who}, which ran during {:.1} s of that. All CPUs \
             together were {busy} busy.",
            victim.label(),
            how_much(victim, behind_others),
            time.as_secs_f64(),
        ),
        next: vec![
            match culprit.pid {
                Some(pid) => {
                    format!("lower its priority: renice 19 -p {pid}; or move it to other CPUs or another host")
                }
                None => format!("give {name} a smaller CPU weight, or move it to another host"),
            },
            format!("or give {} CPUs of its own (cpuset, taskset)", victim.name),
        ],
        culprit,
        evidence,
        codepath: Vec::new(),
        removes: Removes::Runners(runners),
        descriptive: false,
    }]
}

/// The process that ran most in the victim's waits; when many processes of one name or one parent share the work, that
/// family as a whole.
fn culprit(scene: &Scene, victim: &Victim, by_runner: &BTreeMap<Pid, Duration>) -> Option<(Party, Duration, usize)> {
    // Who the victim works with runs because the victim does. Others come first, unless they hardly ran.
    let partner = |pid: &Pid| victim.pids.iter().any(|mine| scene.partners(*mine, *pid));
    let others: BTreeMap<Pid, Duration> =
        by_runner.iter().filter(|(pid, _)| !partner(pid)).map(|(pid, time)| (*pid, *time)).collect();
    let all: Duration = by_runner.values().sum();
    let strangers = Ratio::of(others.values().sum(), all) >= STRANGERS;
    let by_runner = if strangers { &others } else { by_runner };
    let mut families: BTreeMap<String, (Duration, Pid, Duration, usize)> = BTreeMap::new();
    for (pid, time) in by_runner {
        let family = families.entry(scene.rec.process_name(*pid)).or_insert((Duration::ZERO, *pid, Duration::ZERO, 0));
        family.0 += *time;
        family.3 += 1;
        if *time > family.2 {
            (family.1, family.2) = (*pid, *time);
        }
    }
    let (_, (time, pid, _, members)) = families.into_iter().max_by_key(|(_, family)| family.0)?;
    let mut party = process(scene, pid);
    if members > 1 {
        let detail = party.detail.take().unwrap_or_default();
        party.detail = Some(format!("{members} processes of that name; the busiest: {detail}"));
    }
    Some((party, time, members))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, one};

    #[test]
    fn a_neighbour_that_runs_while_the_victim_waits_is_the_culprit() {
        let scene = System::new()
            .cpu_busy(0.99)
            .thread(10, "api", &[(TimeClass::RunningUser, 1.0), (TimeClass::RunnableBusy, 3.0)])
            .thread(20, "batch", &[(TimeClass::RunningUser, 10.0)])
            .behind(10, 20, 2.9)
            .target(10);
        let finding = one(&scene.build(), "cpu.saturated");
        assert_eq!(finding.culprit.pid, Some(20));
        assert_eq!(finding.confidence, Confidence::Likely);
        assert!((finding.share.0 - 0.725).abs() < 0.01);
    }

    #[test]
    fn with_idle_cpus_it_is_not_saturation() {
        let scene = System::new()
            .cpu_busy(0.5)
            .thread(10, "api", &[(TimeClass::RunningUser, 1.0), (TimeClass::RunnableBusy, 3.0)])
            .behind(10, 20, 2.9)
            .target(10);
        assert!(crate::testing::all(&scene.build(), "cpu.saturated").is_empty());
    }

    #[test]
    fn its_own_threads_are_not_neighbours() {
        let scene = System::new()
            .cpu_busy(0.99)
            .thread(10, "api", &[(TimeClass::RunningUser, 1.0), (TimeClass::RunnableBusy, 3.0)])
            .behind(10, 10, 2.9)
            .target(10);
        assert!(crate::testing::all(&scene.build(), "cpu.saturated").is_empty());
    }
}
