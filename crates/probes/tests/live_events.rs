//! The event window against the ledger of the same time, and what it says of programs that know the truth. Needs root and a
//! kernel that lets programs load.

use observe::{Episode, EpisodeKind, Pid, Recording, TimeClass, catalog};
use probes::{
    Session, Span, Tier,
    roots::Roots,
    target::{Request, resolve},
};
use std::{
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

struct Load(Child);

impl Load {
    fn python(script: &str) -> Self {
        let child = Command::new("/usr/bin/python3").args(["-c", script]).stdout(Stdio::null()).spawn();
        Load(child.expect("python3 starts"))
    }

    fn pid(&self) -> Pid {
        Pid(self.0.id())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = Command::new("pkill").args(["-KILL", "-P", &self.0.id().to_string()]).status();
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn watch(pid: Pid, window: Duration, most: usize) -> Recording {
    let roots = Roots::default();
    let target = resolve(&roots, &Request::Process(pid)).expect("the target is there");
    let mut session = Session::start(&roots, target, Tier::Events).expect("the machine can be read");
    assert!(session.blind().is_none(), "the kernel cannot be traced: {:?}", session.blind());
    session.plan_events(Span { after: Duration::ZERO, length: window, most });
    let started = Instant::now();
    while started.elapsed() < window {
        session.poll();
        sleep(Duration::from_millis(50));
    }
    session.finish()
}

fn value(rec: &Recording, what: &str) -> f64 {
    let rows = rec.get(&catalog::EVENT_WINDOW).expect("there is an event window");
    rows.iter().find(|row| row.labels.get("what") == what).expect("it is told").last()
}

fn of(rec: &Recording, pid: Pid) -> Vec<&Episode> {
    let mut mine: Vec<_> = rec.get(&catalog::EPISODES).expect("episodes").iter().filter(|e| e.pid == pid).collect();
    mine.sort_by_key(|episode| episode.off);
    mine
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_event_window_agrees_with_the_ledger() {
    let load = Load::python("import time\nwhile True:\n sum(range(20000)); time.sleep(0.001)");
    sleep(Duration::from_millis(300));
    let rec = watch(load.pid(), Duration::from_secs(3), 600_000);
    let (begin, end) = (value(&rec, "begin"), value(&rec, "end"));
    assert_eq!(value(&rec, "lost"), 0.0);
    assert!(end - begin > 2.8, "it was open from {begin} to {end} s");
    let mine = of(&rec, load.pid());
    assert!(mine.len() > 500, "{} episodes", mine.len());
    let blocked: Duration = mine
        .iter()
        .filter(|e| e.kind == EpisodeKind::Blocked)
        .map(|e| e.woken.unwrap_or(Duration::from_secs_f64(end)).saturating_sub(e.off))
        .sum();
    let ledger = rec.get(&catalog::THREAD_TIME).expect("there is a ledger");
    let thread = ledger.iter().find(|t| t.pid == load.pid()).expect("the thread is there");
    let told = thread.classes.sum(|class| !class.is_running() && !class.is_runnable()).as_secs_f64();
    let part = (end - begin) / rec.window.length.as_secs_f64();
    assert!((blocked.as_secs_f64() - told * part).abs() < 0.03 * told, "{blocked:?} of {told} s times {part}");
    let waits = rec.get(&catalog::EPISODE_WAITS).expect("waits");
    let class = |e: &&&Episode| e.wait.and_then(|at| waits.get(at as usize)).map(|wait| wait.class);
    let slept = mine.iter().filter(|e| class(e) == Some(TimeClass::BlockedSleep)).count();
    assert!(slept * 10 > mine.iter().filter(|e| e.kind == EpisodeKind::Blocked).count() * 9, "{slept} pauses");
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_a_wait_names_who_ended_it() {
    let load = Load::python(
        "import os\nr, w = os.pipe()\nif os.fork() == 0:\n\
         \x20while True: sum(range(60000)); os.write(w, b'x')\n\
         while True: os.read(r, 1)",
    );
    sleep(Duration::from_millis(300));
    let rec = watch(load.pid(), Duration::from_secs(2), 600_000);
    let mine = of(&rec, load.pid());
    let waits: Vec<_> = mine.iter().filter(|e| e.kind == EpisodeKind::Blocked && e.woken.is_some()).collect();
    assert!(waits.len() > 100, "{} waits", waits.len());
    let by_the_child = waits.iter().filter(|e| e.by.is_some_and(|(pid, _)| pid != load.pid())).count();
    assert!(by_the_child * 100 >= waits.len() * 97, "{by_the_child} of {} waits", waits.len());
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_a_storm_ends_the_event_window_early_and_that_is_told() {
    let load = Load::python(
        "import os\na, b = os.pipe(), os.pipe()\nif os.fork() == 0:\n\
         \x20while True: os.read(a[0], 1); os.write(b[1], b'x')\n\
         while True: os.write(a[1], b'x'); os.read(b[0], 1)",
    );
    sleep(Duration::from_millis(300));
    let rec = watch(load.pid(), Duration::from_secs(2), 10_000);
    let length = value(&rec, "end") - value(&rec, "begin");
    assert!(length < 1.5, "it was open for {length} s");
    assert!(rec.get(&catalog::EPISODES).expect("episodes").len() >= 10_000);
}
