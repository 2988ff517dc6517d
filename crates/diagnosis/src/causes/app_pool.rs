//! # A pool of threads or connections is used up
//!
//! **Speaks for it:** requests wait before anybody reads them, or in threads that wait until a fellow gives something back,
//! while those who have it are many at once and wait for others themselves.
//! **Speaks against it:** a lock, which only one has at a time; threads that compute, which need CPUs rather than fellows; an
//! event loop, which has no pool.
//! **Experiment:** none from outside; a larger pool moves the queue to what the members wait for.

use super::{app_event_loop::is_blocked, app_handed_on::lie, app_untaken::pool};
use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{MATTERS, WORTH_SAYING, how_much},
    chain,
    code::path,
    path::{Removes, Timeline, Waits, ns},
};
use checks::Evidence;
use observe::{Pid, Ratio, Request, Series, Tid, TimeClass, Wait, catalog};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "app.pool",
    frozen: Effect::None,
    root_of: &["lock.contention", "app.event-loop", "app.waits-for-child", "net.peer-slow"],
    judge,
};

/// ours: a lock has one holder at a time; from so many at once on, what is handed around is one of several.
const HOLDERS: f64 = 1.5;

/// ours: this part of the waits must be ended by threads that wait in the same way themselves.
const FELLOWS: Ratio = Ratio(0.6);

/// ours: the members of a pool that is used up have nothing else to do for less than this part of the window.
const TAKEN: Ratio = Ratio(0.8);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let found = [things, threads, connections].map(|of| of(scene, victim));
    let mut found = found.into_iter().flatten().max_by_key(|draft| draft.time);
    // Where those who are asked are at work themselves, a larger pool would only have them work on more at once.
    if let Some(draft) = &mut found
        && chain::longest(scene, victim).is_some_and(|chain| at_work(chain.root.class))
    {
        draft.confidence = Confidence::Possible;
    }
    let best = found.into_iter().chain(lie(scene, victim)).max_by_key(|draft| (draft.confidence, draft.time));
    best.or_else(|| pool(scene, victim)).into_iter().collect()
}

/// Whether somebody whose time is of a class has more to do than it gets done.
fn at_work(class: TimeClass) -> bool {
    !class.is_idle()
        && !matches!(
            class,
            TimeClass::BlockedSleep | TimeClass::BlockedNetwork | TimeClass::BlockedUnknown | TimeClass::BlockedStopped
        )
}

/// What the members of a pool do while they have it.
struct Members {
    /// How many have it at once, on average.
    at_once: f64,
    /// What they wait for most.
    awaiting: TimeClass,
    whom: String,
}

/// Waits for others: what a thread does that has something others want, and does not compute.
fn waits_for_others(class: TimeClass) -> bool {
    matches!(
        class,
        TimeClass::BlockedProcess
            | TimeClass::BlockedNetwork
            | TimeClass::BlockedSleep
            | TimeClass::BlockedDisk
            | TimeClass::BlockedFs
    )
}

fn members(scene: &Scene, threads: &BTreeSet<(Pid, Tid)>) -> Option<Members> {
    let mut classes: BTreeMap<TimeClass, Duration> = BTreeMap::new();
    let mut whom: BTreeMap<(TimeClass, String), Duration> = BTreeMap::new();
    for (pid, tid) in threads {
        for wait in scene.waits(*pid).iter().filter(|w| w.tid == *tid && waits_for_others(w.class)) {
            *classes.entry(wait.class).or_default() += wait.time;
            let other = wait.by.filter(|(by, _)| by != pid);
            let name = other.map_or_else(|| wait.resource.clone(), |(by, _)| scene.label(by));
            *whom.entry((wait.class, name)).or_default() += wait.time;
        }
    }
    let all: Duration = classes.values().sum();
    let (awaiting, _) = classes.into_iter().max_by_key(|(_, time)| *time)?;
    let mut whom: Vec<_> = whom.into_iter().filter(|((class, _), _)| *class == awaiting).collect();
    whom.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    let whom = whom.into_iter().map(|((_, name), _)| name).find(|name| !name.is_empty()).unwrap_or_default();
    Some(Members { at_once: all.as_secs_f64() / scene.window().as_secs_f64().max(1e-9), awaiting, whom })
}

/// Threads that wait until a fellow gives back what both use: a connection, a permit.
fn things(scene: &Scene, victim: &Victim) -> Option<Draft> {
    let waits: Vec<&Wait> = victim
        .waits(scene)
        .filter(|w| matches!(w.class, TimeClass::BlockedLock | TimeClass::BlockedThread) && w.syscall == "futex")
        .filter(|w| w.by.is_none_or(|(by, _)| by == w.pid))
        .collect();
    let time: Duration = waits.iter().map(|w| w.time).sum();
    let waiters: BTreeSet<(Pid, Tid)> = waits.iter().map(|w| (w.pid, w.tid)).collect();
    let ended: Duration = waits.iter().filter(|w| w.by.is_some()).map(|w| w.time).sum();
    let by_fellows: Duration =
        waits.iter().filter(|w| w.by.is_some_and(|by| waiters.contains(&by))).map(|w| w.time).sum();
    let members = members(scene, &waiters)?;
    let several = members.at_once >= HOLDERS && Ratio::of(by_fellows, ended) >= FELLOWS;
    let confidence = crate::cause::grade(scene, victim, time).filter(|_| several)?;
    let count: u64 = waits.iter().map(|w| w.count).sum();
    let heaviest = waits.iter().max_by_key(|w| w.time)?;
    Some(Draft {
        confidence,
        time,
        summary: format!(
            "{} waits for {} until one of its own threads gives something back: {count} waits of {} threads, while \
             {:.1} of them at once had it, {}.",
            victim.label(),
            how_much(victim, time),
            waiters.len(),
            members.at_once,
            members.doing(),
        ),
        culprit: party(
            scene,
            victim,
            format!("a pool of about {:.0} is used up; its members are {}", members.at_once, members.doing()),
        ),
        evidence: vec![
            Evidence::new("sched_switch: blocked until a fellow thread went on", time.as_secs_f64(), "s")
                .at("recording/waits.parquet"),
            Evidence::new("of it ended by threads that wait the same way", Ratio::of(by_fellows, ended).0 * 100.0, "%")
                .against(format!("> {FELLOWS}")),
            Evidence::new("fellows waiting for others at once", members.at_once, "threads")
                .against("> 1.5 (a lock has 1)"),
        ],
        codepath: path(scene.rec, &heaviest.stack),
        next: members.next(victim),
        removes: Removes::Waits(Waits {
            classes: vec![TimeClass::BlockedLock, TimeClass::BlockedThread],
            syscalls: vec!["futex".to_owned()],
            ..Waits::default()
        }),
        descriptive: false,
    })
}

/// Requests that nobody reads while every thread that serves has one in hand.
fn threads(scene: &Scene, victim: &Victim) -> Option<Draft> {
    let timeline = scene.timeline()?;
    let mut served: BTreeMap<(Pid, Tid), u64> = BTreeMap::new();
    let service = service(scene, victim);
    for request in timeline.requests.iter().filter(|r| r.served && service.contains(&r.pid)) {
        *served.entry((request.pid, request.tid)).or_default() += 1;
    }
    let threads: BTreeSet<(Pid, Tid)> = served.into_keys().collect();
    if threads.len() < 2 {
        return None;
    }
    let (queued, all) = queued(scene, |pid| service.contains(&pid))?;
    let share = Ratio::of(queued, all);
    let members = members(scene, &threads)?;
    // Threads that compute, or wait for a CPU, need no larger pool.
    let taken = Ratio(members.at_once / threads.len() as f64);
    let confidence = match share {
        share if share >= MATTERS => Confidence::Likely,
        share if share >= WORTH_SAYING => Confidence::Possible,
        _ => return None,
    };
    if taken < TAKEN {
        return None;
    }
    Some(Draft {
        confidence,
        // Of requests, as a part of what they take; the threads' own time knows nothing of it.
        time: victim.active().mul_f64(share.0),
        summary: format!(
            "{} has its requests wait for {share} of their time before anybody reads them: all of its {} threads that \
             serve have one in hand, {}.",
            victim.label(),
            threads.len(),
            members.doing(),
        ),
        culprit: party(scene, victim, format!("its {} threads are {}", threads.len(), members.doing())),
        evidence: vec![
            Evidence::new("requests that had come in and were not read", queued.as_secs_f64(), "s")
                .against(format!("of {:.1} s that they took", all.as_secs_f64()))
                .at("recording/series.parquet"),
            Evidence::new("of the serving threads' time, waiting for others", taken.0 * 100.0, "%")
                .against(format!("> {TAKEN}")),
        ],
        codepath: Vec::new(),
        next: members.next(victim),
        removes: Removes::Unsaid,
        descriptive: false,
    })
}

/// Requests that were read and wait until one of a few connections to somebody else is free, all of which are always in use.
fn connections(scene: &Scene, victim: &Victim) -> Option<Draft> {
    /// ours: the connections are in use when so much of the most that ever were is on average.
    const IN_USE: Ratio = Ratio(0.8);
    /// ours: a process that computes more than this is not held up by others.
    const COMPUTES: Ratio = Ratio(0.7);
    let timeline = scene.timeline()?;
    let window = (timeline.end - timeline.begin) as f64;
    let of = |served: bool| timeline.requests.iter().filter(move |r| r.served == served && victim.contains(r.pid));
    let at_once =
        |served: bool| of(served).map(|r| (r.answered.saturating_sub(r.read)).as_nanos() as f64).sum::<f64>() / window;
    let (inside, outside) = (at_once(true), at_once(false));
    let most = most_at_once(of(false).map(|r| (ns(r.begin), ns(r.answered))));
    let used_up = most > 0 && outside >= IN_USE.0 * most as f64 && inside - outside >= 1.0;
    let few = of(false).count() < FEWEST;
    if !used_up || few || victim.busiest_thread(scene) >= COMPUTES || blocks_meanwhile(timeline, of(false)) {
        return None;
    }
    let share = Ratio::of_counts(inside - outside, inside);
    let confidence = match share {
        share if share >= HALF => Confidence::Likely,
        share if share >= MATTERS => Confidence::Possible,
        _ => return None,
    };
    let whom = of(false).map(|r| r.place.as_str()).next().unwrap_or_default();
    let what = format!("{most} connections to {whom}");
    Some(Draft {
        confidence,
        time: victim.active().mul_f64(share.0),
        summary: format!(
            "{} has its requests wait for {share} of their time until one of {what} is free: {inside:.1} requests are in hand at once, and {outside:.1} questions to others, never more than {most}.",
            victim.label(),
        ),
        culprit: party(scene, victim, format!("{what}, always in use")),
        evidence: vec![
            Evidence::new("requests in hand at once", inside, "on average, in the event window")
                .at("recording/requests.parquet"),
            Evidence::new("questions to others at once", outside, "on average")
                .against(format!("never more than {most}")),
        ],
        codepath: Vec::new(),
        next: vec![
            format!("allow {} more connections (maxconn, pool size), as far as {whom} can take", victim.name),
            "size it by Little's law: arrivals a second times seconds each is held".to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    })
}

/// Whether one thread asks all the questions, and is blocked until each is answered: it could use no more connections.
fn blocks_meanwhile<'a>(timeline: &Timeline, asked: impl Iterator<Item = &'a Request>) -> bool {
    let asked: Vec<_> = asked.collect();
    let one = asked.windows(2).all(|pair| pair[0].tid == pair[1].tid);
    let blocked = asked.iter().filter(|r| is_blocked(timeline, r.tid, (ns(r.begin), ns(r.answered)))).count();
    one && Ratio::of_counts(blocked as f64, asked.len() as f64) >= HALF
}

/// ours: with fewer questions in the event window, the most at once is chance.
const FEWEST: usize = 20;

/// ours: most of a request's time.
const HALF: Ratio = Ratio(0.5);

/// Of how many spans some moment is part at most.
fn most_at_once(spans: impl Iterator<Item = (u64, u64)>) -> usize {
    let mut ends: Vec<(u64, i64)> = spans.flat_map(|(from, to)| [(from, 1), (to, -1)]).collect();
    ends.sort_unstable();
    let at_once = ends.iter().scan(0, |now, (_, step)| {
        *now += step;
        Some(*now)
    });
    usize::try_from(at_once.max().unwrap_or(0)).unwrap_or(0)
}

/// The victim's processes, and their copies that answer at the same place.
fn service(scene: &Scene, victim: &Victim) -> BTreeSet<Pid> {
    let rows = || scene.rec.get(&catalog::REQUEST_TIME).into_iter().flatten();
    let places: BTreeSet<&str> = rows()
        .filter(|row| row.labels.pid().is_some_and(|pid| victim.contains(pid)))
        .map(|row| row.labels.get("service"))
        .collect();
    let there = rows().filter(|row| places.contains(row.labels.get("service"))).filter_map(|row| row.labels.pid());
    let copies = there.filter(|pid| victim.pids.iter().any(|own| scene.siblings(*own, *pid)));
    victim.pids.iter().copied().chain(copies).collect()
}

/// How long the requests of some processes waited to be read, and how long they took.
pub(super) fn queued(scene: &Scene, of: impl Fn(Pid) -> bool) -> Option<(Duration, Duration)> {
    let rows = scene.rec.get(&catalog::REQUEST_TIME).ok()?;
    let mine = || rows.iter().filter(|row| row.labels.pid().is_some_and(&of));
    let sum = |rows: &mut dyn Iterator<Item = &Series>| {
        Duration::try_from_secs_f64(rows.map(Series::last).sum()).unwrap_or_default()
    };
    let queued = sum(&mut mine().filter(|row| row.labels.get("part") == "queued"));
    Some((queued, sum(&mut mine())))
}

pub(super) fn party(scene: &Scene, victim: &Victim, detail: String) -> Party {
    let party = victim.party();
    let pid = victim.pids.first().copied();
    let name = pid.map_or(party.name, |pid| scene.rec.process_name(pid));
    Party { kind: "process".into(), pid: pid.map(|pid| pid.0), name, detail: Some(detail) }
}

impl Members {
    fn doing(&self) -> String {
        match (self.awaiting, self.whom.as_str()) {
            (TimeClass::BlockedSleep, _) => "asleep by their own timer".to_owned(),
            (class, "") => class.about().to_owned(),
            (_, whom) => format!("waiting for {whom}"),
        }
    }

    fn next(&self, victim: &Victim) -> Vec<String> {
        vec![
            format!("first make faster what they have it for: they are {}", self.doing()),
            format!(
                "then size the pool of {} by Little's law: arrivals a second times seconds each is held",
                victim.name
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        Confidence,
        path::tests::Window,
        testing::{System, all, one},
    };
    use observe::TimeClass::{BlockedLock, BlockedProcess, BlockedSleep, BlockedThread, RunningUser};

    /// Four threads that take turns with what they need to ask the database.
    fn pool(class: observe::TimeClass, asking: f64, theirs: observe::TimeClass) -> observe::Recording {
        let mut system = System::new().thread(50, "postgres", &[(theirs, 5.0)]);
        for tid in 10..14 {
            let times = [(RunningUser, 0.2), (BlockedProcess, asking), (class, 9.5 - asking)];
            system = system
                .thread_of(10, tid, "web", &times)
                .wait_of(10, tid, BlockedProcess, "tcp:127.0.0.1:5432", Some((50, 50)), asking)
                .wait_of(10, tid, class, "futex:0x10", Some((10, 10 + (tid - 9) % 4)), 9.5 - asking)
                .in_call("futex");
        }
        system.target(10).build()
    }

    #[test]
    fn what_several_have_at_once_is_a_pool() {
        for class in [BlockedLock, BlockedThread] {
            let finding = one(&pool(class, 4.7, BlockedSleep), "app.pool");
            assert_eq!((finding.culprit.pid, finding.rank), (Some(10), 1), "{finding:#?}");
            assert!(finding.summary.contains("waiting for postgres"), "{}", finding.summary);
        }
        let behind_work = one(&pool(BlockedLock, 4.7, RunningUser), "app.pool");
        assert_eq!(behind_work.confidence, Confidence::Possible, "more at once would not be done sooner");
    }

    #[test]
    fn what_one_has_at_a_time_is_a_lock() {
        let rec = pool(BlockedLock, 2.4, BlockedSleep);
        assert!(all(&rec, "app.pool").is_empty());
        assert_eq!(all(&rec, "lock.contention").len(), 1);
    }

    /// Requests on eight connections, each of which is asked on of somebody else for its last 20 ms.
    fn proxied(in_hand: u64) -> observe::Recording {
        let mut window = Window::new(&[(10, observe::TimeClass::BlockedIdle)]);
        for n in 0..40 {
            let at = n * 20;
            window = window.request(10, n % 8, at, 0, at + in_hand, None);
            window = window.request(10, 100, at + in_hand - 20, 0, at + in_hand, Some((n % 8, at)));
        }
        window.build()
    }

    #[test]
    fn requests_that_wait_for_the_one_connection_are_told_by_those_in_hand() {
        let finding = one(&proxied(120), "app.pool");
        assert!(finding.summary.contains("never more than 1"), "{}", finding.summary);
        assert!(all(&proxied(24), "app.pool").is_empty());
    }

    #[test]
    fn the_processes_of_a_service_are_a_pool_together() {
        let of = |place: &str| {
            let mut window = Window::new(&[(10, BlockedSleep), (20, BlockedSleep)]);
            for n in 0..20 {
                window = window.request(10, n, n * 40, 300, n * 40 + 340, None);
                window = window.request(20, 100 + n, n * 40, 300, n * 40 + 340, None);
            }
            let mut system = System::with(window.build()).titled(10, 5, "php-fpm").titled(20, 5, "php-fpm");
            for (pid, place) in [("10", "/run/fpm.sock"), ("20", place)] {
                for (part, time) in [("queued", 30.0), ("blocked", 4.0)] {
                    let labels = [("pid", pid), ("service", place), ("part", part)];
                    system = system.total(&observe::catalog::REQUEST_TIME, &labels, time);
                }
                let pid = pid.parse().unwrap();
                system = system.wait(pid, BlockedSleep, "recvfrom", "timer", None, 9.5, 100);
            }
            system.target(10).build()
        };
        let finding = one(&of("/run/fpm.sock"), "app.pool");
        assert!(finding.summary.contains("all of its 2 threads"), "{}", finding.summary);
        assert!(all(&of("/run/other.sock"), "app.pool").is_empty(), "one thread is no pool");
    }

    #[test]
    fn a_loop_that_is_blocked_at_each_question_could_use_no_more_connections() {
        let window = |call: &str| {
            let mut window = Window::new(&[(10, BlockedProcess)]);
            for n in 0..40 {
                let at = n * 20;
                window = window.request(10, n % 8, at, 0, at + 120, None);
                window = window.request(10, 100, at + 100, 0, at + 120, Some((n % 8, at)));
                window = window.blocked(10, BlockedProcess, at + 100, at + 119, None).in_call(call);
            }
            window.build()
        };
        assert!(all(&window("recvfrom"), "app.pool").is_empty());
        assert_eq!(all(&window("epoll_wait"), "app.pool").len(), 1);
    }
}
