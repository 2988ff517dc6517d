//! Who runs on this machine: the identity of every process.

use crate::{
    host::{containers::Containers, cpu_ranges, text},
    roots::Roots,
};
use observe::{Pid, Process};
use procfs::{
    ProcessCGroup, ProcessCGroups,
    prelude::*,
    process::{Stat, StatFlags},
};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// ours: enough to tell a JVM's main class from its flags in most cases.
const LONGEST_CMDLINE: usize = 512;

/// Adds every process that runs now, and brings those already known up to date. Processes that end meanwhile are left
/// out; `life` stays as it is. Costs about 30 µs a process.
pub fn snapshot(roots: &Roots, known: &mut BTreeMap<Pid, Process>) {
    let Ok(entries) = fs::read_dir(&roots.proc) else { return };
    let surroundings = Surroundings::new(roots);
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).map(Pid) else { continue };
        let before = known.get(&pid);
        if let Some(process) = identity(&surroundings, pid, before) {
            known.insert(pid, process);
        }
    }
}

/// When a process started, in clock ticks since boot: with the pid it names a process for good, as pids are used again.
/// `None` when there is no such process.
pub fn start_time(roots: &Roots, pid: Pid) -> Option<u64> {
    stat(&roots.proc.join(pid.to_string())).map(|stat| stat.starttime)
}

/// friday's own process id in the PID namespace of this procfs.
pub(crate) fn own_pid(roots: &Roots) -> Pid {
    let named = fs::read_link(roots.proc.join("self")).ok();
    let number = named.as_ref().and_then(|link| link.to_str()).and_then(|link| link.parse().ok());
    Pid(number.unwrap_or_else(std::process::id))
}

/// What `/proc/PID/stat` says of a process; `None` when there is none.
pub(crate) fn stat(process: &Path) -> Option<Stat> {
    let mut bytes = [0u8; 1024];
    let length = read_start(&process.join("stat"), &mut bytes)?;
    let line = &bytes[..length];
    // procfs slices around the brackets unchecked; between the first and the last of them, a name may hold anything.
    let before = line.split(|b| *b == b'(').next()?;
    let after = line.rsplit(|b| *b == b')').next()?;
    let pid = before.strip_suffix(b" ").filter(|pid| !pid.is_empty() && pid.iter().all(u8::is_ascii_digit));
    let sound = pid.is_some() && matches!(after, [b' ', state, ..] if state.is_ascii_alphabetic());
    if sound { Stat::from_read(line).ok() } else { None }
}

/// Whether it is a kernel thread.
pub(crate) fn is_kernel(stat: &Stat) -> bool {
    stat.flags & StatFlags::PF_KTHREAD.bits() != 0
}

/// The parent of a process; 0 for those that the kernel started.
pub(crate) fn parent(stat: &Stat) -> Pid {
    Pid(stat.ppid.try_into().unwrap_or_default())
}

/// What is the same for every process of one snapshot.
struct Surroundings {
    proc: PathBuf,
    /// This procfs is the one of this process's own PID namespace, so that system calls know the same processes.
    live: bool,
    own: Pid,
    own_exe: Option<PathBuf>,
    online: Vec<(u32, u32)>,
    containers: RefCell<Containers>,
}

impl Surroundings {
    fn new(roots: &Roots) -> Self {
        let own = own_pid(roots);
        let own_exe = fs::read_link(roots.proc.join(own.to_string()).join("exe")).ok();
        let online = text(&roots.sys.join("devices/system/cpu/online")).map(|list| cpu_ranges(&list));
        let live = roots.proc == Path::new("/proc");
        let containers = RefCell::new(Containers::new(&roots.proc));
        Surroundings { proc: roots.proc.clone(), live, own, own_exe, online: online.unwrap_or_default(), containers }
    }

    fn online_count(&self) -> u32 {
        self.online.iter().map(|(first, last)| width(*first, *last)).sum()
    }

    /// CPUs of a list that are online; 0 when that is all of them.
    fn restricted(&self, list: &str) -> u32 {
        let mut allowed = 0;
        for (first, last) in cpu_ranges(list) {
            for (low, high) in &self.online {
                let (first, last) = (first.max(*low), last.min(*high));
                if first <= last {
                    allowed += width(first, last);
                }
            }
        }
        if allowed < self.online_count() { allowed } else { 0 }
    }
}

fn width(first: u32, last: u32) -> u32 {
    last.saturating_sub(first).saturating_add(1)
}

fn identity(around: &Surroundings, pid: Pid, before: Option<&Process>) -> Option<Process> {
    let dir = around.proc.join(pid.to_string());
    let stat = stat(&dir)?;
    let (parent, is_kernel) = (parent(&stat), is_kernel(&stat));
    let groups = groups(&dir);
    let cgroup = cgroup(&groups).unwrap_or_default().to_owned();
    let container = around.containers.borrow_mut().name(groups.iter().map(|group| bare(&group.pathname)));
    let allowed = if around.live {
        affinity(pid).filter(|allowed| *allowed < around.online_count()).unwrap_or(0)
    } else {
        allowed_cpus(&dir).map_or(0, |list| around.restricted(&list))
    };
    // One that had ended and runs again is another one with the same number.
    let before = before.filter(|known| known.life.is_none());
    let exe_path = if is_kernel { None } else { fs::read_link(dir.join("exe")).ok() };
    let exe = exe_path.as_ref().map(|path| {
        let path = path.as_os_str().as_bytes();
        String::from_utf8_lossy(path.strip_suffix(b" (deleted)").unwrap_or(path)).into_owned()
    });
    let exe = exe.unwrap_or_default();
    // Reading the arguments takes a lock of the process's memory, so once is enough.
    let same = before.filter(|known| known.name == stat.comm && known.exe == exe && !known.cmdline.is_empty());
    let cmdline = match same {
        Some(known) => known.cmdline.clone(),
        None if is_kernel => String::new(),
        None => cmdline(&dir).unwrap_or_default(),
    };
    // A helper that friday starts of itself is friday too.
    let is_friday = pid == around.own || (parent == around.own && exe_path.is_some() && exe_path == around.own_exe);
    Some(Process {
        pid,
        parent,
        name: stat.comm,
        exe,
        cmdline,
        cgroup,
        container,
        is_kernel,
        is_friday,
        allowed_cpus: allowed,
        nice: i32::try_from(stat.nice).unwrap_or_default(),
        policy: policy(stat.policy.unwrap_or_default(), stat.rt_priority.unwrap_or_default()),
        life: None,
    })
}

/// A scheduling policy in words; see sched(7).
fn policy(number: u32, priority: u32) -> String {
    match i32::try_from(number) {
        Ok(libc::SCHED_FIFO) => format!("fifo {priority}"),
        Ok(libc::SCHED_RR) => format!("rr {priority}"),
        Ok(libc::SCHED_BATCH) => "batch".to_owned(),
        Ok(libc::SCHED_IDLE) => "idle".to_owned(),
        Ok(libc::SCHED_DEADLINE) => "deadline".to_owned(),
        _ => String::new(),
    }
}

fn cmdline(process: &Path) -> Option<String> {
    let mut bytes = [0u8; LONGEST_CMDLINE];
    let length = read_start(&process.join("cmdline"), &mut bytes)?;
    let text = String::from_utf8_lossy(&bytes[..length]);
    // A character that the limit cut in two.
    let text = if length == LONGEST_CMDLINE { text.trim_end_matches('\u{fffd}') } else { &text };
    Some(text.trim_end_matches('\0').replace('\0', " "))
}

/// The groups in all hierarchies.
fn groups(process: &Path) -> Vec<ProcessCGroup> {
    let mut bytes = [0u8; 8192];
    let Some(length) = read_start(&process.join("cgroup"), &mut bytes) else { return Vec::new() };
    let text = String::from_utf8_lossy(&bytes[..length]);
    ProcessCGroups::from_buf_read(text.as_bytes()).map(|ProcessCGroups(all)| all).unwrap_or_default()
}

/// The group in the hierarchy of the `cpu` controller, else in version 2's.
fn cgroup(groups: &[ProcessCGroup]) -> Option<&str> {
    let by_cpu = groups.iter().find(|group| group.controllers.iter().any(|one| one == "cpu"));
    Some(bare(&by_cpu.or_else(|| groups.iter().find(|group| group.controllers.is_empty()))?.pathname))
}

/// A group's path, without the remark that it is gone.
fn bare(path: &str) -> &str {
    path.strip_suffix(" (deleted)").unwrap_or(path)
}

/// procfs's `Status` parses some sixty fields for this one, and none when the name is not UTF-8.
fn allowed_cpus(process: &Path) -> Option<String> {
    let mut bytes = [0u8; 4096];
    let length = read_start(&process.join("status"), &mut bytes)?;
    let status = &bytes[..length];
    let key = b"\nCpus_allowed_list:";
    let at = status.windows(key.len()).position(|window| window == key)? + key.len();
    let value = status.get(at..)?.split(|b| *b == b'\n').next()?;
    String::from_utf8(value.to_vec()).ok()
}

/// On how many online CPUs a process's first thread may run; a third cheaper than reading it in procfs.
fn affinity(pid: Pid) -> Option<u32> {
    // Room for 8192 CPUs, the most that Linux can be built for.
    let mut mask = [0u64; 128];
    // SAFETY: the kernel writes at most the size given into the mask, which is that large and lives on.
    let written =
        unsafe { libc::sched_getaffinity(i32::try_from(pid.0).ok()?, size_of_val(&mask), mask.as_mut_ptr().cast()) };
    (written >= 0).then(|| mask.iter().map(|word| word.count_ones()).sum())
}

/// Reads the start of a small file of procfs, which gives all of it, or as much as fits, in one go.
fn read_start(path: &Path, into: &mut [u8]) -> Option<usize> {
    let mut file = File::open(path).ok()?;
    loop {
        match file.read(into) {
            Ok(length) => return (length > 0).then_some(length),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn stat_of(name: &[u8], parent: u32, flags: u32) -> Vec<u8> {
        let mut line = b"42 (".to_vec();
        line.extend_from_slice(name);
        let zeros = " 0".repeat(30);
        let rest = format!(") S {parent} 42 42 0 -1 {flags} 0 0 0 0 1 2 0 0 25 5 3 0 777{zeros}\n");
        line.extend_from_slice(rest.as_bytes());
        line
    }

    fn put(base: &Path, file: &str, content: impl AsRef<[u8]>) {
        let path = base.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn roots(base: &Path) -> Roots {
        Roots { proc: base.join("proc"), sys: base.join("sys"), btf: base.join("btf") }
    }

    #[test]
    fn hostile_names_parse() {
        let dir = tempfile::tempdir().unwrap();
        let read = |line: &[u8]| {
            put(dir.path(), "stat", line);
            stat(dir.path())
        };
        for name in [&b"a) (b"[..], b") R 1 (", b"x\ny", b"()", b"", b"\xff\xfe"] {
            let parsed = read(&stat_of(name, 7, 0x400000)).unwrap();
            assert_eq!(parsed.comm, String::from_utf8_lossy(name));
            assert_eq!((parsed.state, parent(&parsed), parsed.nice, parsed.num_threads), ('S', Pid(7), 5, 3));
            assert_eq!((parsed.starttime, is_kernel(&parsed)), (777, false));
        }
        for line in ["", "1 (a", ")(", "1 )(", "1 (a)", " (a) S 1", "1 (a) S 1", "(a) S 1", "1 (a) é"] {
            assert!(read(line.as_bytes()).is_none(), "{line}");
        }
    }

    #[test]
    fn a_snapshot_of_a_fake_machine() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        put(base, "sys/devices/system/cpu/online", "0-3\n");
        put(base, "proc/2/stat", stat_of(b"kthreadd", 0, StatFlags::PF_KTHREAD.bits()));
        put(base, "proc/42/stat", stat_of(b"web (1)", 1, 0));
        put(base, "proc/42/cmdline", b"/usr/bin/web\0--port\x0080\0");
        put(base, "proc/42/cgroup", "3:cpuacct,cpu:/web:1\n1:name=systemd:/system.slice/web.service\n0::/user.slice\n");
        put(base, "proc/42/status", "Name:\tweb\nCpus_allowed:\t3\nCpus_allowed_list:\t1-2,7\n");
        std::os::unix::fs::symlink("/usr/bin/web (deleted)", base.join("proc/42/exe")).unwrap();
        put(base, "proc/50/stat", stat_of(b"v2", 42, 0));
        put(base, "proc/50/cgroup", "0::/user.slice (deleted)\n");
        put(base, "proc/50/status", "Name:\tv2\nCpus_allowed_list:\t0-7\n");
        put(base, "proc/50/cmdline", "ä".repeat(400));
        put(base, "proc/60/cmdline", "vanished before its stat was read");
        put(base, "proc/self-made/stat", "");
        std::os::unix::fs::symlink("50", base.join("proc/self")).unwrap();

        let mut known = BTreeMap::new();
        snapshot(&roots(base), &mut known);
        assert_eq!(known.keys().map(|pid| pid.0).collect::<Vec<_>>(), [2, 42, 50]);
        let web = &known[&Pid(42)];
        assert_eq!((web.name.as_str(), web.exe.as_str()), ("web (1)", "/usr/bin/web"));
        assert_eq!(web.cmdline, "/usr/bin/web --port 80");
        assert_eq!((web.cgroup.as_str(), web.allowed_cpus, web.nice), ("/web:1", 2, 5));
        assert_eq!(web.container, "unit web.service");
        assert!(!web.is_friday && !web.is_kernel);
        assert!(known[&Pid(2)].is_kernel);
        let v2 = &known[&Pid(50)];
        assert_eq!((v2.cgroup.as_str(), v2.allowed_cpus), ("/user.slice", 0));
        assert!(v2.is_friday);
        assert_eq!(v2.cmdline, "ä".repeat(256));
        assert_eq!(start_time(&roots(base), Pid(42)), Some(777));
        assert_eq!(start_time(&roots(base), Pid(43)), None);
    }

    #[test]
    fn a_second_snapshot_keeps_who_is_gone_and_renames_who_changed() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        put(base, "proc/42/stat", stat_of(b"before", 1, 0));
        put(base, "proc/42/cmdline", "before");
        let gone = Process { pid: Pid(9), life: Some(Duration::from_secs(1)), ..Process::default() };
        let mut known = BTreeMap::from([(Pid(9), gone.clone())]);
        snapshot(&roots(base), &mut known);
        put(base, "proc/42/stat", stat_of(b"after", 1, 0));
        put(base, "proc/42/cmdline", "after");
        snapshot(&roots(base), &mut known);
        assert_eq!(known[&Pid(9)], gone);
        assert_eq!((known[&Pid(42)].name.as_str(), known[&Pid(42)].cmdline.as_str()), ("after", "after"));
    }

    #[test]
    fn this_machine_holds_this_process() {
        let mut known = BTreeMap::new();
        let began = std::time::Instant::now();
        snapshot(&Roots::default(), &mut known);
        eprintln!("{} processes: {:?}", known.len(), began.elapsed());
        let began = std::time::Instant::now();
        snapshot(&Roots::default(), &mut known);
        eprintln!("once more: {:?}", began.elapsed());
        let own = &known[&Pid(std::process::id())];
        assert!(own.is_friday && !own.is_kernel);
        assert!(own.exe.contains("probes"), "{own:?}");
        assert!(!own.cgroup.is_empty());
        let online = Surroundings::new(&Roots::default()).online_count();
        assert!(affinity(own.pid).is_some_and(|cpus| cpus > 0 && cpus <= online));
        assert_eq!(affinity(Pid(u32::MAX)), None);
    }
}
