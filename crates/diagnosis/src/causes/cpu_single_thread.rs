//! # One thread is the limit while CPUs idle
//!
//! **Speaks for it:** one thread of a program with several is on a CPU nearly all the time, the others wait for it again
//! and again, and the machine has idle CPUs.
//! **Speaks against it:** all CPUs busy (then more threads would not help); the others waiting for something else.
//! **Experiment:** none from outside.

use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim, cause::how_much, code::hot_user_of, path::Removes,
    scene::totals_of,
};
use checks::Evidence;
use observe::{Pid, Ratio, Series, ThreadTime, TimeClass, catalog};
use std::{collections::BTreeSet, time::Duration};

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "cpu.single-thread", frozen: Effect::None, root_of: &["cpu.hot-code"], judge };

/// ours: the limiting thread runs, or waits for a CPU, this part of its time.
const BUSY: Ratio = Ratio(0.85);

/// ours: with fewer CPUs to spare, another thread would hardly have run.
const SPARE: f64 = 0.3;

/// ours: fewer waits for it than this in a window are not what its fellows live by.
const OFTEN: u64 = 20;

/// ours: who hardly runs when it is given work would not do more with more of it.
const WORKS: Ratio = Ratio(0.01);

/// ours: the others must wait for it at least this part of the window, each on average.
const WAIT_FOR_IT: Ratio = Ratio(0.4);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    if !victim.named {
        return Vec::new();
    }
    let spare = scene.cpu_busy().map_or(0.0, |busy| (1.0 - busy.0) * f64::from(scene.rec.host.cpus));
    let limits = victim.pids.iter().filter_map(|pid| limit(scene, *pid).or_else(|| serves_all(scene, *pid)));
    let limits = limits.max_by_key(|limit| limit.waited);
    let Some(limit) = limits.filter(|_| spare >= SPARE) else { return Vec::new() };
    let thread = limit.thread;
    let time = thread.classes.sum(|class| class.is_running() || class.is_runnable());
    let hot = hot_user_of(scene, |stack| stack.tid == thread.tid).ok().flatten();
    let doing = hot.as_ref().map_or_else(String::new, |hot| format!(", mostly in {}", hot.function));
    vec![Draft {
        confidence: Confidence::Likely,
        time: time.min(victim.active()),
        summary: format!(
            "{} is limited by one thread, {} ({}), which works for {}{doing}: {}, and {spare:.1} CPUs idle.",
            victim.label(),
            thread.name,
            thread.tid,
            how_much(victim, time),
            limit.others,
        ),
        culprit: Party {
            kind: "thread".into(),
            pid: Some(thread.pid.0),
            name: thread.name.clone(),
            detail: hot.as_ref().map(|hot| hot.function.clone()),
        },
        evidence: vec![
            Evidence::new(format!("ledger: {} running or runnable", thread.name), time.as_secs_f64(), "s")
                .against("> 85 % of the window")
                .at("recording/ledger.parquet"),
            Evidence::new("time in which the others waited for it", limit.waited.as_secs_f64(), "s")
                .at("recording/waits.parquet"),
            Evidence::new("CPUs idle", spare, "CPUs").against(format!("> {SPARE}")).at("recording/series.parquet"),
        ],
        codepath: hot.map(|hot| hot.path).unwrap_or_default(),
        next: vec![
            format!("see what {} does that the others could: top -H -p {}", thread.name, thread.pid),
            "hand out larger pieces, or take the work out of the thread that hands it out".to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    }]
}

struct Limit<'a> {
    thread: &'a ThreadTime,
    /// Who waits for it, in words.
    others: String,
    waited: Duration,
}

fn at_work(thread: &ThreadTime) -> Duration {
    thread.classes.sum(|class| class.is_running() || class.is_runnable())
}

/// Whether a thread that is at work has a CPU most of that time: else it is the CPU that limits it.
fn mostly_runs(thread: &ThreadTime) -> bool {
    thread.classes.sum(TimeClass::is_running) * 2 >= at_work(thread)
}

/// The thread of a process that is always at work and for which the others wait.
fn limit<'a>(scene: &Scene<'a>, pid: Pid) -> Option<Limit<'a>> {
    let threads = scene.threads(pid);
    let thread = *threads.iter().max_by_key(|t| at_work(t))?;
    if Ratio::of(at_work(thread), scene.window()) < BUSY || !mostly_runs(thread) {
        return None;
    }
    let me = Some((thread.pid, thread.tid));
    let waits = || scene.waits(pid).iter().filter(|w| w.by == me && w.tid != thread.tid && waits_for_it(w.class));
    let others = threads.iter().filter(|t| {
        let for_it = waits().filter(|w| w.tid == t.tid);
        let works = Ratio::of(t.classes.sum(TimeClass::is_running), scene.window()) >= WORKS;
        works && for_it.map(|w| w.count).sum::<u64>() >= OFTEN
    });
    let others = others.count();
    let said = format!("{others} of its other threads wait for it");
    let waited: Duration = waits().map(|w| w.time).sum();
    let each = Ratio::of(waited, scene.window().mul_f64(others.max(1) as f64));
    // One that works as much as the first shares the work with it.
    let shares = threads.iter().any(|t| t.tid != thread.tid && at_work(t) >= at_work(thread).mul_f64(0.5));
    (others > 0 && each >= WAIT_FOR_IT && !shares).then_some(Limit { thread, others: said, waited })
}

/// The one thread that serves all requests of a process, while most of their time passes before it gets to read them.
fn serves_all<'a>(scene: &Scene<'a>, pid: Pid) -> Option<Limit<'a>> {
    /// ours: with less of a request's time in the queue, the thread is not what it waits for.
    const QUEUED: Ratio = Ratio(0.5);
    /// ours: what takes less CPU is as cheap as requests get; so many of them are a load, not a limit of the program.
    const DEAR: Duration = Duration::from_micros(100);
    let served = || scene.timeline().into_iter().flat_map(|timeline| timeline.requests).filter(|r| r.served);
    // A process for each session: more of them can be at work.
    if served().any(|r| scene.siblings(r.pid, pid) && r.pid != pid) {
        return None;
    }
    let tids: BTreeSet<_> = served().filter(|r| r.pid == pid).map(|r| r.tid).collect();
    let thread = *scene.threads(pid).iter().find(|t| tids.len() == 1 && tids.contains(&t.tid))?;
    if Ratio::of(at_work(thread), scene.window()) < BUSY || !mostly_runs(thread) {
        return None;
    }
    let requests = Requests::of(scene, pid)?;
    let waits = Ratio::of_counts(requests.queued, requests.all);
    let dear = requests.running / requests.count.max(1) as f64 >= DEAR.as_secs_f64();
    (dear && waits >= QUEUED).then(|| Limit {
        thread,
        others: format!("{waits} of the time of {} requests passes before it reads them", requests.count),
        waited: Duration::from_secs_f64(requests.queued),
    })
}

/// How the time of a process' requests went, in seconds.
struct Requests {
    count: u64,
    queued: f64,
    running: f64,
    all: f64,
}

impl Requests {
    fn of(scene: &Scene, pid: Pid) -> Option<Requests> {
        let rows = scene.rec.get(&catalog::REQUEST_TIME).ok()?;
        let sum = |keep: &dyn Fn(&str) -> bool| {
            let mine = totals_of(rows, |p| p == pid).filter(|row| keep(row.labels.get("part")));
            mine.map(Series::last).sum::<f64>()
        };
        let times = scene.rec.get(&catalog::REQUESTS).ok()?.iter().filter(|h| h.labels.pid() == Some(pid));
        Some(Requests {
            count: times.map(|h| h.count).sum(),
            queued: sum(&|part| part == "queued"),
            running: sum(&|part| part == "running"),
            all: sum(&|_| true),
        })
    }
}

fn waits_for_it(class: TimeClass) -> bool {
    matches!(class, TimeClass::BlockedIdle | TimeClass::BlockedThread)
}

#[cfg(test)]
mod tests {
    use crate::{
        path::tests::Window,
        testing::{System, all, one},
    };
    use observe::TimeClass::{BlockedIdle, RunnablePinned, RunningUser};

    fn pool(busy: f64) -> System {
        System::new()
            .cpu_busy(busy)
            .thread(10, "encoder", &[(RunningUser, 9.5)])
            .thread_of(10, 11, "worker", &[(RunningUser, 0.5)])
            .thread_of(10, 12, "worker", &[(RunningUser, 0.5)])
            .wait_of(10, 11, BlockedIdle, "futex:0x10", Some((10, 10)), 9.0)
            .wait_of(10, 12, BlockedIdle, "futex:0x10", Some((10, 10)), 9.0)
            .samples(10, &[("main", "encoder"), ("split", "encoder")], 100)
            .target(10)
    }

    #[test]
    fn the_thread_that_the_pool_waits_for_is_the_limit() {
        let finding = one(&pool(0.55).build(), "cpu.single-thread");
        assert_eq!((finding.culprit.kind.as_str(), finding.rank), ("thread", 1));
        assert!(all(&pool(0.98).build(), "cpu.single-thread").is_empty(), "no CPU is left");
    }

    #[test]
    fn helpers_that_wait_for_nobody_do_not_make_a_pool() {
        let rec = System::new()
            .cpu_busy(0.5)
            .thread(10, "cache", &[(RunningUser, 9.5)])
            .thread_of(10, 11, "closer", &[(RunningUser, 0.01)])
            .target(10)
            .build();
        assert!(all(&rec, "cpu.single-thread").is_empty());
    }

    #[test]
    fn a_server_with_one_thread_is_limited_by_it_where_requests_are_dear_and_queue() {
        let server = |queued: f64, count: u64| {
            let mut window = Window::new(&[(10, observe::TimeClass::BlockedIdle)]).running(10, 9.5);
            for n in 0..30 {
                window = window.request(10, n % 8, n * 30, 25, n * 30 + 30, None);
            }
            let mut rec = System::with(window.build()).cpu_busy(0.5);
            for (part, time) in [("queued", queued), ("running", 9.0)] {
                let labels = [("pid", "10"), ("service", "80"), ("part", part)];
                rec = rec.total(&observe::catalog::REQUEST_TIME, &labels, time);
            }
            rec.durations(&observe::catalog::REQUESTS, &[("pid", "10"), ("service", "80")], &[(count, 1.0)]).build()
        };
        assert!(one(&server(60.0, 3000), "cpu.single-thread").summary.contains("87 % of the time of 3000 requests"));
        assert!(all(&server(2.0, 3000), "cpu.single-thread").is_empty(), "hardly queued");
        assert!(all(&server(60.0, 300_000), "cpu.single-thread").is_empty(), "30 µs each");
    }
    #[test]
    fn a_thread_that_mostly_queues_for_its_cpu_is_limited_by_that() {
        let rec = |runs: f64| {
            System::new()
                .cpu_busy(0.5)
                .thread(10, "encoder", &[(RunningUser, runs), (RunnablePinned, 9.5 - runs)])
                .thread_of(10, 11, "filter", &[(RunningUser, 1.0), (BlockedIdle, 8.9)])
                .wait_of(10, 11, BlockedIdle, "futex:0x10", Some((10, 10)), 8.9)
                .target(10)
                .build()
        };
        assert_eq!(all(&rec(9.0), "cpu.single-thread").len(), 1);
        assert!(all(&rec(3.0), "cpu.single-thread").is_empty());
    }
}
