//! # Does starting short-lived processes take the time?
//!
//! **Measures** processes that ended within milliseconds of their start, by the second.
//! **Matters** because fork, exec, dynamic linking and exit cost more than such a process does, and no tool that looks
//! once a second sees it.
//! **Misleads** in builds and test suites, where starting programs is the work.
//! **Confirm** by looking at the loop that starts them: the parent is named.

use crate::{
    Check, Evidence, Light, Verdict,
    lost::{full_ledger, is_ordinary},
};
use observe::{Absent, Event, Observed, Pid, Ratio, Recording, TimeClass, catalog};
use std::{collections::BTreeMap, time::Duration};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "process.churn",
    group: "processes",
    question: "Does starting short-lived processes take the time?",
    source: include_str!("churn.rs"),
    judge,
};

/// ours: a process this short has spent most of its life being started and ended.
const SHORT: Duration = Duration::from_millis(50);

/// ours: a start costs about 5 ms of CPU time, so these cost a tenth of a CPU. Processes a second.
const MAYBE: f64 = 20.0;

/// ours: a parent that waits for its children for half of the window does nothing else that counts.
const AWAITED: Ratio = Ratio(0.5);

fn judge(rec: &Recording) -> Observed<Verdict> {
    let seconds = rec.window.length.as_secs_f64();
    if seconds <= 0.0 {
        return Err(Absent::Failed("the window has no length".into()));
    }
    let exits = rec.get(&catalog::PROCESS_EXIT)?;
    let parent_of = |exit: &Event| exit.labels.get("parent").parse().ok().map(Pid);
    let ordinary = |exit: &&Event| {
        exit.pid.is_none_or(|pid| is_ordinary(rec, pid)) && !parent_of(exit).is_some_and(|pid| rec.is_friday(pid))
    };
    let short: Vec<&Event> = exits.iter().filter(ordinary).filter(|e| e.value <= SHORT.as_secs_f64()).collect();
    let rate = short.len() as f64 / seconds;
    let mut by_parent: BTreeMap<Pid, usize> = BTreeMap::new();
    short.iter().filter_map(|exit| parent_of(exit)).for_each(|pid| *by_parent.entry(pid).or_default() += 1);
    let parents = by_parent.into_iter().map(|(pid, count)| {
        let starts_most = count * 2 >= short.len();
        (pid, count, if starts_most { awaited(rec, pid) } else { None })
    });
    // Of two that start half of them each, the one that waits.
    let waits = |share: Option<Ratio>| share.map_or(-1.0, |share| share.0);
    let parent = parents.max_by(|a, b| waits(a.2).total_cmp(&waits(b.2)).then(a.1.cmp(&b.1)).then(b.0.cmp(&a.0)));
    let awaits = parent.and_then(|(_, _, share)| share);
    let light = match awaits {
        _ if rate < MAYBE => Light::Good,
        Some(share) if share >= AWAITED => Light::Bad,
        _ => Light::Maybe,
    };
    let mut why = format!(
        "{} of {} processes that ended in {seconds:.1} s lived at most {} ms ({rate:.1} a second), {} lost",
        short.len(),
        exits.len(),
        SHORT.as_millis(),
        rec.cost.lost_events,
    );
    if let Some((pid, count, _)) = parent.filter(|_| light != Light::Good) {
        why += &format!("; {count} of them started by {} (pid {pid})", rec.process_name(pid));
        if let Some(share) = awaits {
            why += &format!(", which waited for other processes {share} of the window");
        }
    }
    let evidence = Evidence::new("sched_process_exit: short-lived processes", rate, "processes/s")
        .against(format!(">= {MAYBE}/s"))
        .at("recording/events.parquet");
    Ok(Verdict { light, why, evidence: vec![evidence] })
}

/// The part of the window that an ordinary process' most patient thread waited for other processes.
fn awaited(rec: &Recording, pid: Pid) -> Option<Ratio> {
    full_ledger(rec).ok()?;
    let threads = rec.get(&catalog::THREAD_TIME).ok()?.iter().filter(|t| t.pid == pid && is_ordinary(rec, pid));
    threads.map(|t| t.classes[TimeClass::BlockedProcess]).max().map(|time| Ratio::of(time, rec.window.length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};

    #[test]
    fn boundaries() {
        let exits = |life, count| light(&CHECK, &Machine::new().exits(5, "grep", life, count));
        assert_eq!(
            [exits(0.004, 199), exits(0.004, 200), exits(0.004, 201)],
            [Light::Good, Light::Maybe, Light::Maybe]
        );
        assert_eq!([exits(0.050, 900), exits(0.051, 900)], [Light::Maybe, Light::Good]);
    }

    #[test]
    fn bad_when_the_one_who_starts_them_does_nothing_but_wait() {
        let machine = |waited: f64, others: u32| {
            let times = [(TimeClass::RunningKernel, 1.0), (TimeClass::BlockedProcess, waited)];
            Machine::new().thread(5, "nightly.sh", &times).exits(5, "grep", 0.004, 300).exits(1, "sh", 0.004, others)
        };
        assert_eq!(light(&CHECK, &machine(5.0, 0)), Light::Bad);
        assert_eq!(light(&CHECK, &machine(4.9, 0)), Light::Maybe);
        assert_eq!(light(&CHECK, &machine(9.0, 300)), Light::Bad, "half of them");
        assert_eq!(light(&CHECK, &machine(9.0, 301)), Light::Maybe, "less than half");
        assert_eq!(light(&CHECK, &machine(9.0, 0).friday(5)), Light::Good, "friday's own");
    }

    #[test]
    fn none_is_good_only_when_it_was_watched() {
        let mut machine = Machine::new();
        machine.rec.set(&catalog::PROCESS_EXIT, Ok(Vec::new()));
        assert_eq!(light(&CHECK, &machine), Light::Good);
        machine.rec.set(&catalog::PROCESS_EXIT, Err(Absent::NoPermission("run as root".into())));
        assert_eq!(light(&CHECK, &machine), Light::Untested);
    }
}
