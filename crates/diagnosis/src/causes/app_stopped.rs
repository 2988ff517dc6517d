//! Whoever is stopped by a debugger, a tracer or a signal waits until somebody lets it go on.

use crate::{
    Confidence, Draft, Finding, Scene, Victim,
    cause::{grade, how_much, process},
    path::{Removes, Waits},
    scene::DIALOGUE,
};
use checks::Evidence;
use observe::{Pid, Ratio, TimeClass, Wait, catalog};
use std::time::Duration;

/// Who traces a process; `None` within when it is stopped and nobody does.
fn stopped_by(scene: &Scene, pid: Pid) -> Option<Option<Pid>> {
    let mut rows = scene.rec.get(&catalog::PROCESS_STOPPED).into_iter().flatten();
    let row = rows.find(|row| row.labels.pid() == Some(pid))?;
    Some(row.labels.get("tracer").parse().ok().map(Pid))
}

fn stops<'s>(scene: &'s Scene, pid: Pid) -> impl Iterator<Item = &'s Wait> + 's {
    scene.waits(pid).iter().copied().filter(|wait| wait.class == TimeClass::BlockedStopped)
}

/// What a process loses to a tracer that stops it again and again.
pub fn traced(scene: &Scene, pid: Pid) -> Duration {
    if !matches!(stopped_by(scene, pid), Some(Some(_))) {
        return Duration::ZERO;
    }
    let (count, time) = stops(scene, pid).fold((0, Duration::ZERO), |(n, time), w| (n + w.count, time + w.time));
    if count >= DIALOGUE { time } else { Duration::ZERO }
}

/// Whether a finding is about somebody who is stopped or traced, rather than about waiting as a matter of course.
pub fn is_held(scene: &Scene, finding: &Finding) -> bool {
    let (victim, culprit) = (finding.victim.pid.map(Pid), finding.culprit.pid.map(Pid));
    let tracer = victim.and_then(|pid| stopped_by(scene, pid)).flatten();
    tracer.is_some() && tracer == culprit || culprit.is_some_and(|pid| for_good(scene, pid))
}

/// Whether a process is stopped, and does not come out of it.
pub fn for_good(scene: &Scene, pid: Pid) -> bool {
    /// ours: whoever comes and goes is traced, but runs.
    const MOST: Ratio = Ratio(0.9);
    let threads = scene.threads(pid);
    let stopped = threads.iter().map(|t| Ratio::of(t.classes[TimeClass::BlockedStopped], t.wall));
    !threads.is_empty() && stopped.fold(Ratio(0.0), |a, b| if b > a { b } else { a }) >= MOST
}

/// The victim stands still, for whom and how often.
pub fn stopped(scene: &Scene, victim: &Victim) -> Option<Draft> {
    let waits: Vec<&Wait> = victim.pids.iter().flat_map(|pid| stops(scene, *pid)).collect();
    let time = waits.iter().map(|wait| wait.time).sum::<Duration>().min(victim.times[TimeClass::BlockedStopped]);
    let confidence = grade(scene, victim, time)?;
    let heaviest = waits.iter().max_by_key(|wait| wait.time)?;
    let count: u64 = waits.iter().map(|wait| wait.count).sum();
    let by = stopped_by(scene, heaviest.pid);
    let (culprit, why, next) = match by {
        Some(Some(tracer)) => (
            process(scene, tracer),
            format!(
                "{} traces it, and it stands still at each stop until that lets it go on ({count} stops)",
                scene.label(tracer)
            ),
            format!("end {}, or have it let go: what it traces then goes on by itself", scene.label(tracer)),
        ),
        _ => (
            process(scene, heaviest.pid),
            format!("{} was stopped, by a signal or a freezer, and nobody has let it go on", scene.label(heaviest.pid)),
            format!("find out who stopped it and why; it goes on with: kill -CONT {}", heaviest.pid),
        ),
    };
    Some(Draft {
        confidence: if by.is_some() { confidence } else { confidence.min(Confidence::Possible) },
        time,
        summary: format!("{} is held for {}: {why}.", victim.label(), how_much(victim, time)),
        culprit,
        evidence: vec![
            Evidence::new("sched_switch: stopped", time.as_secs_f64(), "s").at("recording/waits.parquet"),
            Evidence::new("stops", count as f64, "stops").at("recording/waits.parquet"),
        ],
        codepath: Vec::new(),
        next: vec![next],
        removes: Removes::Waits(Waits { classes: vec![TimeClass::BlockedStopped], ..Waits::default() }),
        descriptive: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, all, one};
    use TimeClass::{BlockedIdle, BlockedProcess, BlockedStopped, RunningUser};

    fn held(count: u64) -> System {
        System::new()
            .thread(10, "store", &[(RunningUser, 2.0), (BlockedStopped, 5.0)])
            .wait(10, BlockedStopped, "epoll_wait", "", None, 5.0, count)
            .thread(20, "tracer", &[(RunningUser, 3.0)])
    }

    fn traced_by_20(system: System) -> System {
        system.labelled_fact(&catalog::PROCESS_STOPPED, &[("pid", "10"), ("tracer", "20")], "traced")
    }

    #[test]
    fn the_tracer_is_the_culprit() {
        let finding = one(&traced_by_20(held(9000)).target(10).build(), "app.waits-for-child");
        assert_eq!((finding.culprit.pid, finding.confidence), (Some(20), Confidence::Likely));
        assert!(
            !all(&traced_by_20(held(9000)).build(), "app.waits-for-child").is_empty(),
            "also where nobody is named"
        );
    }

    #[test]
    fn a_job_that_somebody_put_aside_is_of_interest_to_whoever_names_it() {
        let aside = || held(1).labelled_fact(&catalog::PROCESS_STOPPED, &[("pid", "10"), ("tracer", "")], "stopped");
        let finding = one(&aside().target(10).build(), "app.waits-for-child");
        assert!(finding.next[0].contains("kill -CONT 10"), "{finding:#?}");
        assert!(all(&aside().build(), "app.waits-for-child").is_empty());
    }

    #[test]
    fn who_waits_for_somebody_that_is_stopped_is_told_so() {
        let rec = System::new()
            .thread(10, "door", &[(BlockedProcess, 9.5)])
            .thread(20, "log", &[(BlockedStopped, 10.0)])
            .wait(10, BlockedProcess, "sendto", "unix socket", Some((20, 20)), 9.5, 1)
            .wait(20, BlockedStopped, "poll", "", None, 10.0, 1)
            .thread(30, "other", &[(BlockedIdle, 10.0)])
            .target(10)
            .build();
        let finding = one(&rec, "app.waits-for-child");
        assert_eq!((finding.culprit.pid, finding.confidence), (Some(20), Confidence::Likely));
        assert!(finding.summary.contains("stopped by a signal"), "{}", finding.summary);
    }
}
