//! # Are the CPUs so busy that somebody waits for them?
//!
//! **Measures** the part of all CPU time that was not idle; waiting for I/O is idle.
//! **Matters** because work queues once there is no spare CPU.
//! **Misleads** when batch work uses what is left over: 100 % busy with nobody waiting is a machine well used.
//! **Confirm** by lowering the weight of the busiest process for ten seconds (`--allow change`).

use crate::{Check, Evidence, Light, Verdict, counter::Growth, cpu::waiting};
use observe::{Absent, Observed, Ratio, Recording, catalog};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "cpu.utilization",
    group: "cpu",
    question: "Are the CPUs so busy that somebody waits for them?",
    source: include_str!("utilization.rs"),
    judge,
};

/// Coroot, awesome-prometheus-alerts: part of CPU time.
const MAYBE: Ratio = Ratio(0.80);

/// PCP pmie, node_exporter mixin: part of CPU time.
const BAD: Ratio = Ratio(0.90);

/// ours: half of the CPU pressure that is bad by itself; on full CPUs this much waiting is no accident.
const WAITING: Ratio = Ratio(0.25);

fn judge(rec: &Recording) -> Observed<Verdict> {
    let (mut busy, mut all) = (0.0, 0.0);
    for row in rec.get(&catalog::CPU_TIME)? {
        // A CPU that came online at the end has one reading.
        let Ok(Growth { by: spent, .. }) = Growth::of(row) else { continue };
        all += spent;
        if !matches!(row.labels.get("mode"), "idle" | "iowait") {
            busy += spent;
        }
    }
    if all <= 0.0 {
        return Err(Absent::Failed("CPU counters were read only once, or did not move".into()));
    }
    let share = Ratio::of_counts(busy, all);
    let waiting = if share > MAYBE { waiting(rec, WAITING) } else { None };
    let light = match &waiting {
        Some(_) if share > BAD => Light::Bad,
        _ if share > MAYBE => Light::Maybe,
        _ => Light::Good,
    };
    let mut why = format!("{share} of {all:.0} s CPU time on {} CPUs was busy", rec.host.cpus);
    match waiting {
        Some(waiting) => why += &format!("; {waiting}"),
        None if share > MAYBE => why += "; nobody is known to wait for it noticeably",
        None => {}
    }
    let evidence = Evidence::new("/proc/stat: CPU busy", share.0 * 100.0, "%").against(format!("> {MAYBE}"));
    Ok(Verdict { light, why, evidence: vec![evidence.at("recording/series.parquet")] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};
    use observe::TimeClass;

    #[test]
    fn busy_alone_is_never_bad() {
        assert_eq!(light(&CHECK, &Machine::new().cpu(0.79)), Light::Good);
        assert_eq!(light(&CHECK, &Machine::new().cpu(0.80)), Light::Good);
        assert_eq!(light(&CHECK, &Machine::new().cpu(0.81)), Light::Maybe);
        assert_eq!(light(&CHECK, &Machine::new().cpu(1.0)), Light::Maybe);
        assert_eq!(light(&CHECK, &Machine::new().cpu(1.0).pressure("cpu", "some", 0.24)), Light::Maybe);
    }

    #[test]
    fn with_somebody_waiting_it_is() {
        let waits = |busy| Machine::new().cpu(busy).pressure("cpu", "some", 0.25);
        assert_eq!(light(&CHECK, &waits(0.90)), Light::Maybe);
        assert_eq!(light(&CHECK, &waits(0.91)), Light::Bad);
        let times = [(TimeClass::RunningUser, 5.0), (TimeClass::RunnableBusy, 5.0)];
        assert_eq!(light(&CHECK, &Machine::new().cpu(0.95).thread(7, "api", &times)), Light::Bad);
        let own = Machine::new().cpu(0.95).pressure("cpu", "some", 0.5).thread(7, "friday", &times).friday(7);
        assert_eq!(light(&CHECK, &own), Light::Maybe, "only friday waits");
    }

    #[test]
    fn waiting_for_io_is_idle() {
        let machine = Machine::new().counter(&catalog::CPU_TIME, &[("cpu", "0"), ("mode", "iowait")], 10.0);
        assert_eq!(light(&CHECK, &machine), Light::Good);
    }
}
