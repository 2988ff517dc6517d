//! # Do the target's system calls fail?
//!
//! **Measures** failed calls by error, against all calls of their kind. Errors that mean "not now" are left out.
//! **Matters** because a call that fails and is tried again does nothing but cost; and a resource that ran out
//! (descriptors, space, memory, tasks) stops work altogether.
//! **Misleads** when a program looks for a file in many places, as it may while it starts.
//! **Confirm** by the error and its argument: they are the proof.

use crate::{Check, Evidence, Light, Verdict, lost::is_ordinary};
use observe::{Absent, Labels, Observed, Ratio, Recording, Series, catalog};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "syscalls.failures",
    group: "processes",
    question: "Do the target's system calls fail?",
    source: include_str!("failures.rs"),
    judge,
};

/// ours: a call that mostly works is not failing. Part of the calls of its kind.
const FAILS: Ratio = Ratio(0.5);

/// ours: a start-up or a search path makes tens of failures; a habit makes them all the time. Failures a second.
const RATE: f64 = 10.0;

/// ours: one hard error may be a probe for a limit; a few are work that did not get done.
const MIN_HARD: f64 = 5.0;

/// "Not now", interrupted, timed out as asked, still connecting, not a terminal, no child left: parts of normal work.
/// So is `ERESTART…`, which the kernel keeps to itself.
const NORMAL: &[&str] = &["EAGAIN", "EINTR", "ETIMEDOUT", "EINPROGRESS", "EALREADY", "ENOTTY", "ECHILD"];

/// Something ran out: descriptors, space, quota.
const RAN_OUT: &[&str] = &["EMFILE", "ENFILE", "ENOSPC", "EDQUOT"];

/// Calls that make tasks: `EAGAIN` is their limit, `ENOMEM` is meant (elsewhere it may only say "not mapped").
const FORKS: &[&str] = &["clone", "clone3", "fork", "vfork"];

fn judge(rec: &Recording) -> Observed<Verdict> {
    let times = rec.get(&catalog::SYSCALL_TIME)?;
    let errors = rec.get(&catalog::SYSCALL_ERRORS)?;
    let ours = |labels: &Labels| labels.pid().is_some_and(|pid| is_ordinary(rec, pid));
    let calls: f64 = times.iter().filter(|h| ours(&h.labels)).map(|h| h.count as f64).sum();
    let seconds = rec.window.length.as_secs_f64();
    if calls <= 0.0 || seconds <= 0.0 {
        return Err(Absent::NotCollected("no system call of a target was seen".into()));
    }
    let of_its_kind = |row: &Series| {
        let same = |labels: &Labels| ["pid", "syscall"].iter().all(|name| labels.get(name) == row.labels.get(name));
        times.iter().filter(|h| same(&h.labels)).map(|h| h.count as f64).sum::<f64>()
    };
    let failures =
        || errors.iter().filter(|row| ours(&row.labels) && (is_hard(&row.labels) || !is_normal(&row.labels)));
    let judged = failures().map(|row| {
        let kind = of_its_kind(row);
        let light = if is_hard(&row.labels) && row.last() >= MIN_HARD {
            Light::Bad
        } else if Ratio::of_counts(row.last(), kind) >= FAILS && row.last() / seconds >= RATE {
            Light::Maybe
        } else {
            Light::Good
        };
        (light, row, kind)
    });
    let worst = judged.max_by(|a, b| a.0.cmp(&b.0).then(a.1.last().total_cmp(&b.1.last())));
    let lost = rec.cost.lost_events;
    let failed: f64 = failures().map(Series::last).sum();
    let share = Ratio::of_counts(failed, calls);
    let (light, why) = match worst {
        Some((light, row, kind)) if light != Light::Good => (light, text(rec, row, kind)),
        _ => (
            Light::Good,
            format!("{failed:.0} of {calls:.0} calls failed for good ({share}), none of a kind mostly so"),
        ),
    };
    let mut evidence = vec![Evidence::new("sys_exit: failed calls", failed / seconds, "calls/s")];
    if let Some((_, row, _)) = worst.filter(|_| light != Light::Good) {
        let what = format!("sys_exit: {} = {}", row.labels.get("syscall"), row.labels.get("errno"));
        evidence.insert(0, Evidence::new(what, row.last() / seconds, "calls/s").against(format!(">= {RATE}/s")));
    }
    let evidence = evidence.into_iter().map(|one| one.at("recording/series.parquet")).collect();
    Ok(Verdict { light, why: format!("{why}, {lost} lost"), evidence })
}

fn text(rec: &Recording, row: &Series, kind: f64) -> String {
    let (call, errno, argument) = (row.labels.get("syscall"), row.labels.get("errno"), row.labels.get("argument"));
    let who = row.labels.pid().map(|pid| format!("{} (pid {pid})", rec.process_name(pid))).unwrap_or_default();
    let on = if argument.is_empty() { String::new() } else { format!(" on {argument}") };
    format!("{call} of {who} failed with {errno}{on} {:.0} times in {kind:.0} calls", row.last())
}

fn is_normal(labels: &Labels) -> bool {
    let errno = labels.get("errno");
    NORMAL.contains(&errno) || errno.starts_with("ERESTART")
}

/// A resource ran out.
fn is_hard(labels: &Labels) -> bool {
    let (call, errno) = (labels.get("syscall"), labels.get("errno"));
    RAN_OUT.contains(&errno)
        || (FORKS.contains(&call) && matches!(errno, "EAGAIN" | "ENOMEM"))
        || (call == "mmap" && errno == "ENOMEM")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};

    fn calls(call: &str, count: u64, errno: &str, failures: f64) -> Machine {
        Machine::new().calls(7, call, count, errno, failures)
    }

    #[test]
    fn boundaries() {
        assert_eq!(light(&CHECK, &calls("connect", 199, "ECONNREFUSED", 99.0)), Light::Good, "9.9 a second");
        assert_eq!(light(&CHECK, &calls("connect", 200, "ECONNREFUSED", 100.0)), Light::Maybe);
        assert_eq!(light(&CHECK, &calls("connect", 201, "ECONNREFUSED", 100.0)), Light::Good, "most work");
        assert_eq!(light(&CHECK, &calls("recvfrom", 1000, "EAGAIN", 1000.0)), Light::Good, "not now");
        assert_eq!(light(&CHECK, &calls("wait4", 1000, "ERESTARTSYS", 1000.0)), Light::Good, "interrupted");
    }

    #[test]
    fn what_ran_out_is_an_error() {
        assert_eq!(light(&CHECK, &calls("openat", 1000, "EMFILE", 4.0)), Light::Good);
        assert_eq!(light(&CHECK, &calls("openat", 1000, "EMFILE", 5.0)), Light::Bad);
        assert_eq!(light(&CHECK, &calls("clone", 1000, "EAGAIN", 5.0)), Light::Bad);
        assert_eq!(light(&CHECK, &calls("mmap", 1000, "ENOMEM", 5.0)), Light::Bad);
        assert_eq!(light(&CHECK, &calls("madvise", 1000, "ENOMEM", 5.0)), Light::Good);
        let own = calls("openat", 1000, "EMFILE", 50.0).friday(7).calls(8, "read", 10, "EIO", 0.0);
        assert_eq!(light(&CHECK, &own), Light::Good);
    }

    #[test]
    fn no_call_seen_is_no_answer() {
        let mut machine = Machine::new();
        machine.rec.set(&catalog::SYSCALL_TIME, Ok(Vec::new()));
        machine.rec.set(&catalog::SYSCALL_ERRORS, Ok(Vec::new()));
        assert_eq!(light(&CHECK, &machine), Light::Untested);
    }
}
