//! Processes as experiments need them: told apart for good by their start time, and who must not be held.

use crate::Roots;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::Path,
};

/// A process or thread that no other can be taken for: ids are given out again, start times are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Id {
    /// Its process or thread id.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
}

impl Id {
    /// Whether it still runs, as itself and not as a process that has its id now.
    pub(crate) fn lives(self, proc: &Path) -> bool {
        Stat::read(proc, self.pid).is_ok_and(|stat| stat.start == self.start && !matches!(stat.state, 'Z' | 'X'))
    }
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) state: char,
    pub(crate) parent: u32,
    pub(crate) session: u32,
    pub(crate) is_kernel: bool,
    pub(crate) minor_faults: u64,
    pub(crate) major_faults: u64,
    pub(crate) start: u64,
}

/// The kernel's flag of its own threads, `PF_KTHREAD`.
const KERNEL_THREAD: u64 = 0x0020_0000;

impl Stat {
    /// Of a process.
    pub(crate) fn read(proc: &Path, pid: u32) -> io::Result<Stat> {
        Stat::of_file(&proc.join(pid.to_string()).join("stat"))
    }

    /// Of one of its threads.
    pub(crate) fn read_thread(proc: &Path, pid: u32, tid: u32) -> io::Result<Stat> {
        Stat::of_file(&proc.join(format!("{pid}/task/{tid}/stat")))
    }

    fn of_file(path: &Path) -> io::Result<Stat> {
        // Names may hold any bytes, parentheses included: the last one ends it.
        let bytes = fs::read(path)?;
        let text = String::from_utf8_lossy(&bytes);
        Stat::parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a stat file"))
    }

    fn parse(text: &str) -> Option<Stat> {
        let (open, close) = (text.find('(')?, text.rfind(')')?);
        let rest: Vec<&str> = text.get(close + 1..)?.split_whitespace().collect();
        let number = |at: usize| rest.get(at)?.parse::<u64>().ok();
        Some(Stat {
            pid: text[..open].trim().parse().ok()?,
            name: text.get(open + 1..close)?.to_owned(),
            state: rest.first()?.chars().next()?,
            parent: number(1)? as u32,
            // Negative where it has none.
            session: number(3).unwrap_or(0) as u32,
            is_kernel: number(6)? & KERNEL_THREAD != 0,
            minor_faults: number(7)?,
            major_faults: number(9)?,
            start: number(19)?,
        })
    }

    pub(crate) fn id(&self) -> Id {
        Id { pid: self.pid, start: self.start }
    }

    /// `stress (pid 123)`.
    pub(crate) fn label(&self) -> String {
        format!("{} (pid {})", self.name, self.pid)
    }
}

/// Every process.
pub(crate) fn all(proc: &Path) -> BTreeMap<u32, Stat> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // What ended meanwhile is none any more.
    pids.filter_map(|pid| Some((pid, Stat::read(proc, pid).ok()?))).collect()
}

/// The threads of a process.
pub(crate) fn threads(proc: &Path, pid: u32) -> Vec<u32> {
    let entries = fs::read_dir(proc.join(format!("{pid}/task"))).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Processes and all that descend from them, as far as their parents are known.
pub(crate) fn with_descendants(all: &BTreeMap<u32, Stat>, tops: &BTreeSet<u32>) -> BTreeSet<u32> {
    let mut found = tops.clone();
    loop {
        let more: Vec<u32> =
            all.values().filter(|p| found.contains(&p.parent) && !found.contains(&p.pid)).map(|p| p.pid).collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

/// A process and the workers of the same program that it has forked: what freezes as one.
///
/// # Errors
/// It is not there.
pub(crate) fn workers(roots: &Roots, pid: u32) -> Result<Vec<Stat>, Refused> {
    let all = all(&roots.proc);
    let first = all.get(&pid).ok_or(Refused::Gone { pid })?;
    let program = |pid: u32| fs::read_link(roots.proc.join(format!("{pid}/exe"))).ok();
    let wanted = program(pid);
    let mut found = BTreeSet::from([pid]);
    loop {
        let of_it = |p: &&Stat| {
            found.contains(&p.parent) && !found.contains(&p.pid) && wanted.is_some() && program(p.pid) == wanted
        };
        let more: Vec<u32> = all.values().filter(of_it).map(|p| p.pid).collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    debug_assert!(found.contains(&first.pid));
    Ok(found.iter().filter_map(|pid| all.get(pid).cloned()).collect())
}

/// Why a process is not to be held or slowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not there.
    #[error("there is no process {pid}")]
    Gone {
        /// The id.
        pid: u32,
    },
    /// Holding it would do harm, or cannot be undone.
    #[error("{who} must not be held: {why}")]
    Harm {
        /// Its name and id.
        who: String,
        /// Why.
        why: &'static str,
    },
}

/// Programs of the machine itself: without them nobody can log in, or nothing can be started or logged.
const KEEPS_THE_MACHINE: [&str; 13] = [
    "systemd",
    "init",
    "sshd",
    "sshd-session",
    "login",
    "agetty",
    "dbus-daemon",
    "dbus-broker",
    "systemd-journal",
    "systemd-journald",
    "systemd-logind",
    "systemd-udevd",
    "containerd-shim",
];

/// Whether processes may be held for some seconds; `victims` are those that are watched meanwhile.
///
/// # Errors
/// The first that may not, and why.
pub(crate) fn may_be_held(roots: &Roots, held: &[Stat], victims: &BTreeSet<u32>, own: u32) -> Result<(), Refused> {
    let all = all(&roots.proc);
    let own_pipes = pipes(roots, own, |fd, _| fd == "1" || fd == "2");
    let mut ancestors = BTreeSet::new();
    let mut at = own;
    while let Some(stat) = all.get(&at).filter(|_| ancestors.insert(at)) {
        at = stat.parent;
    }
    for stat in held {
        let traced = || {
            let status = fs::read_to_string(roots.proc.join(format!("{}/status", stat.pid))).unwrap_or_default();
            status.lines().any(|l| l.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
        };
        let why = if stat.pid == 1 {
            "it is the first process"
        } else if stat.is_kernel || stat.pid == 2 {
            "it is the kernel's"
        } else if stat.pid == own {
            "it is friday"
        } else if ancestors.contains(&stat.pid) {
            "friday was started through it, so it keeps your connection or terminal"
        } else if pipes(roots, stat.pid, |_, reads| reads).iter().any(|pipe| own_pipes.contains(pipe)) {
            "it reads what friday writes, which would have to wait for it"
        } else if KEEPS_THE_MACHINE.contains(&stat.name.as_str()) {
            "it keeps the machine going, or lets people in"
        } else if victims.contains(&stat.pid) {
            "it is the victim itself"
        } else if matches!(stat.state, 'T' | 't') {
            "somebody has stopped it already"
        } else if matches!(stat.state, 'Z' | 'X') {
            "it has ended"
        } else if traced() {
            "a debugger is attached to it"
        } else {
            continue;
        };
        return Err(Refused::Harm { who: stat.label(), why });
    }
    Ok(())
}

/// The pipes that a process has open, by descriptor and whether it reads from them.
fn pipes(roots: &Roots, pid: u32, wanted: impl Fn(&str, bool) -> bool) -> BTreeSet<String> {
    let dir = roots.proc.join(pid.to_string());
    let entries = fs::read_dir(dir.join("fd")).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| {
        let fd = entry.file_name().into_string().ok()?;
        let target = fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
        let about = fs::read_to_string(dir.join("fdinfo").join(&fd)).unwrap_or_default();
        let flags = about.lines().find_map(|line| line.strip_prefix("flags:"))?;
        let mode = u32::from_str_radix(flags.trim(), 8).ok()? & libc::O_ACCMODE as u32;
        (target.starts_with("pipe:") && wanted(&fd, mode != libc::O_WRONLY as u32)).then_some(target)
    };
    entries.filter_map(of).collect()
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A process of a fake tree.
    pub(crate) fn fake(proc: &Path, pid: u32, name: &str, parent: u32, group: u32, flags: u64) {
        let dir = proc.join(pid.to_string());
        fs::create_dir_all(dir.join(format!("task/{pid}"))).unwrap();
        let line = format!(
            "{pid} ({name}) S {parent} {group} {group} 0 -1 {flags} 11 0 3 0 1 1 0 0 20 0 1 0 {} 0\n",
            pid * 10
        );
        fs::write(dir.join("stat"), &line).unwrap();
        fs::write(dir.join(format!("task/{pid}/stat")), &line).unwrap();
        fs::write(dir.join("status"), "Name:\tx\nTracerPid:\t0\n").unwrap();
        symlink(format!("/bin/{}", name.trim_end_matches(char::is_numeric)), dir.join("exe")).unwrap();
    }

    #[test]
    fn names_with_parentheses_and_spaces_are_read() {
        let stat = Stat::parse("7 (a) R (b) S 1 7 7 0 -1 4194304 12 0 3 0 0 0 0 0 20 0 1 0 4711 0").unwrap();
        assert_eq!((stat.name.as_str(), stat.state, stat.parent, stat.start), ("a) R (b", 'S', 1, 4711));
        assert_eq!((stat.minor_faults, stat.major_faults, stat.is_kernel), (12, 3, false));
        assert!(Stat::parse("7 a S").is_none());
    }

    #[test]
    fn who_must_not_be_held_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let proc = dir.path();
        fake(proc, 1, "init", 0, 1, 0);
        fake(proc, 2, "kthreadd", 0, 0, KERNEL_THREAD);
        fake(proc, 40, "tmux", 1, 40, 0);
        fake(proc, 41, "bash", 40, 41, 0);
        fake(proc, 50, "friday", 41, 50, 0);
        fake(proc, 51, "less", 41, 50, 0);
        fake(proc, 60, "sshd", 1, 60, 0);
        fake(proc, 70, "victim", 1, 70, 0);
        fake(proc, 80, "hog", 1, 80, 0);
        fake(proc, 81, "debugged", 1, 81, 0);
        fs::write(proc.join("81/status"), "TracerPid:\t99\n").unwrap();
        let pipe = |pid: u32, fd: &str, flags: &str| {
            let dir = proc.join(pid.to_string());
            fs::create_dir_all(dir.join("fd")).unwrap();
            fs::create_dir_all(dir.join("fdinfo")).unwrap();
            symlink("pipe:[4711]", dir.join("fd").join(fd)).unwrap();
            fs::write(dir.join("fdinfo").join(fd), format!("pos:\t0\nflags:\t{flags}\n")).unwrap();
        };
        pipe(50, "1", "01");
        pipe(51, "0", "00");
        // A neighbour in the same script has the same output.
        pipe(80, "1", "01");
        let roots = Roots { proc: proc.to_owned(), sys: proc.to_owned() };
        let held = |pid: u32| {
            let stat = Stat::read(proc, pid).unwrap();
            may_be_held(&roots, &[stat], &BTreeSet::from([70]), 50).map_err(|e| e.to_string())
        };
        for (pid, why) in [
            (1, "first process"),
            (2, "the kernel's"),
            (40, "connection or terminal"),
            (41, "connection or terminal"),
            (50, "it is friday"),
            (51, "reads what friday writes"),
            (60, "lets people in"),
            (70, "the victim itself"),
            (81, "a debugger"),
        ] {
            assert!(held(pid).unwrap_err().contains(why), "{pid}: {:?}", held(pid));
        }
        assert_eq!(held(80), Ok(()));
    }

    #[test]
    fn workers_of_the_same_program_belong_together() {
        let dir = tempfile::tempdir().unwrap();
        for (pid, name, parent) in [(10, "web", 1), (11, "web", 10), (12, "web", 11), (13, "sh", 10), (14, "web", 13)] {
            fake(dir.path(), pid, name, parent, pid, 0);
        }
        let roots = Roots { proc: dir.path().to_owned(), sys: dir.path().to_owned() };
        let pids: Vec<u32> = workers(&roots, 10).unwrap().iter().map(|p| p.pid).collect();
        assert_eq!(pids, [10, 11, 12], "what another program started is not its worker");
        assert_eq!(workers(&roots, 99), Err(Refused::Gone { pid: 99 }));
        let all = all(dir.path());
        assert_eq!(with_descendants(&all, &BTreeSet::from([10])), BTreeSet::from([10, 11, 12, 13, 14]));
    }

    #[test]
    fn a_recycled_id_is_not_the_same_process() {
        let dir = tempfile::tempdir().unwrap();
        fake(dir.path(), 30, "x", 1, 30, 0);
        assert!(Id { pid: 30, start: 300 }.lives(dir.path()));
        assert!(!Id { pid: 30, start: 301 }.lives(dir.path()));
        assert!(!Id { pid: 31, start: 310 }.lives(dir.path()));
    }
}
