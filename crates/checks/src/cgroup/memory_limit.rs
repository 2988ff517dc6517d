//! # Does a control group's memory limit hold somebody up?
//!
//! **Measures** how often a group came up against its limit, what was killed for it, and the time its processes spent
//! making memory free under it.
//! **Matters** because a service then works for memory that the machine has plenty of.
//! **Misleads** when the group only reads files: its page cache grows up to any limit, and makes room at little cost.
//! **Confirm** by raising the limit for 30 seconds (`--allow change`).

use crate::{
    Check, Evidence, Light, Verdict,
    counter::Growth,
    cpu::throttling::is_fridays,
    lost::{Loss, Lost},
    memory::{STALLED, reclaim_times},
};
use observe::{Absent, Bytes, Observed, Ratio, Recording, catalog};
use std::collections::BTreeSet;

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "cgroup.memory_limit",
    group: "cgroup",
    question: "Does a control group's memory limit hold somebody up?",
    source: include_str!("memory_limit.rs"),
    judge,
};

/// ours: as for direct reclaim of the whole machine, for which nobody publishes a band either. Times a second.
const MAYBE: f64 = 1.0;

/// One group's part.
struct Squeeze<'a> {
    group: &'a str,
    light: Light,
    hits: f64,
    rate: f64,
    kills: f64,
    pressure: Option<Ratio>,
    loss: Option<Loss>,
}

fn judge(rec: &Recording) -> Observed<Verdict> {
    let rows = rec.get(&catalog::CGROUP_EVENTS)?;
    let of_memory = rows.iter().filter(|row| row.labels.get("event").starts_with("memory."));
    let groups: BTreeSet<&str> = of_memory.map(|row| row.labels.get("cgroup")).collect();
    if groups.is_empty() {
        return Ok(Verdict { light: Light::Good, why: "no group has a memory limit".into(), evidence: Vec::new() });
    }
    let mut unread = None;
    let mut worst: Option<Squeeze> = None;
    for group in groups.iter().filter(|group| !is_fridays(rec, group)) {
        match squeeze(rec, group) {
            Ok(one) if worst.as_ref().is_none_or(|w| (one.light, one.hits) > (w.light, w.hits)) => worst = Some(one),
            Ok(_) => {}
            Err(why) => unread = Some(why),
        }
    }
    let Some(worst) = worst else {
        let why = format!("none of {} groups with memory counters is anybody's but friday's", groups.len());
        return unread.map_or(Ok(Verdict { light: Light::Good, why, evidence: Vec::new() }), Err);
    };
    let limit = limit(rec, worst.group).map_or_else(String::new, |limit| format!(" ({limit})"));
    let (group, hits, rate) = (worst.group, worst.hits, worst.rate);
    let mut why = match hits {
        0.0 => format!("none of {} groups came up against a memory limit", groups.len()),
        _ => format!(
            "{group}{limit} came up against its memory limit {hits:.0} times ({rate:.1} a second); most of {} groups",
            groups.len()
        ),
    };
    if worst.kills > 0.0 {
        why += &format!("; {:.0} processes in {group} were killed for memory", worst.kills);
    }
    if let Some(pressure) = worst.pressure.filter(|part| *part > STALLED) {
        why += &format!("; somebody in it was stalled on memory {pressure} of the time");
    }
    if let Some(loss) = &worst.loss {
        why += &format!("; making memory free, {}", loss.text());
    }
    let mut evidence = vec![
        Evidence::new("memory.events high and max, memory.failcnt", worst.rate, "times/s")
            .against(format!("> {MAYBE}/s"))
            .at("recording/series.parquet"),
    ];
    if let Some(loss) = &worst.loss {
        let time = Evidence::new("mm_vmscan_memcg_reclaim_begin to _end", loss.time.as_secs_f64(), "s");
        evidence.push(time.at("recording/histograms.parquet"));
    }
    Ok(Verdict { light: worst.light, why, evidence })
}

fn squeeze<'a>(rec: &Recording, group: &'a str) -> Observed<Squeeze<'a>> {
    let grown = |event| Growth::find(rec, &catalog::CGROUP_EVENTS, &[("cgroup", group), ("event", event)]);
    // Version 1 has no memory.high.
    let (high, max) = (grown("memory.high"), grown("memory.max"));
    let hits = match (&high, &max) {
        (Err(why), Err(_)) => return Err(why.clone()),
        _ => [&high, &max].into_iter().flatten().map(|growth| growth.by).sum(),
    };
    let over = [high, max].into_iter().flatten().map(|growth| growth.over.as_secs_f64()).fold(0.0, f64::max);
    if over <= 0.0 {
        return Err(Absent::Failed(format!("the counters of {group} were read only once")));
    }
    let kills = grown("memory.oom_kill").map_or(0.0, |growth| growth.by);
    let labels = [("cgroup", group), ("resource", "memory"), ("kind", "some")];
    let pressure = Growth::find(rec, &catalog::CGROUP_PRESSURE, &labels).ok().map(|growth| growth.share());
    let loss = reclaim_times(rec, |labels| labels.get("kind") == "cgroup" && inside(labels.get("cgroup"), group))
        .and_then(|times| Lost::of_times(rec, &times));
    let loss = loss.ok().and_then(|lost| lost.felt().cloned());
    let often = hits / over > MAYBE;
    let stalled = pressure.is_some_and(|part| part > STALLED);
    let light = match (often, kills > 0.0 || (often && (stalled || loss.is_some()))) {
        (_, true) => Light::Bad,
        (true, false) => Light::Maybe,
        (false, false) => Light::Good,
    };
    Ok(Squeeze { group, light, hits, rate: hits / over, kills, pressure, loss })
}

/// Whether a group is another or below it.
fn inside(group: &str, of: &str) -> bool {
    group.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `memory.max 32 MiB`.
fn limit(rec: &Recording, group: &str) -> Option<String> {
    let facts = rec.get(&catalog::CGROUP_LIMIT).ok()?;
    let of = |name: &str| {
        let fact = facts.iter().find(|f| f.labels.get("cgroup") == group && f.labels.get("name") == name)?;
        Some(format!("{name} {}", Bytes(fact.value.parse().ok()?)))
    };
    ["memory.high", "memory.max", "memory.limit_in_bytes"].into_iter().find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};
    use observe::{Labels, Series, TimeClass};
    use std::time::Duration;

    fn hits(count: f64) -> Machine {
        Machine::new().counter(&catalog::CGROUP_EVENTS, &[("cgroup", "/web"), ("event", "memory.max")], count)
    }

    fn with_time(machine: Machine, group: &str, seconds: f64) -> Machine {
        let labels = [("pid", "7"), ("kind", "cgroup"), ("cgroup", group)];
        let machine = machine.thread(7, "api", &[(TimeClass::RunningUser, 5.0)]).cgroup(7, "/web");
        machine.histogram(&catalog::RECLAIM_TIME, &labels, 10, seconds * 100.0)
    }

    #[test]
    fn boundaries() {
        assert_eq!(light(&CHECK, &hits(9.0)), Light::Good);
        assert_eq!(light(&CHECK, &hits(10.0)), Light::Good);
        assert_eq!(light(&CHECK, &hits(11.0)), Light::Maybe);
        assert_eq!(light(&CHECK, &with_time(hits(11.0), "/web", 0.74)), Light::Maybe);
        assert_eq!(light(&CHECK, &with_time(hits(11.0), "/web", 0.75)), Light::Bad);
        assert_eq!(light(&CHECK, &with_time(hits(11.0), "/web/inner", 0.75)), Light::Bad);
        assert_eq!(light(&CHECK, &with_time(hits(11.0), "/webber", 0.75)), Light::Maybe, "another group");
        assert_eq!(light(&CHECK, &with_time(hits(10.0), "/web", 0.75)), Light::Good, "not against this limit");
        let events =
            |event: &str| hits(0.0).counter(&catalog::CGROUP_EVENTS, &[("cgroup", "/web"), ("event", event)], 11.0);
        assert_eq!(light(&CHECK, &events("memory.high")), Light::Maybe);
        assert_eq!(light(&CHECK, &events("memory.oom_kill")), Light::Bad, "a hard error");
    }

    #[test]
    fn pressure_inside_the_group_counts() {
        let labels = [("cgroup", "/web"), ("resource", "memory"), ("kind", "some")];
        let stalled = |count, part| hits(count).counter(&catalog::CGROUP_PRESSURE, &labels, part * 10.0);
        assert_eq!(light(&CHECK, &stalled(11.0, 0.10)), Light::Maybe);
        assert_eq!(light(&CHECK, &stalled(11.0, 0.11)), Light::Bad);
        assert_eq!(light(&CHECK, &stalled(10.0, 0.11)), Light::Good, "the limit did not act");
    }

    #[test]
    fn no_limit_is_good_fridays_own_is_nobodys_and_one_reading_is_untested() {
        let mut none = Machine::new();
        assert_eq!(light(&CHECK, &none), Light::Untested);
        none.rec.set(&catalog::CGROUP_EVENTS, Ok(Vec::new()));
        assert_eq!(light(&CHECK, &none), Light::Good);
        let own = hits(900.0).named(8, "friday").friday(8).cgroup(8, "/web");
        assert_eq!(light(&CHECK, &own), Light::Good);
        let labels = Labels::new([("cgroup", "/web".into()), ("event", "memory.max".into())]);
        none.rec.push(&catalog::CGROUP_EVENTS, Series::total(labels, Duration::ZERO, 7.0));
        assert_eq!(light(&CHECK, &none), Light::Untested);
    }

    #[test]
    fn the_limit_is_shown() {
        let mut machine = hits(11.0);
        machine.rec.push(&catalog::CGROUP_LIMIT, crate::testing::limit("/web", "memory.max", "33554432"));
        assert!(CHECK.run(&machine.rec).why.starts_with("/web (memory.max 32.0 MiB) came up"));
    }
}
