//! Real processes, alive and gone. What a machine lacks (a C compiler, visible kernel symbols) is skipped, saying so.

use observe::{FrameKind, Pid};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use symbolize::{Address, Symbolizer};

fn exact(ip: u64) -> Address {
    Address { ip, is_return: false }
}

fn own_pid() -> Pid {
    Pid(std::process::id())
}

/// The name of the one frame of the one address, or why there is none.
fn label(symbolizer: &mut Symbolizer, pid: Pid, ip: u64) -> (String, String) {
    let frames = symbolizer.process(pid, &[exact(ip)]).remove(0);
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].kind, FrameKind::User);
    assert!(frames[0].name.is_empty() != frames[0].unknown.is_empty(), "{:?}", frames[0]);
    (frames[0].label(), frames[0].module.clone())
}

#[inline(never)]
fn a_landmark_of_this_test(n: u64) -> u64 {
    std::hint::black_box(n) + 1
}

/// A program that prints the address of its function `landmark` and waits. `None` when it cannot be built here.
struct Program {
    path: PathBuf,
    child: Child,
    landmark: u64,
}

impl Program {
    fn build(dir: &Path, name: &str, options: &[&str]) -> Option<PathBuf> {
        let source = dir.join("program.c");
        let text = "#include <stdio.h>\n#include <unistd.h>\n\
            __attribute__((noinline)) static int landmark(int n) { __asm__ volatile(\"\"); return n + 1; }\n\
            int main(void) { printf(\"%p\\n\", (void *)landmark); fflush(stdout); getchar(); return landmark(-1); }\n";
        fs::write(&source, text).unwrap();
        let path = dir.join(name);
        let built = Command::new("cc").args(options).arg("-o").arg(&path).arg(&source).status();
        if !built.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no working C compiler");
            return None;
        }
        Some(path)
    }

    fn start(path: PathBuf) -> Program {
        let mut child = Command::new(&path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let landmark = u64::from_str_radix(line.trim().trim_start_matches("0x"), 16).unwrap();
        Program { path, child, landmark }
    }

    fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn own_functions_have_their_name() {
    let mut symbolizer = Symbolizer::new();
    let address = a_landmark_of_this_test as *const () as u64;
    let (name, module) = label(&mut symbolizer, own_pid(), address);
    assert_eq!(name, "processes::a_landmark_of_this_test");
    assert!(module.starts_with("processes-"), "{module}");
    let called = symbolizer.process(own_pid(), &[Address { ip: address + 1, is_return: true }]);
    assert_eq!(called[0][0].name, "processes::a_landmark_of_this_test");
    let before = symbolizer.process(own_pid(), &[Address { ip: address, is_return: true }]);
    assert_ne!(before[0][0].name, "processes::a_landmark_of_this_test");
}

#[test]
fn addresses_outside_any_code_say_so() {
    let mut symbolizer = Symbolizer::new();
    let on_stack = 0u8;
    for ip in [0, 1, std::ptr::from_ref(&on_stack) as u64, u64::MAX] {
        assert_eq!(label(&mut symbolizer, own_pid(), ip).0, "[unknown: not mapped]");
    }
    assert!(symbolizer.process(own_pid(), &[]).is_empty());
}

#[test]
fn the_vdso_has_names() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let Some(line) = maps.lines().find(|line| line.ends_with("[vdso]")) else {
        eprintln!("skipped: no vdso here");
        return;
    };
    let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
    let (start, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let theirs = fs::read_to_string(format!("/proc/{}/maps", child.id())).unwrap();
    let line = theirs.lines().find(|line| line.ends_with("[vdso]")).unwrap();
    let other = u64::from_str_radix(line.split_once('-').unwrap().0, 16).unwrap();

    let mut symbolizer = Symbolizer::new();
    let all: Vec<Address> = (start..end).step_by(16).map(exact).collect();
    let named = symbolizer.process(own_pid(), &all);
    let at = named.iter().position(|frames| frames[0].name.contains("clock_gettime"));
    let at = at.expect("clock_gettime is in every vdso") as u64;
    let (name, module) = label(&mut symbolizer, Pid(child.id()), other + at * 16);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(name.contains("clock_gettime"), "{name}");
    assert_eq!(module, "[vdso]");
}

#[test]
fn kernel_functions_have_names_where_the_kernel_shows_them() {
    let mut symbolizer = Symbolizer::new();
    let table = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let read = table.lines().find(|line| line.ends_with(" T vfs_read"));
    let address = read.and_then(|line| u64::from_str_radix(line.split(' ').next()?, 16).ok()).unwrap_or(0);
    let frame = symbolizer.kernel(&[Address { ip: address + 5, is_return: true }]).remove(0).remove(0);
    assert_eq!((frame.kind, frame.module.as_str()), (FrameKind::Kernel, "[kernel]"));
    if address == 0 {
        eprintln!("skipped: {}", frame.unknown);
        assert!(!frame.unknown.is_empty());
    } else {
        assert_eq!(frame.name, "vfs_read");
    }
}

#[test]
fn a_stripped_binary_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let Some(path) = Program::build(dir.path(), "stripped", &["-s"]) else { return };
    let program = Program::start(path);
    let (name, module) = label(&mut Symbolizer::new(), program.pid(), program.landmark);
    assert_eq!(name, "[unknown: stripped: no symbols in stripped]");
    assert_eq!(module, "stripped");
}

#[test]
fn separate_debug_information_names_a_stripped_binary() {
    let dir = tempfile::tempdir().unwrap();
    let Some(path) = Program::build(dir.path(), "split", &["-g"]) else { return };
    let debug = dir.path().join("split.debug");
    let objcopy = |args: &[&str]| Command::new("objcopy").args(args).status().is_ok_and(|status| status.success());
    let (binary, symbols) = (path.to_str().unwrap(), debug.to_str().unwrap());
    let link = format!("--add-gnu-debuglink={symbols}");
    if !objcopy(&["--only-keep-debug", binary, symbols]) || !objcopy(&["--strip-all", &link, binary]) {
        eprintln!("skipped: no objcopy");
        return;
    }
    let program = Program::start(path);
    assert_eq!(label(&mut Symbolizer::new(), program.pid(), program.landmark).0, "landmark");
}

#[test]
fn a_remembered_process_has_names_when_it_and_its_binary_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let Some(path) = Program::build(dir.path(), "brief", &[]) else { return };
    let mut program = Program::start(path);
    let mut symbolizer = Symbolizer::new();
    symbolizer.remember(program.pid());
    symbolizer.remember(program.pid());
    program.end();
    fs::remove_file(&program.path).unwrap();
    let (name, module) = label(&mut symbolizer, program.pid(), program.landmark);
    assert_eq!((name.as_str(), module.as_str()), ("landmark", "brief"));
    let (name, _) = label(&mut symbolizer, program.pid(), 1);
    assert_eq!(name, "[unknown: not mapped]");
}

#[test]
fn a_running_process_has_names_when_its_binary_is_deleted_or_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let Some(path) = Program::build(dir.path(), "upgraded", &[]) else { return };
    let program = Program::start(path);
    fs::remove_file(&program.path).unwrap();
    fs::write(&program.path, "something else").unwrap();
    let (name, module) = label(&mut Symbolizer::new(), program.pid(), program.landmark);
    assert_eq!(module, "upgraded");
    // The kernel lets only the privileged open what a process has mapped.
    let privileged = fs::read_dir("/proc/1/map_files").is_ok();
    if privileged {
        assert_eq!(name, "landmark");
    } else {
        assert_eq!(name, "[unknown: upgraded was deleted or replaced before it could be read]");
    }
}

#[test]
fn a_process_that_was_never_seen_says_so() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = Pid(child.id());
    child.wait().unwrap();
    let (name, _) = label(&mut Symbolizer::new(), pid, 0x1000);
    assert_eq!(name, "[unknown: process gone before its maps were read]");
}

#[test]
fn a_kernel_thread_has_no_code_of_its_own() {
    if fs::read_to_string("/proc/2/comm").unwrap_or_default().trim() != "kthreadd" {
        eprintln!("skipped: kernel threads are not to be seen here");
        return;
    }
    let (name, _) = label(&mut Symbolizer::new(), Pid(2), 0x1000);
    assert!(name.contains("no memory of its own"), "{name}");
}

#[test]
fn code_made_at_run_time_is_named_by_its_perf_map() {
    // SAFETY: a new private mapping that nothing else uses; it is never executed.
    let code = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        libc::mmap(std::ptr::null_mut(), 8192, libc::PROT_READ | libc::PROT_EXEC, flags, -1, 0)
    };
    assert_ne!(code, libc::MAP_FAILED);
    let code = code as u64;
    let mut symbolizer = Symbolizer::new();
    let (name, module) = label(&mut symbolizer, own_pid(), code);
    assert_eq!((name.as_str(), module.as_str()), ("[unknown: JIT code without a perf map]", "[jit]"));

    let map = PathBuf::from(format!("/tmp/perf-{}.map", std::process::id()));
    fs::write(&map, format!("{code:#018x} 0x40 Ljava/lang/Foo;::bar\n{:x} 40 py::work:/a.py\n", code + 0x40)).unwrap();
    assert_eq!(label(&mut symbolizer, own_pid(), code + 8).0, "Ljava/lang/Foo;::bar");
    assert_eq!(label(&mut symbolizer, own_pid(), code + 0x48).0, "py::work:/a.py");
    // Kept open: a runtime may take it away as it ends.
    fs::remove_file(&map).unwrap();
    assert_eq!(label(&mut symbolizer, own_pid(), code + 8).0, "Ljava/lang/Foo;::bar");
    let (name, _) = label(&mut symbolizer, own_pid(), code + 0x80);
    assert_eq!(name, "[unknown: JIT code that its perf map does not list]");
}

/// Reads how the code of a Java program that runs is called, every few bytes of what it has compiled.
#[test]
fn compiled_java_is_named_by_the_virtual_machine() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("Landmark.java");
    let text = "public class Landmark {\n\
        static long step(long n) { long sum = n; for (int i = 0; i < 1000; i++) sum += Long.rotateLeft(sum ^ i, 7); return sum; }\n\
        public static void main(String[] none) { long sum = 0; while (true) sum += step(sum); }\n}\n";
    fs::write(&source, text).unwrap();
    let built = Command::new("javac").arg("-d").arg(dir.path()).arg(&source).status();
    if !built.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no javac");
        return;
    }
    let java = Command::new("java").args(["-Xmx64m", "-cp"]).arg(dir.path()).arg("Landmark").spawn();
    let Ok(mut java) = java else {
        eprintln!("skipped: no java");
        return;
    };
    let pid = Pid(java.id());
    let began = Instant::now();
    let mut found = Vec::new();
    while !found.iter().any(|name| name == "Landmark.step") && began.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(500));
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let code = maps.lines().filter(|line| line.contains("rwxp") && line.trim_end().ends_with(" 0"));
        let mut all = Vec::new();
        for (start, end) in code.filter_map(|line| line.split(' ').next()?.split_once('-')) {
            let (start, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
            all.extend((start..end).step_by(64).map(exact));
        }
        let frames = Symbolizer::new().process(pid, &all);
        found = frames.into_iter().flatten().filter(|f| f.module == "[jit]").map(|f| f.name).collect();
    }
    java.kill().unwrap();
    java.wait().unwrap();
    assert!(found.iter().any(|name| name == "Landmark.step"), "{} names", found.len());
    assert!(found.iter().any(|name| name == "Interpreter"));
}

#[test]
fn what_node_compiles_has_names_without_a_perf_map() {
    // Large enough not to be done at once, small enough to be inlined.
    let program =
        "function landmark(n) { let sum = 0; for (let i = 0; i < n; i++) sum = (sum * 31 + i) | 0; return sum; }
        let all = 0;
        function work() { for (let i = 0; i < 100; i++) all += landmark(1000); setImmediate(work); }
        work(); setTimeout(() => console.log(all), 1500);";
    let node = std::env::var("NODE").unwrap_or("node".to_owned());
    let child = Command::new(node).args(["-e", program]).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: no Node here");
        return;
    };
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let maps = fs::read_to_string(format!("/proc/{}/maps", child.id())).unwrap();
    let code = maps.lines().filter(|line| line.split_whitespace().nth(1).is_some_and(|rights| rights.contains('x')));
    let code = code.filter(|line| !line.contains('/') && !line.contains("[v"));
    let range = |line: &str| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        Some(u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?)
    };
    let all = code.filter_map(range).flat_map(|range| range.step_by(32)).map(exact);
    let all: Vec<Address> = all.take(20_000).collect();
    let began = Instant::now();
    let frames = Symbolizer::new().process(Pid(child.id()), &all);
    let took = began.elapsed();
    child.kill().unwrap();
    child.wait().unwrap();
    let named = frames.iter().filter(|frames| !frames[0].name.is_empty()).count();
    eprintln!("{} addresses in {took:?}, {named} named", all.len());
    let path = |frames: &Vec<observe::Frame>| frames.iter().map(|f| f.name.clone()).collect::<Vec<_>>();
    assert!(frames.iter().any(|frames| path(frames) == ["landmark"]));
    assert!(frames.iter().any(|frames| path(frames) == ["work", "landmark"]), "inlined");
}

#[test]
fn five_thousand_addresses_take_little_time() {
    let start = a_landmark_of_this_test as *const () as u64;
    let all: Vec<Address> = (0..5000).map(|n| exact(start + n * 16)).collect();
    let mut symbolizer = Symbolizer::new();
    let began = Instant::now();
    let frames = symbolizer.process(own_pid(), &all);
    let took = began.elapsed();
    eprintln!("5000 addresses: {took:?}, {} named", frames.iter().filter(|f| !f[0].name.is_empty()).count());
    assert_eq!(frames.len(), 5000);
    // Unoptimized and on a busy machine; the aim for a release build is far below 2 s.
    assert!(took < Duration::from_secs(20), "{took:?}");
}
