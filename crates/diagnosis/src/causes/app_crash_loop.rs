//! # It dies and is started again
//!
//! **Speaks for it:** a process starts the same program again and again, and nearly every one ends by a signal or an error.
//! **Speaks against it:** small tests in a script, whose exit status is an answer: those end with 1, among other programs or
//! within a few milliseconds.
//! What nobody named and no signal killed is only `possible`: it may be a loop that waits for something to appear.
//! **Experiment:** none.

use crate::{Cause, Confidence, Draft, Effect, Party, Scene, Victim, path::Removes};
use checks::Evidence;
use observe::{Event, Pid, Ratio, TimeClass, catalog};
use std::{collections::BTreeMap, time::Duration};

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "app.crash-loop",
    frozen: Effect::None,
    root_of: &["app.short-lived", "app.waits-for-child", "app.sleeps", "app.failing-calls"],
    judge,
};

/// ours: two may be chance.
const AGAIN: usize = 3;

/// ours: nearly all of them must fail.
const FAILS: Ratio = Ratio(0.8);

/// ours: what ends with 1 sooner than this has answered a question (`test`, `grep -q`), which takes about 1 ms with its
/// start; what reads its configuration first takes several.
const ANSWER: Duration = Duration::from_millis(4);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let Some(worst) = loops(scene, |pid| victim.contains(pid)).into_iter().max_by_key(|l| l.failed.len()) else {
        return Vec::new();
    };
    let failed = worst.failed.len();
    let (how, times) = most(worst.failed.iter().map(|exit| ending(exit)));
    let mut lives: Vec<f64> = worst.failed.iter().map(|exit| exit.value).collect();
    lives.sort_by(f64::total_cmp);
    let median = lives[failed / 2];
    // Awaiting it and pausing before the next try are what its supervisor does; else it is the victim's whole time.
    let time = victim.times[TimeClass::BlockedProcess] + victim.times[TimeClass::BlockedSleep];
    let last = worst.failed.last().and_then(|exit| exit.pid).map(|pid| pid.0);
    // A loop that asks again and again whether something is there yet ends badly in the same way.
    let killed = worst.failed.iter().any(|exit| !matches!(exit.labels.get("signal"), "" | "0"));
    vec![Draft {
        confidence: if killed || victim.named { Confidence::Likely } else { Confidence::Possible },
        time: time.max(victim.active().mul_f64(0.5)).min(victim.active()),
        summary: format!(
            "{} keeps dying and being started again by {}: {failed} of {} ended badly in {:.0} s ({how}, {times} times), \
             after {median:.2} s each.",
            worst.name,
            scene.label(worst.parent),
            worst.all,
            scene.window().as_secs_f64(),
        ),
        culprit: Party {
            kind: "process".into(),
            pid: last,
            name: worst.name.clone(),
            detail: Some(format!("{how}; started by {}", scene.label(worst.parent))),
        },
        evidence: vec![
            Evidence::new(format!("sched_process_exit: {} ended badly", worst.name), failed as f64, "processes")
                .against(format!("of {}", worst.all))
                .at("recording/events.parquet"),
            Evidence::new("median life", median, "s"),
        ],
        codepath: Vec::new(),
        next: vec![
            format!("read why: its log or journal (journalctl _COMM={}), dmesg for signals", worst.name),
            format!("run it by hand as {} does, and stop the restarts meanwhile", scene.rec.process_name(worst.parent)),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    }]
}

struct Loop<'a> {
    name: String,
    parent: Pid,
    failed: Vec<&'a Event>,
    all: usize,
}

/// Who starts programs again and again that fail.
pub fn starters(scene: &Scene) -> Vec<Pid> {
    loops(scene, |_| true).into_iter().map(|found| found.parent).collect()
}

/// Programs that some processes start again and again, and that fail.
fn loops<'a>(scene: &Scene<'a>, starts: impl Fn(Pid) -> bool) -> Vec<Loop<'a>> {
    let Ok(exits) = scene.rec.get(&catalog::PROCESS_EXIT) else { return Vec::new() };
    let mut by_name: BTreeMap<(Pid, &str), Vec<&Event>> = BTreeMap::new();
    for exit in exits.iter().filter(|exit| exit.labels.get("exec") == "yes") {
        let parent = exit.labels.get("parent").parse().ok().map(Pid);
        if let Some(parent) = parent.filter(|parent| starts(*parent)) {
            by_name.entry((parent, exit.labels.get("name"))).or_default().push(exit);
        }
    }
    let others = |parent: Pid, name: &str| {
        exits.iter().any(|exit| {
            let theirs = exit.labels.get("parent").parse() == Ok(parent.0);
            theirs && exit.labels.get("exec") == "yes" && ![name, "sleep"].contains(&exit.labels.get("name"))
        })
    };
    let of = |((parent, name), exits): ((Pid, &str), Vec<&'a Event>)| {
        let all = exits.len();
        // Who starts other programs too runs a script, in which an exit status of 1 is an answer.
        let script = others(parent, name);
        let ended_badly = |exit: &Event| ended_badly(exit) && !(script && answers(exit));
        let failed: Vec<&Event> = exits.into_iter().filter(|exit| ended_badly(exit)).collect();
        let part = Ratio::of_counts(failed.len() as f64, all as f64);
        (failed.len() >= AGAIN && part >= FAILS).then(|| Loop { name: name.to_owned(), parent, failed, all })
    };
    by_name.into_iter().filter_map(of).collect()
}

fn answers(exit: &Event) -> bool {
    matches!((exit.labels.get("signal"), exit.labels.get("code")), ("" | "0", "1"))
}

/// By a signal that is none's to send in order, or with an error that is no answer.
fn ended_badly(exit: &Event) -> bool {
    /// Hang up, interrupt, pipe, alarm, terminate: asked for.
    const ASKED: [&str; 5] = ["1", "2", "13", "14", "15"];
    match (exit.labels.get("signal"), exit.labels.get("code")) {
        ("" | "0", "" | "0") => false,
        ("" | "0", "1") => exit.value >= ANSWER.as_secs_f64(),
        ("" | "0", _) => true,
        (signal, _) => !ASKED.contains(&signal),
    }
}

fn ending(exit: &Event) -> String {
    match (exit.labels.get("signal"), exit.labels.get("code")) {
        ("" | "0", code) => format!("exit status {code}"),
        ("6", _) => "SIGABRT".to_owned(),
        ("7", _) => "SIGBUS".to_owned(),
        ("9", _) => "SIGKILL".to_owned(),
        ("11", _) => "SIGSEGV".to_owned(),
        (signal, _) => format!("signal {signal}"),
    }
}

fn most(all: impl Iterator<Item = String>) -> (String, usize) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    all.for_each(|one| *counts.entry(one).or_default() += 1);
    counts.into_iter().max_by_key(|(_, count)| *count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::{
        Confidence,
        testing::{System, all, one},
    };
    use observe::TimeClass::{BlockedProcess, BlockedSleep};

    fn supervisor() -> System {
        System::new().thread(10, "runsv", &[(BlockedProcess, 4.0), (BlockedSleep, 5.0)]).target(10)
    }

    #[test]
    fn what_dies_again_and_again_is_the_culprit() {
        let rec = supervisor().ends(10, "runsv", "worker", 0.4, (0, 11), 9).build();
        let finding = one(&rec, "app.crash-loop");
        assert_eq!((finding.culprit.name.as_str(), finding.rank), ("worker", 1));
        assert!(finding.summary.contains("SIGSEGV"));
        assert_eq!(all(&supervisor().ends(10, "runsv", "app", 0.4, (1, 0), 5).build(), "app.crash-loop").len(), 1);
    }

    #[test]
    fn nobody_need_be_named_for_it() {
        let rec =
            System::new().thread(10, "runsv", &[(BlockedProcess, 4.0)]).ends(10, "runsv", "worker", 0.4, (0, 11), 9);
        assert_eq!(one(&rec.build(), "app.crash-loop").victim.pid, Some(10));
    }

    #[test]
    fn a_question_asked_again_and_again_is_only_possible() {
        let asks =
            System::new().thread(10, "sh", &[(BlockedProcess, 4.0)]).ends(10, "sh", "pg_isready", 0.01, (2, 0), 9);
        assert_eq!(one(&asks.build(), "app.crash-loop").confidence, Confidence::Possible);
    }

    #[test]
    fn answers_ends_in_order_and_single_accidents_are_none() {
        for (life, end, count) in [(0.002, (1, 0), 50), (0.4, (0, 15), 9), (0.4, (0, 0), 9), (0.4, (0, 11), 2)] {
            let rec = supervisor().ends(10, "runsv", "step", life, end, count).build();
            assert!(all(&rec, "app.crash-loop").is_empty(), "{life} {end:?} {count}");
        }
    }
}
