//! Prior weeks: would everything work on Monday? What this run itself proved about tracing on this machine.

mod access;
mod processes;
mod remedy;
mod source;
mod tracing;

use crate::Seen;
use case::{Reason, StackSet};
use checks::{Evidence, Light, Test};
use observe::{Frame, Recording, catalog};

/// ours: with one stack in twenty cut off, every part of a profile is still seen.
const UNWOUND: f64 = 0.95;
/// ours: below this, towers of a flame graph stand on nothing.
const HARDLY_UNWOUND: f64 = 0.7;

/// An empty recording.
#[cfg(test)]
fn recording() -> Recording {
    use observe::{Host, Target, Window};
    use std::time::{Duration, SystemTime};
    let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
    let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
    Recording::new(host, Target::system("h"), window)
}

/// Why a stack is not there that nobody wanted.
const NOT_TAKEN: &str = "not taken";

/// The preparation's lights: what was read for it, where it was, and what this run itself proved.
pub(crate) fn tests(rec: &Recording, sets: &[StackSet]) -> Vec<Test> {
    let mut tests = checks::prepared(rec);
    if !rec.frames.is_empty() {
        tests.push(quality("stacks.unwound", "stacks reach the root of their thread", sets, |set| {
            (set.unwound, &set.not_unwound)
        }));
        tests.push(quality("stacks.symbols", "frames have names", sets, |set| (set.symbolized, &set.not_symbolized)));
    }
    tests.extend(processes::tests(rec));
    tests.extend(tracing::tests(rec));
    tests.extend(access::tests(rec));
    tests.extend(source::tests(rec));
    tests.push(traced(rec, "tracing.scheduler", "the scheduler's tracepoints, by BPF", rec.get(&catalog::WAITS).err()));
    tests.push(traced(
        rec,
        "tracing.profiler",
        "samples of the CPU clock, by perf events",
        rec.get(&catalog::CPU_STACKS).err(),
    ));
    let rank = |test: &Test| checks::PREPARE_GROUPS.iter().position(|group| *group == test.group);
    tests.sort_by_key(rank);
    tests
}

fn test(id: &str, group: &str, verdict: Light, why: String, evidence: Vec<Evidence>) -> Test {
    Test { id: id.to_owned(), group: group.to_owned(), verdict, why, evidence, not_here: false, remedy: Vec::new() }
}

/// What was attached in this run, or why it was not.
fn traced(rec: &Recording, id: &str, what: &str, absent: Option<observe::Absent>) -> Test {
    match absent {
        None => {
            let seconds = rec.window.length.as_secs_f64();
            test(id, "tracing", Light::Good, format!("{what}: attached, for {seconds:.1} s"), Vec::new())
        }
        Some(observe::Absent::NotCollected(why)) => {
            test(id, "tracing", Light::Untested, format!("{what}: {why}"), Vec::new())
        }
        Some(why) => test(id, "tracing", Light::Bad, format!("{what}: {why}"), Vec::new()),
    }
}

/// How good the worst set of stacks is, and what spoils it most.
fn quality(id: &str, what: &str, sets: &[StackSet], of: impl Fn(&StackSet) -> (f64, &Vec<Reason>)) -> Test {
    let group = "stacks and symbols";
    // A stack that was not taken, since the wait was short, says nothing of those that were.
    let taken = |set: &StackSet| {
        let (part, reasons) = of(set);
        let skipped: f64 = reasons.iter().filter(|reason| reason.why == NOT_TAKEN).map(|reason| reason.part).sum();
        (skipped < 0.99).then(|| (part / (1.0 - skipped)).min(1.0))
    };
    let judged = sets.iter().filter_map(|set| Some((set, taken(set)?)));
    let worst = judged.clone().min_by(|a, b| a.1.total_cmp(&b.1));
    let Some((worst, part)) = worst else {
        return test(
            id,
            group,
            Light::Untested,
            "no stack was taken: nothing ran or waited for long".to_owned(),
            Vec::new(),
        );
    };
    let light = match part {
        part if part >= UNWOUND => Light::Good,
        part if part >= HARDLY_UNWOUND => Light::Maybe,
        _ => Light::Bad,
    };
    let spoiled = match of(worst).1.iter().find(|reason| reason.why != NOT_TAKEN) {
        Some(reason) if light != Light::Good => format!("; most of the rest: {}", reason.why),
        _ => String::new(),
    };
    let evidence = judged
        .map(|(set, part)| {
            let mut one = Evidence::new(format!("{} stacks: {what}", set.set), part * 100.0, "%");
            one.threshold = Some(format!("< {:.0} %", UNWOUND * 100.0));
            one
        })
        .collect();
    test(id, group, light, format!("{:.0} % of {} {what}{spoiled}", part * 100.0, worst.set), evidence)
}

/// What worked, by having been used; nothing when nothing did. Of the points of the preparation, those without a maybe or bad.
pub(crate) fn known(seen: &Seen, tests: &[Test]) -> Vec<String> {
    let rec = seen.rec;
    let mut works = Vec::new();
    if rec.get(&catalog::WAITS).is_ok() {
        works.push("scheduler tracing");
    }
    if rec.get(&catalog::CPU_STACKS).is_ok() {
        works.push("CPU profiling");
    }
    if rec.get(&catalog::BLOCK_LATENCY).is_ok() {
        works.push("block tracing");
    }
    if rec.get(&catalog::SYSCALL_TIME).is_ok() {
        works.push("system call tracing");
    }
    if works.is_empty() {
        return Vec::new();
    }
    let mut known = vec![format!("tracing works here: {}", works.join(", "))];
    let named = rec.frames.iter().filter(|f: &&Frame| !f.name.is_empty()).count();
    if !rec.frames.is_empty() {
        known.push(format!("{named} of {} distinct code addresses have names", rec.frames.len()));
    }
    if tests.iter().any(|test| test.group == "crisis tools") {
        let of = |group: &str, lights: &[Light]| {
            tests.iter().any(|test| test.group == group && lights.contains(&test.verdict))
        };
        let (ready, not): (Vec<&str>, Vec<&str>) = checks::PREPARE_GROUPS
            .iter()
            .filter(|group| of(group, &[Light::Good, Light::Maybe, Light::Bad]))
            .partition(|group| !of(group, &[Light::Maybe, Light::Bad]));
        let ready = if ready.is_empty() { "nothing".to_owned() } else { ready.join(", ") };
        let not = if not.is_empty() { String::new() } else { format!("; not all of: {}", not.join(", ")) };
        known.push(format!("ready: {ready}{not}"));
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(unwound: f64) -> StackSet {
        StackSet {
            set: "on-CPU".into(),
            weight: 100.0,
            unwound,
            symbolized: 1.0,
            not_unwound: vec![Reason { why: "no table".into(), part: 1.0 - unwound }],
            not_symbolized: Vec::new(),
        }
    }

    #[test]
    fn the_worst_set_of_stacks_is_told_with_what_spoils_it() {
        let judged = |unwound: f64| {
            quality("x", "reach the root", &[set(1.0), set(unwound)], |set| (set.unwound, &set.not_unwound))
        };
        assert_eq!(judged(0.95).verdict, Light::Good);
        assert_eq!(judged(0.94).verdict, Light::Maybe);
        assert_eq!(judged(0.69).verdict, Light::Bad);
        assert!(judged(0.69).why.contains("69 % of on-CPU reach the root; most of the rest: no table"));
        let mut short = set(0.1);
        short.not_unwound[0].why = NOT_TAKEN.into();
        assert_eq!(quality("x", "y", &[short], |set| (set.unwound, &set.not_unwound)).verdict, Light::Good);
        assert_eq!(quality("x", "y", &[], |set| (set.unwound, &set.not_unwound)).verdict, Light::Untested);
    }

    #[test]
    fn what_was_not_attached_is_not_good() {
        let rec = recording();
        let tests = tests(&rec, &[]);
        assert!(!tests.is_empty() && tests.iter().all(|test| test.verdict != Light::Good), "{tests:?}");
    }
}
