//! # Useless calls at a high rate
//!
//! **Speaks for it:** a call made thousands of times a second of which most bring nothing: zero bytes, no ready
//! descriptor, a few bytes at a time, or an answer that never changes.
//! **Speaks against it:** few calls, or calls that move data.
//! **Experiment:** none from outside.

use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{MATTERS, how_much},
    path::Removes,
    scene::totals_of,
};
use checks::Evidence;
use observe::{Pid, Ratio, catalog};
use std::{collections::BTreeMap, time::Duration};

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "app.syscall-storm", frozen: Effect::None, root_of: &[], judge };

/// ours: below this rate the calls cannot cost a noticeable part of a CPU (at about 1 µs each).
const RATE: f64 = 2_000.0;

/// ours: a call is useless when at least this part of its results is.
const USELESS: Ratio = Ratio(0.5);

/// ours: the kernel's entry and exit cost more than moving so few bytes.
const TINY: f64 = 32.0;

/// ours: a short message on a socket is a request or a reply, not a waste; above this part of the calls they are that.
pub(super) const MESSAGES: Ratio = Ratio(0.5);

/// ours: useless calls are a loop of their own when most calls of the process are such.
const DOMINANT: Ratio = Ratio(0.6);

/// Calls whose answer does not change, or that only ask the time or give up the CPU.
const QUESTIONS: &[&str] = &[
    "getpid",
    "gettid",
    "getppid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getpgrp",
    "getpgid",
    "getsid",
    "sched_yield",
    "time",
    "gettimeofday",
    "clock_gettime",
    "clock_getres",
    "getrusage",
    "times",
    "uname",
    "sysinfo",
    "getcpu",
    "lseek",
    "getcwd",
    "umask",
    "getpriority",
    "sched_getaffinity",
    "getrlimit",
    "prlimit64",
];

struct Storm {
    pid: Pid,
    call: String,
    count: u64,
    useless: u64,
    why: &'static str,
    time: Duration,
}

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let Some(storm) = worst(scene, victim) else { return Vec::new() };
    let rate = storm.count as f64 / scene.window().as_secs_f64();
    let part = Ratio::of_counts(storm.useless as f64, storm.count as f64);
    vec![Draft {
        confidence: Confidence::Likely,
        time: storm.time,
        summary: format!(
            "{} spends {} on {} that brings nothing: {rate:.0} calls a second, {part} of them {}.",
            victim.label(),
            how_much(victim, storm.time),
            storm.call,
            storm.why,
        ),
        culprit: Party {
            kind: "syscall".into(),
            pid: Some(storm.pid.0),
            name: storm.call.clone(),
            detail: Some(storm.why.to_owned()),
        },
        evidence: vec![
            Evidence::new(format!("sys_exit: {} calls", storm.call), rate, "calls/s")
                .against("> 2000/s")
                .at("recording/histograms.parquet"),
            Evidence::new(format!("of them {}", storm.why), part.0 * 100.0, "%").against("> 50 %"),
            Evidence::new("CPU time in them", storm.time.as_secs_f64(), "s").at("recording/series.parquet"),
        ],
        codepath: Vec::new(),
        next: vec![
            format!("find the loop that calls {} (CPU flame graph, under that system call)", storm.call),
            "wait for readiness instead of asking, use larger buffers, or ask once and keep the answer".to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    }]
}

/// Whether useless calls explain the victim's kernel time.
pub fn explains(scene: &Scene, victim: &Victim) -> bool {
    worst(scene, victim).is_some()
}

fn worst(scene: &Scene, victim: &Victim) -> Option<Storm> {
    let storms = storms(scene, victim)?;
    storms.into_iter().filter(|s| victim.share(s.time) >= MATTERS).max_by_key(|s| s.time)
}

fn storms(scene: &Scene, victim: &Victim) -> Option<Vec<Storm>> {
    let mine = |pid| victim.contains(pid);
    let key = |row: &observe::Series| Some((row.labels.pid()?, row.labels.get("syscall").to_owned()));
    let total = |metric| -> BTreeMap<(Pid, String), f64> {
        scene
            .rec
            .get(metric)
            .into_iter()
            .flat_map(|rows| totals_of(rows, mine))
            .filter_map(|row| Some((key(row)?, row.last())))
            .collect()
    };
    let (cpu, empty, bytes) =
        (total(&catalog::SYSCALL_CPU), total(&catalog::SYSCALL_EMPTY), total(&catalog::SYSCALL_BYTES));
    let sockets = total(&catalog::SYSCALL_SOCKETS);
    let errors: BTreeMap<(Pid, String), f64> =
        totals_of(scene.rec.get(&catalog::SYSCALL_ERRORS).ok()?, mine).fold(BTreeMap::new(), |mut all, row| {
            if let Some(key) = key(row) {
                *all.entry(key).or_default() += row.last();
            }
            all
        });
    let histograms = scene.rec.get(&catalog::SYSCALL_TIME).ok()?;
    let seconds = scene.window().as_secs_f64();
    let mut storms: Vec<Storm> = Vec::new();
    let mut all: BTreeMap<Pid, u64> = BTreeMap::new();
    for hist in histograms {
        let Some(pid) = hist.labels.pid().filter(|pid| mine(*pid)) else { continue };
        *all.entry(pid).or_default() += hist.count;
        let key = (pid, hist.labels.get("syscall").to_owned());
        let of = |map: &BTreeMap<(Pid, String), f64>| map.get(&key).copied().unwrap_or(0.0);
        let count = hist.count as f64;
        if count / seconds < RATE {
            continue;
        }
        let good = count - of(&errors);
        let (useless, why) = if QUESTIONS.contains(&key.1.as_str()) {
            (good, "asking what hardly changes")
        } else if of(&empty) >= count * USELESS.0 {
            (of(&empty), "with an empty result")
        } else if of(&bytes) > 0.0 && of(&bytes) / good.max(1.0) <= TINY && of(&sockets) < MESSAGES.0 {
            (good - of(&empty), "moving a few bytes")
        } else {
            continue;
        };
        if useless >= count * USELESS.0 {
            let time = Duration::from_secs_f64(of(&cpu).max(0.0));
            storms.push(Storm { pid, call: key.1, count: hist.count, useless: useless as u64, why, time });
        }
    }
    let useless = |pid: Pid| storms.iter().filter(|s| s.pid == pid).map(|s| s.useless).sum::<u64>() as f64;
    let dominant: Vec<Pid> = all
        .iter()
        .filter(|(pid, count)| Ratio::of_counts(useless(**pid), **count as f64) >= DOMINANT)
        .map(|(pid, _)| *pid)
        .collect();
    storms.retain(|s| dominant.contains(&s.pid));
    Some(storms)
}

#[cfg(test)]
mod tests {
    use crate::testing::{System, all, one};
    use observe::TimeClass;

    fn busy() -> System {
        System::new().thread(10, "parser", &[(TimeClass::RunningKernel, 6.0), (TimeClass::RunningUser, 3.0)]).target(10)
    }

    #[test]
    fn reads_of_a_byte_and_empty_polls_are_storms() {
        let rec = busy().calls(10, "read", 4_000_000, 6.0, 4e6).build();
        assert_eq!(one(&rec, "app.syscall-storm").culprit.name, "read");
        let rec = busy().calls(10, "poll", 3_000_000, 6.0, 0.0).empty(10, "poll", 2_900_000).build();
        assert_eq!(one(&rec, "app.syscall-storm").culprit.name, "poll");
    }

    #[test]
    fn short_messages_on_sockets_are_work() {
        let rec = busy().calls(10, "write", 900_000, 3.0, 9e6).on_sockets(10, "write").build();
        assert!(all(&rec, "app.syscall-storm").is_empty());
        let mixed = busy().calls(10, "write", 900_000, 3.0, 9e6).calls(10, "epoll_wait", 900_000, 1.0, 0.0);
        assert!(all(&mixed.build(), "app.syscall-storm").is_empty(), "half of the calls do something else");
    }

    #[test]
    fn large_reads_and_slow_polls_are_not() {
        assert!(all(&busy().calls(10, "read", 400_000, 6.0, 2.6e10).build(), "app.syscall-storm").is_empty());
        let rec = busy().calls(10, "epoll_wait", 100, 0.01, 0.0).empty(10, "epoll_wait", 100).build();
        assert!(all(&rec, "app.syscall-storm").is_empty());
    }
}
