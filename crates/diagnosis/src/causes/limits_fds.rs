//! # File descriptors have run out
//!
//! **Speaks for it:** calls that need a descriptor fail for want of one (EMFILE, or ENFILE for the whole system) again and
//! again; the caller spins or pauses over it, or connections wait that it cannot accept.
//! **Speaks against it:** a few refusals: somebody who finds out how many there are, or a peak that has passed.
//! **Experiment:** raising the limit of the running process (`prlimit --nofile`); with a leak it only lasts longer.

use crate::{
    Cause, Confidence, Draft, Effect, Scene, Victim,
    cause::{how_much, process},
    path::Removes,
    refused::{self, Refused},
};
use checks::Evidence;
use observe::{Pid, Ratio, catalog};
use std::collections::BTreeSet;

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "limits.fds",
    frozen: Effect::None,
    root_of: &[
        "app.failing-calls",
        "app.sleeps",
        "app.syscall-storm",
        "app.event-loop",
        "cpu.hot-code",
        "cpu.kernel-time",
        "cpu.single-thread",
        "net.connect",
        "net.listen-overflow",
    ],
    judge,
};

/// ours: connections that are not accepted in this part of the readings wait for it, not for a moment.
const WAITING: Ratio = Ratio(0.5);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let Some(refused) = Refused::of(scene, victim, is_want_of_descriptors) else { return Vec::new() };
    let accepting =
        Refused::of(scene, victim, |call, errno| call.starts_with("accept") && is_want_of_descriptors(call, errno));
    let waiting = accepting.as_ref().map_or(Ratio(0.0), |_| waiting_to_be_accepted(scene, victim));
    let held_up = waiting >= WAITING;
    let time = refused.time.max(victim.active().mul_f64(waiting.0));
    let everybody = refused.errno == "ENFILE";
    let (of, limit) = if everybody {
        ("the whole system", scene.fact("fs.file-max").map(|max| format!("fs.file-max {max}")))
    } else {
        ("it", None)
    };
    let mut evidence = refused.evidence();
    if accepting.is_some() {
        evidence.push(
            Evidence::new("readings with connections that wait to be accepted", waiting.0 * 100.0, "%")
                .against(format!("> {WAITING}"))
                .at("recording/series.parquet"),
        );
    }
    let pid = refused.pid;
    let mut culprit = process(scene, pid);
    culprit.detail = limit.or(culprit.detail);
    vec![Draft {
        confidence: if held_up { Confidence::Likely } else { refused.grade(scene, victim) },
        time,
        summary: format!(
            "{} has no file descriptors left: {} fails with {} {:.0} times a second, as many as {of} may have are open. It \
             spends {} on that{}.",
            scene.label(pid),
            refused.call,
            refused.errno,
            refused.rate,
            how_much(victim, refused.time),
            if held_up {
                format!("; connections wait to be accepted in {waiting} of the readings")
            } else {
                String::new()
            },
        ),
        culprit,
        evidence,
        codepath: Vec::new(),
        next: vec![
            format!(
                "see what is open, and whether it grows: ls -l /proc/{pid}/fd | awk '{{print $NF}}' | sort | uniq -c | sort -n"
            ),
            if everybody {
                "find who holds most of them (lsof | awk '{print $2}' | sort | uniq -c | sort -n); raise fs.file-max"
                    .to_owned()
            } else {
                format!(
                    "close what leaks; else raise the limit: prlimit --nofile=65536 -p {pid}, LimitNOFILE= in its unit"
                )
            },
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    }]
}

/// Whoever has none left.
pub fn without(scene: &Scene) -> BTreeSet<Pid> {
    refused::refused(scene, is_want_of_descriptors)
}

/// An inotify instance has a limit of its own, and the same error.
fn is_want_of_descriptors(call: &str, errno: &str) -> bool {
    matches!(errno, "EMFILE" | "ENFILE") && !call.starts_with("inotify")
}

/// Part of the readings in which connections waited for the victim to accept them.
fn waiting_to_be_accepted(scene: &Scene, victim: &Victim) -> Ratio {
    let rows = scene.rec.get(&catalog::LISTEN_QUEUE).unwrap_or_default();
    let mine = rows.iter().filter(|row| row.labels.pid().is_some_and(|pid| victim.contains(pid)));
    let part = |row: &observe::Series| {
        let waiting = row.points.iter().filter(|point| point.value > 0.0).count();
        Ratio::of_counts(waiting as f64, row.points.len() as f64)
    };
    mine.map(part).fold(Ratio(0.0), |a, b| if b > a { b } else { a })
}

#[cfg(test)]
mod tests {
    use crate::{
        Confidence,
        testing::{System, all, one},
    };
    use observe::{
        TimeClass::{BlockedSleep, RunningKernel, RunningUser},
        catalog,
    };

    fn server(failures: u64) -> System {
        System::new()
            .thread(10, "door", &[(RunningUser, 2.0), (RunningKernel, 4.0)])
            .calls(10, "accept4", 100_000, 3.0, 0.0)
            .calls(10, "epoll_wait", 100_000, 1.0, 0.0)
            .failures(10, "accept4", "EMFILE", "", failures)
            .target(10)
    }

    #[test]
    fn a_loop_over_what_cannot_be_accepted_is_the_process_own() {
        let finding = one(&server(100_000).build(), "limits.fds");
        assert_eq!((finding.culprit.pid, finding.confidence, finding.rank), (Some(10), Confidence::Likely, 1));
        assert!(finding.share.0 > 0.9);
    }

    #[test]
    fn pauses_over_it_count_and_so_do_connections_that_wait() {
        let rec = System::new()
            .thread(10, "report", &[(RunningUser, 1.0), (BlockedSleep, 8.0)])
            .calls(10, "openat", 2000, 0.1, 0.0)
            .failures(10, "openat", "EMFILE", "/var/x", 1900)
            .wait(10, BlockedSleep, "clock_nanosleep", "timer", None, 8.0, 1900)
            .target(10)
            .build();
        assert_eq!(one(&rec, "limits.fds").confidence, Confidence::Likely);
        let queue = [("address", "0.0.0.0:80"), ("pid", "10")];
        let few = || server(15);
        assert_eq!(one(&few().build(), "limits.fds").confidence, Confidence::Possible);
        let rec = few().sampled(&catalog::LISTEN_QUEUE, &queue, &[3.0, 5.0, 0.0, 4.0]).build();
        assert_eq!(one(&rec, "limits.fds").confidence, Confidence::Likely);
    }

    #[test]
    fn requests_that_come_to_nothing_count() {
        let served = |requests: u64| {
            System::new()
                .thread(10, "web", &[(RunningUser, 1.0)])
                .calls(10, "openat", 2000, 0.1, 0.0)
                .calls(10, "write", 90_000, 0.1, 0.0)
                .failures(10, "openat", "EMFILE", "/srv/index.html", 1900)
                .durations(&catalog::REQUESTS, &[("pid", "10"), ("service", "80")], &[(requests, 1.0)])
                .target(10)
                .build()
        };
        assert_eq!(one(&served(4000), "limits.fds").confidence, Confidence::Likely);
        assert_eq!(one(&served(400_000), "limits.fds").confidence, Confidence::Possible);
    }

    #[test]
    fn whoever_has_none_left_is_a_victim_though_nobody_named_it() {
        let mut rec = server(100_000).build();
        rec.target = observe::Target::system("host");
        assert_eq!(one(&rec, "limits.fds").victim.pid, Some(10));
    }

    #[test]
    fn a_few_refusals_and_other_limits_are_none() {
        assert!(all(&server(3).build(), "limits.fds").is_empty());
        let rec = server(0).failures(10, "inotify_init1", "EMFILE", "", 500).build();
        assert!(all(&rec, "limits.fds").is_empty());
    }
}
