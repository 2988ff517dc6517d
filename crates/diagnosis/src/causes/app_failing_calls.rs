//! # Calls that fail and are tried again
//!
//! **Speaks for it:** most calls of one kind fail with the same hard error, at a rate, and the time goes into them or into
//! the pauses between them.
//! **Speaks against it:** errors that mean "not now" on a non-blocking descriptor: they are the normal end of a batch.
//! **Experiment:** none from outside; the error and its argument are the proof.

use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{MATTERS, WORTH_SAYING, grade, how_much},
    path::Removes,
    scene::totals_of,
};
use checks::Evidence;
use observe::{Pid, Ratio, Series, TimeClass, Wait, catalog};
use std::time::Duration;

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "app.failing-calls", frozen: Effect::None, root_of: &[], judge };

/// ours: a call that mostly works is not "failing".
const FAILS: Ratio = Ratio(0.5);

/// ours: fewer tries than this are a start-up or a hiccup, not a habit.
const RATE: f64 = 2.0;

/// ours: a search along a path fails a few times and is no habit.
const TRIES: f64 = 30.0;

/// "Not now", interrupted, timed out as asked, still connecting, not a terminal: parts of normal work.
const NORMAL: &[&str] = &["EAGAIN", "EINTR", "ETIMEDOUT", "EINPROGRESS", "EALREADY", "ENOTTY", "ECHILD"];

struct Failing {
    pid: Pid,
    call: String,
    errno: String,
    argument: String,
    count: f64,
    calls: f64,
    /// CPU time in the failing calls.
    in_calls: Duration,
    /// The same and the pauses after them.
    time: Duration,
}

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let Some(worst) = worst(scene, victim) else { return Vec::new() };
    let rate = worst.count / scene.window().as_secs_f64();
    let part = Ratio::of_counts(worst.count, worst.calls);
    let on = if worst.argument.is_empty() { String::new() } else { format!(" on {}", worst.argument) };
    let Some(mut confidence) = grade(scene, victim, worst.time) else { return Vec::new() };
    // A look whether something is there yet, at a pace, may be meant so. Nobody means to be refused.
    let paced = worst.in_calls < worst.time / 2;
    if paced && !matches!(worst.call.as_str(), "connect" | "sendto" | "sendmsg") {
        confidence = Confidence::Possible;
    }
    let spends = if paced {
        format!("spends {} between tries of {}, which", how_much(victim, worst.time), worst.call)
    } else {
        format!("spends {} on {}, which", how_much(victim, worst.time), worst.call)
    };
    vec![Draft {
        confidence,
        time: worst.time,
        summary: format!(
            "{} {spends} fails with {}{on} and is tried again: {rate:.0} failures a second, {part} of the calls.",
            victim.label(),
            worst.errno,
        ),
        culprit: Party {
            kind: "syscall".into(),
            pid: Some(worst.pid.0),
            name: worst.call.clone(),
            detail: Some(format!("{}{on}", worst.errno)),
        },
        evidence: vec![
            Evidence::new(format!("sys_exit: {} = {}", worst.call, worst.errno), rate, "failures/s")
                .at("recording/series.parquet"),
            Evidence::new("of its calls", part.0 * 100.0, "%").against("> 50 %"),
            Evidence::new("time in the calls and in the pauses after them", worst.time.as_secs_f64(), "s"),
        ],
        codepath: Vec::new(),
        next: vec![
            match worst.errno.as_str() {
                "ECONNREFUSED" => format!("nobody listens{on}: start that service, or correct the address"),
                "ENOENT" => format!("the path does not exist{on}: create it, or correct the search path"),
                "EACCES" | "EPERM" => format!("permission is missing{on}"),
                "EMFILE" | "ENFILE" => "descriptors ran out: look for a leak, then raise the limit".to_owned(),
                "ENOSPC" | "EDQUOT" => "the file system or quota is full".to_owned(),
                other => format!("find out why {} answers {other}{on}", worst.call),
            },
            "remember the failure, or back off, instead of trying again at once".to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    }]
}

/// Whether failing calls explain the victim's kernel time or its pauses.
pub fn explains(scene: &Scene, victim: &Victim) -> bool {
    worst(scene, victim).is_some_and(|w| victim.share(w.time) >= MATTERS)
}

fn worst(scene: &Scene, victim: &Victim) -> Option<Failing> {
    let all = failing(scene, victim)?;
    all.into_iter().filter(|f| victim.share(f.time) >= WORTH_SAYING).max_by_key(|f| f.time)
}

fn failing(scene: &Scene, victim: &Victim) -> Option<Vec<Failing>> {
    let times = scene.rec.get(&catalog::SYSCALL_TIME).ok()?;
    let cpu = scene.rec.get(&catalog::SYSCALL_CPU).ok()?;
    let mut found = Vec::new();
    for row in hard(scene, victim) {
        let (pid, call) = (row.labels.pid()?, row.labels.get("syscall"));
        let same = |labels: &observe::Labels| labels.pid() == Some(pid) && labels.get("syscall") == call;
        let calls = times.iter().filter(|h| same(&h.labels)).map(|h| h.count as f64).sum::<f64>();
        let count = row.last();
        if calls <= 0.0 || count / calls < FAILS.0 || count < TRIES || count / scene.window().as_secs_f64() < RATE {
            continue;
        }
        let in_calls = cpu.iter().filter(|s| same(&s.labels)).map(Series::last).sum::<f64>() * count / calls;
        let paused = pauses_after(scene, victim, count).as_secs_f64();
        found.push(Failing {
            pid,
            call: call.to_owned(),
            errno: row.labels.get("errno").to_owned(),
            argument: row.labels.get("argument").to_owned(),
            count,
            calls,
            in_calls: Duration::from_secs_f64(in_calls.max(0.0)),
            time: Duration::from_secs_f64((in_calls + paused).max(0.0)),
        });
    }
    Some(found)
}

/// The victim's failed calls that are no part of normal work.
fn hard<'r>(scene: &'r Scene, victim: &'r Victim) -> impl Iterator<Item = &'r Series> {
    let rows = scene.rec.get(&catalog::SYSCALL_ERRORS).unwrap_or_default();
    totals_of(rows, |pid| victim.contains(pid)).filter(|row| !NORMAL.contains(&row.labels.get("errno")))
}

/// The victim's pauses after so many of its failed calls.
pub fn pauses_after(scene: &Scene, victim: &Victim, failures: f64) -> Duration {
    let paused = |w: &&Wait| w.after_failure && matches!(w.class, TimeClass::BlockedSleep | TimeClass::BlockedIdle);
    let pauses: Duration = victim.waits(scene).filter(paused).map(|w| w.time).sum();
    let all: f64 = hard(scene, victim).map(Series::last).sum();
    pauses.mul_f64(Ratio::of_counts(failures, all).0.min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, all, one};

    fn client() -> System {
        System::new()
            .thread(10, "sync", &[(TimeClass::RunningKernel, 1.0), (TimeClass::BlockedSleep, 8.0)])
            .calls(10, "connect", 1000, 0.5, 0.0)
            .target(10)
    }

    #[test]
    fn refused_connections_own_the_pauses_between_them() {
        let mut system = client().failures(10, "connect", "ECONNREFUSED", "127.0.0.1:5432", 1000);
        system = system.wait(10, TimeClass::BlockedSleep, "clock_nanosleep", "timer", None, 8.0, 1000).after_failure();
        let finding = one(&system.build(), "app.failing-calls");
        assert_eq!(finding.culprit.name, "connect");
        assert!(finding.culprit.detail.as_deref().is_some_and(|d| d.contains("127.0.0.1:5432")));
        assert_eq!(finding.confidence, Confidence::Likely);
        assert!(finding.share.0 > 0.9);
    }

    #[test]
    fn not_now_is_not_a_failure() {
        let rec = client().failures(10, "connect", "EINPROGRESS", "", 1000).build();
        assert!(all(&rec, "app.failing-calls").is_empty());
        let rec = client().failures(10, "connect", "ECONNREFUSED", "", 100).build();
        assert!(all(&rec, "app.failing-calls").is_empty(), "a tenth fails");
    }
}
