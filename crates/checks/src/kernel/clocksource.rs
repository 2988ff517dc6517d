//! # Is reading the time slow?
//!
//! **Measures** which clock the kernel reads, and CPU time that processes spend in calls that ask for the time.
//! **Matters** because programs ask for the time all the time: 0.1 us by the CPU's own counter, 4.5 us by the HPET, and
//! with a slow clock each is a system call.
//! **Misleads** when nobody asks for the time often.
//! **Confirm** by a million calls of `clock_gettime` (`--allow load`).

use crate::{Check, Evidence, Light, Verdict, kernel::fact, lost::is_ordinary};
use observe::{Observed, Pid, Ratio, Recording, catalog};
use std::collections::BTreeMap;

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "kernel.clocksource",
    group: "time",
    question: "Is reading the time slow?",
    source: include_str!("clocksource.rs"),
    judge,
};

/// ours: clocks behind a bus or an I/O port, which take microseconds a reading, and those that only tick.
const SLOW: &[&str] = &["hpet", "acpi_pm", "pit", "jiffies", "refined-jiffies"];

/// ours: CPU time asking for the time, as a part of the window, that a process feels.
const FELT: Ratio = Ratio(0.05);

fn judge(rec: &Recording) -> Observed<Verdict> {
    let clock = fact(rec, "clocksource")?;
    let slow = SLOW.contains(&clock.value.as_str());
    let mut asking: BTreeMap<Pid, f64> = BTreeMap::new();
    for row in rec.get(&catalog::SYSCALL_CPU).into_iter().flatten() {
        let Some(pid) = row.labels.pid().filter(|pid| is_ordinary(rec, *pid)) else { continue };
        if matches!(row.labels.get("syscall"), "clock_gettime" | "gettimeofday" | "time") {
            *asking.entry(pid).or_default() += row.last();
        }
    }
    let most = asking.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let felt = most.filter(|(_, time)| Ratio::of_counts(*time, rec.window.length.as_secs_f64()) >= FELT);
    let light = match (slow, felt) {
        (false, _) => Light::Good,
        (true, None) => Light::Maybe,
        (true, Some(_)) => Light::Bad,
    };
    let mut why = match slow {
        true => format!("the clock is {}: microseconds a reading", clock.value),
        false => format!("the clock is {}, none of the slow ones ({})", clock.value, SLOW.join(", ")),
    };
    let mut evidence = Vec::new();
    if let Some((pid, time)) = most.filter(|_| slow) {
        let who = format!("{} (pid {pid})", rec.process_name(pid));
        why += &format!("; {who} spent {time:.2} s CPU time asking, {} lost", rec.cost.lost_events);
        evidence.push(
            Evidence::new(format!("sys_exit: {who} in clock_gettime and its like"), time, "s")
                .against(format!(">= {FELT} of the window"))
                .at("recording/series.parquet"),
        );
    }
    Ok(Verdict { light, why, evidence })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};
    use observe::{Labels, Series};

    fn clock(name: &str, asking: f64) -> Machine {
        let mut machine = Machine::new().fact("clocksource", name).named(7, "api");
        let labels = Labels::new([("pid", "7".into()), ("syscall", "clock_gettime".into())]);
        let length = machine.rec.window.length;
        machine.rec.push(&catalog::SYSCALL_CPU, Series::total(labels, length, asking));
        machine
    }

    #[test]
    fn a_slow_clock_is_bad_when_somebody_asks_it_often() {
        assert_eq!(light(&CHECK, &clock("tsc", 5.0)), Light::Good);
        assert_eq!(light(&CHECK, &clock("kvm-clock", 0.0)), Light::Good);
        assert_eq!(light(&CHECK, &clock("hpet", 0.49)), Light::Maybe);
        assert_eq!(light(&CHECK, &clock("hpet", 0.50)), Light::Bad);
        assert_eq!(light(&CHECK, &clock("hpet", 5.0).friday(7)), Light::Maybe);
        assert_eq!(light(&CHECK, &Machine::new().fact("clocksource", "acpi_pm")), Light::Maybe);
    }

    #[test]
    fn another_fact_is_no_answer() {
        assert_eq!(light(&CHECK, &Machine::new().fact("thp", "always")), Light::Untested);
    }
}
