//! Deployments: programs that run from a file that was put there recently, and programs whose file was replaced since they
//! started. Measured: 2 ms for 130 processes.

use super::{Change, Found, recent, settings};
use observe::{Pid, Process};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
};

/// ours: a machine that was installed within two weeks runs hundreds; the newest tell.
const MOST: usize = 60;

/// ours: as many programs are looked at.
const MOST_PROGRAMS: usize = 500;

/// What the kernel says behind the path of a file that is no longer there.
const GONE: &[u8] = b" (deleted)";

/// All of the recent ones, newest first.
pub(super) fn read(proc: &Path, processes: &BTreeMap<Pid, Process>, now: i64) -> Found {
    let boot = settings::boot(&fs::read_to_string(proc.join("stat")).unwrap_or_default());
    // SAFETY: no arguments that could be wrong.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1);
    let mut programs: BTreeMap<(&str, bool), Vec<Pid>> = BTreeMap::new();
    let (mut unread, mut all) = (0, Vec::new());
    for process in processes.values().filter(|p| !p.is_kernel && !p.is_friday) {
        match process.exe.as_str() {
            // Of a process that has ended and was not waited for there is none.
            "" => unread += usize::from(state(proc, process.pid).is_some_and(|state| state != 'Z')),
            // Made in memory: no file came.
            exe if exe.starts_with("/memfd:") => {}
            exe => {
                let link = fs::read_link(proc.join(process.pid.to_string()).join("exe"));
                let gone = link.is_ok_and(|link| link.as_os_str().as_bytes().ends_with(GONE));
                programs.entry((exe, gone)).or_default().push(process.pid);
            }
        }
    }
    for ((exe, gone), pids) in programs.into_iter().take(MOST_PROGRAMS) {
        let started = |pid: &Pid| {
            let stat = fs::read_to_string(proc.join(pid.to_string()).join("stat")).ok()?;
            Some((boot? + start_ticks(&stat)? / ticks, *pid))
        };
        let Some((since, pid)) = pids.iter().filter_map(started).min() else { continue };
        let own = proc.join(pid.to_string());
        let name = processes.get(&pid).map_or("", |process| process.name.as_str());
        // By way of the process: the file may be in a container. Its inode says when it came, its content when it was built.
        let file = if gone { own.join("root").join(exe.trim_start_matches('/')) } else { own.join("exe") };
        let Ok(meta) = fs::metadata(&file) else { continue };
        let what = match (gone, pids.len()) {
            (true, _) => format!("replaced since {name} ({pid}) started, which still runs the old one"),
            (false, 1) => format!("put there, run by {name} ({pid})"),
            (false, more) => format!("put there, run by {name} ({pid}) and {} more", more - 1),
        };
        if recent(meta.ctime(), now) {
            let change = Change::new("program", exe.to_owned(), what, meta.ctime(), "ctime of /proc/PID/exe");
            all.push(Change { since: Some(since), ..change });
        }
    }
    let why = if unread > 0 {
        format!("the programs of {unread} processes cannot be seen; root sees most")
    } else {
        String::new()
    };
    Found::new(all, MOST, why)
}

/// `R`, `S`, `Z` …
fn state(proc: &Path, pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(proc.join(pid.to_string()).join("stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// When a process started, in clock ticks since the machine did: field 22 of `/proc/PID/stat`. Its name may hold anything.
fn start_ticks(stat: &str) -> Option<i64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_program_that_came_recently_is_a_deployment() {
        let dir = tempfile::tempdir().unwrap();
        let proc = dir.path().join("proc");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
        let program = dir.path().join("shopd");
        fs::write(&program, "ELF").unwrap();
        let stat = "7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 500 0 0";
        for (pid, state) in [("10", "S"), ("11", "Z")] {
            fs::create_dir_all(proc.join(pid)).unwrap();
            fs::write(proc.join(pid).join("stat"), format!("{pid} (x) {state} 1")).unwrap();
        }
        for pid in ["7", "8", "9"] {
            fs::create_dir_all(proc.join(pid)).unwrap();
            fs::write(proc.join(pid).join("stat"), stat).unwrap();
            let end = if pid == "9" { " (deleted)" } else { "" };
            symlink(format!("{}{end}", program.display()), proc.join(pid).join("exe")).unwrap();
            symlink("/", proc.join(pid).join("root")).unwrap();
        }
        fs::write(proc.join("stat"), format!("btime {}\n", now - 1000)).unwrap();
        let exe = program.display().to_string();
        let process =
            |pid, exe: String| (Pid(pid), Process { pid: Pid(pid), name: "shopd".into(), exe, ..Process::default() });
        let all = BTreeMap::from([
            process(7, exe.clone()),
            process(8, exe.clone()),
            process(9, exe.clone()),
            process(10, String::new()),
            process(11, String::new()),
        ]);
        let found = read(&proc, &all, now + 5);
        let (old, new): (Vec<_>, Vec<_>) = found.changes.iter().partition(|change| change.what.contains("old one"));
        assert_eq!(
            (new[0].of.as_str(), new[0].what.as_str()),
            (exe.as_str(), "put there, run by shopd (7) and 1 more")
        );
        assert!((now - new[0].at).abs() < 60);
        assert!(old.len() == 1 && old[0].what.contains("shopd (9)"), "{old:?}");
        // 500 ticks of a hundredth of a second.
        assert_eq!(new[0].since, Some(now - 995));
        assert!(found.why.contains("1 processes"), "{}", found.why);
        assert!(read(&proc, &all, now + 15 * 86_400).changes.is_empty());
    }
}
