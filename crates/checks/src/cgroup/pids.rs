//! # Is a control group near its limit of processes and threads?
//!
//! **Measures** how many of the tasks that a group may have it has, and how often a new one was refused.
//! **Matters** because a service that cannot start a thread fails in ways that name anything but the limit.
//! **Misleads** when the limit is meant to hold back what runs wild, and does.
//! **Confirm** by raising `pids.max` (`--allow change`).

use crate::{Check, Evidence, Light, Verdict, counter::Growth, cpu::throttling::is_fridays};
use observe::{Observed, Ratio, Recording, Series, catalog};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "cgroup.pids",
    group: "cgroup",
    question: "Is a control group near its limit of processes and threads?",
    source: include_str!("pids.rs"),
    judge,
};

/// Netdata: part of the limit.
const MAYBE: Ratio = Ratio(0.90);

fn judge(rec: &Recording) -> Observed<Verdict> {
    let rows = rec.get(&catalog::CGROUP_PIDS)?;
    let facts = rec.get(&catalog::CGROUP_LIMIT)?;
    let limits = facts.iter().filter(|fact| fact.labels.get("name") == "pids.max");
    let limits = limits.filter_map(|fact| Some((fact.labels.get("cgroup"), fact.value.parse::<f64>().ok()?)));
    let mut worst: Option<(Light, Ratio, String, Evidence)> = None;
    let mut groups = 0;
    for (group, limit) in limits.filter(|(group, _)| !is_fridays(rec, group)) {
        groups += 1;
        let most = rows.iter().find(|row| row.labels.get("cgroup") == group).map(Series::max);
        let labels = [("cgroup", group), ("event", "pids.max")];
        let refused = Growth::find(rec, &catalog::CGROUP_EVENTS, &labels).map_or(0.0, |growth| growth.by);
        let part = Ratio::of_counts(most.unwrap_or_default(), limit);
        // A refusal is a hard error, whatever the readings in between show.
        let light = match (refused > 0.0, part > MAYBE) {
            (true, _) => Light::Bad,
            (false, true) => Light::Maybe,
            (false, false) => Light::Good,
        };
        if worst.as_ref().is_some_and(|(other, most, ..)| (*other, most.0) >= (light, part.0)) {
            continue;
        }
        let mut why = format!("{group} had {:.0} of at most {limit:.0} tasks ({part})", most.unwrap_or_default());
        if refused > 0.0 {
            why += &format!(", and {refused:.0} new ones were refused");
        }
        let evidence = Evidence::new("pids.current against pids.max", part.0 * 100.0, "%")
            .against(format!("> {MAYBE}"))
            .at("recording/series.parquet");
        worst = Some((light, part, why, evidence));
    }
    Ok(match worst {
        Some((light, _, why, evidence)) => {
            let why = format!("{why}; nearest of {groups} groups with such a limit");
            Verdict { light, why, evidence: vec![evidence] }
        }
        None => Verdict { light: Light::Good, why: "no group has a limit of processes".into(), evidence: Vec::new() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};

    fn tasks(most: f64) -> Machine {
        let mut machine = Machine::new().gauge(&catalog::CGROUP_PIDS, &[("cgroup", "/web")], &[1.0, most, 2.0]);
        machine.rec.push(&catalog::CGROUP_LIMIT, crate::testing::limit("/web", "pids.max", "100"));
        machine
    }

    #[test]
    fn boundaries() {
        assert_eq!(light(&CHECK, &tasks(89.0)), Light::Good);
        assert_eq!(light(&CHECK, &tasks(90.0)), Light::Good);
        assert_eq!(light(&CHECK, &tasks(91.0)), Light::Maybe);
        let refused = |n| tasks(50.0).counter(&catalog::CGROUP_EVENTS, &[("cgroup", "/web"), ("event", "pids.max")], n);
        assert_eq!(light(&CHECK, &refused(0.0)), Light::Good);
        assert_eq!(light(&CHECK, &refused(1.0)), Light::Bad);
        assert_eq!(light(&CHECK, &tasks(99.0).named(8, "friday").friday(8).cgroup(8, "/web")), Light::Good);
    }

    #[test]
    fn no_limit_is_good_only_when_groups_were_read() {
        let mut none = Machine::new();
        assert_eq!(light(&CHECK, &none), Light::Untested);
        none.rec.set(&catalog::CGROUP_PIDS, Ok(Vec::new()));
        assert_eq!(light(&CHECK, &none), Light::Untested);
        none.rec.set(&catalog::CGROUP_LIMIT, Ok(Vec::new()));
        assert_eq!(light(&CHECK, &none), Light::Good);
    }
}
