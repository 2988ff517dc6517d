//! # Threads wait for a user-space lock
//!
//! **Speaks for it:** futex waits that follow a mutex protocol, or in which the same threads wait and wake one another, or
//! in which a thread with a request in hand waits for another that serves requests; the thread that wakes has held the lock.
//! **Speaks against it:** a pool waiting for work: there one side only waits, and that is idleness.
//! **Experiment:** freezing the holder stops the victim; halving the threads helps it.

use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{grade, how_much},
    code::path,
    path::{Removes, Waits},
};
use checks::Evidence;
use observe::{Pid, Tid, TimeClass, Wait};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "lock.contention", frozen: Effect::Hurts, root_of: &[], judge };

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let waits: Vec<&Wait> = victim.waits(scene).filter(|wait| is_lock(scene, wait)).collect();
    let time: Duration = waits.iter().map(|w| w.time).sum();
    let Some(mut confidence) = grade(scene, victim, time) else { return Vec::new() };
    let mut locks: BTreeMap<&str, Duration> = BTreeMap::new();
    let mut holders: BTreeMap<(Pid, Tid), Duration> = BTreeMap::new();
    for wait in &waits {
        *locks.entry(&wait.resource).or_default() += wait.time;
        if let Some(by) = wait.by {
            *holders.entry(by).or_default() += wait.time;
        }
    }
    let holder = holders.iter().max_by_key(|(_, time)| **time).map(|(by, time)| (*by, *time));
    if holder.is_none() {
        confidence = Confidence::Possible;
    }
    let (lock, _) = locks.into_iter().max_by_key(|(_, time)| *time).unwrap_or_default();
    let count: u64 = waits.iter().map(|w| w.count).sum();
    let longest = waits.iter().map(|w| w.longest).max().unwrap_or_default();
    let heaviest = waits.iter().max_by_key(|w| w.time);
    let held_at = heaviest_waker_path(scene, &waits, holder.map(|(by, _)| by));
    let (culprit, by_whom) = match holder {
        Some(((pid, tid), held)) => {
            let name = thread_name(scene, pid, tid);
            let text = format!(
                "{name} (thread {tid}{}) ended {:.1} s of these waits by letting go",
                if victim.contains(pid) { String::new() } else { format!(" of {}", scene.label(pid)) },
                held.as_secs_f64()
            );
            let detail = Some(format!("thread {tid} of {}", scene.label(pid)));
            (Party { kind: "thread".into(), pid: Some(pid.0), name, detail }, text)
        }
        None => (
            Party { kind: "lock".into(), pid: None, name: lock.to_owned(), detail: None },
            "who held it was not seen".to_owned(),
        ),
    };
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} waits for a lock ({lock}) for {}: {count} waits, the longest {:.1} ms; {by_whom}.",
            victim.label(),
            how_much(victim, time),
            longest.as_secs_f64() * 1e3,
        ),
        culprit,
        evidence: vec![
            Evidence::new("sched_switch: blocked on a lock", time.as_secs_f64(), "s").at("recording/waits.parquet"),
            Evidence::new("waits", count as f64, "waits").at("recording/waits.parquet"),
            Evidence::new("longest wait", longest.as_secs_f64() * 1e3, "ms"),
        ],
        codepath: held_at.or_else(|| heaviest.map(|w| path(scene.rec, &w.stack))).unwrap_or_default(),
        next: vec![
            "shorten what runs under the lock: see where the holder lets go, in the off-CPU/waker flame graph"
                .to_owned(),
            "no I/O, logging or sleeping while holding it; or split the lock".to_owned(),
        ],
        removes: removes(&waits),
        descriptive: false,
    }]
}

/// Whether a wait is for a lock: one that the kernel or the program's own code calls so, or one that a session which serves
/// requests like the waiter ends; of the program's own making, as a database's of rows.
pub fn is_lock(scene: &Scene, wait: &Wait) -> bool {
    let by_session = || wait.by.is_some_and(|(pid, tid)| scene.serves(pid, tid));
    match wait.class {
        TimeClass::BlockedLock => true,
        TimeClass::BlockedThread => by_session(),
        // A process for each session: they do not talk to one another, but wake each other through shared memory and signals.
        TimeClass::BlockedProcess => {
            let no_channel = wait.resource == "descriptors" || wait.resource.starts_with("futex:");
            no_channel
                && scene.serves(wait.pid, wait.tid)
                && wait.by.is_some_and(|(pid, _)| pid != wait.pid && scene.siblings(pid, wait.pid))
                && by_session()
        }
        _ => false,
    }
}

/// The waits that go away; between sessions' processes, those that other sessions end.
fn removes(waits: &[&Wait]) -> Removes {
    let between = waits.iter().filter(|wait| wait.class == TimeClass::BlockedProcess);
    let by: BTreeSet<Pid> = between.filter_map(|wait| wait.by.map(|(pid, _)| pid)).collect();
    if by.is_empty() {
        return Removes::waits(&[TimeClass::BlockedLock, TimeClass::BlockedThread]);
    }
    Removes::Waits(Waits { classes: vec![TimeClass::BlockedProcess], by: by.into_iter().collect(), ..Waits::default() })
}

/// Where the holder was when it let go.
fn heaviest_waker_path(scene: &Scene, waits: &[&Wait], by: Option<(Pid, Tid)>) -> Option<Vec<String>> {
    let woken = waits.iter().filter(|w| w.by == by && by.is_some() && !w.waker_stack.is_empty());
    let path = path(scene.rec, &woken.max_by_key(|w| w.time)?.waker_stack);
    (!path.is_empty()).then_some(path)
}

fn thread_name(scene: &Scene, pid: Pid, tid: Tid) -> String {
    let thread = scene.threads(pid).iter().find(|t| t.tid == tid);
    thread.map_or_else(|| scene.rec.process_name(pid), |t| t.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, all, one};

    #[test]
    fn the_thread_that_lets_go_is_the_culprit() {
        let rec = System::new()
            .thread(10, "orderd", &[(TimeClass::RunningUser, 1.0), (TimeClass::BlockedLock, 8.0)])
            .wait(10, TimeClass::BlockedLock, "futex", "futex:0x10", Some((10, 12)), 7.0, 70)
            .wait(10, TimeClass::BlockedLock, "futex", "futex:0x10", Some((10, 11)), 1.0, 70)
            .thread_of(10, 12, "compactor", &[(TimeClass::RunningUser, 1.0)])
            .target(10)
            .build();
        let finding = one(&rec, "lock.contention");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("compactor", Confidence::Likely));
    }

    #[test]
    fn a_request_that_waits_for_another_session_waits_for_its_lock() {
        let rec = System::new()
            .thread(10, "mariadbd", &[(TimeClass::RunningUser, 0.5), (TimeClass::BlockedThread, 9.0)])
            .wait(10, TimeClass::BlockedThread, "futex", "futex:0x10", Some((10, 11)), 9.0, 20)
            .thread_of(10, 11, "session", &[(TimeClass::RunningUser, 0.5)])
            .thread(20, "client", &[(TimeClass::BlockedProcess, 9.0)])
            .build();
        let served = |by| {
            let rec = System::with(rec.clone()).wait(
                20,
                TimeClass::BlockedProcess,
                "recvfrom",
                "unix",
                Some((10, by)),
                9.0,
                50,
            );
            all(&rec.target(10).build(), "lock.contention")
        };
        assert_eq!(served(11)[0].culprit.name, "session");
        assert!(served(10).is_empty(), "a worker to whom it gave the request");
    }

    #[test]
    fn a_session_process_that_another_one_wakes_waits_for_its_lock() {
        let process = TimeClass::BlockedProcess;
        let rec = System::new()
            .thread(10, "postgres", &[(TimeClass::RunningUser, 0.5), (process, 9.0)])
            .wait(10, process, "epoll_wait", "descriptors", Some((11, 11)), 9.0, 20)
            .thread(11, "postgres", &[(TimeClass::RunningUser, 0.5)])
            .thread(20, "client", &[(process, 9.0)])
            .wait(20, process, "poll", "tcp:127.0.0.1:5432", Some((10, 10)), 4.5, 50)
            .wait(20, process, "poll", "tcp:127.0.0.1:5432", Some((11, 11)), 4.5, 50)
            .target(10);
        let mut rec = rec.build();
        assert!(all(&rec, "lock.contention").is_empty(), "another service");
        for pid in [Pid(10), Pid(11)] {
            rec.processes.get_mut(&pid).unwrap().parent = Pid(9);
        }
        let finding = one(&rec, "lock.contention");
        assert_eq!((finding.culprit.pid, finding.confidence), (Some(11), Confidence::Likely));
    }

    #[test]
    fn without_a_waker_it_is_only_possible_and_a_little_is_nothing() {
        let rec = System::new()
            .thread(10, "orderd", &[(TimeClass::RunningUser, 1.0), (TimeClass::BlockedLock, 8.0)])
            .wait(10, TimeClass::BlockedLock, "futex", "futex:0x10", None, 8.0, 1)
            .target(10)
            .build();
        assert_eq!(one(&rec, "lock.contention").confidence, Confidence::Possible);
        let rec = System::new()
            .thread(10, "orderd", &[(TimeClass::RunningUser, 9.0), (TimeClass::BlockedLock, 0.1)])
            .wait(10, TimeClass::BlockedLock, "futex", "futex:0x10", None, 0.1, 1)
            .target(10)
            .build();
        assert!(all(&rec, "lock.contention").is_empty());
    }
}
