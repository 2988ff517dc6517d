//! # Does the hypervisor run somebody else on our CPUs?
//!
//! **Measures** stolen time: the part of all CPU time in which this machine was ready to run and another ran.
//! **Matters** because everything here slows down at once and nothing here shows why.
//! **Misleads** when it is one burst; and on hypervisors that do not report it, or report a CPU limit as steal.
//! **Confirm** by a fixed loop: wall time against CPU time (`--allow load`).

use crate::{Check, Evidence, Light, Verdict, counter, lost::ENOUGH};
use observe::{Absent, Observed, Ratio, Recording, catalog};
use std::{collections::BTreeMap, time::Duration};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "cpu.steal",
    group: "virtualization",
    question: "Does the hypervisor run somebody else on our CPUs?",
    source: include_str!("steal.rs"),
    judge,
};

/// node_exporter mixin, awesome-prometheus-alerts: part of CPU time.
const MAYBE: Ratio = Ratio(0.10);

/// ours: with fewer intervals, a burst cannot be told from a habit.
const MIN_INTERVALS: usize = 3;

fn judge(rec: &Recording) -> Observed<Verdict> {
    let rows = rec.get(&catalog::CPU_TIME)?;
    counter::find(rec, &catalog::CPU_TIME, &[("mode", "steal")])?;
    let mut intervals: BTreeMap<Duration, (f64, f64)> = BTreeMap::new();
    let mut programs = 0.0;
    for row in rows {
        let mode = row.labels.get("mode");
        for pair in row.points.windows(2) {
            let spent = (pair[1].value - pair[0].value).max(0.0);
            let (stolen, all) = intervals.entry(pair[1].at).or_default();
            *all += spent;
            if mode == "steal" {
                *stolen += spent;
            } else if matches!(mode, "user" | "nice") {
                programs += spent;
            }
        }
    }
    let (stolen, all) = intervals.values().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    if all <= 0.0 {
        return Err(Absent::Failed("CPU counters were read only once".into()));
    }
    let share = Ratio::of_counts(stolen, all);
    let above = intervals.values().filter(|(stolen, all)| Ratio::of_counts(*stolen, *all) > MAYBE).count();
    let programs = programs - rec.cost.cpu.as_secs_f64();
    let somebody_ran = Ratio::of_counts(programs, rec.window.length.as_secs_f64()) >= ENOUGH;
    let light = if share <= MAYBE || (above == 1 && intervals.len() >= MIN_INTERVALS) {
        Light::Good
    } else if above * 2 >= intervals.len() && intervals.len() >= MIN_INTERVALS && somebody_ran {
        Light::Bad
    } else {
        Light::Maybe
    };
    let why = format!(
        "{share} of {all:.0} s CPU time was stolen; above {MAYBE} in {above} of {} intervals, while programs here used \
         {:.1} s",
        intervals.len(),
        programs.max(0.0),
    );
    let evidence = Evidence::new("/proc/stat: steal", share.0 * 100.0, "%").against(format!("> {MAYBE}"));
    Ok(Verdict { light, why, evidence: vec![evidence.at("recording/series.parquet")] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};

    /// Ten seconds of one CPU, by the stolen part of each interval; the rest is spent in `mode`.
    fn stolen(mode: &str, parts: &[f64]) -> Machine {
        let length = 10.0 / parts.len() as f64;
        let of = |part: &dyn Fn(f64) -> f64| parts.iter().map(|p| part(*p) * length).collect::<Vec<_>>();
        Machine::new().steps(&catalog::CPU_TIME, &[("cpu", "0"), ("mode", "steal")], &of(&|p| p)).steps(
            &catalog::CPU_TIME,
            &[("cpu", "0"), ("mode", mode)],
            &of(&|p| 1.0 - p),
        )
    }

    #[test]
    fn boundaries() {
        assert_eq!(light(&CHECK, &stolen("user", &[0.09; 4])), Light::Good);
        assert_eq!(light(&CHECK, &stolen("user", &[0.10; 1])), Light::Good);
        assert_eq!(light(&CHECK, &stolen("user", &[0.11; 4])), Light::Bad);
        assert_eq!(light(&CHECK, &stolen("idle", &[0.11; 4])), Light::Maybe, "nothing of ours ran");
    }

    #[test]
    fn a_burst_is_no_habit() {
        assert_eq!(light(&CHECK, &stolen("user", &[0.9, 0.0, 0.0, 0.0])), Light::Good);
        assert_eq!(light(&CHECK, &stolen("user", &[0.9, 0.9, 0.0, 0.0, 0.0])), Light::Maybe);
        assert_eq!(light(&CHECK, &stolen("user", &[0.9])), Light::Maybe, "one interval says little");
    }

    #[test]
    fn a_kernel_that_does_not_count_it_is_untested() {
        assert_eq!(light(&CHECK, &Machine::new().cpu(0.5)), Light::Untested);
    }
}
