//! # Threads wait for a user-space lock
//!
//! **Speaks for it:** futex waits that follow a mutex protocol, or in which the same threads wait and wake one another, or
//! in which a thread with a request in hand waits for another that serves requests; the thread that wakes has held the lock.
//! Of locks on files, calls that ask in vain and pauses in between.
//! **Speaks against it:** a pool waiting for work: there one side only waits, and that is idleness.
//! **Experiment:** freezing the holder stops the victim; halving the threads helps it.

use super::{lock_files::polled, lock_standing::stands};
use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{MATTERS, grade, how_much},
    code::path,
    path::{Removes, Waits},
};
use checks::Evidence;
use observe::{Pid, Ratio, Tid, TimeClass, Wait, catalog};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Stands in the registry.
pub const CAUSE: Cause =
    Cause { id: "lock.contention", frozen: Effect::Hurts, root_of: &["app.sleeps", "app.failing-calls"], judge };

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let drafts = [of_threads, of_goroutines, polled, stands].map(|of| of(scene, victim));
    drafts.into_iter().flatten().max_by_key(|draft| (draft.confidence, draft.time)).into_iter().collect()
}

fn of_threads(scene: &Scene, victim: &Victim) -> Option<Draft> {
    let waits: Vec<&Wait> = victim.waits(scene).filter(|wait| is_lock(scene, wait)).collect();
    let time: Duration = waits.iter().map(|w| w.time).sum();
    let mut confidence = grade(scene, victim, time)?;
    let mut locks: BTreeMap<&str, Duration> = BTreeMap::new();
    let mut holders: BTreeMap<(Pid, Tid), Duration> = BTreeMap::new();
    for wait in &waits {
        *locks.entry(&wait.resource).or_default() += wait.time;
        if let Some(by) = wait.by {
            *holders.entry(by).or_default() += wait.time;
        }
    }
    let holder = holders.iter().max_by_key(|(_, time)| **time).map(|(by, time)| (*by, *time));
    // Sessions that wait for one another's writes, as for a common commit, wait for the disk.
    let at_disk = |((pid, _), _): &((Pid, Tid), Duration)| {
        /// ours: the part of its time in which a holder is at the disk itself.
        const HELD_UP: Ratio = Ratio(0.3);
        let times = scene.times(*pid);
        let disk = times[TimeClass::BlockedDisk] + times[TimeClass::BlockedFs];
        !victim.contains(*pid) && Ratio::of(disk, times.active()) >= HELD_UP
    };
    if holder.as_ref().is_none_or(at_disk) {
        confidence = Confidence::Possible;
    }
    let (lock, _) = locks.into_iter().max_by_key(|(_, time)| *time).unwrap_or_default();
    let lock = if lock == "descriptors" { "of its own making, as a database's of rows" } else { lock };
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
    Some(Draft {
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
    })
}

/// Goroutines' waits, which their threads do not show: while one waits, its thread runs another or looks idle.
fn of_goroutines(scene: &Scene, victim: &Victim) -> Option<Draft> {
    let waits: Vec<&Wait> = victim.pids.iter().flat_map(|pid| scene.goroutine_waits(*pid)).collect();
    let time: Duration = waits.iter().map(|wait| wait.time).sum();
    let mut confidence = grade(scene, victim, time)?;
    let mut locks: BTreeMap<(Pid, &str), Duration> = BTreeMap::new();
    for wait in &waits {
        *locks.entry((wait.pid, &wait.resource)).or_default() += wait.time;
    }
    let ((pid, lock), of_lock) = locks.into_iter().max_by_key(|(_, time)| *time)?;
    let on_it: Vec<&&Wait> = waits.iter().filter(|wait| wait.pid == pid && wait.resource == lock).collect();
    let waiting_in = heaviest_function(scene, on_it.iter().map(|wait| (wait.time, wait.stack.as_slice())));
    let holders = scene.rec.get(&catalog::GOROUTINE_HOLDERS).into_iter().flatten();
    let holders: Vec<&Wait> = holders.filter(|held| held.pid == pid && held.resource == lock).collect();
    let held: Duration = holders.iter().map(|held| held.time).sum();
    let holder = heaviest_function(scene, holders.iter().map(|held| (held.time, held.stack.as_slice())));
    if holder.is_none() || !somebody_is_held_up(scene, victim, time) {
        confidence = Confidence::Possible;
    }
    let count: u64 = waits.iter().map(|wait| wait.count).sum();
    let longest = waits.iter().map(|wait| wait.longest).max().unwrap_or_default();
    let (culprit, by_whom) = match &holder {
        Some(holder) => (
            Party {
                kind: "function".into(),
                pid: Some(pid.0),
                name: holder.name.clone(),
                detail: Some(format!("lets go of {lock} in {}", scene.label(pid))),
            },
            format!("{} of it ended when {} let go", Ratio::of(holder.time, held), holder.name),
        ),
        None => (
            Party { kind: "lock".into(), pid: Some(pid.0), name: lock.to_owned(), detail: None },
            "who held it was not seen".to_owned(),
        ),
    };
    let at = waiting_in.as_ref().map_or_else(String::new, |waiting| format!(", mostly in {}", waiting.name));
    Some(Draft {
        confidence,
        time,
        summary: format!(
            "Goroutines of {} wait for a lock ({lock}){at} for {}: {count} waits, the longest {:.1} ms; {by_whom}.",
            victim.label(),
            how_much(victim, time),
            longest.as_secs_f64() * 1e3,
        ),
        culprit,
        evidence: vec![
            Evidence::new("goroutines parked for a lock of package sync", time.as_secs_f64(), "s")
                .at("recording/waits.parquet"),
            Evidence::new("for the lock with most of it", of_lock.as_secs_f64(), "s").at("recording/waits.parquet"),
            Evidence::new("waits", count as f64, "waits").at("recording/waits.parquet"),
            Evidence::new("longest wait", longest.as_secs_f64() * 1e3, "ms"),
        ],
        codepath: holder.or(waiting_in).map(|code| code.path).unwrap_or_default(),
        next: vec![
            "shorten what runs between Lock and Unlock there, or split the lock".to_owned(),
            "no I/O, logging or sleeping while holding it".to_owned(),
        ],
        // The event window shows threads, not goroutines.
        removes: Removes::Unsaid,
        descriptive: false,
    })
}

/// Whether goroutines that wait for locks hold anything up. Those of a pool may take turns at waiting for work under a lock: then
/// nobody works meanwhile, or requests do not take longer for it.
fn somebody_is_held_up(scene: &Scene, victim: &Victim, time: Duration) -> bool {
    let requests = scene.rec.get(&catalog::REQUESTS).into_iter().flatten();
    let requests = requests.filter(|row| row.labels.pid().is_some_and(|pid| victim.contains(pid)));
    let taken: Duration = requests.map(|row| Duration::from_nanos(row.sum)).sum();
    if !taken.is_zero() {
        return Ratio::of(taken, time) >= MATTERS;
    }
    let running = victim.pids.iter().flat_map(|pid| scene.threads(*pid));
    let running: Duration = running.map(|thread| thread.classes.sum(TimeClass::is_running)).sum();
    Ratio::of(running, scene.window()) >= MATTERS
}

/// A function with the time it stands for, and the heaviest path to it.
struct Code {
    name: String,
    time: Duration,
    path: Vec<String>,
}

/// The program's own function that most of some time is in: the innermost that is neither of the runtime nor of what
/// makes the locks. A deferred call's wrapper is a part of the function that deferred it.
fn heaviest_function<'a>(
    scene: &Scene,
    stacks: impl Iterator<Item = (Duration, &'a [observe::FrameId])>,
) -> Option<Code> {
    let own = |name: &str| !["runtime.", "sync.", "internal/sync."].iter().any(|of| name.starts_with(of));
    let mut code: BTreeMap<&str, (Duration, Duration, &[observe::FrameId])> = BTreeMap::new();
    for (time, stack) in stacks {
        let names = stack.iter().rev().map(|id| scene.rec.frame(*id).name.as_str());
        let mut names = names.filter(|name| !name.is_empty() && own(name));
        let Some(innermost) = names.next() else { continue };
        let deferred = |by: &&str| innermost.strip_prefix(by).is_some_and(|rest| rest.starts_with(['.', '-']));
        let name = names.next().filter(deferred).unwrap_or(innermost);
        let entry = code.entry(name).or_default();
        entry.0 += time;
        if time >= entry.1 {
            (entry.1, entry.2) = (time, stack);
        }
    }
    let (name, (time, _, stack)) = code.into_iter().max_by_key(|(_, (time, ..))| *time)?;
    Some(Code { name: name.to_owned(), time, path: path(scene.rec, stack) })
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
        let at_disk = System::with(rec).thread(11, "postgres", &[(TimeClass::BlockedFs, 9.0)]).build();
        assert_eq!(one(&at_disk, "lock.contention").confidence, Confidence::Possible, "its own commit");
    }

    /// A Go program whose goroutines wait so long for a lock that one of them held for so much of it.
    fn goroutines(running: f64, waiting: f64) -> System {
        System::new()
            .thread(10, "seatd", &[(TimeClass::RunningUser, running)])
            .goroutines_wait(10, "mutex:0x10", "main.sell", waiting, "main.main.func1", waiting * 0.9)
            .target(10)
    }

    #[test]
    fn what_goroutines_wait_for_is_no_idleness() {
        let finding = one(&goroutines(4.0, 40.0).build(), "lock.contention");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("main.main", Confidence::Likely));
        assert!(finding.summary.contains("mostly in main.sell"), "{}", finding.summary);
        assert!(all(&goroutines(4.0, 0.05).build(), "lock.contention").is_empty());
    }

    #[test]
    fn goroutines_that_take_turns_at_waiting_for_work_hold_nobody_up() {
        assert_eq!(one(&goroutines(0.1, 40.0).build(), "lock.contention").confidence, Confidence::Possible);
        let served = |seconds: f64| {
            let of = [("pid", "10"), ("service", "80")];
            let rec = goroutines(4.0, 40.0).durations(&catalog::REQUESTS, &of, &[(100, seconds * 1e3)]).build();
            one(&rec, "lock.contention").confidence
        };
        assert_eq!((served(0.001), served(0.4)), (Confidence::Possible, Confidence::Likely));
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
