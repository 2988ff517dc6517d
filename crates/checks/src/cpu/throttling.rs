//! # Does a CPU quota stop somebody?
//!
//! **Measures** the part of its periods in which a control group used its quota up, and the time it was then stopped.
//! **Matters** because a stopped service stands still in the middle of a request, with idle CPUs beside it.
//! **Misleads** when the group is batch work that is held back on purpose, or ran in a handful of periods only.
//! **Confirm** by raising the quota for 30 seconds (`--allow change`).

use crate::{
    Check, Evidence, Light, Verdict,
    counter::Growth,
    lost::{ENOUGH, is_ordinary},
};
use observe::{Observed, Ratio, Recording, catalog};
use std::collections::BTreeSet;

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "cpu.throttling",
    group: "cgroup",
    question: "Does a CPU quota stop somebody?",
    source: include_str!("throttling.rs"),
    judge,
};

/// kubernetes-mixin, CPUThrottlingHigh: part of the group's periods.
const PERIODS: Ratio = Ratio(0.25);

/// ours: two seconds of the usual 100 ms period.
const MIN_PERIODS: f64 = 20.0;

fn judge(rec: &Recording) -> Observed<Verdict> {
    let rows = rec.get(&catalog::CGROUP_CPU)?;
    let groups: BTreeSet<&str> = rows.iter().map(|row| row.labels.get("cgroup")).collect();
    if groups.is_empty() {
        return Ok(Verdict {
            light: Light::Good,
            why: "no control group has a CPU quota".into(),
            evidence: Vec::new(),
        });
    }
    let mut worst: Option<(Light, f64, &str, [f64; 2])> = None;
    let mut unread = None;
    for group in groups.iter().filter(|group| !is_fridays(rec, group)) {
        let grown = |what| Growth::find(rec, &catalog::CGROUP_CPU, &[("cgroup", group), ("what", what)]);
        let (periods, throttled) = match (grown("periods"), grown("throttled_periods")) {
            (Ok(periods), Ok(throttled)) => (periods.by, throttled.by),
            (Err(why), _) | (_, Err(why)) => {
                unread = Some(why);
                continue;
            }
        };
        let time = grown("throttled_time").map_or(0.0, |growth| growth.by);
        let often = periods >= MIN_PERIODS && Ratio::of_counts(throttled, periods) > PERIODS;
        let long = Ratio::of_counts(time, rec.window.length.as_secs_f64()) >= ENOUGH;
        let light = match (often, long) {
            (true, true) => Light::Bad,
            (false, false) => Light::Good,
            _ => Light::Maybe,
        };
        if worst.as_ref().is_none_or(|(other, most, ..)| (light, time) > (*other, *most)) {
            worst = Some((light, time, group, [periods, throttled]));
        }
    }
    let Some((light, time, group, [periods, throttled])) = worst else {
        let why = format!("none of {} groups with a CPU quota is anybody's but friday's", groups.len());
        return unread.map_or(Ok(Verdict { light: Light::Good, why, evidence: Vec::new() }), Err);
    };
    let why = format!(
        "{group} was throttled in {throttled:.0} of {periods:.0} periods, for {time:.2} s summed over CPUs; most of {} \
         groups with a quota",
        groups.len(),
    );
    let evidence = vec![
        Evidence::new("cpu.stat nr_throttled", throttled, "periods")
            .against(format!("> {PERIODS} of periods"))
            .at("recording/series.parquet"),
        Evidence::new("cpu.stat throttled time", time, "s").at("recording/series.parquet"),
    ];
    Ok(Verdict { light, why, evidence })
}

/// Whether friday is all that is known to run in the group.
pub(crate) fn is_fridays(rec: &Recording, group: &str) -> bool {
    let inside = |cgroup: &str| cgroup.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let mut members = rec.processes.values().filter(|process| inside(&process.cgroup)).peekable();
    members.peek().is_some() && members.all(|process| !is_ordinary(rec, process.pid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};

    fn group(periods: f64, throttled: f64, time: f64) -> Machine {
        [("periods", periods), ("throttled_periods", throttled), ("throttled_time", time)]
            .into_iter()
            .fold(Machine::new(), |machine, (what, by)| {
                machine.counter(&catalog::CGROUP_CPU, &[("cgroup", "/web"), ("what", what)], by)
            })
    }

    #[test]
    fn boundaries() {
        assert_eq!(light(&CHECK, &group(100.0, 25.0, 0.49)), Light::Good);
        assert_eq!(light(&CHECK, &group(100.0, 26.0, 0.49)), Light::Maybe);
        assert_eq!(light(&CHECK, &group(100.0, 25.0, 0.5)), Light::Maybe);
        assert_eq!(light(&CHECK, &group(100.0, 26.0, 0.5)), Light::Bad);
        assert_eq!(light(&CHECK, &group(19.0, 19.0, 0.4)), Light::Good, "too few periods");
        assert_eq!(light(&CHECK, &group(20.0, 19.0, 0.4)), Light::Maybe);
    }

    #[test]
    fn no_quota_is_good_and_fridays_own_does_not_count() {
        let mut none = Machine::new();
        none.rec.set(&catalog::CGROUP_CPU, Ok(Vec::new()));
        assert_eq!(light(&CHECK, &none), Light::Good);
        let own = group(100.0, 90.0, 9.0).named(8, "friday").friday(8).cgroup(8, "/web/friday");
        assert_eq!(light(&CHECK, &own), Light::Good);
        assert_eq!(light(&CHECK, &own.named(7, "api").cgroup(7, "/web")), Light::Bad);
    }

    #[test]
    fn a_group_that_was_read_once_is_untested() {
        let mut machine = Machine::new();
        let labels = observe::Labels::new([("cgroup", "/web".into()), ("what", "periods".into())]);
        machine.rec.push(&catalog::CGROUP_CPU, observe::Series::total(labels, std::time::Duration::ZERO, 7.0));
        assert_eq!(light(&CHECK, &machine), Light::Untested);
    }
}
