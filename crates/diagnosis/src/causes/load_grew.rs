//! # More is asked of it than when it was well
//!
//! **Speaks for it:** a baseline: more requests a second than then, at the same cost each, and a resource that is used up
//! now.
//! **Speaks against it:** a cost per request that has grown as well (that is the implementation), and resources to spare (more
//! requests alone make nothing slow).
//! **Experiment:** none; asking for less is the user's to do.

use crate::{Cause, Confidence, Draft, Effect, Party, Scene, Victim, path::Removes};
use checks::Evidence;
use compare::{SCHEMA, Service, Spread, Summary};
use observe::{Ratio, Recording, TimeClass, catalog};
use std::{collections::BTreeSet, time::Duration};

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "load.grew",
    frozen: Effect::None,
    root_of: &[
        "cpu.saturated",
        "cpu.throttled",
        "cpu.single-thread",
        "cpu.hot-code",
        "cpu.kernel-time",
        "disk.saturated",
        "disk.sync-writes",
        "lock.contention",
        "app.pool",
        "app.global-lock",
        "net.listen-overflow",
    ],
    judge,
};

/// ours: a fifth more is what a system with some room to spare takes without notice.
const MORE: f64 = 1.2;

/// USE method: a resource that is busy for four fifths makes whoever asks for it wait.
const USED_UP: Ratio = Ratio(0.8);

/// ours: the same as everywhere: what waits for less of its time does not notice.
const WAITS: Ratio = Ratio(0.15);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let Some((case, then)) = baseline(scene.rec) else { return Vec::new() };
    let now = Summary::of(scene.rec);
    let rows = scene.rec.get(&catalog::REQUEST_COUNT).into_iter().flatten();
    let mine: BTreeSet<String> = rows
        .filter(|row| row.labels.pid().is_some_and(|pid| victim.contains(pid)))
        .filter_map(|row| Some(format!("{} {}", scene.rec.process_name(row.labels.pid()?), row.labels.get("service"))))
        .collect();
    let grown = mine.iter().filter_map(|name| {
        let (before, after) = (then.services.get(name)?, now.services.get(name)?);
        Some((name, grown(before, after)?, before, after))
    });
    let Some((name, rates, before, after)) = grown.max_by(|a, b| a.1.0.total_cmp(&b.1.0)) else { return Vec::new() };
    let Some((resource, time)) = used_up(scene, victim, rates.0) else { return Vec::new() };
    let slower = before.latency.zip(after.latency).filter(|(then, now)| now.median > then.median && then.differs(now));
    let cost = |service: &Service| service.cost.map_or(0.0, |cost| cost.median * 1e3);
    let mut evidence = vec![
        Evidence::new(format!("requests a second, {:.0} in {case}", rates.1), rates.2, "requests/s")
            .against(format!("> {MORE} times the baseline's"))
            .at("recording/series.parquet"),
        Evidence::new(format!("CPU time of a request, {:.3} ms in {case}", cost(before)), cost(after), "ms")
            .against("as in the baseline, within what both vary by"),
    ];
    if let Some((then, now)) = slower {
        let source = format!("mean time of a request, {:.2} ms in {case}", then.median * 1e3);
        evidence.push(Evidence::new(source, now.median * 1e3, "ms").against("longer than in the baseline"));
    }
    vec![Draft {
        confidence: if slower.is_some() { Confidence::Likely } else { Confidence::Possible },
        time,
        summary: format!(
            "{} is asked for {:.1} times as much as in the baseline ({:.0} requests a second, {:.0} then), each costs what \
             it did, and {resource}.",
            victim.label(),
            rates.0,
            rates.2,
            rates.1,
        ),
        culprit: Party { kind: "load".into(), pid: None, name: name.clone(), detail: Some(format!("baseline {case}")) },
        evidence,
        codepath: Vec::new(),
        next: vec![
            format!("find out who asks for more of {}, and whether they have to", victim.name),
            "or give it more of what is used up, or spread it over more machines".to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    }]
}

/// The baseline and what its case is called; none where another friday wrote it, whose summaries hold other things.
pub fn baseline(rec: &Recording) -> Option<(String, Summary)> {
    let fact = rec.get(&catalog::BASELINE).ok()?.first()?;
    let summary: Summary = serde_json::from_str(&fact.value).ok()?;
    (summary.schema == SCHEMA).then(|| (fact.labels.get("case").to_owned(), summary))
}

/// How many times as much is asked, and how much it was and is; `None` where it is not more, or each request costs more
/// too.
fn grown(before: &Service, after: &Service) -> Option<(f64, f64, f64)> {
    let (then, now) = (before.rate?, after.rate?);
    let times = then.ratio(&now)?;
    let dearer = |then: Spread, now: Spread| now.median > then.median && then.differs(&now);
    let same = before.cost.zip(after.cost).is_some_and(|(then, now)| !dearer(then, now));
    (times >= MORE && then.differs(&now) && same).then_some((times, then.median, now.median))
}

/// What is used up, and the victim's time that goes into waiting for it.
fn used_up(scene: &Scene, victim: &Victim, times: f64) -> Option<(String, Duration)> {
    let waits = |is: fn(TimeClass) -> bool| victim.times.sum(is);
    let runnable = waits(TimeClass::is_runnable);
    if victim.share(runnable) >= WAITS && scene.cpu_busy().is_ok_and(|busy| busy >= USED_UP) {
        return Some(("the CPUs are used up".to_owned(), runnable));
    }
    let throttled = waits(|class| class == TimeClass::RunnableThrottled);
    if victim.share(throttled) >= WAITS {
        return Some(("its CPU quota is used up".to_owned(), throttled));
    }
    let disk = waits(|class| class == TimeClass::BlockedDisk);
    if victim.share(disk) >= WAITS {
        return Some(("it waits for the disk".to_owned(), disk));
    }
    // A single thread is a resource too.
    let busiest = victim
        .pids
        .iter()
        .flat_map(|pid| scene.threads(*pid))
        .map(|thread| thread.classes.sum(TimeClass::is_running))
        .max()?;
    if Ratio::of(busiest, scene.window()) >= USED_UP {
        // What more was asked for is what would go.
        return Some(("its busiest thread has hardly a moment left".to_owned(), busiest.mul_f64(1.0 - 1.0 / times)));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, all, one};
    use observe::{Fact, Labels, Point, Series};

    fn spread(value: f64) -> Option<Spread> {
        Spread::of(vec![value * 0.98, value, value * 1.02, value, value])
    }

    fn then(rate: f64, cost: f64, latency: f64) -> Summary {
        let service =
            Service { rate: spread(rate), cost: spread(cost), latency: spread(latency), ..Service::default() };
        let services = [("api 80".to_owned(), service)].into();
        Summary { schema: SCHEMA.to_owned(), services, ..Summary::default() }
    }

    /// 100 requests a second of 2 ms of CPU and 20 ms each, on CPUs that are used up.
    fn now(baseline: &Summary) -> Recording {
        let mut rec = System::new()
            .cpu_busy(0.97)
            .thread(10, "api", &[(TimeClass::RunningUser, 2.0), (TimeClass::RunnableBusy, 3.0)])
            .thread(20, "batch", &[(TimeClass::RunningUser, 8.0)])
            .target(10)
            .build();
        let counter = |per_second: f64| -> Vec<Point> {
            (0..=10).map(|at| Point { at: Duration::from_secs(at), value: per_second * at as f64 }).collect()
        };
        let labels = || Labels::new([("pid", "10".into()), ("service", "80".into())]);
        rec.push(&catalog::REQUEST_COUNT, Series { labels: labels(), points: counter(100.0) });
        rec.push(&catalog::REQUEST_SECONDS, Series { labels: labels(), points: counter(2.0) });
        let cpu = Labels::new([("pid", "10".into())]);
        rec.push(&catalog::PROCESS_CPU, Series { labels: cpu, points: counter(0.2) });
        let labels = Labels::new([("case", "monday".into())]);
        let value = serde_json::to_string(baseline).unwrap();
        rec.push(&catalog::BASELINE, Fact { labels, value, source: "friday baseline".into() });
        rec
    }

    #[test]
    fn twice_the_load_at_the_same_cost_is_the_load() {
        let finding = one(&now(&then(50.0, 0.002, 0.01)), "load.grew");
        assert_eq!((finding.confidence, finding.culprit.kind.as_str()), (Confidence::Likely, "load"));
        assert!(
            finding.summary.contains("2.0 times as much") && finding.summary.contains("CPUs"),
            "{}",
            finding.summary
        );
    }

    #[test]
    fn a_slower_implementation_is_not() {
        assert!(all(&now(&then(50.0, 0.001, 0.01)), "load.grew").is_empty(), "dearer");
        assert!(all(&now(&then(98.0, 0.002, 0.01)), "load.grew").is_empty(), "no more than before");
    }

    #[test]
    fn more_requests_that_take_no_longer_are_only_possible_and_nothing_is_said_without_a_baseline_of_this_kind() {
        assert_eq!(one(&now(&then(50.0, 0.002, 0.02)), "load.grew").confidence, Confidence::Possible);
        let mut rec = now(&then(50.0, 0.002, 0.01));
        rec.set(&catalog::BASELINE, Ok(Vec::new()));
        assert!(all(&rec, "load.grew").is_empty());
        let of_another = Summary { schema: "friday.summary/0".into(), ..then(50.0, 0.002, 0.01) };
        assert!(all(&now(&of_another), "load.grew").is_empty());
    }
}
