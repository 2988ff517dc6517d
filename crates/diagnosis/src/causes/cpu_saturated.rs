//! # The victim waits for CPUs that are all busy
//!
//! **Speaks for it:** run-queue time in which somebody else ran on the CPU, while the machine had no idle CPU to offer.
//! **Speaks against it:** idle CPUs (that is placement, not saturation); the victim's own threads in its way, or the
//! short-lived processes that it starts (that is its own appetite).
//! **Experiment:** freezing or slowing the culprit helps the victim.

use super::app_short_lived::{offspring, started_by};
use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{NOTICED, grade, how_much, process},
    path::Removes,
};
use checks::Evidence;
use observe::{Pid, Ratio, TimeClass};
use std::{
    collections::{BTreeMap, BTreeSet},
    iter, slice,
    time::Duration,
};

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "cpu.saturated", frozen: Effect::Helps, root_of: &[], judge };

/// Coroot and awesome-prometheus-alerts: above 80 % of CPU time, CPUs are called highly utilised.
const BUSY: Ratio = Ratio(0.80);

/// ours: one process is the culprit when it ran in at least this part of the victim's waits.
const MOST: Ratio = Ratio(0.4);

/// ours: processes that do not work with the victim are the ones to look at when they ran this part of its waits.
const STRANGERS: Ratio = Ratio(0.3);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let starters = started_by(scene);
    let own = offspring(scene, victim);
    let is_own = |pid: Pid| {
        let started = starters.get(&pid).is_some_and(|starter| victim.contains(*starter));
        let alike = !victim.named && victim.pids.iter().any(|mine| scene.siblings(*mine, pid));
        victim.contains(pid) || scene.rec.is_friday(pid) || own.contains(&pid) || started || alike
    };
    let mut by_runner: BTreeMap<Pid, Duration> = BTreeMap::new();
    for wait in victim.waits(scene).filter(|w| w.class.is_behind_others()) {
        if let Some((runner, _)) = wait.by.filter(|(runner, _)| !is_own(*runner)) {
            *by_runner.entry(runner).or_default() += wait.time;
        }
    }
    let behind_others: Duration = by_runner.values().sum();
    let behind_others = behind_others.min(victim.times.sum(TimeClass::is_behind_others));
    let Some(graded) = grade(scene, victim, behind_others) else { return Vec::new() };
    // Where the whole machine is not busy, the victim may still be confined to CPUs that are.
    let confined = victim.pids.iter().any(|pid| scene.rec.processes.get(pid).is_some_and(|p| p.allowed_cpus > 0));
    let busy = scene.cpu_busy().unwrap_or(Ratio(1.0));
    if busy < BUSY && !confined {
        return Vec::new();
    }
    let Some(culprit) = culprit(scene, victim, (&by_runner, &starters), is_own) else { return Vec::new() };
    let ran = Ratio::of(culprit.time, behind_others);
    let took = took(scene, culprit.members.iter());
    // Without it there would have been CPUs enough: then waiting behind anybody else is its doing as well.
    let much = took.0 >= MOST.0 * busy.0 && ran >= STRANGERS;
    let enough_without = much && !confined && busy.0 - took.0 < BUSY.0;
    // Among equals nobody is to blame.
    let more_than_victim = took > self::took(scene, victim.pids.iter());
    let (time, confidence) = match grade(scene, victim, culprit.time) {
        _ if culprit.is_partner => (behind_others, Confidence::Possible),
        _ if ran >= MOST || enough_without => (behind_others, graded),
        Some(Confidence::Likely) if more_than_victim => (culprit.time, Confidence::Likely),
        _ => (behind_others, Confidence::Possible),
    };
    let latency = victim.pids.iter().filter_map(|pid| scene.run_queue(*pid)).max_by_key(|h| h.sum);
    let mut evidence = vec![
        Evidence::new("sched_switch: runnable behind other processes", behind_others.as_secs_f64(), "s")
            .at("recording/waits.parquet"),
        Evidence::new("/proc/stat: CPU busy", busy.0 * 100.0, "%").against("> 80 %").at("recording/series.parquet"),
        Evidence::new("CPU time that the culprit took", took.0 * 100.0, "% of all CPUs").at("recording/ledger.parquet"),
    ];
    if let Some(p99) = latency.and_then(|h| h.quantile_time(Ratio(0.99))) {
        evidence.push(
            Evidence::new("run-queue latency p99", p99.as_secs_f64() * 1e3, "ms").at("recording/histograms.parquet"),
        );
    }
    let (name, pid, who) = (scene.rec.process_name(culprit.pid), culprit.pid, culprit.label(scene));
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} waits for a busy CPU for {}, {:.1} s of that behind {who}, which took {took} of all CPU time. All CPUs \
             together were {busy} busy.",
            victim.label(),
            how_much(victim, behind_others),
            culprit.time.as_secs_f64(),
        ),
        next: vec![
            match culprit.starts {
                0 => format!(
                    "lower its priority: renice 19 -p {}; or move it to other CPUs or another host",
                    culprit.pids()
                ),
                _ => format!("let {name} (pid {pid}) start less, or at a lower priority: renice 19 -p {pid}"),
            },
            format!("or give {} CPUs of its own (cpuset, taskset)", victim.name),
        ],
        culprit: culprit.party(scene),
        evidence,
        codepath: Vec::new(),
        removes: Removes::Runners(culprit.members.into_iter().collect()),
        descriptive: false,
    }]
}

/// Who takes the CPUs: a process, all those of one name, or one with the short-lived processes that it starts.
struct Culprit {
    /// The one that ran most in the victim's waits, or that starts the others.
    pid: Pid,
    /// In which it ran while the victim waited.
    time: Duration,
    members: BTreeSet<Pid>,
    /// Those of them that ran noticeably, whether in its waits or not.
    ran: Vec<Pid>,
    /// How many of them are short-lived, and started by the rest.
    starts: usize,
    /// The victim works with it.
    is_partner: bool,
}

impl Culprit {
    /// For a command; of very many, the busiest.
    fn pids(&self) -> String {
        /// ours: as many fit into a line.
        const MOST_NAMED: usize = 12;
        let all = if self.ran.len() > MOST_NAMED { slice::from_ref(&self.pid) } else { &self.ran };
        all.iter().map(Pid::to_string).collect::<Vec<_>>().join(" ")
    }

    fn label(&self, scene: &Scene) -> String {
        let name = scene.rec.process_name(self.pid);
        match (self.ran.len(), self.starts) {
            (_, starts @ 1..) => format!("{name} (pid {}) and {starts} short-lived processes that it starts", self.pid),
            (1, _) => format!("{name} (pid {})", self.pid),
            (ran, _) => format!("{ran} processes named {name} (the busiest: pid {})", self.pid),
        }
    }

    fn party(&self, scene: &Scene) -> Party {
        let mut party = process(scene, self.pid);
        let detail = party.detail.take().unwrap_or_default();
        party.detail = match (self.ran.len(), self.starts) {
            (_, starts @ 1..) => Some(format!("and {starts} short-lived processes that it starts: {detail}")),
            (1, _) => Some(detail).filter(|detail| !detail.is_empty()),
            (ran, _) => Some(format!("{ran} processes of that name; the busiest: {detail}")),
        };
        party
    }
}

/// The part of the machine's CPU time that processes used.
fn took<'a>(scene: &Scene, pids: impl Iterator<Item = &'a Pid>) -> Ratio {
    let ran: Duration =
        pids.flat_map(|pid| scene.threads(*pid)).map(|thread| thread.classes.sum(TimeClass::is_running)).sum();
    Ratio::of(ran, scene.window() * scene.rec.host.cpus.max(1))
}

/// The family that ran most in the victim's waits.
fn culprit(
    scene: &Scene,
    victim: &Victim,
    (by_runner, starters): (&BTreeMap<Pid, Duration>, &BTreeMap<Pid, Pid>),
    is_own: impl Fn(Pid) -> bool,
) -> Option<Culprit> {
    // Who the victim works with runs because the victim does. Others come first, unless they hardly ran.
    let partner = |pid: &Pid| victim.pids.iter().any(|mine| scene.partners(*mine, *pid));
    let others: BTreeMap<Pid, Duration> =
        by_runner.iter().filter(|(pid, _)| !partner(pid)).map(|(pid, time)| (*pid, *time)).collect();
    let all: Duration = by_runner.values().sum();
    let strangers = Ratio::of(others.values().sum(), all) >= STRANGERS;
    let by_runner = if strangers { &others } else { by_runner };
    // What is started again and again, ever new, is one with who starts it.
    let lasting = |pid: Pid| starters.get(&pid).copied().unwrap_or(pid);
    let family = |pid: Pid| scene.rec.process_name(lasting(pid));
    let mut families: BTreeMap<String, BTreeMap<Pid, Duration>> = BTreeMap::new();
    for (pid, time) in by_runner {
        *families.entry(family(*pid)).or_default().entry(lasting(*pid)).or_default() += *time;
    }
    let (name, times) = families.into_iter().max_by_key(|(_, times)| times.values().sum::<Duration>())?;
    let (busiest, _) = times.iter().max_by_key(|(_, time)| **time)?;
    let known = scene.rec.processes.keys().copied().chain(starters.keys().copied());
    let apart = |pid: &Pid| is_own(*pid) || strangers && partner(pid);
    let members: BTreeSet<Pid> = known.filter(|pid| !apart(pid) && family(*pid) == name).collect();
    Some(Culprit {
        pid: *busiest,
        time: times.values().sum(),
        ran: members.iter().copied().filter(|pid| pid == busiest || took(scene, iter::once(pid)) >= NOTICED).collect(),
        starts: members.iter().filter(|pid| lasting(**pid) != **pid).count(),
        is_partner: partner(busiest),
        members,
    })
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

    /// A server and its client with strangers that take 1.2 of two CPUs: most of its waits are behind the client.
    fn between(strangers: f64, busy: f64) -> System {
        System::new()
            .cpu_busy(busy)
            .thread(10, "cache", &[(TimeClass::RunningUser, 2.0), (TimeClass::RunnableBusy, 3.0)])
            .thread(20, "bench", &[(TimeClass::RunningUser, 3.0)])
            .wait(20, TimeClass::BlockedProcess, "read", "tcp:127.0.0.1:6379", Some((10, 10)), 1.0, 1000)
            .thread(30, "spin", &[(TimeClass::RunningUser, strangers / 2.0)])
            .thread(31, "spin", &[(TimeClass::RunningUser, strangers / 2.0)])
            .behind(10, 20, 1.9)
            .behind(10, 30, 0.6)
            .behind(10, 31, 0.5)
            .target(10)
    }

    #[test]
    fn who_leaves_too_few_cpus_is_the_culprit_of_waiting_behind_anybody() {
        let finding = one(&between(12.0, 1.0).build(), "cpu.saturated");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("spin", Confidence::Likely));
        assert!((finding.share.0 - 0.6).abs() < 0.01, "{finding:#?}");
        assert!(finding.summary.contains("2 processes named spin") && finding.summary.contains("took 60 %"));
        assert!(finding.next[0].contains("renice 19 -p 30 31;"), "{:?}", finding.next);
        // Without it the CPUs would still have been taken: only what it ran itself is its doing.
        let finding = one(&between(3.0, 1.0).build(), "cpu.saturated");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("spin", Confidence::Likely));
        assert!((finding.share.0 - 0.22).abs() < 0.01, "{finding:#?}");
    }

    #[test]
    fn short_lived_processes_are_one_with_who_starts_them() {
        let mut system = System::new()
            .cpu_busy(0.97)
            .thread(10, "web", &[(TimeClass::RunningUser, 2.0), (TimeClass::RunnableBusy, 4.0)])
            .thread(40, "agent", &[(TimeClass::RunningKernel, 1.0)])
            .exits(40, "agent", "awk", 0.02, 200)
            .target(10);
        for n in 0..200 {
            system = system.behind(10, 100_000 + n, 0.02);
        }
        let finding = one(&system.build(), "cpu.saturated");
        assert_eq!((finding.culprit.pid, finding.confidence), (Some(40), Confidence::Likely));
        assert!(finding.summary.contains("agent (pid 40) and 200 short-lived processes"), "{}", finding.summary);
    }

    #[test]
    fn what_one_does_to_others_comes_before_what_it_does_to_itself() {
        let system = || {
            let system = System::new()
                .cpu_busy(0.97)
                .thread(10, "web", &[(TimeClass::RunningUser, 2.0), (TimeClass::RunnableBusy, 4.0)])
                .thread(40, "agent", &[(TimeClass::RunnableBusy, 3.0), (TimeClass::BlockedProcess, 6.0)])
                .wait(40, TimeClass::BlockedProcess, "wait4", "child", None, 6.0, 200)
                .exits(40, "agent", "awk", 0.02, 200);
            (0..200).fold(system, |system, n| system.behind(10, 100_000 + n, 0.02))
        };
        let found = crate::diagnose(&system().build(), &[]).findings;
        let causes: Vec<&str> = found.iter().map(|f| f.cause.as_str()).collect();
        assert!(causes[0] == "cpu.saturated" && causes.contains(&"app.short-lived"), "{causes:?}");
        // Whoever asks about the agent is told what it does.
        let named = system().target(40).build();
        assert_eq!(crate::diagnose(&named, &[]).findings[0].cause, "app.short-lived");
    }
}
