//! The kernel side against the kernel's own counters, on real load. Needs root and a kernel that lets programs load.

use observe::{Pid, Recording, Series, TimeClass, catalog};
use probes::{
    Session, Tier,
    roots::Roots,
    target::{Request, resolve},
};
use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// A load that ends with the test.
struct Load(Child);

impl Load {
    fn shell(script: &str) -> Self {
        let child = Command::new("sh").args(["-c", script]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Load(child.expect("sh starts"))
    }

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
        // The shell's children are in no group of their own; each load ends by itself soon after its shell.
        let _ = Command::new("pkill").args(["-KILL", "-P", &self.0.id().to_string()]).status();
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn watch(request: &Request, window: Duration) -> Recording {
    watch_with(request, window, || ()).0
}

/// Watches, and reads something else as the window begins and ends.
fn watch_with<T>(request: &Request, window: Duration, read: impl Fn() -> T) -> (Recording, T, T) {
    let roots = Roots::default();
    let target = resolve(&roots, request).expect("the target is there");
    let mut session = Session::start(&roots, target, Tier::Stacks).expect("the machine can be read");
    assert!(session.blind().is_none(), "the kernel cannot be traced: {:?}", session.blind());
    let before = read();
    let started = Instant::now();
    while started.elapsed() < window {
        sleep(Duration::from_millis(50));
        session.poll();
    }
    let after = read();
    (session.finish(), before, after)
}

/// Running and runnable time of a thread by the scheduler's own account.
fn schedstat(pid: Pid, tid: u32) -> (Duration, Duration) {
    let line = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).expect("schedstat is there");
    let mut fields = line.split_whitespace().map(|f| Duration::from_nanos(f.parse().expect("a number")));
    (fields.next().expect("running"), fields.next().expect("runnable"))
}

fn total(rows: &[Series], wanted: impl Fn(&Series) -> bool) -> f64 {
    rows.iter().filter(|row| wanted(row)).map(Series::last).sum()
}

fn near(a: f64, b: f64, part: f64) -> bool {
    (a - b).abs() <= part * a.abs().max(b.abs())
}

/// Spinners, sleepers, pipes, locks, files and short-lived processes at once: 200 threads.
const MIXED: &str = r"
import threading, time, os, subprocess
lock = threading.Lock()
r, w = os.pipe()
def spin():
    while True: sum(range(2000))
def nap(): 
    while True: time.sleep(0.003)
def locker():
    while True:
        with lock: time.sleep(0.001)
def reader():
    while True: os.read(r, 1)
def writer():
    while True: os.write(w, b'x'); time.sleep(0.0005)
def syncer():
    name = '/var/tmp/friday-live-test-%d' % threading.get_ident()
    f = os.open(name, os.O_CREAT | os.O_WRONLY)
    os.unlink(name)
    while True: os.write(f, b'x' * 4096); os.fsync(f)
def forker():
    while True: subprocess.call(['/bin/true'])
for f in [forker] + [nap, nap, locker, locker, reader, writer, syncer] * 28 + [spin, spin]:
    threading.Thread(target=f, daemon=True).start()
time.sleep(60)
";

#[test]
#[ignore = "live: needs root and BPF"]
fn live_ledger_sums_to_the_wall_time_of_every_thread() {
    let load = Load::python(MIXED);
    let threads = || std::fs::read_dir(format!("/proc/{}/task", load.pid())).map_or(0, Iterator::count);
    while threads() < 200 {
        sleep(Duration::from_millis(100));
    }
    let rec = watch(&Request::System, Duration::from_secs(3));
    let ledger = rec.get(&catalog::THREAD_TIME).expect("there is a ledger");
    assert!(ledger.iter().filter(|t| t.pid == load.pid()).count() >= 200);
    assert!(ledger.iter().filter(|t| t.wall < rec.window.length / 2).count() > 20, "short-lived threads are there too");
    for thread in ledger {
        let (wall, sum) = (thread.wall.as_secs_f64(), thread.classes.total().as_secs_f64());
        assert!((wall - sum).abs() <= 0.01 * wall + 20e-6, "{wall} s, classes {sum} s: {thread:?}");
        assert!(thread.wall <= rec.window.length + Duration::from_millis(1));
    }
    let mine = |class| ledger.iter().filter(|t| t.pid == load.pid()).map(|t| t.classes[class]).sum::<Duration>();
    let all: Duration = ledger.iter().filter(|t| t.pid == load.pid()).map(|t| t.wall).sum();
    assert!(mine(TimeClass::BlockedUnknown) < all.mul_f64(0.03), "unclassified: {:?}", mine(TimeClass::BlockedUnknown));
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_ledger_agrees_with_the_schedulers_account() {
    let load = Load::python("while True: sum(range(1000))");
    let _rival = Load::python("while True: sum(range(1000))");
    let _third = Load::python("while True: sum(range(1000))");
    sleep(Duration::from_millis(500));
    let (rec, before, after) =
        watch_with(&Request::Process(load.pid()), Duration::from_secs(5), || schedstat(load.pid(), load.0.id()));
    let ledger = rec.get(&catalog::THREAD_TIME).expect("there is a ledger");
    let thread = ledger.iter().find(|t| t.tid.0 == load.0.id()).expect("the thread is there");
    // The account leaves out what the hypervisor took.
    let running = thread.classes.sum(|c| c.is_running() && c != TimeClass::RunningStolen).as_secs_f64();
    let runnable = thread.classes.sum(TimeClass::is_runnable).as_secs_f64();
    // The account is read a little inside the window, and is brought up to date at ticks and switches.
    let (ran, waited) = ((after.0 - before.0).as_secs_f64(), (after.1 - before.1).as_secs_f64());
    assert!((running - ran).abs() < 0.02 * 5.0, "running {running} s, account {ran} s");
    assert!((runnable - waited).abs() < 0.02 * 5.0, "runnable {runnable} s, account {waited} s");
}

/// Who sleeps is off the CPU, whatever events were not seen: a thread's time on one agrees with the scheduler's account of it.
#[test]
#[ignore = "live: needs root and BPF"]
fn live_sleepers_are_not_taken_for_running() {
    let load = Load::python(
        "import threading, time\ndef nap():\n  while True: time.sleep(0.01)\nfor _ in range(60): threading.Thread(target=nap).start()",
    );
    sleep(Duration::from_secs(1));
    let tids = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", load.pid())).expect("it runs");
        tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok()).collect::<Vec<u32>>()
    };
    let accounts =
        || -> BTreeMap<u32, Duration> { tids().into_iter().map(|tid| (tid, schedstat(load.pid(), tid).0)).collect() };
    let (rec, before, after) = watch_with(&Request::Process(load.pid()), Duration::from_secs(3), accounts);
    let ledger = rec.get(&catalog::THREAD_TIME).expect("there is a ledger");
    let mine: Vec<_> = ledger.iter().filter(|thread| thread.pid == load.pid()).collect();
    assert!(mine.len() >= 60);
    let mut stolen = Duration::ZERO;
    for thread in mine {
        // The account leaves out what the hypervisor took.
        let running = thread.classes.sum(|c| c.is_running() && c != TimeClass::RunningStolen);
        let ran = after[&thread.tid.0] - before[&thread.tid.0];
        stolen += thread.classes[TimeClass::RunningStolen];
        // A sleep that is taken for running is 10 ms.
        assert!(running < ran + Duration::from_millis(8), "running {running:?}, account {ran:?}: {thread:?}");
    }
    let counted =
        rec.get(&catalog::CPU_TIME).expect("/proc/stat").iter().filter(|row| row.labels.get("mode") == "steal");
    let counted: f64 = counted.filter_map(Series::increase).sum();
    // /proc/stat counts hundredths of a second, on each CPU, and is read a little inside the window.
    assert!(stolen.as_secs_f64() < counted + 0.1, "stolen {stolen:?}, /proc/stat {counted} s");
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_block_requests_agree_with_diskstats() {
    let file = "/var/tmp/friday-live-blocks";
    let _load = Load::shell(&format!(
        "dd if=/dev/zero of={file} bs=1M count=64 conv=fsync; \
         while :; do dd if={file} of=/dev/null bs=16k count=2000 iflag=direct; done"
    ));
    sleep(Duration::from_secs(2));
    let rec = watch(&Request::System, Duration::from_secs(3));
    let _ = fs::remove_file(file);
    let reads = |row: &Series| row.labels.get("direction") == "read";
    let traced = total(rec.get(&catalog::BLOCK_OPERATIONS).expect("block tracing"), reads);
    let counted: f64 = rec
        .get(&catalog::DISK_OPERATIONS)
        .expect("diskstats")
        .iter()
        .filter(|row| reads(row))
        .filter_map(Series::increase)
        .sum();
    let latencies: u64 = rec
        .get(&catalog::BLOCK_LATENCY)
        .expect("block tracing")
        .iter()
        .filter(|h| h.labels.get("direction") == "read")
        .map(|h| h.count)
        .sum();
    assert!(counted > 500.0, "the load reads: {counted}");
    assert!(near(traced, counted, 0.02), "traced {traced}, diskstats {counted}");
    assert!(near(traced, latencies as f64, 0.02), "traced {traced}, in histograms {latencies}");
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_system_calls_are_counted_with_their_failures() {
    let load = Load::python(
        r"
import os, time
time.sleep(2.0)
for i in range(5000):
    try: os.stat('/nonexistent/friday-live')
    except OSError: pass
f = os.open('/dev/zero', os.O_RDONLY)
for i in range(7000): os.read(f, 1)
for i in range(300): os.getppid()
time.sleep(30)
",
    );
    sleep(Duration::from_millis(400));
    let rec = watch(&Request::Process(load.pid()), Duration::from_secs(5));
    let traced = total(rec.get(&catalog::SYSCALL_TRACED).expect("system call tracing"), |_| true);
    assert_eq!(traced, 1.0, "on a machine without a storm of calls, all are traced");
    let calls = rec.get(&catalog::SYSCALL_TIME).expect("system call tracing");
    let count = |name: &str| calls.iter().filter(|h| h.labels.get("syscall") == name).map(|h| h.count).sum::<u64>();
    assert_eq!(count("read"), 7000);
    assert_eq!(count("getppid"), 300);
    let errors = rec.get(&catalog::SYSCALL_ERRORS).expect("system call tracing");
    let missing =
        |row: &Series| row.labels.get("errno") == "ENOENT" && row.labels.get("argument") == "/nonexistent/friday-live";
    assert_eq!(total(errors, missing) as u64, 5000);
    assert!(calls.iter().all(|h| h.labels.pid() == Some(load.pid())), "only the target is traced");
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_profile_sees_the_hot_process_and_not_friday() {
    let load = Load::python("while True: sum(range(1000))");
    sleep(Duration::from_millis(300));
    let rec = watch(&Request::System, Duration::from_secs(3));
    let stacks = rec.get(&catalog::CPU_STACKS).expect("there is a profile");
    let samples: u64 = stacks.iter().filter(|s| s.pid == load.pid()).map(|s| s.samples).sum();
    let running = rec.get(&catalog::THREAD_TIME).expect("there is a ledger");
    let on_cpu: Duration =
        running.iter().filter(|t| t.pid == load.pid()).map(|t| t.classes.sum(TimeClass::is_running)).sum();
    let expected = on_cpu.as_secs_f64() * 99.0;
    assert!(near(samples as f64, expected, 0.1), "{samples} samples, {expected:.0} expected from {on_cpu:?} on CPU");
    assert!(stacks.iter().all(|s| !rec.is_friday(s.pid)), "friday is not in its own profile");
    let named = |s: &&observe::Stack| s.frames.iter().any(|f| rec.frame(*f).name.contains("PyEval"));
    assert!(stacks.iter().filter(|s| s.pid == load.pid()).filter(named).count() > 0, "frames have names");
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_functions_of_a_python_program_are_seen_and_weigh_as_samples_do() {
    let load = Load::python(
        "
import hashlib
def digest(): hashlib.pbkdf2_hmac('sha512', b'x', b'y', 20000)
def count(): return sum(range(20000))
def work():
    digest()
    for i in range(50): count()
while True: work()
",
    );
    sleep(Duration::from_millis(300));
    let rec = watch(&Request::System, Duration::from_secs(6));
    let names =
        |stack: &observe::Stack| stack.frames.iter().map(|f| rec.frame(*f).name.clone()).collect::<Vec<String>>();
    let looks = rec.get(&catalog::INTERPRETED_STACKS).expect("Python programs are looked at");
    let looks: Vec<_> = looks.iter().filter(|stack| stack.pid == load.pid()).collect();
    let all: u64 = looks.iter().map(|stack| stack.samples).sum();
    assert!(all > 100, "{all} looks");
    assert!(looks.iter().all(|stack| stack.tid.0 == stack.pid.0), "its only thread");
    assert!(looks.iter().all(|stack| names(stack)[0].starts_with("<module> (")), "{:?}", looks.first());
    let is_within = |stack: &observe::Stack, name: &str| names(stack).iter().any(|of| of.starts_with(name));
    let part = |name: &str| {
        let within = looks.iter().filter(|stack| is_within(stack, name));
        within.map(|stack| stack.samples).sum::<u64>() as f64 / all as f64
    };
    // It lets go of the interpreter while the library computes.
    let samples = rec.get(&catalog::CPU_STACKS).expect("there is a profile");
    let samples: Vec<_> = samples.iter().filter(|stack| stack.pid == load.pid()).collect();
    let is_library =
        |stack: &observe::Stack| stack.frames.last().is_some_and(|leaf| rec.frame(*leaf).module.contains("libcrypto"));
    let of_all: u64 = samples.iter().map(|stack| stack.samples).sum();
    let of_library: u64 = samples.iter().filter(|stack| is_library(stack)).map(|stack| stack.samples).sum();
    let library = of_library as f64 / of_all as f64;
    assert!((part("digest (") - library).abs() < 0.12, "{} of looks, {library} of samples", part("digest ("));
    assert!(part("digest (") > 0.2 && part("count (") > 0.1, "{} and {}", part("digest ("), part("count ("));
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_short_lived_processes_are_seen_with_their_parent() {
    let load = Load::shell("while :; do /bin/true; done");
    sleep(Duration::from_millis(300));
    let rec = watch(&Request::Process(load.pid()), Duration::from_secs(2));
    let exits = rec.get(&catalog::PROCESS_EXIT).expect("process tracing");
    let parent = load.pid().to_string();
    let mine: Vec<_> = exits.iter().filter(|e| e.labels.get("parent") == parent).collect();
    assert!(mine.len() > 50, "{} ended", mine.len());
    assert!(mine.iter().all(|e| e.value > 0.0 && e.value < 1.0), "their life spans are short");
    assert!(mine.iter().filter(|e| e.labels.get("name") == "true").count() * 10 > mine.len() * 9);
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_nothing_stays_attached() {
    let descriptors = || {
        let open = fs::read_dir("/proc/self/fd").expect("procfs").flatten();
        let names = open.filter_map(|e| fs::read_link(e.path()).ok()).map(|p| p.to_string_lossy().into_owned());
        names.filter(|n| n.contains("bpf") || n.contains("perf_event")).count()
    };
    let rec = watch(&Request::System, Duration::from_millis(300));
    assert_eq!(descriptors(), 0, "descriptors of programs, maps and perf events are closed");
    assert!(rec.cost.programs.iter().any(|p| p.runs > 0));
}
