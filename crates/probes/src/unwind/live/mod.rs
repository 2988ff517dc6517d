//! Live: the kernel side's stacks against an independent unwinder, and what they cost.
//!
//! Both see the same moments: perf copies the stack at the events that the kernel side's program runs on, and framehop
//! walks the copies.

mod given;
mod oracle;

use super::*;
use crate::{
    bpf::{Settings, rows, types},
    roots::Roots,
};
use libbpf_rs::{MapCore, MapFlags};
use oracle::{Beat, Framehop, Oracle};
use std::{
    collections::HashMap,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

const RECURSE: &str = r#"
#include <time.h>
volatile unsigned long sink;
__attribute__((noinline)) static unsigned long leaf(unsigned long n) {
    for (int i = 0; i < 3000; i++) sink = sink * 31 + n + i;
    return sink;
}
__attribute__((noinline)) static unsigned long deep(int depth, unsigned long n) {
    volatile char room[depth * 4 + 16];
    room[0] = (char)n;
    if (!depth) {
        struct timespec pause = { 0, 200000 };
        if (n % 16 == 0) nanosleep(&pause, 0);
        return leaf(n) + room[0];
    }
    return deep(depth - 1, n + 1) * 3 + room[0];
}
int main(void) { for (unsigned long n = 0;; n++) deep(n % 60, n); }
"#;

const SIGNAL: &str = r#"
#include <signal.h>
#include <string.h>
#include <sys/time.h>
volatile unsigned long sink;
__attribute__((noinline)) static void handle(int number) { for (int i = 0; i < 400000; i++) sink = sink * 31 + i + number; }
__attribute__((noinline)) static unsigned long work(unsigned long n) { for (int i = 0; i < 1000; i++) sink += n * i; return sink; }
static char other[65536];
int main(int argc, char **argv) {
    struct sigaction action; memset(&action, 0, sizeof(action));
    action.sa_handler = handle;
    struct itimerval every = { { 0, 2000 }, { 0, 2000 } };
    if (argc > 1) { stack_t stack = { other, 0, sizeof(other) }; sigaltstack(&stack, 0); action.sa_flags = SA_ONSTACK; }
    sigaction(SIGALRM, &action, 0);
    setitimer(ITIMER_REAL, &every, 0);
    for (unsigned long n = 0;; n++) work(n);
}
"#;

const QSORT: &str = r#"
#include <stdlib.h>
static int numbers[20000];
__attribute__((noinline)) static int compare(const void *a, const void *b) {
    volatile int x = *(const int *)a, y = *(const int *)b;
    for (volatile int i = 0; i < 20; i++) x += 0;
    return (x > y) - (x < y);
}
int main(void) { for (;;) { for (int i = 0; i < 20000; i++) numbers[i] = rand(); qsort(numbers, 20000, sizeof(int), compare); } }
"#;

const FUTEX: &str = r#"
#include <pthread.h>
#include <unistd.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t there = PTHREAD_COND_INITIALIZER;
static int ready;
__attribute__((noinline)) static void take(void) {
    pthread_mutex_lock(&lock);
    while (!ready) pthread_cond_wait(&there, &lock);
    ready = 0;
    pthread_mutex_unlock(&lock);
}
__attribute__((noinline)) static void give(void) {
    usleep(300);
    pthread_mutex_lock(&lock);
    ready = 1;
    pthread_cond_signal(&there);
    pthread_mutex_unlock(&lock);
}
static void *consume(void *none) { for (;;) take(); return none; }
int main(void) { pthread_t thread; pthread_create(&thread, 0, consume, 0); for (;;) give(); }
"#;

const RUST: &str = r#"
use std::collections::BTreeMap;
#[inline(never)]
fn build(depth: u32, map: &mut BTreeMap<u64, String>) -> u64 {
    if depth == 0 {
        return (0..200u64).map(|n| { map.insert(n * 7919 % 1000, format!("{n}")); map.len() as u64 }).sum();
    }
    let mut rest: Vec<u32> = (0..depth).collect();
    rest.sort_by(|a, b| b.cmp(a));
    build(depth - 1, map).wrapping_add(u64::from(rest[0]))
}
fn main() { let mut map = BTreeMap::new(); loop { std::hint::black_box(build(20, &mut map)); map.clear(); } }
"#;

const PYTHON: &str = "
import time, re, json
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
words = [str(n) for n in range(300)]
while True:
    fib(13); sorted(words, key=lambda w: json.loads(w)); time.sleep(0.0002)
";

const NODE: &str = "
function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
for (;;) { fib(18); JSON.parse(JSON.stringify([...Array(300).keys()])); [3,1,2].sort((a, b) => a - b); }
";

struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Running {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(400));
        Running(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn built(dir: &Path, name: &str, source: &str, compiler: &[&str], suffix: &str) -> Option<std::path::PathBuf> {
    let (from, to) = (dir.join(format!("{name}{suffix}")), dir.join(name));
    fs::write(&from, source).unwrap();
    let done = Command::new(compiler[0]).args(&compiler[1..]).arg("-o").arg(&to).arg(&from).status();
    if !done.is_ok_and(|status| status.success()) {
        eprintln!("{name}: skipped, it cannot be built here");
        return None;
    }
    Some(to)
}

fn start(pid: u32, tables: bool, sample_hz: u64) -> (Kernel, Option<Unwinder>) {
    let roots = Roots::default();
    let settings = Settings {
        roots: &roots,
        tier: crate::session::Tier::Stacks,
        everyone: false,
        targets: vec![pid],
        listening: Ok(crate::net::Listening::default()),
        sample_hz,
        tables,
        pass_samples: true,
    };
    let kernel = Kernel::start(&settings).unwrap();
    assert_eq!(kernel.no_tables.is_none(), tables, "{:?}", kernel.no_tables);
    let unwinder = tables.then(|| Unwinder::start(&kernel, roots.proc, vec![Pid(pid)]).unwrap());
    while tables && !matches!(kernel.maps().unwind_processes.lookup(&pid.to_ne_bytes(), MapFlags::ANY), Ok(Some(_))) {
        std::thread::sleep(Duration::from_millis(5));
    }
    (kernel, unwinder)
}

fn user_stacks(kernel: &Kernel) -> HashMap<u64, (Vec<u64>, u64)> {
    rows::<u64, types::user_stack>(&kernel.maps().user_stacks)
        .into_iter()
        .map(|(id, stack)| (id, (stack.ips[..stack.depth as usize].to_vec(), stack.end)))
        .collect()
}

const DEEPEST: usize = 127;
const GUESSED: u64 = types::unwind_end::UNWIND_GUESSED.0 as u64;
const ROOT: u64 = types::unwind_end::UNWIND_ROOT.0 as u64;
const DEEP: u64 = types::unwind_end::UNWIND_DEEP.0 as u64;

#[derive(Debug, Default)]
struct Agreement {
    /// Samples that both have.
    samples: u64,
    /// Of ours, those that reached the root or the greatest depth.
    complete: u64,
    /// Of ours, those with a frame found by frame pointer.
    guessed: u64,
    /// Samples that framehop walked.
    oracle_samples: u64,
    /// Of framehop's, those that reached the root or the greatest depth.
    oracle_complete: u64,
    /// Ours that framehop has, frame by frame, as often.
    equal: u64,
    frames: u64,
}

/// A part in percent.
fn share(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// Samples a program on CPU by both and compares.
fn on_cpu(name: &str, command: &mut Command) -> Agreement {
    let child = Running::start(command);
    compare(name, child.pid(), child.pid())
}

/// Samples one thread of a process on CPU by both and compares.
fn compare(name: &str, pid: u32, tid: u32) -> Agreement {
    let (mut kernel, unwinder) = start(pid, true, 0);
    let mut oracle = Oracle::new(tid, Beat::Clock(499));
    kernel.attach_to(oracle.event());
    oracle.take();
    let mut samples = Vec::new();
    for _ in 0..40 {
        std::thread::sleep(Duration::from_millis(50));
        samples.extend(oracle.take());
    }
    kernel.close();
    samples.extend(oracle.take());
    let mut framehop = Framehop::new(pid);
    let mut theirs: HashMap<Vec<u64>, u64> = HashMap::new();
    let mut found = Agreement { oracle_samples: samples.len() as u64, ..Agreement::default() };
    for sample in &samples {
        let (mut ips, complete) = framehop.walk(sample);
        found.oracle_complete += u64::from(complete || ips.len() > DEEPEST);
        ips.truncate(DEEPEST);
        *theirs.entry(ips).or_default() += 1;
    }
    let stacks = user_stacks(&kernel);
    let mut different = Vec::new();
    for (key, count) in rows::<types::sample_key, u64>(&kernel.maps().samples) {
        if key.tid != tid {
            continue;
        }
        let Some((ips, end)) = stacks.get(&key.user_stack).filter(|(_, end)| *end != 0) else { continue };
        found.samples += count;
        found.frames += count * ips.len() as u64;
        found.complete += count * u64::from([ROOT, DEEP].contains(&(end & !GUESSED)));
        found.guessed += count * u64::from(end & GUESSED != 0);
        let same = theirs.get_mut(ips).map_or(0, |times| {
            let same = count.min(*times);
            *times -= same;
            same
        });
        found.equal += same;
        if same < count {
            different.push((ips.clone(), *end));
        }
    }
    eprintln!(
        "{name:24} {:5} samples, {:5.1} frames; to the root {:5.1} % (framehop {:5.1} %); by frame pointer {:5.1} %; equal {:5.1} %; lost {}",
        found.samples,
        found.frames as f64 / found.samples.max(1) as f64,
        share(found.complete, found.samples),
        share(found.oracle_complete, found.oracle_samples),
        share(found.guessed, found.samples),
        share(found.equal, found.samples),
        oracle.lost,
    );
    if std::env::var_os("FRIDAY_TEST_DETAILS").is_some() {
        for (ips, end) in different.iter().take(3) {
            eprintln!("  ours   {end:#x} {ips:x?}");
            if let Some(near) = theirs.iter().find(|(other, times)| **times > 0 && other.first() == ips.first()) {
                eprintln!("  theirs {:x?}", near.0);
            }
        }
        eprintln!("{:?}", unwinder.map(|unwinder| unwinder.report()));
        eprintln!("{}", fs::read_to_string(format!("/proc/{pid}/maps")).unwrap());
    }
    found
}

#[test]
#[ignore = "live: loads BPF programs"]
fn live_samples_agree_with_framehop() {
    let dir = tempfile::tempdir().unwrap();
    let c = ["cc", "-O2", "-fomit-frame-pointer"];
    let rust = ["rustc", "-Copt-level=3", "-Cforce-frame-pointers=no", "--edition=2021"];
    let mut all = Vec::new();
    for (name, source) in [("recursion", RECURSE), ("signal", SIGNAL), ("qsort", QSORT)] {
        let Some(program) = built(dir.path(), name, source, &c, ".c") else { continue };
        all.push((name, on_cpu(name, &mut Command::new(&program))));
        if name == "signal" {
            on_cpu("signal, another stack", Command::new(&program).arg("other"));
        }
    }
    if let Some(program) = built(dir.path(), "static", QSORT, &["cc", "-O2", "-fomit-frame-pointer", "-static"], ".c") {
        all.push(("static", on_cpu("static", &mut Command::new(program))));
    }
    if let Some(program) = built(dir.path(), "rust", RUST, &rust, ".rs") {
        all.push(("rust", on_cpu("rust", &mut Command::new(program))));
    }
    for python in ["/usr/bin/python3", "python3"] {
        if Command::new(python).arg("-V").output().is_ok() {
            all.push((python, on_cpu(python, Command::new(python).args(["-c", PYTHON]))));
        }
    }
    if Command::new("node").arg("-v").output().is_ok() {
        on_cpu("node", Command::new("node").args(["-e", NODE]));
    }
    for (name, found) in all {
        assert!(found.samples > 100, "{name}: {found:?}");
        assert!(found.complete * 100 >= found.samples * 98, "{name}: {found:?}");
        // framehop takes the instruction that a signal interrupted for one behind a call, and often stops there.
        let comparable = found.samples.min(found.oracle_complete);
        assert!(found.equal * 100 >= comparable * 95, "{name}: {found:?}");
    }
}

#[test]
#[ignore = "live: loads BPF programs"]
fn live_waits_agree_with_framehop() {
    let dir = tempfile::tempdir().unwrap();
    let c = ["cc", "-O2", "-fomit-frame-pointer", "-pthread"];
    let mut programs = Vec::new();
    for (name, source) in [("recursion", RECURSE), ("futex", FUTEX)] {
        programs.extend(built(dir.path(), name, source, &c, ".c").map(|path| (name, Command::new(path))));
    }
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", PYTHON]);
    programs.push(("python", python));
    for (name, mut command) in programs {
        let child = Running::start(&mut command);
        let (mut kernel, _unwinder) = start(child.pid(), true, 0);
        let mut oracle = Oracle::new(child.pid(), Beat::Switch);
        let mut framehop = Framehop::new(child.pid());
        let mut theirs = std::collections::HashSet::new();
        let mut samples = 0;
        for _ in 0..150 {
            std::thread::sleep(Duration::from_millis(10));
            for sample in oracle.take() {
                let (mut ips, _) = framehop.walk(&sample);
                ips.truncate(DEEPEST);
                samples += 1;
                theirs.insert(ips);
            }
        }
        kernel.close();
        kernel.close_books().unwrap();
        // Before the process had its tables, the kernel walked.
        let stacks: HashMap<u64, (Vec<u64>, u64)> =
            user_stacks(&kernel).into_iter().filter(|(_, (_, end))| *end != 0).collect();
        let (mut waits, mut wakers, mut complete, mut equal) = ((0, 0), (0, 0), 0, 0);
        for (key, value) in rows::<types::wait_key, types::wait_value>(&kernel.maps().waits) {
            if let Some((_, end)) = stacks.get(&key.waker_stack).filter(|_| key.waker_tgid == child.pid()) {
                wakers = (wakers.0 + value.count, wakers.1 + value.count * u64::from(*end == ROOT));
            }
            let Some((ips, end)) = stacks.get(&key.user_stack).filter(|_| key.tid == child.pid()) else { continue };
            waits = (waits.0 + value.count, waits.1 + 1);
            complete += value.count * u64::from(*end == ROOT);
            equal += value.count * u64::from(theirs.contains(ips));
        }
        eprintln!(
            "{name:12} {} waits with a stack ({} kinds), to the root {complete}, seen by framehop {equal} (of {samples} switches); waker stacks {}, to the root {}; lost {}",
            waits.0, waits.1, wakers.0, wakers.1, oracle.lost
        );
        assert!(waits.0 > 50, "{name}");
        assert!(complete * 100 >= waits.0 * 98, "{name}");
        assert!(equal * 100 >= waits.0 * 95, "{name}");
        assert_eq!(wakers.0, wakers.1, "{name}");
    }
}

/// Nanoseconds of a program's mean run, and its runs.
fn cost(kernel: &Kernel, program: &str) -> (u64, u64) {
    let all = kernel.costs();
    all.iter().find(|cost| cost.name == program).map_or((0, 0), |cost| (cost.ns_per_run, cost.runs))
}

#[test]
#[ignore = "live: loads BPF programs"]
fn live_before_and_after() {
    let dir = tempfile::tempdir().unwrap();
    let c = ["cc", "-O2", "-pthread"];
    let mut programs = Vec::new();
    programs.extend(built(dir.path(), "futex", FUTEX, &c, ".c").map(|path| ("futex", Command::new(path))));
    programs.extend(built(dir.path(), "recursion", RECURSE, &c, ".c").map(|path| ("recursion", Command::new(path))));
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", PYTHON]);
    programs.push(("python", python));
    for (name, mut command) in programs {
        let child = Running::start(&mut command);
        for tables in [false, true] {
            let (mut kernel, unwinder) = start(child.pid(), tables, 499);
            std::thread::sleep(Duration::from_millis(1500));
            kernel.close();
            kernel.close_books().unwrap();
            let stacks = user_stacks(&kernel);
            let mut symbolizer = symbolize::Symbolizer::new();
            let owners = stacks.keys().map(|id| (*id, child.pid())).collect();
            let named = crate::stacks::Stacks::read(&kernel, Vec::new(), &mut symbolizer, &owners);
            // Whatever thread it is: main, or the function that the C library starts threads with.
            let whole = |id: u64| {
                let names = named.names(named.user(id));
                u64::from(
                    names.iter().any(|name| {
                        ["main", "start_thread", "Py_BytesMain", "__libc_start_main"]
                            .iter()
                            .any(|root| name.starts_with(root))
                    }) || stacks.get(&id).is_some_and(|(_, end)| *end == ROOT),
                )
            };
            let (mut samples, mut waits, mut wakers) = ((0, 0, 0), (0, 0, 0), (0, 0));
            let depth = |id: &u64| stacks.get(id).map_or(0, |(ips, _)| ips.len() as u64);
            for (key, count) in rows::<types::sample_key, u64>(&kernel.maps().samples) {
                if key.tgid == child.pid() && key.user_stack != 0 {
                    samples = (
                        samples.0 + count,
                        samples.1 + count * whole(key.user_stack),
                        samples.2 + count * depth(&key.user_stack),
                    );
                }
            }
            for (key, value) in rows::<types::wait_key, types::wait_value>(&kernel.maps().waits) {
                let n = value.count;
                if key.tgid == child.pid() && key.user_stack != 0 {
                    waits = (waits.0 + n, waits.1 + n * whole(key.user_stack), waits.2 + n * depth(&key.user_stack));
                }
                if key.waker_tgid == child.pid() && key.waker_stack != 0 {
                    wakers = (wakers.0 + n, wakers.1 + n * whole(key.waker_stack));
                }
            }
            let (switch, _) = cost(&kernel, "ledger_switch");
            let (sample, _) = cost(&kernel, "profile_sample");
            let mean = |frames: u64, count: u64| frames as f64 / count.max(1) as f64;
            eprintln!(
                "{name:10} {:6}: samples to the root {}/{} ({:.1} frames), waits {}/{} ({:.1} frames), wakers {}/{}; ledger_switch {switch} ns, profile_sample {sample} ns, {:?}",
                if tables { "tables" } else { "before" },
                samples.1,
                samples.0,
                mean(samples.2, samples.0),
                waits.1,
                waits.0,
                mean(waits.2, waits.0),
                wakers.1,
                wakers.0,
                unwinder.map(|unwinder| {
                    let report = unwinder.report();
                    (report.bytes, report.without)
                }),
            );
        }
    }
}
