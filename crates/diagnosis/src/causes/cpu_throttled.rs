//! # A cgroup's CPU quota stops the victim
//!
//! **Speaks for it:** runnable time in which the scheduler held the thread back for its group's quota, and the group's
//! own count of throttled periods.
//! **Speaks against it:** neighbours on the CPU at that time: run-queue latency alone confuses the two.
//! **Experiment:** raising the quota helps the victim.

use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{grade, how_much},
    path::Removes,
};
use checks::Evidence;
use observe::{Ratio, TimeClass, catalog};

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "cpu.throttled", frozen: Effect::None, root_of: &[], judge };

/// kubernetes-mixin, CPUThrottlingHigh: more than a quarter of the periods.
const PERIODS: Ratio = Ratio(0.25);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let held = victim.times[TimeClass::RunnableThrottled];
    let Some(group) = throttled_group(scene, victim) else { return Vec::new() };
    let confidence = match grade(scene, victim, held) {
        Some(confidence) => confidence,
        None if group.part >= PERIODS && held.is_zero() => Confidence::Possible,
        None => return Vec::new(),
    };
    let mut evidence = vec![
        Evidence::new("cpu.stat nr_throttled", group.throttled, "periods")
            .against("> 25 % of periods")
            .at("recording/series.parquet"),
        Evidence::new("cpu.stat nr_periods", group.periods, "periods").at("recording/series.parquet"),
        Evidence::new("cpu.stat throttled time, summed over CPUs", group.seconds, "s").at("recording/series.parquet"),
    ];
    if !held.is_zero() {
        evidence.insert(
            0,
            Evidence::new("sched_switch: runnable while throttled", held.as_secs_f64(), "s")
                .at("recording/ledger.parquet"),
        );
    }
    vec![Draft {
        confidence,
        time: held,
        summary: format!(
            "{} is stopped by the CPU quota of {} for {}: the group was throttled in {:.0} of {:.0} periods.",
            victim.label(),
            group.name,
            how_much(victim, held),
            group.throttled,
            group.periods,
        ),
        next: vec![
            format!("raise the quota of {} (now {}), or spread its work", group.name, group.quota),
            "with many threads and a short period, fewer threads also help: they use the quota up at once".to_owned(),
        ],
        culprit: Party { kind: "cgroup".into(), pid: None, name: group.name, detail: Some(group.quota) },
        evidence,
        codepath: Vec::new(),
        removes: Removes::Held(TimeClass::RunnableThrottled),
        descriptive: false,
    }]
}

struct Throttled {
    name: String,
    quota: String,
    periods: f64,
    throttled: f64,
    seconds: f64,
    part: Ratio,
}

/// The group with the most throttled time among the victim's groups and their ancestors.
fn throttled_group(scene: &Scene, victim: &Victim) -> Option<Throttled> {
    let rows = scene.rec.get(&catalog::CGROUP_CPU).ok()?;
    let groups: Vec<&str> =
        victim.pids.iter().filter_map(|pid| scene.rec.processes.get(pid)).map(|p| p.cgroup.as_str()).collect();
    let holds = |name: &str| {
        groups.iter().any(|g| *g == name || g.strip_prefix(name).is_some_and(|rest| rest.starts_with('/')))
    };
    let value = |name: &str, what: &str| {
        rows.iter()
            .find(|r| r.labels.get("cgroup") == name && r.labels.get("what") == what)
            .and_then(|r| r.increase())
            .unwrap_or(0.0)
    };
    let names = rows.iter().map(|r| r.labels.get("cgroup")).filter(|name| holds(name));
    let worst = names.max_by(|a, b| value(a, "throttled_time").total_cmp(&value(b, "throttled_time")))?;
    let (periods, throttled) = (value(worst, "periods"), value(worst, "throttled_periods"));
    if throttled <= 0.0 {
        return None;
    }
    let quota = scene.rec.get(&catalog::CGROUP_QUOTA).ok().and_then(|facts| {
        facts.iter().find(|f| f.labels.get("cgroup") == worst).map(|f| format!("{}: {}", f.source, f.value))
    });
    Some(Throttled {
        name: worst.to_owned(),
        quota: quota.unwrap_or_else(|| "quota not readable".to_owned()),
        periods,
        throttled,
        seconds: value(worst, "throttled_time"),
        part: Ratio::of_counts(throttled, periods),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, all, one};

    fn web() -> System {
        System::new()
            .thread(10, "api", &[(TimeClass::RunningUser, 2.0), (TimeClass::RunnableThrottled, 6.0)])
            .cgroup(10, "/web/api")
            .target(10)
    }

    #[test]
    fn the_group_that_was_throttled_is_the_culprit_also_when_it_is_an_ancestor() {
        let finding = one(&web().throttled("/web", 100.0, 80.0, 6.0).build(), "cpu.throttled");
        assert_eq!(finding.culprit.name, "/web");
        assert_eq!(finding.confidence, Confidence::Likely);
        assert!((finding.share.0 - 0.75).abs() < 0.01);
    }

    #[test]
    fn another_groups_throttling_is_not_the_victims() {
        assert!(all(&web().throttled("/web/apix", 100.0, 80.0, 6.0).build(), "cpu.throttled").is_empty());
        assert!(all(&web().throttled("/web", 100.0, 0.0, 0.0).build(), "cpu.throttled").is_empty());
    }
}
