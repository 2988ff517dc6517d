//! From a recording and its verdicts to ranked findings and a conclusion.

use crate::{
    Conclusion, Confidence, Eliminated, Finding, Scene, Untested, Victim, Whose,
    cause::{NOTICED, WORTH_SAYING},
    graph,
    path::{self, Path},
    victim,
    weigh::{self, Found},
};
use checks::{Light, Test};
use observe::{Absent, Pid, Ratio, Recording, TimeClass, catalog};
use std::{collections::BTreeMap, time::Duration};

/// What a recording comes to.
pub struct Diagnosis {
    /// What the run ends with.
    pub conclusion: Conclusion,
    /// One sentence.
    pub headline: String,
    /// How the victims were chosen; empty when the user named the target.
    pub chosen: String,
    /// Ranked, most of the victim's time first.
    pub findings: Vec<Finding>,
    /// Where each victim's time rests.
    pub whose: Vec<Whose>,
    /// What each victim's time in the event window is made of.
    pub paths: Vec<Path>,
    /// What was ruled out.
    pub eliminated: Vec<Eliminated>,
    /// What could not be seen.
    pub untested: Vec<Untested>,
}

/// ours: below this part of the window nobody needed the target.
const IDLE: Ratio = Ratio(0.02);

/// Weighs every cause for every victim.
pub fn diagnose(rec: &Recording, tests: &[Test]) -> Diagnosis {
    let scene = Scene::new(rec);
    let (victims, chosen) = victim::choose(&scene);
    let busiest = if rec.target.is_named() { Vec::new() } else { victim::busiest(&scene) };
    let Found { findings, all_descriptive } = weigh::findings(&scene, &victims, &busiest, rec.target.is_named());
    let untested = untested(&scene, tests);
    let conclusion = conclude(&scene, &victims, &findings, all_descriptive, tests);
    Diagnosis {
        headline: headline(&scene, &victims, conclusion, &findings, tests, &untested),
        eliminated: eliminated(&scene, &victims, &findings, tests),
        conclusion,
        chosen,
        findings,
        paths: scene.timeline().map_or_else(Vec::new, |timeline| {
            victims.iter().flat_map(|victim| path::summarize(&scene, timeline, victim)).collect()
        }),
        whose: victims.iter().filter_map(|victim| graph::whose(&scene, victim)).collect(),
        untested,
    }
}

fn conclude(
    scene: &Scene,
    victims: &[Victim],
    findings: &[Finding],
    all_descriptive: bool,
    tests: &[Test],
) -> Conclusion {
    if findings.iter().any(|f| f.confidence >= Confidence::Likely) {
        return Conclusion::Found;
    }
    if !findings.is_empty() && !all_descriptive {
        return Conclusion::Suspected;
    }
    // Without a profile, what it does with the CPU is not known.
    let seen = scene.full_ledger().and_then(|()| scene.rec.get(&catalog::CPU_STACKS).map(|_| ()));
    let not_told = |v: &Victim| unexplained(scene, v).is_some() || hidden(scene, v).is_some();
    if seen.is_err() || victims.iter().any(not_told) {
        return Conclusion::Unknown;
    }
    let named = victims.iter().any(|v| v.named);
    if named {
        let busiest = victims
            .iter()
            .flat_map(|v| &v.pids)
            .flat_map(|pid| scene.threads(*pid))
            .map(|t| Ratio::of(t.classes.active().saturating_sub(t.classes[TimeClass::BlockedSleep]), t.wall))
            .fold(Ratio(0.0), |a, b| if b > a { b } else { a });
        if busiest < IDLE && !victims.iter().any(|victim| victim.serves(scene)) {
            return Conclusion::Idle;
        }
    } else if victims.is_empty() && scene.cpu_busy().is_ok_and(|busy| busy < IDLE) {
        return Conclusion::Idle;
    }
    // Work that uses all CPUs is no fault where nobody is held up by it; what is bad for others is none of a target's that
    // waits for nothing, but where too little was seen to say so.
    let demand = |t: &Test| matches!(t.id.as_str(), "cpu.utilization" | "cpu.pressure" | "cpu.run_queue");
    let excused = |t: &Test| victims.is_empty() && demand(t) || named && !t.id.starts_with("friday.");
    let bad = tests.iter().any(|t| t.verdict == Light::Bad && !excused(t));
    match bad {
        true if findings.is_empty() => Conclusion::Unknown,
        true => Conclusion::Suspected,
        false => Conclusion::Healthy,
    }
}

/// What a victim that the user named mostly waits for, where nothing that was found says why.
fn unexplained(scene: &Scene, victim: &Victim) -> Option<(TimeClass, Duration)> {
    /// ours: this part of its time must be explained before it can be called healthy.
    const PART: Ratio = Ratio(0.3);
    /// ours: less of the window than this is nobody's problem.
    const OF_WINDOW: Ratio = Ratio(0.1);
    let (class, time) = victim.times.iter().filter(|(class, _)| needs_reason(*class)).max_by_key(|(_, time)| *time)?;
    let noticed = Ratio::of(time, scene.window()) >= OF_WINDOW && victim.share(time) >= PART;
    (victim.named && noticed).then_some((class, time))
}

/// How many requests a victim that the user named had in hand, and for how long each, while for most of that time none of
/// its threads did or waited for anything: they wait for something that the program keeps to itself.
fn hidden(scene: &Scene, victim: &Victim) -> Option<(u64, Duration)> {
    /// ours: a request that takes no longer is not slow; as many at once can just be queued behind one another.
    const SLOW: Duration = Duration::from_millis(10);
    /// ours: fewer are no service at work.
    const MANY: u64 = 5;
    /// ours: this part of the time with requests in hand must be accounted for, and less of the window is nobody's problem.
    const PART: Ratio = Ratio(0.5);
    const OF_WINDOW: Ratio = Ratio(0.1);
    let sum = |metric| {
        let rows = scene.rec.get(metric).into_iter().flatten();
        let mine = rows.filter(|row: &&observe::Histogram| row.labels.pid().is_some_and(|pid| victim.contains(pid)));
        mine.fold((0, Duration::ZERO), |(n, time), row| (n + row.count, time + Duration::from_nanos(row.sum)))
    };
    let ((count, taken), (_, asked)) = (sum(&catalog::REQUESTS), sum(&catalog::UPSTREAM));
    let in_hand = taken.min(scene.window());
    let threads = victim.pids.iter().flat_map(|pid| scene.threads(*pid));
    let accounted = threads.map(|thread| thread.classes.active()).sum::<Duration>() + asked;
    let each = taken / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    let hidden = victim.named
        && count >= MANY
        && each >= SLOW
        && Ratio::of(in_hand, scene.window()) >= OF_WINDOW
        && Ratio::of(accounted, in_hand) < PART;
    hidden.then_some((count, each))
}

/// For whom a victim waited most in a class, where that is known.
fn awaited_most(scene: &Scene, victim: &Victim, class: TimeClass) -> Option<Pid> {
    let mut by: BTreeMap<Pid, Duration> = BTreeMap::new();
    for wait in victim.waits(scene).filter(|w| w.class == class) {
        if let Some((pid, _)) = wait.by.filter(|(pid, _)| !victim.contains(*pid)) {
            *by.entry(pid).or_default() += wait.time;
        }
    }
    by.into_iter().max_by_key(|(_, time)| *time).map(|(pid, _)| pid)
}

/// Waits that are never just the way things are.
fn needs_reason(class: TimeClass) -> bool {
    !class.is_running() && !class.is_idle() && !matches!(class, TimeClass::BlockedSleep | TimeClass::BlockedStopped)
}

fn headline(
    scene: &Scene,
    victims: &[Victim],
    conclusion: Conclusion,
    findings: &[Finding],
    tests: &[Test],
    untested: &[Untested],
) -> String {
    let who = match victims {
        [one] if one.named => one.label(),
        _ => scene.rec.host.name.clone(),
    };
    // What is the matter, and what to do about it.
    let first = || {
        let said = |f: &Finding| match f.next.first() {
            Some(next) => format!("{} Next: {next}.", first_sentence(&f.summary)),
            None => first_sentence(&f.summary),
        };
        findings.first().map(said).unwrap_or_default()
    };
    match conclusion {
        Conclusion::Found => first(),
        Conclusion::Suspected => format!("Possibly: {}", first()),
        Conclusion::Healthy => {
            let good = tests.iter().filter(|t| t.verdict == Light::Good).count();
            let works_at = findings.first().map(|f| format!(" Most of its work: {}", first_sentence(&f.summary)));
            format!(
                "{who} is healthy: over {:.0} s nothing it does waits noticeably for anything but work ({good} checks \
                 good).{}",
                scene.window().as_secs_f64(),
                works_at.unwrap_or_default()
            )
        }
        Conclusion::Idle => {
            format!("{who} is idle: over {:.0} s it waited for work that nobody sent.", scene.window().as_secs_f64())
        }
        Conclusion::Unknown => {
            if let Some((victim, (class, time))) = victims.iter().find_map(|v| Some((v, unexplained(scene, v)?))) {
                let (share, seconds) = (victim.share(time), time.as_secs_f64());
                let about = class.about();
                let whom = awaited_most(scene, victim, class)
                    .map_or_else(String::new, |pid| format!(", mostly {}", scene.label(pid)));
                return format!(
                    "{who} spends {share} of its active time ({seconds:.1} s) {about}{whom}; nothing that was looked at \
                     says why."
                );
            }
            if let Some((count, each)) = victims.iter().find_map(|v| hidden(scene, v)) {
                return format!(
                    "{who} takes {:.0} ms for each of {count} requests, and nothing that its threads do or wait for says \
                     why: they wait for something inside the program that cannot be seen.",
                    each.as_secs_f64() * 1e3
                );
            }
            if let Some(bad) = tests.iter().find(|t| t.verdict == Light::Bad && scene.full_ledger().is_ok()) {
                return format!("No cause was found on {who}, but {} is bad: {}.", bad.id, bad.why);
            }
            let why = untested.first().map_or("", |u| u.why.as_str());
            format!("Not known for {who}: too much could not be seen ({why}).")
        }
    }
}

fn first_sentence(text: &str) -> String {
    // A sentence ends at a full stop that a space and a capital follow: "3.5 s", "libc.so.6" and "nightly.sh" do not.
    let mut ends = text.match_indices(". ").map(|(at, _)| at);
    let end = ends.find(|at| text[at + 2..].starts_with(|c: char| c.is_uppercase()));
    end.map_or_else(|| text.to_owned(), |at| text[..=at].to_owned())
}

/// What the measured time rules out for the victims, and what the checks found good.
fn eliminated(scene: &Scene, victims: &[Victim], findings: &[Finding], tests: &[Test]) -> Vec<Eliminated> {
    use observe::TimeClass::*;
    let mut out: Vec<Eliminated> = tests
        .iter()
        .filter(|t| t.verdict == Light::Good)
        .map(|t| Eliminated { id: t.id.clone(), why: t.why.clone(), evidence: t.evidence.clone() })
        .collect();
    if scene.full_ledger().is_err() {
        return out;
    }
    let parts: [(&str, &str, &[observe::TimeClass]); 5] = [
        (
            "cpu",
            "waiting for a CPU",
            &[RunnableBusy, RunnableOutranked, RunnablePinned, RunnableThrottled, RunnableWaking],
        ),
        ("disk", "blocked on disks and file systems", &[BlockedDisk, BlockedFs]),
        ("memory", "blocked on memory", &[BlockedMemory]),
        ("lock", "blocked on locks", &[BlockedLock, BlockedKernelLock]),
        ("network", "blocked on network peers", &[BlockedNetwork]),
    ];
    for victim in victims.iter().filter(|v| v.active() > scene.window().mul_f64(NOTICED.0)) {
        for (component, what, classes) in parts {
            let time = victim.times.sum(|class| classes.contains(&class));
            let accused = |f: &Finding| {
                f.victim.name == victim.name && f.cause.split('.').next().is_some_and(|area| area == component)
            };
            if victim.share(time) < WORTH_SAYING && !findings.iter().any(accused) {
                out.push(Eliminated {
                    id: format!("{component} for {}", victim.name),
                    why: format!("{:.2} s {what}, {} of its active time", time.as_secs_f64(), victim.share(time)),
                    evidence: Vec::new(),
                });
            }
        }
    }
    out
}

/// What could not be seen, by metric and check.
fn untested(scene: &Scene, tests: &[Test]) -> Vec<Untested> {
    let rec = scene.rec;
    let mut out = Vec::new();
    let mut note = |id: &str, why: Option<Absent>| {
        if let Some(why) = why {
            out.push(Untested { id: id.to_owned(), why: why.to_string() });
        }
    };
    note("threads' time", scene.full_ledger().err());
    note("cpu profile", rec.get(&catalog::CPU_STACKS).err());
    note("block requests", rec.get(&catalog::BLOCK_LATENCY).err());
    note("system calls", rec.get(&catalog::SYSCALL_TIME).err());
    note("requests", rec.get(&catalog::REQUESTS).err());
    note("process starts and ends", rec.get(&catalog::PROCESS_EXIT).err());
    for test in tests.iter().filter(|t| t.verdict == Light::Untested && !t.not_here) {
        out.push(Untested { id: test.id.clone(), why: test.why.clone() });
    }
    for (id, why) in NOT_LOOKED_AT {
        out.push(Untested { id: (*id).to_owned(), why: (*why).to_owned() });
    }
    out
}

/// What this version has no probe for. It is said, so that nobody takes it for healthy.
const NOT_LOOKED_AT: &[(&str, &str)] = &[
    ("hardware counters", "cycles per instruction, caches and memory bandwidth are not read yet"),
    ("inside the application", "its own queues, pools and caches are invisible unless they end in a system call"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::System;

    #[test]
    fn nothing_wrong_is_healthy_and_nothing_asked_is_idle() {
        let quiet = System::new().thread(10, "daemon", &[(TimeClass::RunningUser, 0.01)]).target(10).build();
        assert_eq!(diagnose(&quiet, &[]).conclusion, Conclusion::Idle);
        let at_work = System::new().thread(10, "cache", &[(TimeClass::RunningUser, 2.0)]).target(10).build();
        let diagnosis = diagnose(&at_work, &[]);
        assert_eq!(diagnosis.conclusion, Conclusion::Healthy);
        assert!(diagnosis.findings.is_empty() && diagnosis.eliminated.iter().any(|e| e.id == "disk for cache"));
    }

    #[test]
    fn a_batch_that_uses_all_cpus_is_healthy_while_nobody_waits() {
        let rec = System::new().cpu_busy(1.0).thread(20, "batch", &[(TimeClass::RunningUser, 10.0)]).build();
        let bad = |id: &str| Test {
            id: id.into(),
            group: String::new(),
            verdict: Light::Bad,
            why: String::new(),
            evidence: Vec::new(),
            not_here: false,
            remedy: Vec::new(),
        };
        assert_eq!(diagnose(&rec, &[bad("cpu.utilization")]).conclusion, Conclusion::Healthy);
        assert_eq!(diagnose(&rec, &[bad("memory.oom")]).conclusion, Conclusion::Unknown);
    }

    #[test]
    fn who_answers_requests_does_not_idle_and_what_is_bad_for_others_is_not_its_fault() {
        let served = |count| {
            let rec = System::new().thread(10, "daemon", &[(TimeClass::RunningUser, 0.01)]).target(10);
            rec.durations(&catalog::REQUESTS, &[("pid", "10"), ("service", "80")], &[(count, 1.0)]).build()
        };
        let bad = Test {
            id: "disk.utilization".into(),
            group: String::new(),
            verdict: Light::Bad,
            why: String::new(),
            evidence: Vec::new(),
            not_here: false,
            remedy: Vec::new(),
        };
        assert_eq!(diagnose(&served(300), &[bad]).conclusion, Conclusion::Healthy);
        assert_eq!(diagnose(&served(2), &[]).conclusion, Conclusion::Idle);
    }

    #[test]
    fn a_wait_that_nothing_explains_is_not_healthy() {
        let rec = System::new().thread(10, "dd", &[(TimeClass::BlockedDisk, 9.0)]).target(10).build();
        let diagnosis = diagnose(&rec, &[]);
        assert_eq!(diagnosis.conclusion, Conclusion::Unknown);
        assert!(diagnosis.headline.contains("waiting for a block device"), "{}", diagnosis.headline);
    }

    #[test]
    fn slow_requests_that_no_thread_explains_are_not_healthy() {
        let served = |seconds: f64, active: f64| {
            let rec = System::new().thread(10, "api", &[(TimeClass::RunningUser, active)]).target(10);
            let rec = rec.durations(&catalog::REQUESTS, &[("pid", "10"), ("service", "80")], &[(100, seconds * 1e3)]);
            diagnose(&rec.build(), &[])
        };
        let hidden = served(0.08, 1.0);
        assert_eq!(hidden.conclusion, Conclusion::Unknown);
        assert!(hidden.headline.contains("80 ms for each of 100 requests"), "{}", hidden.headline);
        assert_eq!(served(0.08, 6.0).conclusion, Conclusion::Healthy, "its threads are at work all the while");
        assert_eq!(served(0.009, 0.3).conclusion, Conclusion::Healthy, "not slow");
    }

    #[test]
    fn without_a_ledger_nothing_is_known() {
        let mut rec = System::new().build();
        rec.set(&catalog::THREAD_TIME, Err(Absent::NoPermission("run as root".into())));
        let diagnosis = diagnose(&rec, &[]);
        assert_eq!(diagnosis.conclusion, Conclusion::Unknown);
        assert!(diagnosis.untested.iter().any(|u| u.why.contains("run as root")));
    }

    #[test]
    fn without_a_profile_nothing_is_healthy() {
        let mut rec = System::new().thread(10, "cache", &[(TimeClass::RunningUser, 2.0)]).target(10).build();
        assert_eq!(diagnose(&rec, &[]).conclusion, Conclusion::Healthy);
        rec.set(&catalog::CPU_STACKS, Err(Absent::Unsupported("Linux before 6.1".into())));
        let diagnosis = diagnose(&rec, &[]);
        assert_eq!(diagnosis.conclusion, Conclusion::Unknown);
        assert!(diagnosis.headline.contains("Linux before 6.1"), "{}", diagnosis.headline);
    }

    #[test]
    fn without_a_target_the_one_who_loses_most_is_the_victim() {
        let rec = System::new()
            .cpu_busy(0.99)
            .thread(10, "api", &[(TimeClass::RunningUser, 1.0), (TimeClass::RunnableBusy, 3.0)])
            .thread(11, "quiet", &[(TimeClass::RunningUser, 1.0)])
            .thread(20, "batch", &[(TimeClass::RunningUser, 10.0)])
            .behind(10, 20, 2.9)
            .build();
        let diagnosis = diagnose(&rec, &[]);
        assert_eq!(diagnosis.findings.len(), 1);
        assert_eq!(diagnosis.findings[0].victim.name, "api");
        assert!(diagnosis.chosen.contains("api (pid 10) 3.0 s"));
    }

    #[test]
    fn findings_of_one_victim_share_its_time() {
        let rec = System::new()
            .disk("vda", 0.97, 6.0)
            .issued(20, "vda", 60.0)
            .thread(10, "db", &[(TimeClass::RunningUser, 1.0), (TimeClass::BlockedFs, 9.0)])
            .thread(20, "backup", &[(TimeClass::BlockedDisk, 9.0)])
            .wait(10, TimeClass::BlockedFs, "fsync", "file:/data/log", None, 9.0, 90)
            .wait(10, TimeClass::BlockedDisk, "fsync", "disk:vda", None, 0.1, 1)
            .target(10)
            .build();
        let findings = diagnose(&rec, &[]).findings;
        let shares: Vec<f64> = findings.iter().map(|f| f.share.0).collect();
        assert!(findings.len() >= 2, "{findings:#?}");
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{shares:?}");
        assert!(findings[1].summary.contains("All but 10 % of its time"), "{}", findings[1].summary);
    }

    #[test]
    fn the_root_of_a_chain_comes_first_with_the_way_there() {
        use TimeClass::{BlockedProcess, RunnableBusy, RunningUser};
        let chain = |queued: f64| {
            let rec = System::new()
                .cpu_busy(0.5)
                .thread(10, "front", &[(RunningUser, 0.3), (BlockedProcess, 9.7)])
                .thread(20, "api", &[(RunningUser, 0.5), (BlockedProcess, 9.2)])
                .thread(30, "db", &[(RunningUser, 7.0), (RunnableBusy, queued)])
                .samples(30, &[("main", "db"), ("scan", "db")], 400)
                .wait(10, BlockedProcess, "recvfrom", "tcp:127.0.0.1:80", Some((20, 20)), 9.7, 900)
                .wait(20, BlockedProcess, "recvfrom", "tcp:127.0.0.1:81", Some((30, 30)), 9.2, 900);
            diagnose(&rec.build(), &[]).findings
        };
        // Whether the root is nobody's victim, or loses some time itself.
        for findings in [chain(0.0), chain(1.5)] {
            let first = &findings[0];
            assert_eq!((first.cause.as_str(), first.culprit.name.as_str()), ("cpu.hot-code", "scan"), "{findings:#?}");
            assert!(first.summary.contains("for it, along front → api → db."), "{first:#?}");
            assert!(findings.iter().all(|f| f.victim.pid == Some(30) || f.culprit.pid == Some(30)), "{findings:#?}");
        }
    }

    #[test]
    fn what_holds_up_the_one_waited_for_comes_first_but_not_what_it_does_itself() {
        use TimeClass::{BlockedDisk, BlockedProcess, RunningUser};
        let behind = |class| {
            let rec = System::new()
                .disk("vda", 0.97, 6.0)
                .issued(40, "vda", 60.0)
                .thread(10, "client", &[(RunningUser, 0.2), (BlockedProcess, 9.7)])
                .thread(30, "db", &[(class, 8.5), (RunningUser, 0.5)])
                .thread(40, "backup", &[(BlockedDisk, 9.0)])
                .samples(30, &[("main", "db"), ("scan", "db")], 400)
                .wait(10, BlockedProcess, "recvfrom", "tcp:127.0.0.1:80", Some((30, 30)), 9.7, 900)
                .wait(30, BlockedDisk, "pread64", "disk:vda", None, 8.5, 90);
            diagnose(&rec.target(10).build(), &[]).findings
        };
        let held_up = behind(BlockedDisk);
        assert_eq!((held_up[0].cause.as_str(), held_up[0].culprit.pid), ("disk.saturated", Some(40)), "{held_up:#?}");
        assert!(held_up[0].summary.contains("client (pid 10) waits"), "{}", held_up[0].summary);
        let at_work = behind(RunningUser);
        assert_eq!(at_work[0].cause, "app.waits-for-child", "{at_work:#?}");
        assert_eq!((at_work[1].cause.as_str(), at_work[1].culprit.name.as_str()), ("cpu.hot-code", "scan"));
    }

    #[test]
    fn a_job_loses_what_its_short_steps_lose() {
        use TimeClass::{BlockedLock, BlockedProcess, RunningKernel, RunningUser};
        let mut system = System::new()
            .cpu_busy(0.5)
            .thread(10, "nightly.sh", &[(RunningKernel, 0.2), (BlockedProcess, 9.0)])
            .thread(20, "report", &[(RunningUser, 9.0)]);
        for pid in 100..110 {
            system = system
                .wait(10, BlockedProcess, "wait4", "child", Some((pid, pid)), 0.9, 1)
                .short_thread(pid, pid, "flock", BlockedLock, 0.88)
                .wait(pid, BlockedLock, "flock", "file:lock", Some((20, 20)), 0.88, 1);
        }
        let mut rec = system.build();
        let child = |pid: u32| observe::Process { pid: Pid(pid), parent: Pid(10), ..rec.processes[&Pid(20)].clone() };
        let children: Vec<_> = (100..110).map(child).collect();
        rec.processes.extend(children.into_iter().map(|child| (child.pid, child)));
        let diagnosis = diagnose(&rec, &[]);
        assert!(diagnosis.chosen.contains("nightly.sh (pid 10) 8.8 s"), "{}", diagnosis.chosen);
        assert_eq!(diagnosis.findings[0].cause, "lock.contention", "{:#?}", diagnosis.findings);
    }

    #[test]
    fn a_headline_is_one_sentence() {
        assert_eq!(
            first_sentence("It waits 3.5 s for libc.so.6 here. More follows."),
            "It waits 3.5 s for libc.so.6 here."
        );
        assert_eq!(first_sentence("One sentence"), "One sentence");
    }
}
