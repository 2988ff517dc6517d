//! # Do page faults take the time?
//!
//! **Measures** the part of each process's CPU time that the profile finds below the kernel's page-fault handler.
//! **Matters** because it is work that touching the same memory again would not need: memory that is handed back and
//! asked for again and again, or copied after a fork.
//! **Misleads** when programs start, or fill a cache for the first time: compilers and short-lived processes spend a
//! tenth of their time so.
//! **Confirm** by touching the memory beforehand, or by keeping it (`MALLOC_TRIM_THRESHOLD_`), and trying again.

use crate::{
    Check, Evidence, Light, Verdict,
    lost::{ENOUGH, Lost, is_ordinary},
};
use observe::{FrameKind, Observed, Pid, Ratio, Recording, Stack, catalog};
use std::{collections::BTreeMap, time::Duration};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "memory.page_faults",
    group: "memory",
    question: "Do page faults take the time?",
    source: include_str!("page_faults.rs"),
    judge,
};

/// From the talk that this tool grew out of: more of the CPU time than this in faults is unusual.
const MAYBE: Ratio = Ratio(0.10);

/// ours: with fewer samples of a process the share's error is as large as the threshold's half.
const MIN_SAMPLES: u64 = 50;

/// Where the kernel comes in on a fault: x86 by its names since Linux 5.8 and before, arm64.
const HANDLERS: [&str; 5] =
    ["asm_exc_page_fault", "exc_page_fault", "do_user_addr_fault", "page_fault", "do_mem_abort"];

fn judge(rec: &Recording) -> Observed<Verdict> {
    let mut samples: BTreeMap<Pid, [u64; 2]> = BTreeMap::new();
    for stack in rec.get(&catalog::CPU_STACKS)?.iter().filter(|stack| is_ordinary(rec, stack.pid)) {
        let counts = samples.entry(stack.pid).or_default();
        counts[0] += stack.samples;
        counts[1] += if in_fault(rec, stack) { stack.samples } else { 0 };
    }
    let mut running: BTreeMap<Pid, Duration> = BTreeMap::new();
    for row in rec.get(&catalog::THREAD_TIME)? {
        *running.entry(row.pid).or_default() += row.classes.sum(observe::TimeClass::is_running);
    }
    let share = |pid: Pid| samples.get(&pid).map_or(Ratio(0.0), |[all, faults]| part(*faults, *all));
    let enough = |pid: Pid| samples.get(&pid).is_some_and(|[all, _]| *all >= MIN_SAMPLES);
    let time = |pid: Pid| running.get(&pid).copied().unwrap_or_default().mul_f64(share(pid).0);
    let times = samples.keys().filter(|pid| enough(**pid)).map(|pid| (*pid, time(*pid))).collect();
    let lost = Lost::of_times(rec, &times)?;
    // Who ran too little to matter spends little in faults, whatever the part.
    let unusual = lost.losses.iter().filter(|loss| share(loss.pid) > MAYBE && loss.of_window.0 >= ENOUGH.0 * MAYBE.0);
    let worst = unusual.max_by_key(|loss| (loss.is_felt(), loss.time));
    let [all, in_faults] = samples.values().fold([0, 0], |[a, b], [c, d]| [a + c, b + d]);
    let (light, why, value) = match worst {
        None => {
            let value = part(in_faults, all);
            (Light::Good, format!("{value} of the CPU time of {} processes in page faults", samples.len()), value)
        }
        Some(loss) => {
            let light = if loss.is_felt() { Light::Bad } else { Light::Maybe };
            let why = format!(
                "{} spent {} of its CPU time in page faults ({:.2} s{})",
                loss.who,
                share(loss.pid),
                loss.time.as_secs_f64(),
                counted(rec, loss.pid),
            );
            (light, why, share(loss.pid))
        }
    };
    let evidence = Evidence::new("CPU samples below the page-fault handler", value.0 * 100.0, "%")
        .against(format!("> {MAYBE}"))
        .at("recording/stacks.parquet");
    let why = format!("{why}, over {all} samples, {} lost", rec.cost.lost_events);
    Ok(Verdict { light, why, evidence: vec![evidence] })
}

fn in_fault(rec: &Recording, stack: &Stack) -> bool {
    stack.frames.iter().any(|id| {
        let frame = rec.frame(*id);
        frame.kind == FrameKind::Kernel && HANDLERS.contains(&frame.name.as_str())
    })
}

fn part(of: u64, all: u64) -> Ratio {
    Ratio::of_counts(of as f64, all as f64)
}

/// How many there were, where they were counted.
fn counted(rec: &Recording, pid: Pid) -> String {
    let Ok(rows) = rec.get(&catalog::PROCESS_FAULTS) else { return String::new() };
    let of = |kind: &str| {
        let row = rows.iter().find(|row| row.labels.pid() == Some(pid) && row.labels.get("type") == kind);
        row.map_or(0.0, observe::Series::last)
    };
    format!(", {:.0} minor and {:.0} major ones", of("minor"), of("major"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};
    use observe::TimeClass;

    /// One process that ran for so long, with so many samples in faults and elsewhere.
    fn machine(ran: f64, faults: u64, others: u64) -> Machine {
        Machine::new()
            .thread(7, "api", &[(TimeClass::RunningUser, ran)])
            .samples(7, &["main", "alloc"], &["asm_exc_page_fault", "handle_mm_fault"], faults)
            .samples(7, &["main", "work"], &[], others)
    }

    #[test]
    fn boundaries() {
        assert_eq!(light(&CHECK, &machine(5.0, 49, 451)), Light::Good);
        assert_eq!(light(&CHECK, &machine(5.0, 50, 450)), Light::Good);
        assert_eq!(light(&CHECK, &machine(5.0, 51, 449)), Light::Maybe);
        assert_eq!(light(&CHECK, &machine(5.0, 74, 426)), Light::Maybe);
        assert_eq!(light(&CHECK, &machine(5.0, 75, 425)), Light::Bad, "a seventh of what it wanted");
        assert_eq!(light(&CHECK, &machine(5.0, 20, 29)), Light::Good, "too few samples");
        assert_eq!(light(&CHECK, &machine(0.5, 25, 25)), Light::Maybe, "a quarter of a second is a trifle");
        assert_eq!(light(&CHECK, &machine(5.0, 100, 400).friday(7)), Light::Good);
        assert_eq!(light(&CHECK, &machine(5.0, 100, 400).kernel(7)), Light::Good);
    }

    #[test]
    fn faults_taken_inside_system_calls_count() {
        let calls = ["entry_SYSCALL_64", "ksys_read", "asm_exc_page_fault"];
        let machine = Machine::new()
            .thread(7, "api", &[(TimeClass::RunningKernel, 5.0)])
            .samples(7, &["main", "read"], &calls, 100)
            .samples(7, &["page_fault"], &[], 100);
        let test = CHECK.run(&machine.rec);
        assert_eq!(test.verdict, Light::Bad);
        assert!(test.why.contains("50 % of its CPU time"), "a function of the program's own is none: {}", test.why);
    }

    #[test]
    fn no_profile_is_no_health() {
        let mut machine = Machine::new().thread(7, "api", &[(TimeClass::RunningUser, 5.0)]);
        assert_eq!(light(&CHECK, &machine), Light::Untested);
        machine.rec.set(&catalog::CPU_STACKS, Ok(Vec::new()));
        assert_eq!(light(&CHECK, &machine), Light::Good);
    }
}
