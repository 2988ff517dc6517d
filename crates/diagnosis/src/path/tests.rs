//! Small event windows built by hand: one second, milliseconds throughout.

use super::{
    Gain, Removes, Waits, gain,
    replay::{Without, replay},
    summarize,
    timeline::Timeline,
    walk::critical_path,
};
use crate::{Scene, Victim, testing::System, victim};
use observe::{
    Episode, EpisodeKind, Labels, Pid, Point, Ratio, Recording, Request, Series, TIMER, Tid, TimeClass, Wait, catalog,
};
use std::time::Duration;

fn ms(at: u64) -> Duration {
    Duration::from_millis(at)
}

/// Threads are processes of their own, but those from 100 on, which are of process 10.
fn pid(tid: u32) -> Pid {
    Pid(if tid >= 100 { 10 } else { tid })
}

pub(crate) struct Window {
    rec: Recording,
    episodes: Vec<Episode>,
    waits: Vec<Wait>,
    requests: Vec<Request>,
}

impl Window {
    pub(crate) fn new(threads: &[(u32, TimeClass)]) -> Self {
        let mut system = System::new().target(10);
        for (tid, class) in threads {
            system = system.thread_of(pid(*tid).0, *tid, "thread", &[(TimeClass::RunningUser, 4.0), (*class, 5.0)]);
        }
        Window { rec: system.build(), episodes: Vec::new(), waits: Vec::new(), requests: Vec::new() }
    }

    pub(crate) fn episode(
        mut self,
        tid: u32,
        kind: EpisodeKind,
        off: u64,
        woken: u64,
        on: u64,
        by: Option<u32>,
    ) -> Self {
        let blocked = kind == EpisodeKind::Blocked;
        self.episodes.push(Episode {
            pid: pid(tid),
            tid: Tid(tid),
            kind,
            off: ms(off),
            woken: blocked.then(|| ms(woken)),
            on: Some(ms(on)),
            cpu: 0,
            throttled: Duration::ZERO,
            pinned: Duration::ZERO,
            by: by.map(|tid| (pid(tid), Tid(tid))),
            wait: None,
        });
        self
    }

    pub(crate) fn blocked(self, tid: u32, class: TimeClass, off: u64, woken: u64, by: Option<u32>) -> Self {
        let mut window = self.episode(tid, EpisodeKind::Blocked, off, woken, woken, by);
        window.waits.push(Wait {
            pid: pid(tid),
            tid: Tid(tid),
            class,
            resource: class.name().to_owned(),
            by: by.map(|tid| (pid(tid), Tid(tid))),
            syscall: String::new(),
            after_failure: false,
            time: ms(woken - off),
            count: 1,
            longest: ms(woken - off),
            stack: Vec::new(),
            waker_stack: Vec::new(),
        });
        window.episodes.last_mut().unwrap().wait = Some(window.waits.len() as u32 - 1);
        window
    }

    /// The last blocked stretch was in this system call.
    pub(crate) fn in_call(mut self, syscall: &str) -> Self {
        self.waits.last_mut().unwrap().syscall = syscall.to_owned();
        self
    }

    /// That a request came in on a connection, named as its port, was read so much later, and answered; or, within another,
    /// went out.
    pub(crate) fn request(
        mut self,
        tid: u32,
        connection: u64,
        begin: u64,
        queued: u64,
        answered: u64,
        within: Option<(u64, u64)>,
    ) -> Self {
        self.requests.push(Request {
            served: within.is_none(),
            pid: pid(tid),
            tid: Tid(tid),
            connection,
            place: connection.to_string(),
            begin: ms(begin),
            read: ms(begin + queued),
            answered: ms(answered),
            within: within.map(|(connection, begin)| (connection, ms(begin))),
        });
        self
    }

    /// So much of its thread's time is running.
    pub(crate) fn running(mut self, tid: u32, seconds: f64) -> Self {
        let mut rows = self.rec.get(&catalog::THREAD_TIME).unwrap().to_vec();
        let row = rows.iter_mut().find(|row| row.tid == Tid(tid)).unwrap();
        row.classes = Default::default();
        row.classes.add(TimeClass::RunningUser, Duration::from_secs_f64(seconds));
        row.classes.add(TimeClass::BlockedIdle, row.wall - row.classes.total());
        self.rec.set(&catalog::THREAD_TIME, Ok(rows));
        self
    }

    pub(crate) fn build(mut self) -> Recording {
        let row = |what: &str, value: f64| Series {
            labels: Labels::new([("what", what.to_owned())]),
            points: vec![Point { at: ms(1000), value }],
        };
        self.rec.set(&catalog::EPISODES, Ok(self.episodes));
        self.rec.set(&catalog::EPISODE_REQUESTS, Ok(self.requests));
        self.rec.set(&catalog::EPISODE_WAITS, Ok(self.waits));
        self.rec.set(&catalog::EVENT_WINDOW, Ok(vec![row("begin", 0.0), row("end", 1.0), row("lost", 0.0)]));
        self.rec
    }
}

/// Time on the critical path of a thread by thread and class.
fn path(rec: &Recording, tid: u32) -> Vec<(u32, TimeClass, u64)> {
    let timeline = Timeline::of(rec).unwrap();
    let mut parts: Vec<_> = critical_path(&timeline, Tid(tid), timeline.begin, timeline.end, false)
        .into_iter()
        .map(|s| (s.from, s.tid.0, s.class, (s.to - s.from) / 1_000_000))
        .collect();
    parts.sort_by_key(|part| part.0);
    let covered: u64 = parts.iter().map(|part| part.3).sum();
    assert_eq!(covered, 1000, "the path covers the time once");
    parts.into_iter().map(|(_, tid, class, ms)| (tid, class, ms)).collect()
}

fn gained(rec: &Recording, removes: &Removes) -> Option<Gain> {
    let scene = Scene::new(rec);
    let (victims, _) = victim::choose(&scene);
    gain(&scene, &Timeline::of(rec).unwrap(), &victims[0], removes)
}

use TimeClass::{BlockedDisk, BlockedIdle, BlockedProcess, RunningUser};

#[test]
fn who_waits_for_another_is_made_of_what_that_one_does() {
    let rec = Window::new(&[(10, BlockedProcess), (20, BlockedProcess), (30, BlockedDisk)])
        .blocked(30, BlockedDisk, 300, 600, None)
        .blocked(20, BlockedProcess, 200, 700, Some(30))
        .blocked(10, BlockedProcess, 100, 900, Some(20))
        .build();
    assert_eq!(
        path(&rec, 10),
        [
            (10, RunningUser, 100),
            (20, RunningUser, 100),
            (30, RunningUser, 100),
            (30, BlockedDisk, 300),
            (30, RunningUser, 100),
            (20, RunningUser, 200),
            (10, RunningUser, 100)
        ]
    );
}

#[test]
fn an_io_that_nobody_waits_for_gains_nothing_and_one_that_is_waited_for_gains_all() {
    // Thread 100 does the I/O. In one case the first thread waits for it, in the other it works on.
    let io = |window: Window| {
        (0..5).fold(window, |window, round| window.blocked(100, BlockedDisk, round * 200 + 10, round * 200 + 160, None))
    };
    let aside = Window::new(&[(10, BlockedIdle), (100, BlockedDisk)]).episode(10, EpisodeKind::Running, 0, 0, 0, None);
    let waits = Removes::waits(&[BlockedDisk]);
    assert_eq!(gained(&io(aside).build(), &waits).unwrap().share, Ratio(0.0));
    let waited = (0..5).fold(io(Window::new(&[(10, BlockedProcess), (100, BlockedDisk)])), |window, round| {
        window.blocked(10, TimeClass::BlockedLock, round * 200 + 5, round * 200 + 165, Some(100))
    });
    let with = gained(&waited.build(), &waits).unwrap();
    assert!((with.share.0 - 0.75).abs() < 0.01, "{with:?}");
}

#[test]
fn a_wait_hidden_behind_another_gains_only_the_difference() {
    // Two helpers begin together; the one that computes ends first by 100 ms.
    let rec = Window::new(&[(10, TimeClass::BlockedLock)])
        .blocked(20, BlockedDisk, 0, 1000, None)
        .blocked(30, BlockedIdle, 800, 1000, Some(10))
        .blocked(10, BlockedProcess, 0, 800, Some(30))
        .blocked(10, BlockedProcess, 800, 1000, Some(20))
        .build();
    let removes = Removes::Waits(Waits { classes: vec![BlockedProcess], by: vec![Pid(20)], ..Waits::default() });
    let gain = gained(&rec, &removes).unwrap();
    assert!((gain.share.0 - 0.2).abs() < 0.01, "{gain:?}");
}

#[test]
fn threads_that_take_turns_lose_the_sum_of_their_turns() {
    // Four threads sleep 25 ms each under one lock; the first thread waits for all of them, and they for it.
    use TimeClass::{BlockedLock, BlockedSleep};
    let threads = [(10, BlockedIdle), (100, BlockedSleep), (101, BlockedLock), (102, BlockedLock), (103, BlockedLock)];
    let mut window = Window::new(&threads);
    for (at, turn) in (0..10).flat_map(|item| (0..4).map(move |turn| (item * 100, turn))) {
        let (tid, begin, end) = (100 + turn as u32, at + turn * 25, at + turn * 25 + 25);
        if turn > 0 {
            window = window.blocked(tid, BlockedLock, at, begin, Some(tid - 1));
        }
        window = window.blocked(tid, BlockedSleep, begin, end, None);
        window = window.blocked(10, BlockedIdle, end - 25, end, Some(tid));
        if turn < 3 {
            window = window.blocked(tid, BlockedIdle, end, at + 100, Some(10));
        }
    }
    let gain = gained(&window.build(), &Removes::waits(&[BlockedLock])).unwrap();
    let near = |ratio: Ratio, expected: f64| assert!((ratio.0 - expected).abs() < 0.01, "{ratio:?} of {gain:?}");
    near(gain.share, 0.75);
    near(gain.present, 0.6);
    near(gain.in_all(Ratio(0.6)), 0.75);
    near(gain.in_all(Ratio(0.3)), 0.375);
    near(Gain { share: Ratio(0.1), ..gain }.in_all(Ratio(0.6)), 0.1);
    near(Gain { share: Ratio(0.5), ..gain }.in_all(Ratio(0.3)), 0.3);
}

#[test]
fn who_is_ready_sooner_has_no_work_sooner() {
    // The first thread runs all the time and gives thread 100 something to do each 100 ms, of which 60 are at the disk.
    let classes = [(10, RunningUser), (100, BlockedDisk)];
    let mut window = Window::new(&classes).episode(10, EpisodeKind::Running, 0, 0, 0, None);
    for at in (0..10).map(|item| item * 100) {
        window = window.blocked(100, BlockedDisk, at + 10, at + 70, None);
        window = window.blocked(100, BlockedIdle, at + 80, at + 100, Some(10));
        window.waits.last_mut().unwrap().resource = "futex:0x10".to_owned();
    }
    let gained_by_both = |window: Window| {
        let rec = window.build();
        let timeline = Timeline::of(&rec).unwrap();
        let waits = |_, _, row: u32| timeline.waits[row as usize].class == BlockedDisk;
        let without = Without { wait: &waits, runner: &|_, _| false, held: &|_, _| false, work: &|_, _| 1.0 };
        let replayed = replay(&timeline, &without);
        [10, 100].map(|tid| 1.0 - replayed.left(Tid(tid), timeline.begin, timeline.end) / 1e9)
    };
    let [first, helper] = gained_by_both(window);
    assert!(first == 0.0 && helper.abs() < 0.01, "{first} {helper}");
}

#[test]
fn a_neighbour_on_the_cpu_gains_what_it_ran_meanwhile() {
    let rec = Window::new(&[(10, TimeClass::RunnableBusy), (20, BlockedIdle)])
        .episode(10, EpisodeKind::Preempted, 200, 0, 600, None)
        .blocked(20, BlockedIdle, 0, 200, None)
        .blocked(20, BlockedIdle, 500, 1000, None)
        .build();
    let path = path(&rec, 10);
    assert!(path.contains(&(10, TimeClass::RunnableBusy, 300)), "{path:?}");
    let gain = gained(&rec, &Removes::Runners(vec![Pid(20)])).unwrap();
    assert!((gain.share.0 - 0.3).abs() < 0.01 && gain.typical(Ratio(0.3)), "{gain:?}");
    assert_eq!(gained(&rec, &Removes::Runners(vec![Pid(30)])).unwrap().share, Ratio(0.0));
}

#[test]
fn replaying_all_of_it_changes_nothing() {
    let rec = Window::new(&[(10, BlockedProcess), (20, BlockedDisk)])
        .blocked(20, BlockedDisk, 100, 300, None)
        .blocked(10, BlockedProcess, 50, 400, Some(20))
        .episode(10, EpisodeKind::Preempted, 500, 0, 700, None)
        .build();
    let gain = gained(&rec, &Removes::waits(&[TimeClass::BlockedFs])).unwrap();
    assert_eq!((gain.share, gain.present), (Ratio(0.0), Ratio(0.0)));
    assert!(!gain.typical(Ratio(0.2)), "the event window has not seen any of it");
    assert_eq!(gained(&rec, &Removes::Unsaid), None);
}

#[test]
fn idleness_that_others_end_is_no_part_of_the_path() {
    let rec = Window::new(&[(10, BlockedIdle)]).blocked(10, BlockedIdle, 100, 900, Some(50)).build();
    let scene = Scene::new(&rec);
    let timeline = Timeline::of(&rec).unwrap();
    let (victims, _): (Vec<Victim>, String) = victim::choose(&scene);
    let path = summarize(&scene, &timeline, &victims[0]).remove(0);
    assert_eq!(path.rows.len(), 1);
    assert_eq!((path.rows[0].class, path.rows[0].share), (RunningUser, Ratio(1.0)));
}

#[test]
fn who_is_waited_for_and_lets_a_timer_wake_it_sleeps() {
    let classes = |resource: &str, wanted: bool| {
        let mut window = Window::new(&[(10, BlockedIdle)]).blocked(10, BlockedIdle, 0, 1000, None);
        window.waits[0].resource = resource.to_owned();
        let rec = window.build();
        let timeline = Timeline::of(&rec).unwrap();
        let path = critical_path(&timeline, Tid(10), timeline.begin, timeline.end, wanted);
        path.into_iter().map(|segment| segment.class).collect::<Vec<_>>()
    };
    assert_eq!(classes(TIMER, true), [TimeClass::BlockedSleep]);
    assert_eq!(classes("descriptors", true), [BlockedIdle], "something came");
    assert_eq!(classes(TIMER, false), [BlockedIdle], "it looks whether there is work");
}

#[test]
fn what_only_one_thread_does_is_the_serial_part() {
    // The first thread runs alone for 600 ms, then both run.
    let rec = Window::new(&[(10, RunningUser), (100, RunningUser)])
        .episode(10, EpisodeKind::Running, 0, 0, 0, None)
        .blocked(100, BlockedIdle, 0, 600, Some(10))
        .build();
    let scene = Scene::new(&rec);
    let timeline = Timeline::of(&rec).unwrap();
    let (victims, _) = victim::choose(&scene);
    let path = summarize(&scene, &timeline, &victims[0]).remove(0);
    let runs: Vec<_> = path.rows.iter().filter(|row| row.class == RunningUser).collect();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].alone, Some(Ratio(0.6)));
}

/// A loop that answers twenty requests, each of which is held up by another process, whose thread sleeps; meanwhile the loop
/// is at other requests.
fn proxy() -> Window {
    let mut window = Window::new(&[(10, TimeClass::BlockedProcess), (20, TimeClass::BlockedSleep)]);
    for at in (0..20).map(|round| round * 50) {
        window = window.blocked(20, TimeClass::BlockedSleep, at + 8, at + 36, None);
        window = window.request(10, 7, at, 2, at + 45, None);
        window = window.request(10, 8, at + 5, 0, at + 40, Some((7, at)));
        window = window.request(20, 8, at + 5, 1, at + 38, None);
    }
    window.episode(10, EpisodeKind::Running, 0, 0, 0, None)
}

#[test]
fn a_request_is_followed_through_what_it_asks_of_others() {
    let rec = proxy().build();
    let scene = Scene::new(&rec);
    let timeline = Timeline::of(&rec).unwrap();
    let (victims, _) = victim::choose(&scene);
    let paths = summarize(&scene, &timeline, &victims[0]);
    assert!(paths[0].about.starts_with("a typical request at port 7, 45.000 ms; "), "{}", paths[0].about);
    assert!(paths[1].about.starts_with("the slowest requests at port 7, "), "{}", paths[1].about);
    let ms = |pid: u32, class: TimeClass, by: &str| {
        let rows = paths[0]
            .rows
            .iter()
            .filter(|row| (row.pid, row.class) == (pid, class) && row.by.is_empty() == by.is_empty());
        (rows.map(|row| row.seconds).sum::<f64>() * 1e3).round()
    };
    // Queued until it was read, its own 3 + 5 ms, the way back, and what the other process did with its 33 ms.
    assert_eq!(ms(10, RunningUser, "itself"), 2.0);
    assert_eq!(ms(10, RunningUser, ""), 8.0);
    assert_eq!(ms(10, TimeClass::BlockedNetwork, "the other"), 2.0);
    assert_eq!(ms(20, TimeClass::BlockedSleep, ""), 28.0);
    assert_eq!((ms(20, RunningUser, "itself"), ms(20, RunningUser, "")), (1.0, 4.0));
}

#[test]
fn what_a_request_gains_is_the_time_of_requests() {
    let rec = proxy().build();
    let of = |removes: &Removes| gained(&rec, removes).unwrap().share.0;
    // The loop's own thread never waits.
    let answers = Removes::Waits(Waits { classes: vec![BlockedProcess], by: vec![Pid(20)], ..Waits::default() });
    assert!((of(&answers) - 35.0 / 45.0).abs() < 0.01);
    assert!((of(&Removes::Work(0.5)) - 5.0 / 45.0).abs() < 0.01);
    assert!(of(&Removes::waits(&[BlockedDisk])).abs() < 1e-9);
}
