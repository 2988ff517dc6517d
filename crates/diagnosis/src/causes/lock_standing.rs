//! Locks that nobody let go of in all of the window: whoever waits for them stands still, and no wake-up tells who holds
//! one. Databases' locks of rows and tables are like that while a session keeps a transaction open.

use crate::{
    Confidence, Draft, Party, Scene, Victim,
    cause::{grade, how_much, process},
    code::path,
    path::Removes,
};
use checks::Evidence;
use observe::{Pid, Ratio, Tid, TimeClass, Wait, catalog};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// ours: who waits for less of the window than this has been seen to come or go.
const ALL_WINDOW: Ratio = Ratio(0.9);

/// ours: one alone may wait for good by design, as an instance in reserve does for the lock of the first; several sessions of
/// one service do not.
const SEVERAL: usize = 2;

/// ours: enough of a title to know it by.
const LONGEST_TITLE: usize = 80;

/// Waits of a process' threads that did nothing else all the window, for locks of the program's own making; some ask anew
/// every second. Locks on files guard against starting twice.
fn of<'s>(scene: &'s Scene, pid: Pid) -> impl Iterator<Item = &'s Wait> + 's {
    let for_lock = |wait: &&Wait| {
        let on_file = matches!(wait.syscall.as_str(), "flock" | "fcntl");
        wait.class == TimeClass::BlockedLock && wait.by.is_none() && !on_file
    };
    let waits = move || scene.waits(pid).iter().copied().filter(for_lock);
    let mut by_thread: BTreeMap<Tid, Duration> = BTreeMap::new();
    waits().for_each(|wait| *by_thread.entry(wait.tid).or_default() += wait.time);
    by_thread.retain(|_, time| Ratio::of(*time, scene.window()) >= ALL_WINDOW);
    waits().filter(move |wait| by_thread.contains_key(&wait.tid))
}

/// A process with those that are of one service with it.
fn service<'s>(scene: &'s Scene, pid: Pid) -> impl Iterator<Item = Pid> + 's {
    scene.processes().filter(move |other| *other == pid || scene.siblings(*other, pid))
}

/// The threads of a process' service that stand.
fn together(scene: &Scene, pid: Pid) -> BTreeSet<(Pid, Tid)> {
    service(scene, pid).flat_map(|pid| of(scene, pid)).map(|wait| (wait.pid, wait.tid)).collect()
}

/// For how long a process stands still at a lock, together with others of its service.
pub fn standing(scene: &Scene, pid: Pid) -> Duration {
    let own: Duration = of(scene, pid).map(|wait| wait.time).sum();
    if own.is_zero() || together(scene, pid).len() < SEVERAL { Duration::ZERO } else { own.min(scene.window()) }
}

/// The threads that stand, and who may keep them waiting.
pub fn stands(scene: &Scene, victim: &Victim) -> Option<Draft> {
    let waits: Vec<&Wait> = victim.pids.iter().flat_map(|pid| of(scene, *pid)).collect();
    let first = waits.first()?;
    let time: Duration = waits.iter().map(|wait| wait.time).sum();
    let mut confidence = grade(scene, victim, time)?;
    let together = together(scene, first.pid);
    let threads: BTreeSet<Tid> = waits.iter().map(|wait| wait.tid).collect();
    if together.len() < SEVERAL {
        confidence = Confidence::Possible;
    }
    let open = open_transaction(scene, first.pid, &together.iter().map(|(pid, _)| *pid).collect());
    let client = open.and_then(|pid| client(scene, pid));
    let (culprit, by_whom, next) = match open {
        Some(pid) => {
            let whose = client.map_or_else(String::new, |pid| format!(", at whose other end is {}", scene.label(pid)));
            let end = client.map_or_else(|| "its client".to_owned(), |pid| scene.label(pid));
            (
                process(scene, pid),
                format!("{} is not among them and calls itself \"{}\"{whose}", scene.label(pid), title(scene, pid)),
                format!("have {end} commit or roll back, or end that session (pid {pid}) by the program's own means"),
            )
        }
        None => (
            Party {
                detail: Some("one of its own sessions; which one was not seen".into()),
                ..process(scene, first.pid)
            },
            "who holds it was not seen to let go".to_owned(),
            "ask the program itself who holds it: its list of sessions, locks and transactions".to_owned(),
        ),
    };
    let named = !first.resource.is_empty() && !first.resource.starts_with("futex:");
    let at = if named { format!(" (in {})", first.resource) } else { String::new() };
    let says = title(scene, first.pid);
    let mut evidence = vec![
        Evidence::new("sched_switch: blocked on a lock all the window", time.as_secs_f64(), "s")
            .at("recording/waits.parquet"),
        Evidence::new("threads of this service that do so", together.len() as f64, "threads")
            .at("recording/waits.parquet"),
    ];
    if !says.is_empty() {
        evidence.push(Evidence::new(format!("one of them (pid {}) calls itself \"{says}\"", first.pid), 1.0, ""));
    }
    Some(Draft {
        confidence,
        time,
        summary: format!(
            "{} waits for a lock{at} for {}: {} of its threads stood there all the window; {by_whom}.",
            victim.label(),
            how_much(victim, time),
            threads.len(),
        ),
        culprit,
        evidence,
        codepath: path(scene.rec, &first.stack),
        next: vec![next, "set a limit for open transactions and for waiting for locks".to_owned()],
        removes: Removes::waits(&[TimeClass::BlockedLock]),
        descriptive: false,
    })
}

/// What a process calls itself, where it has put words in the place of its command line.
fn title(scene: &Scene, pid: Pid) -> String {
    let line = scene.rec.processes.get(&pid).map_or("", |process| process.cmdline.trim());
    line.chars().take(LONGEST_TITLE).collect()
}

/// A process of the service that says of itself that it is in a transaction, and does not wait with the others.
fn open_transaction(scene: &Scene, pid: Pid, waiting: &BTreeSet<Pid>) -> Option<Pid> {
    let says = |pid: &Pid| title(scene, *pid).to_lowercase().contains("in transaction");
    service(scene, pid).filter(|pid| !waiting.contains(pid)).find(says)
}

/// The process at the other end of a session's connection.
fn client(scene: &Scene, session: Pid) -> Option<Pid> {
    let to = format!("process:{session}");
    let links = scene.rec.get(&catalog::TOPOLOGY).into_iter().flatten();
    let mut to_it = links.filter(|row| row.labels.get("to") == to && matches!(row.labels.get("by"), "tcp" | "unix"));
    to_it.find_map(|row| row.labels.get("from").strip_prefix("process:")?.parse().ok().map(Pid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnose,
        testing::{System, all, one},
    };

    /// Sessions of a database that stand at a lock, and one that has a transaction open.
    fn sessions(standing: u32) -> System {
        let mut system = System::new();
        for pid in 11..11 + standing {
            system = system.thread(pid, "db", &[(TimeClass::BlockedLock, 10.0)]);
            system = system.wait(pid, TimeClass::BlockedLock, "epoll_wait", "LockAcquire", None, 10.0, 1);
        }
        system
            .thread(30, "db", &[])
            .titled(30, 1, "db: shop 127.0.0.1(37416) idle in transaction")
            .thread(40, "desk", &[])
            .total(
                &catalog::TOPOLOGY,
                &[("from", "process:40"), ("to", "process:30"), ("by", "tcp"), ("what", "5432")],
                1.0,
            )
    }

    fn titled(mut system: System, standing: u32) -> System {
        for pid in 11..11 + standing {
            system = system.titled(pid, 1, "db: shop 127.0.0.1(37434) SELECT waiting");
        }
        system
    }

    #[test]
    fn who_has_a_transaction_open_while_others_stand_is_the_culprit() {
        let finding = one(&titled(sessions(3), 3).target(11).build(), "lock.contention");
        assert_eq!((finding.culprit.pid, finding.confidence), (Some(30), Confidence::Likely));
        assert!(
            finding.summary.contains("(in LockAcquire)") && finding.next[0].contains("desk (pid 40)"),
            "{finding:#?}"
        );
    }

    #[test]
    fn one_that_waits_alone_may_be_in_reserve() {
        let finding = one(&titled(sessions(1), 1).target(11).build(), "lock.contention");
        assert_eq!(finding.confidence, Confidence::Possible);
        let unasked = titled(sessions(1), 1).build();
        assert!(all(&unasked, "lock.contention").is_empty());
    }

    #[test]
    fn a_service_that_stands_still_is_no_idle_one() {
        let found = diagnose(&titled(sessions(3), 3).build(), &[]);
        assert_eq!(found.findings[0].cause, "lock.contention");
        assert_eq!(found.findings[0].culprit.pid, Some(30));
    }

    #[test]
    fn sessions_of_one_process_that_ask_anew_every_second_stand() {
        let mut system = System::new().thread(10, "db", &[]);
        for tid in [21, 22] {
            system = system.thread_of(10, tid, "session", &[(TimeClass::BlockedLock, 10.0)]);
            system = system.wait_of(10, tid, TimeClass::BlockedLock, "acquire_lock", None, 9.9);
        }
        let finding = one(&system.target(10).build(), "lock.contention");
        assert_eq!((finding.culprit.pid, finding.confidence), (Some(10), Confidence::Likely));
        assert!(finding.summary.contains("2 of its threads stood there"), "{}", finding.summary);
    }

    #[test]
    fn a_lock_on_a_file_guards_against_starting_twice() {
        let mut system = System::new();
        for pid in [11, 12] {
            system = system.thread(pid, "job", &[(TimeClass::BlockedLock, 10.0)]).titled(pid, 1, "job");
            system = system.wait(pid, TimeClass::BlockedLock, "flock", "file:/run/job", None, 10.0, 1);
        }
        assert!(all(&system.build(), "lock.contention").is_empty());
    }
}
