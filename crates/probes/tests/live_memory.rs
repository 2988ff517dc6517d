//! Memory and control groups against the kernel's own counters, on real load. Needs root and a kernel that lets
//! programs load.

use observe::{Pid, Recording, Series, TimeClass, catalog};
use probes::{
    Session, Tier,
    roots::Roots,
    target::{Request, resolve},
};
use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// A load that waits for a line before it works, answers with one when it has, and ends with the test.
struct Load(Child);

impl Load {
    fn python(script: &str, arguments: &[&str]) -> Self {
        let script = format!("import sys, os, mmap, time\ndef go(): sys.stdin.readline()\n{script}");
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", &script]).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        Load(command.spawn().expect("python3 starts"))
    }

    fn pid(&self) -> Pid {
        Pid(self.0.id())
    }

    fn go(&mut self) {
        let _ = self.0.stdin.as_mut().expect("a pipe").write_all(b"\n");
    }

    /// Waits until the load says or does no more.
    fn wait(&mut self) {
        let _ = self.0.stdout.as_mut().expect("a pipe").read(&mut [0; 16]);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A control group, removed with all that runs in it when the test ends, whatever the way.
struct Group {
    dir: PathBuf,
    first: bool,
}

impl Group {
    /// `None` where the machine has no such controller.
    fn new(controller: &str, name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/mounts").expect("/proc/mounts is there");
        let rows: Vec<Vec<&str>> = mounts.lines().map(|line| line.split(' ').collect()).collect();
        let first = rows.iter().find(|row| row[2] == "cgroup" && row[3].split(',').any(|one| one == controller));
        let row = first.or_else(|| rows.iter().find(|row| row[2] == "cgroup2"))?;
        let root = Path::new(row[1]);
        if first.is_none() {
            let _ = fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"));
            let has = fs::read_to_string(root.join("cgroup.subtree_control")).unwrap_or_default();
            if !has.split_whitespace().any(|one| one == controller) {
                return None;
            }
        }
        let dir = root.join(format!("friday-live-{}-{name}", std::process::id()));
        fs::create_dir(&dir).expect("root may make groups");
        Some(Group { dir, first: first.is_some() })
    }

    fn set(&self, first: &str, second: &str, value: u64) {
        let file = self.dir.join(if self.first { first } else { second });
        fs::write(&file, value.to_string()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    fn take(&self, pid: Pid) {
        fs::write(self.dir.join("cgroup.procs"), pid.to_string()).expect("the process is there");
    }

    fn name(&self) -> String {
        format!("/{}", self.dir.file_name().expect("a name").to_string_lossy())
    }

    /// A number in one of its files, after a key.
    fn count(&self, file: &str, key: &str) -> f64 {
        let text = fs::read_to_string(self.dir.join(file)).expect("the file is there");
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("{key} in {text}"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..200 {
            for pid in fs::read_to_string(self.dir.join("cgroup.procs")).unwrap_or_default().lines() {
                // SAFETY: a plain system call; the process is one that the test put into its own group.
                pid.parse().map(|pid| unsafe { libc::kill(pid, libc::SIGKILL) }).ok();
            }
            if fs::remove_dir(&self.dir).is_ok() || !self.dir.exists() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        eprintln!("could not remove {}", self.dir.display());
    }
}

/// Watches while something is done.
fn watch<T>(request: &Request, during: impl FnOnce(&mut dyn FnMut(Duration)) -> T) -> (Recording, T) {
    let roots = Roots::default();
    let target = resolve(&roots, request).expect("the target is there");
    let mut session = Session::start(&roots, target, Tier::Stacks).expect("the machine can be read");
    assert!(session.blind().is_none(), "the kernel cannot be traced: {:?}", session.blind());
    let done = during(&mut |time| {
        let began = Instant::now();
        while began.elapsed() < time {
            sleep(Duration::from_millis(50));
            session.poll();
        }
    });
    session.poll();
    (session.finish(), done)
}

/// Minor and major faults of a process so far.
fn faults(pid: Pid) -> [f64; 2] {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let (_, rest) = stat.rsplit_once(')').expect("a name");
    let fields: Vec<&str> = rest.split_whitespace().collect();
    [fields[7], fields[9]].map(|field| field.parse().expect("a number"))
}

fn total(rows: &[Series], wanted: impl Fn(&Series) -> bool) -> f64 {
    rows.iter().filter(|row| wanted(row)).map(Series::last).sum()
}

fn near(a: f64, b: f64, part: f64) -> bool {
    (a - b).abs() <= part * a.abs().max(b.abs())
}

/// Anonymous pages by two threads, one of which ends, a child's copies, and pages of a file that must come from disk.
const FAULTS: &str = r"
import threading
path = sys.argv[1]
with open(path, 'wb') as f:
    f.write(os.urandom(1 << 20) * 16)
    f.flush(); os.fsync(f.fileno())
def touch(pages):
    m = mmap.mmap(-1, pages * 4096)
    if hasattr(mmap, 'MADV_NOHUGEPAGE'): m.madvise(mmap.MADV_NOHUGEPAGE)
    for n in range(pages): m[n * 4096] = 1
f = os.open(path, os.O_RDONLY)
m = mmap.mmap(f, 0, prot=mmap.PROT_READ)
m.madvise(mmap.MADV_RANDOM)
os.posix_fadvise(f, 0, 0, os.POSIX_FADV_DONTNEED)
go()
thread = threading.Thread(target=touch, args=(30000,))
thread.start(); thread.join()
touch(30000)
for n in range(4096): m[n * 4096]
print('done', flush=True)
time.sleep(60)
";

#[test]
#[ignore = "live: needs root and BPF"]
fn live_faults_agree_with_proc_stat() {
    let path = format!("/var/tmp/friday-live-faults-{}", std::process::id());
    let mut load = Load::python(FAULTS, &[&path]);
    sleep(Duration::from_millis(800));
    let (rec, (before, after)) = watch(&Request::Process(load.pid()), |pause| {
        // Until there are tables for its stacks.
        pause(Duration::from_secs(2));
        let before = faults(load.pid());
        load.go();
        load.wait();
        let after = faults(load.pid());
        pause(Duration::from_millis(200));
        (before, after)
    });
    let _ = fs::remove_file(&path);
    let counted = rec.get(&catalog::PROCESS_FAULTS).expect("faults are counted");
    for (n, kind) in ["minor", "major"].into_iter().enumerate() {
        let seen = total(counted, |row| row.labels.pid() == Some(load.pid()) && row.labels.get("type") == kind);
        let real = after[n] - before[n];
        eprintln!("{kind}: {seen} seen, {real} in /proc");
        assert!(real > 1000.0, "the load takes {kind} faults: {real}");
        assert!(near(seen, real, 0.02), "{kind}: {seen} seen, {real} in /proc");
    }
    let all = after[0] + after[1] - before[0] - before[1];
    let stacks = rec.get(&catalog::FAULT_STACKS).expect("faults are sampled");
    let mine: Vec<_> = stacks.iter().filter(|stack| stack.pid == load.pid()).collect();
    let weight: u64 = mine.iter().map(|stack| stack.samples).sum();
    eprintln!("{weight} in {} stacks", mine.len());
    assert!(near(weight as f64, all, 0.15), "stacks stand for {weight}, there were {all}");
    let named = |stack: &&&observe::Stack| stack.frames.iter().any(|f| rec.frame(*f).name.contains("PyEval"));
    let named: u64 = mine.iter().filter(named).map(|stack| stack.samples).sum();
    assert!(named * 10 > weight * 9, "{named} of {weight} with code paths");
    assert!(stacks.iter().all(|stack| !rec.is_friday(stack.pid)), "friday's own are not there");
    let accesses = rec.get(&catalog::FAULT_ACCESSES).expect("faults are sampled");
    let of = |access: &str| {
        total(accesses, |row| row.labels.pid() == Some(load.pid()) && row.labels.get("access") == access)
    };
    eprintln!("read {}, write {}", of("read"), of("write"));
    assert!(near(of("write"), 60_000.0, 0.15), "{} writes", of("write"));
    assert!(near(of("read"), 4_096.0, 0.5), "{} reads", of("read"));
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_a_storm_of_faults_is_traced_in_part_and_stands_for_all() {
    let script = r"
m = mmap.mmap(-1, 4096 * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
if hasattr(mmap, 'MADV_NOHUGEPAGE'): m.madvise(mmap.MADV_NOHUGEPAGE)
go()
while True:
    for n in range(0, 4096 * 4096, 4096): m[n] = 1
    m.madvise(mmap.MADV_DONTNEED)
";
    let mut load = Load::python(script, &[]);
    sleep(Duration::from_millis(500));
    let (rec, (before, after)) = watch(&Request::System, |pause| {
        load.go();
        let before = faults(load.pid());
        pause(Duration::from_secs(4));
        (before, faults(load.pid()))
    });
    let part = rec.get(&catalog::FAULTS_TRACED).expect("faults are traced")[0].last();
    let all = after[0] - before[0];
    let stacks = rec.get(&catalog::FAULT_STACKS).expect("faults are sampled");
    let weight: u64 = stacks.iter().filter(|stack| stack.pid == load.pid()).map(|stack| stack.samples).sum();
    eprintln!("{all} faults, stacks stand for {weight}, traced in {part:.2} of the window");
    assert!(all > 150_000.0 && part < 0.95, "{all} faults, traced in {part}");
    assert!(near(weight as f64, all, 0.1), "stacks stand for {weight}, there were {all}");
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_growth_is_seen() {
    let script =
        "go()\nm = mmap.mmap(-1, 64 << 20)\nm.write(b'x' * (64 << 20))\nprint('done', flush=True)\ntime.sleep(60)";
    let mut load = Load::python(script, &[]);
    sleep(Duration::from_millis(300));
    let (rec, ()) = watch(&Request::Process(load.pid()), |pause| {
        load.go();
        load.wait();
        pause(Duration::from_millis(2500));
    });
    let rows = rec.get(&catalog::MEMORY_USAGE).expect("memory is read");
    let grown = |kind: &str| {
        let row = rows.iter().find(|r| r.labels.pid() == Some(load.pid()) && r.labels.get("kind") == kind);
        row.map(|row| (row.points.len(), row.increase().expect("two readings")))
    };
    // What Python maps privately and shares with nobody counts as shared memory.
    let (points, by) = grown("shared").or_else(|| grown("anonymous")).expect("it has memory");
    assert!(points >= 3 && near(by, f64::from(64 << 20), 0.05), "{points} points, grew by {by}");
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_a_groups_memory_limit_is_seen_as_reclaim_and_as_events() {
    let Some(group) = Group::new("memory", "limit") else {
        return eprintln!("no memory controller here");
    };
    group.set("memory.limit_in_bytes", "memory.max", 32 << 20);
    let path = format!("/var/tmp/friday-live-limit-{}", std::process::id());
    let script = r"
go()
f = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
os.unlink(sys.argv[1])
for n in range(160): os.write(f, b'x' * (1 << 20))
print('done', flush=True)
time.sleep(60)
";
    let mut load = Load::python(script, &[&path]);
    group.take(load.pid());
    let hits = || if group.first { group.count("memory.failcnt", "") } else { group.count("memory.events", "max") };
    let (rec, (before, after)) = watch(&Request::System, |pause| {
        let before = hits();
        load.go();
        load.wait();
        let after = hits();
        pause(Duration::from_millis(200));
        (before, after)
    });
    let reclaims = rec.get(&catalog::RECLAIM_TIME).expect("reclaim is traced");
    let mine = reclaims.iter().find(|row| row.labels.pid() == Some(load.pid()) && row.labels.get("kind") == "cgroup");
    let mine = mine.unwrap_or_else(|| panic!("none of {} in {reclaims:?}", load.pid()));
    eprintln!("{} reclaims, {:?} in all, longest {} ns", mine.count, Duration::from_nanos(mine.sum), mine.max);
    assert!(mine.count > 10 && mine.sum > 0 && mine.max <= mine.sum, "{mine:?}");
    assert_eq!(mine.labels.get("cgroup"), group.name());
    let wall = rec.window.length.as_nanos() as u64;
    assert!(mine.sum < wall, "one thread reclaims at most all the time");
    let events = rec.get(&catalog::CGROUP_EVENTS).expect("groups are read");
    let row = events
        .iter()
        .find(|row| row.labels.get("cgroup") == group.name() && row.labels.get("event") == "memory.max")
        .expect("the group is watched");
    let by = row.increase().expect("two readings");
    eprintln!("{by} events, {} in the group's file", after - before);
    assert!(by > 10.0 && near(by, after - before, 0.02), "{by} events, {} in the file", after - before);
    let limits = rec.get(&catalog::CGROUP_LIMIT).expect("groups are read");
    let limit = limits.iter().find(|fact| fact.labels.get("cgroup") == group.name()).expect("the limit is a fact");
    assert_eq!(limit.value, (32 << 20).to_string());
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_an_oom_kill_inside_a_group_is_an_event() {
    let Some(group) = Group::new("memory", "oom") else {
        return eprintln!("no memory controller here");
    };
    group.set("memory.limit_in_bytes", "memory.max", 32 << 20);
    let mut load = Load::python("go()\nx = bytearray(256 << 20)\nprint('alive')\ntime.sleep(60)", &[]);
    group.take(load.pid());
    let (rec, ()) = watch(&Request::System, |pause| {
        load.go();
        load.wait();
        pause(Duration::from_millis(300));
    });
    let kills = rec.get(&catalog::OOM_KILL).expect("kills are traced");
    let kill = kills.iter().find(|kill| kill.pid == Some(load.pid())).unwrap_or_else(|| panic!("{kills:?}"));
    assert_eq!(kill.labels.get("name"), "python3");
    assert_eq!(kill.labels.get("asking"), load.pid().to_string());
    assert_eq!(kill.labels.get("cgroup"), group.name());
    assert!(kill.at < rec.window.length);
    let events = rec.get(&catalog::CGROUP_EVENTS).expect("groups are read");
    let is = |row: &&Series| row.labels.get("cgroup") == group.name() && row.labels.get("event") == "memory.oom_kill";
    assert_eq!(events.iter().find(is).and_then(Series::increase), Some(1.0));
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_throttled_time_agrees_with_cpu_stat() {
    let Some(group) = Group::new("cpu", "quota") else {
        return eprintln!("no cpu controller here");
    };
    if group.first {
        group.set("cpu.cfs_quota_us", "", 20_000);
    } else {
        group.set("", "cpu.max", 20_000);
    }
    let load = Load::python("while True: sum(range(1000))", &[]);
    group.take(load.pid());
    sleep(Duration::from_millis(500));
    let throttled = || {
        if group.first {
            group.count("cpu.stat", "throttled_time") / 1e9
        } else {
            group.count("cpu.stat", "throttled_usec") / 1e6
        }
    };
    let (rec, (before, after)) = watch(&Request::Process(load.pid()), |pause| {
        let before = throttled();
        pause(Duration::from_secs(10));
        (before, throttled())
    });
    let ledger = rec.get(&catalog::THREAD_TIME).expect("there is a ledger");
    let thread = ledger.iter().find(|row| row.pid == load.pid()).expect("the thread is there");
    let seen = thread.classes[TimeClass::RunnableThrottled].as_secs_f64();
    let real = after - before;
    // The file counts a period when it is over: up to 80 ms of 8 s at either end.
    let rest: Vec<_> = thread.classes.iter().collect();
    assert!((seen / real - 1.0).abs() < 0.02, "{seen} s in the ledger, {real} s in cpu.stat: {rest:?}");
}
