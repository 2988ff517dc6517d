//! Experiments on real programs, and what is left of them when friday is killed. Needs root.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// A program that ends with the test.
struct Program(Child);

impl Program {
    fn perl(script: &str) -> Program {
        let mut command = Command::new("perl");
        Program::start(command.args(["-e", script]))
    }

    /// On one CPU, so that two of them compete wherever the test runs.
    fn on_first_cpu(script: &str) -> Program {
        Program::start(Command::new("taskset").args(["-c", "0", "perl", "-e", script]))
    }

    fn start(command: &mut Command) -> Program {
        Program(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the program starts"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn state(&self) -> char {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it runs");
        stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).expect("a state")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const SPIN: &str = "1 while 1";
const SLEEP: &str = "select undef, undef, undef, 0.05 while 1";

fn friday(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_friday"));
    command.arg("experiment").args(args).stdin(Stdio::null());
    command
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn tried(args: &[&str]) -> serde_json::Value {
    let output =
        friday(args).args(["--allow", "change", "--format", "json", "--for", "1s"]).output().expect("friday runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!Path::new("/run/friday").exists(), "no journal is left");
    json(&output)
}

fn freeze(victim: u32, culprit: u32, more: &[&str]) -> serde_json::Value {
    let (victim, culprit) = (victim.to_string(), culprit.to_string());
    tried(&[&["freeze", "--victim", &victim, "--culprit", &culprit], more].concat())
}

#[test]
#[ignore = "needs root"]
fn live_a_cpu_hog_is_confirmed_and_a_wrong_accusation_refuted() {
    let (victim, hog) = (Program::on_first_cpu(SPIN), Program::on_first_cpu(SPIN));
    let innocent = Program::perl(SLEEP);
    let right = freeze(victim.pid(), hog.pid(), &["--expect", "helps"]);
    assert_eq!(right["verdict"], "confirmed", "{right:#}");
    let effect = right["measure"]["effect"].as_f64().unwrap();
    assert!((-0.62..-0.35).contains(&effect), "half of its time was the hog's: {right:#}");
    let wrong = freeze(victim.pid(), innocent.pid(), &["--expect", "helps"]);
    assert_eq!(wrong["verdict"], "refuted", "{wrong:#}");
    assert!(matches!(hog.state(), 'R') && innocent.state() != 'T');
    let dose = freeze(victim.pid(), hog.pid(), &["--dose", "--expect", "helps"]);
    assert_eq!(dose["verdict"], "confirmed", "{dose:#}");
    assert!(dose["dose"]["to"].as_f64().unwrap() < 0.0, "{dose:#}");
}

#[test]
#[ignore = "needs root"]
fn live_who_is_depended_on_stops_its_victim() {
    let dir = tempfile::tempdir().unwrap();
    let lock = dir.path().join("lock");
    // Holds the lock all the time but for an instant, in which it would be no hindrance.
    let script = |held: &str, pause: &str| {
        format!(
            "use Fcntl ':flock'; open F, '>>', '{}' or die; while (1) {{ flock F, LOCK_EX; {held}; flock F, LOCK_UN; {pause} }}",
            lock.display()
        )
    };
    let holder = Program::perl(&script("select undef, undef, undef, 0.4", "select undef, undef, undef, 0.002;"));
    let waiter = Program::perl(&script("my $n = 0; $n++ while $n < 100000", "select undef, undef, undef, 0.001;"));
    sleep(Duration::from_millis(300));
    let seen = freeze(waiter.pid(), holder.pid(), &["--expect", "stops"]);
    assert_eq!(seen["verdict"], "confirmed", "{seen:#}");

    // A pipe has no such moments.
    let mut producer = Program(
        Command::new("perl")
            .args(["-e", "$| = 1; while (1) { print 'x' x 4096 }"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let pipe = producer.0.stdout.take().unwrap();
    let consumer =
        Program(Command::new("perl").args(["-e", "1 while sysread STDIN, $_, 4096"]).stdin(pipe).spawn().unwrap());
    let seen = freeze(consumer.pid(), producer.pid(), &["--expect", "stops"]);
    assert_eq!(seen["verdict"], "confirmed", "{seen:#}");
    assert!(seen["measure"]["effect"].as_f64().unwrap() < -0.9, "{seen:#}");
    let wrong_way = freeze(consumer.pid(), producer.pid(), &["--expect", "helps"]);
    assert_eq!(wrong_way["verdict"], "refuted", "the direction is part of the accusation: {wrong_way:#}");
}

#[test]
#[ignore = "needs root"]
fn live_a_disk_hog_is_confirmed() {
    let dir = tempfile::Builder::new().tempdir_in("/var/tmp").unwrap();
    let write = |name: &str, size: u64, pause: &str| {
        format!(
            "open F, '+>', '{}/{name}' or die; use Fcntl; use IO::Handle; my $b = 'x' x {size}; while (1) {{ seek F, 0, 0; \
             syswrite F, $b for 1..4; F->sync; {pause} }}",
            dir.path().display()
        )
    };
    let victim = Program::perl(&write("small", 4096, "select undef, undef, undef, 0.005"));
    let hogs: Vec<Program> = (0..2).map(|n| Program::perl(&write(&format!("large{n}"), 4 << 20, ""))).collect();
    sleep(Duration::from_secs(1));
    let both = (hogs[0].pid().to_string(), hogs[1].pid().to_string());
    let seen = freeze(victim.pid(), hogs[0].pid(), &["--culprit", &both.1, "--expect", "helps"]);
    assert_eq!(seen["verdict"], "confirmed", "{seen:#}");
}

#[test]
#[ignore = "needs root"]
fn live_nothing_is_changed_without_leave_nor_to_who_must_not_be_held() {
    let (victim, hog) = (Program::perl(SLEEP), Program::perl(SPIN));
    let (v, h, own) = (victim.pid().to_string(), hog.pid().to_string(), std::process::id().to_string());
    let output = friday(&["freeze", "--victim", &v, "--culprit", &h]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("this would freeze perl") && said.contains("--allow change"), "{said}");
    let load = friday(&["freeze", "--victim", &v, "--culprit", &h, "--allow", "load"]).output().unwrap();
    assert_eq!(load.status.code(), Some(2), "a lower level is no leave");
    for (culprit, why) in
        [("1", "first process"), ("2", "the kernel's"), (&*own, "connection or terminal"), (&*v, "victim itself")]
    {
        let output = friday(&["freeze", "--victim", &v, "--culprit", culprit, "--allow", "change"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(why), "{culprit}: {said}");
    }
    assert_eq!(hog.state(), 'R');
}

/// What is to be as it was before.
#[derive(Debug, PartialEq)]
struct Settings {
    texts: Vec<(PathBuf, String)>,
    groups: Vec<PathBuf>,
    /// Groups, niceness, policy and CPUs of each program, and whether it is held.
    programs: Vec<(u32, String, bool)>,
}

/// Groups that experiments have made.
fn groups_of_friday(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if entry.file_name().to_string_lossy().starts_with("friday-") {
                found.push(entry.path());
            }
            groups_of_friday(&entry.path(), found);
        }
    }
}

fn settings(files: &[PathBuf], programs: &[u32]) -> Settings {
    let mut groups = Vec::new();
    groups_of_friday("/sys/fs/cgroup".as_ref(), &mut groups);
    let of = |pid: &u32| {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let stat = read("stat");
        let rest: Vec<String> = stat.rsplit(") ").next().unwrap_or_default().split(' ').map(str::to_owned).collect();
        let allowed = read("status").lines().find(|l| l.starts_with("Cpus_allowed:")).map(str::to_owned);
        // Priority, niceness, real-time priority and policy.
        let schedule = [15, 16, 37, 38].map(|at| rest.get(at).cloned().unwrap_or_default());
        (*pid, format!("{} {schedule:?} {allowed:?}", read("cgroup")), rest.first().is_some_and(|state| state == "T"))
    };
    Settings {
        texts: files.iter().map(|file| (file.clone(), fs::read_to_string(file).unwrap_or_default())).collect(),
        groups,
        programs: programs.iter().map(of).collect(),
    }
}

/// ours: how long a guard may take on a busy machine.
const GUARD: Duration = Duration::from_secs(10);
const KILLS: u32 = 20;

/// Whether a journal says that a change is in effect.
fn has_something_to_undo() -> bool {
    let entries = fs::read_dir("/run/friday/undo").into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::read_to_string(entry.path()).ok()).any(|text| {
        let lines = |kind: &str| text.lines().filter(|l| l.contains(&format!("\"line\":\"{kind}\""))).count();
        lines("step") > lines("undone")
    })
}

/// Numbers that are as good as random.
fn random(seed: &mut u64) -> f64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 11) as f64 / (1u64 << 53) as f64
}

/// Kills friday at twenty random moments of an experiment; whatever it was at, all must be as before.
fn killed_at_random_moments(args: &[&str], files: &[PathBuf], programs: &[u32]) {
    let before = settings(files, programs);
    assert!(before.groups.is_empty() && before.programs.iter().all(|(.., held)| !held), "{before:?}");
    let mut seed = fs::metadata("/proc/self").map(|_| u64::from(std::process::id())).unwrap_or(1) << 17 | 1;
    let all = [args, &["--allow", "change", "--for", "100ms"]].concat();
    // Once to its end, which must leave nothing either; it says how long one takes.
    let began = Instant::now();
    let whole = friday(&all).output().expect("friday runs");
    assert!(whole.status.success(), "{args:?}: {}", String::from_utf8_lossy(&whole.stderr));
    assert_eq!(settings(files, programs), before, "{args:?}");
    let length = began.elapsed();
    let mut in_effect = 0;
    for kill in 0..KILLS {
        let mut child = friday(&all).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("friday runs");
        let mut said = child.stderr.take().expect("a pipe");
        sleep(length.mul_f64(random(&mut seed)));
        if settings(files, programs) != before || has_something_to_undo() {
            in_effect += 1;
        }
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        let since = Instant::now();
        loop {
            let after = settings(files, programs);
            if after == before && !Path::new("/run/friday").exists() {
                break;
            }
            assert!(since.elapsed() < GUARD, "{args:?}, kill {kill}: {after:#?}\nbefore: {before:#?}");
            sleep(Duration::from_millis(10));
        }
        // The guard holds friday's stderr, so this ends when it does.
        let mut text = String::new();
        said.read_to_string(&mut text).expect("text");
        assert!(!text.contains("could not"), "{text}");
    }
    eprintln!(
        "{args:?}: killed {KILLS} times in {:.1} s each, {in_effect} times with the change in effect",
        length.as_secs_f64()
    );
    // A third of the time it is: that none of twenty meets it happens once in three thousand times.
    assert!(in_effect > 0, "{args:?}: no kill met the change");
}

/// A control group of the test's own, with a process in it; `None` where this machine has no such hierarchy.
struct Group {
    dir: PathBuf,
    home: PathBuf,
}

impl Group {
    fn make(controller: &str, pids: &[u32]) -> Option<Group> {
        let base = Path::new("/sys/fs/cgroup");
        let v2 =
            [base.to_owned(), base.join("unified")].into_iter().find(|root| root.join("cgroup.controllers").exists());
        let home = match controller {
            "v2" => v2?,
            _ => Some(base.join(controller)).filter(|root| root.join("cgroup.procs").exists())?,
        };
        let dir = home.join(format!("experiment-test-{}", std::process::id()));
        fs::create_dir_all(&dir).ok()?;
        for pid in pids {
            fs::write(dir.join("cgroup.procs"), pid.to_string()).ok()?;
        }
        Some(Group { dir, home })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let members = fs::read_to_string(self.file("cgroup.procs")).unwrap_or_default();
        members.lines().for_each(|pid| drop(fs::write(self.home.join("cgroup.procs"), pid)));
        let until = Instant::now() + Duration::from_secs(2);
        while fs::remove_dir(&self.dir).is_err() && Instant::now() < until {
            sleep(Duration::from_millis(20));
        }
    }
}

/// Two programs that compete, the second accused.
struct Parties {
    victim: Program,
    hog: Program,
}

impl Parties {
    fn new() -> Parties {
        Parties { victim: Program::on_first_cpu(SPIN), hog: Program::on_first_cpu(SPIN) }
    }

    fn pids(&self) -> [u32; 2] {
        [self.victim.pid(), self.hog.pid()]
    }

    fn killed(&self, kind: &[&str], files: &[PathBuf]) {
        let [victim, hog] = self.pids().map(|pid| pid.to_string());
        let mut args = kind.to_vec();
        args.extend(["--victim", &victim]);
        if !["quota", "sysctl", "thp"].contains(&kind[0]) {
            args.extend(["--culprit", &hog]);
        }
        // perl is there when taskset has become it.
        sleep(Duration::from_millis(200));
        killed_at_random_moments(&args, files, &self.pids());
    }
}

#[test]
#[ignore = "needs root"]
fn live_kill_9_while_frozen_by_signal() {
    Parties::new().killed(&["freeze"], &[]);
}

#[test]
#[ignore = "needs root"]
fn live_kill_9_while_frozen_by_dose() {
    Parties::new().killed(&["freeze", "--dose"], &[]);
}

#[test]
#[ignore = "needs root"]
fn live_kill_9_while_frozen_by_its_group() {
    let parties = Parties::new();
    let mut tried = 0;
    for (controller, file) in [("v2", "cgroup.freeze"), ("freezer", "freezer.state")] {
        let Some(group) = Group::make(controller, &[parties.hog.pid()]) else {
            eprintln!("not tested: no {controller} hierarchy here");
            continue;
        };
        parties.killed(&["freeze"], &[group.file(file)]);
        tried += 1;
    }
    assert!(tried > 0, "no freezer at all");
}

#[test]
#[ignore = "needs root"]
fn live_kill_9_while_its_weight_is_low() {
    let parties = Parties::new();
    parties.killed(&["weight"], &[]);
    for (controller, file) in [("v2", "cpu.weight"), ("cpu", "cpu.shares")] {
        match Group::make(controller, &[parties.hog.pid()]).filter(|group| group.file(file).exists()) {
            Some(group) => parties.killed(&["weight"], &[group.file(file)]),
            None => eprintln!("not tested: no {file} here"),
        }
    }
}

#[test]
#[ignore = "needs root"]
fn live_kill_9_while_realtime_is_taken_away() {
    let parties = Parties::new();
    sleep(Duration::from_millis(200));
    // Round robin, so that both get on.
    for pid in parties.pids() {
        let done = Command::new("chrt").args(["-r", "-p", "1", &pid.to_string()]).status().expect("chrt runs");
        assert!(done.success());
    }
    parties.killed(&["weight"], &[]);
}

#[test]
#[ignore = "needs root"]
fn live_kill_9_while_cpus_are_parted() {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let parties = Parties { victim: Program::perl(SPIN), hog: Program::perl(SPIN) };
    if cpus < 2 {
        let [victim, hog] = parties.pids().map(|pid| pid.to_string());
        let output = friday(&["cpuset", "--victim", &victim, "--culprit", &hog, "--allow", "change"]).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("one CPU cannot be parted"));
        eprintln!("not tested: one CPU cannot be parted");
        return;
    }
    parties.killed(&["cpuset"], &[]);
}

#[test]
#[ignore = "needs root"]
fn live_kill_9_while_io_is_limited() {
    let parties = Parties::new();
    let [victim, hog] = parties.pids().map(|pid| pid.to_string());
    let first = friday(&[
        "io-limit",
        "--victim",
        &victim,
        "--culprit",
        &hog,
        "--rate",
        "1048576",
        "--allow",
        "change",
        "--for",
        "100ms",
    ])
    .output()
    .unwrap();
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    if !first.status.success() {
        assert!(said.contains("no I/O controller") || said.contains("no disks"), "{said}");
        eprintln!("not tested: {said}");
        return;
    }
    parties.killed(&["io-limit", "--rate", "1048576"], &[]);
}

#[test]
#[ignore = "needs root"]
fn live_kill_9_while_a_quota_is_raised() {
    let parties = Parties::new();
    let mut tried = 0;
    for (controller, file, limit) in [("v2", "cpu.max", "20000 100000"), ("cpu", "cpu.cfs_quota_us", "20000")] {
        let group = Group::make(controller, &[parties.victim.pid()]).filter(|group| group.file(file).exists());
        let Some(group) = group else {
            eprintln!("not tested: no {file} here");
            continue;
        };
        fs::write(group.file(file), limit).expect("a quota can be set");
        let name = format!("/{}", group.dir.file_name().unwrap().to_string_lossy());
        parties.killed(&["quota", &name, "max"], &[group.file(file)]);
        tried += 1;
    }
    assert!(tried > 0, "no CPU controller at all");
}

#[test]
#[ignore = "needs root"]
fn live_kill_9_while_a_setting_is_changed() {
    // Harmless: how many dentries are kept, within what administrators choose.
    let file = PathBuf::from("/proc/sys/vm/vfs_cache_pressure");
    let to = if fs::read_to_string(&file).unwrap().trim() == "101" { "100" } else { "101" };
    Parties::new().killed(&["sysctl", &format!("vm.vfs_cache_pressure={to}")], &[file]);
    // One of a pair, of which the other has to be written back.
    let files = ["/proc/sys/vm/dirty_background_bytes", "/proc/sys/vm/dirty_background_ratio"].map(PathBuf::from);
    Parties::new().killed(&["sysctl", "vm.dirty_background_bytes=268435456"], &files);
}

#[test]
#[ignore = "needs root"]
fn live_kill_9_while_huge_pages_are_switched() {
    let file = PathBuf::from("/sys/kernel/mm/transparent_hugepage/enabled");
    let Ok(text) = fs::read_to_string(&file) else {
        eprintln!("not tested: this kernel has no transparent huge pages");
        return;
    };
    let to = if text.contains("[madvise]") { "never" } else { "madvise" };
    Parties::new().killed(&["thp", to], &[file]);
}

#[test]
#[ignore = "needs root"]
fn live_a_journal_that_nobody_guards_is_mentioned_and_undone() {
    let parties = Parties::new();
    sleep(Duration::from_millis(200));
    let [victim, hog] = parties.pids().map(|pid| pid.to_string());
    let mut child = friday(&["freeze", "--victim", &victim, "--culprit", &hog, "--allow", "change", "--for", "5s"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    for line in lines {
        if line.unwrap().contains("round 1 of 3: with") {
            break;
        }
    }
    let until = Instant::now() + Duration::from_secs(9);
    while parties.hog.state() != 'T' {
        assert!(Instant::now() < until, "it is never frozen");
        sleep(Duration::from_millis(10));
    }
    // Both at once: the guard first, or it would undo it.
    let guard = guard_of(child.id()).expect("a guard");
    assert!(
        Command::new("kill").args(["-KILL", &guard.to_string(), &child.id().to_string()]).status().unwrap().success()
    );
    child.wait().unwrap();
    sleep(Duration::from_millis(300));
    assert_eq!(parties.hog.state(), 'T', "nobody was left to undo it");
    let list = friday(&["freeze", "--victim", &victim, "--culprit", &hog, "--allow", "change"]).output().unwrap();
    let said = String::from_utf8_lossy(&list.stderr).into_owned();
    assert!(said.contains("somebody has stopped it already"), "{said}");
    let undo = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_friday")).arg("undo").args(args).output().unwrap();
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let blind = Command::new(env!("CARGO_BIN_EXE_friday"))
        .args(["run", "--for", "300ms", "--tier", "1", "--case"])
        .arg(tempfile::tempdir().unwrap().path().join("case"))
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&blind.stderr).contains("`friday undo` does"));
    assert!(undo(&["--show"]).contains(&format!("let pid {hog} go on")));
    assert_eq!(parties.hog.state(), 'T', "only shown");
    assert!(undo(&[]).contains(&format!("pid {hog} goes on")));
    assert_eq!(parties.hog.state(), 'R');
    assert!(undo(&[]).contains("Nothing to undo") && !Path::new("/run/friday").exists());
}

#[test]
#[ignore = "needs root"]
fn live_a_friday_that_hangs_holds_nobody_for_long() {
    let parties = Parties::new();
    sleep(Duration::from_millis(200));
    let [victim, hog] = parties.pids().map(|pid| pid.to_string());
    let child = friday(&["freeze", "--victim", &victim, "--culprit", &hog, "--allow", "change", "--for", "300ms"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
    };
    let until = Instant::now() + Duration::from_secs(5);
    while parties.hog.state() != 'T' {
        assert!(Instant::now() < until, "it is never frozen");
        sleep(Duration::from_millis(5));
    }
    signal("-STOP");
    assert_eq!(parties.hog.state(), 'T');
    // One and a half times as long as planned, and fifteen seconds.
    let until = Instant::now() + Duration::from_secs(25);
    while parties.hog.state() == 'T' {
        assert!(Instant::now() < until, "the guard's patience does not end");
        sleep(Duration::from_millis(100));
    }
    signal("-CONT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "what was measured is worth nothing");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("time for this experiment is over"), "{said}");
    assert_eq!(parties.hog.state(), 'R');
    assert!(!Path::new("/run/friday").exists());
}

/// The guard of a friday: its child that runs the same program.
fn guard_of(friday: u32) -> Option<u32> {
    let pids =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.into_iter().find(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok()) == Some(friday)
    })
}

#[test]
#[ignore = "needs root"]
fn live_without_its_guard_friday_undoes_everything_at_once() {
    let parties = Parties::new();
    sleep(Duration::from_millis(200));
    let [victim, hog] = parties.pids().map(|pid| pid.to_string());
    let child = friday(&["freeze", "--victim", &victim, "--culprit", &hog, "--allow", "change", "--for", "1s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    sleep(Duration::from_millis(500));
    let guard = guard_of(child.id()).expect("a guard");
    assert!(Command::new("kill").args(["-KILL", &guard.to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the guard process has ended"), "{said}");
    assert_eq!(parties.hog.state(), 'R');
    assert!(!Path::new("/run/friday").exists());
}
