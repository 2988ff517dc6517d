//! From what the user named to the processes it means.

use crate::{
    host::{
        cgroups::{self, Hierarchy, Kind},
        text,
    },
    processes::{self, own_pid},
    roots::Roots,
    unit,
};
use observe::{Pid, Target, TargetKind};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Component, Path, PathBuf},
};

/// ours: more names than that help nobody.
const MOST_NEAR: usize = 5;
/// ours: enough groups to find a misspelt name among.
const MOST_COMPARED: usize = 10_000;

/// What the user named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Nothing: the whole machine.
    System,
    /// One process, by its id or by that of one of its threads, with the workers that it has forked: PostgreSQL's
    /// sessions, nginx's and gunicorn's workers are what "PostgreSQL is slow" is about, not the process that starts them.
    Process(Pid),
    /// A control group and all below it: an absolute path, or one relative to the root of a hierarchy, as
    /// `/proc/PID/cgroup` shows it.
    Cgroup(PathBuf),
    /// A systemd unit: `nginx.service`, `nginx`, `user.slice`, `session-2.scope`, `getty@tty1`.
    Unit(String),
}

/// Why the target could not be had, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// There is no process or thread with this id.
    #[error("pid {0} does not exist: it may have ended; `friday run` without -p finds the victims itself")]
    NoProcess(Pid),
    /// It has ended, and its parent has not yet asked how.
    #[error(
        "pid {pid} ({name}) has ended and is a zombie: look at its parent, pid {parent}, which does not collect it"
    )]
    Zombie {
        /// The process.
        pid: Pid,
        /// Its name.
        name: String,
        /// Its parent.
        parent: Pid,
    },
    /// Kernel threads work on behalf of others.
    #[error(
        "pid {pid} ({name}) is a kernel thread and works for others: name the process that waits for it, or run \
         `friday run` without -p, which finds it"
    )]
    KernelThread {
        /// The thread.
        pid: Pid,
        /// Its name.
        name: String,
    },
    /// friday does not look at itself.
    #[error("pid {0} is friday itself: name the process that is slow")]
    Friday(Pid),
    /// No hierarchy has such a group.
    #[error("there is no control group {name}: looked below {}{}", listed(searched), near(near_names))]
    UnknownCgroup {
        /// As it was named.
        name: String,
        /// The roots of the hierarchies searched.
        searched: Vec<String>,
        /// Groups with a similar name.
        near_names: Vec<String>,
    },
    /// The group, and all below it, hold no process.
    #[error("control group {name} holds no process: start what should run in it, or name another group")]
    EmptyCgroup {
        /// Its path.
        name: String,
    },
    /// No unit of this name has a control group.
    #[error(
        "no unit {name} is running: looked below {}{}; `systemctl status {name}` says whether it is known",
        listed(searched),
        near(near_names)
    )]
    UnknownUnit {
        /// As it was named, with its suffix.
        name: String,
        /// The roots of the hierarchies searched.
        searched: Vec<String>,
        /// Running units with a similar name.
        near_names: Vec<String>,
    },
    /// Several managers run a unit of this name.
    #[error("several units are called {name}: name one with --cgroup {}", listed(groups))]
    AmbiguousUnit {
        /// As it was named, with its suffix.
        name: String,
        /// Their control groups.
        groups: Vec<String>,
    },
    /// Units of this kind start others and have no processes.
    #[error("{name} is a {kind} and has no processes: name the service that it starts")]
    NotAProcessUnit {
        /// The unit.
        name: String,
        /// Its kind: timer, target, path, device, automount.
        kind: String,
    },
    /// The unit runs, without a process.
    #[error("unit {name} holds no process: it may be starting, or have left after its work")]
    EmptyUnit {
        /// The unit.
        name: String,
    },
    /// This machine does not run systemd, or hides its groups.
    #[error(
        "no control groups of systemd were found below {}: without systemd, name the process with -p or its group \
         with --cgroup",
        listed(searched)
    )]
    NoSystemd {
        /// The roots of the hierarchies searched.
        searched: Vec<String>,
    },
    /// The kernel refused.
    #[error("no permission to read {}: run as root", path.display())]
    Permission {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file could not be read for another reason.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "/sys/fs/cgroup, where nothing is mounted".to_owned() } else { names.join(", ") }
}

fn near(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; similar: {}", names.join(", ")) }
}

/// The target, with its members now.
///
/// # Errors
/// When there is no such thing, when it holds no process, or when it is not one that can be looked at.
pub fn resolve(roots: &Roots, request: &Request) -> Result<Target, TargetError> {
    match request {
        Request::System => {
            let name = text(&roots.proc.join("sys/kernel/hostname")).unwrap_or_default();
            Ok(Target::system(&name))
        }
        Request::Process(pid) => {
            let (pid, name) = process(roots, *pid)?;
            Ok(Target { kind: TargetKind::Process, pid: Some(pid), name, members: with_workers(roots, pid) })
        }
        Request::Cgroup(path) => {
            let (name, members) = cgroup(roots, path)?;
            Ok(Target { kind: TargetKind::Cgroup, pid: None, name, members })
        }
        Request::Unit(unit) => {
            let (name, members) = unit::find(roots, unit)?;
            Ok(Target { kind: TargetKind::Unit, pid: None, name, members })
        }
    }
}

/// The members now, ascending; empty for the whole machine. friday is never one.
///
/// # Errors
/// As [`resolve`]; a process that has ended since is [`TargetError::NoProcess`].
pub fn members(roots: &Roots, request: &Request) -> Result<Vec<Pid>, TargetError> {
    Ok(match request {
        Request::System => Vec::new(),
        Request::Process(pid) => with_workers(roots, process(roots, *pid)?.0),
        Request::Cgroup(path) => cgroup(roots, path)?.1,
        Request::Unit(unit) => unit::find(roots, unit)?.1,
    })
}

/// What the user should know about how the request was taken: that the id named is a thread's.
pub fn note(roots: &Roots, request: &Request) -> Option<String> {
    let Request::Process(named) = request else { return None };
    let (pid, name) = process(roots, *named).ok()?;
    (pid != *named).then(|| format!("{named} is a thread of process {pid} ({name}): looking at the whole process"))
}

/// The process that an id belongs to, and its name.
fn process(roots: &Roots, pid: Pid) -> Result<(Pid, String), TargetError> {
    let dir = roots.proc.join(pid.to_string());
    let path = dir.join("status");
    let status = match fs::read(&path) {
        Ok(status) => status,
        // A thread that ends while it is read is ESRCH.
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) => {
            return Err(TargetError::NoProcess(pid));
        }
        Err(source) => return Err(unreadable(path, source)),
    };
    // The directory of a thread that is not its process's first exists too, unlisted.
    let leader = group_leader(&status).unwrap_or(pid);
    if leader == own_pid(roots) {
        return Err(TargetError::Friday(leader));
    }
    let stat = processes::stat(&roots.proc.join(leader.to_string())).ok_or(TargetError::NoProcess(pid))?;
    if processes::is_kernel(&stat) {
        return Err(TargetError::KernelThread { pid: leader, name: stat.comm });
    }
    // The first thread may have ended while others still run.
    if matches!(stat.state, 'Z' | 'X') && stat.num_threads <= 1 {
        return Err(TargetError::Zombie { pid: leader, parent: processes::parent(&stat), name: stat.comm });
    }
    Ok((leader, stat.comm))
}

/// A process and those it has forked that run the same program, ascending. A shell's are steps of its script.
fn with_workers(roots: &Roots, first: Pid) -> Vec<Pid> {
    const SHELLS: &[&str] = &["sh", "ash", "bash", "busybox", "dash", "fish", "ksh", "mksh", "zsh"];
    let exe = |pid: Pid| fs::read_link(roots.proc.join(format!("{pid}/exe"))).ok();
    let mut members = BTreeSet::from([first]);
    let program = exe(first).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        !SHELLS.contains(&name)
    });
    let (Some(program), Ok(entries)) = (program, fs::read_dir(&roots.proc)) else { return vec![first] };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid);
    let parents = pids.filter_map(|pid| {
        let stat = processes::stat(&roots.proc.join(pid.to_string()))?;
        Some((pid, processes::parent(&stat)))
    });
    let parents: Vec<(Pid, Pid)> = parents.filter(|(pid, _)| exe(*pid).as_ref() == Some(&program)).collect();
    // Until nobody is added: workers may fork too.
    loop {
        let known = members.len();
        members.extend(
            parents.iter().filter(|(_, parent)| members.contains(parent)).map(|(pid, _)| *pid).collect::<Vec<_>>(),
        );
        if members.len() == known {
            return members.into_iter().collect();
        }
    }
}

/// The `Tgid` of a status file.
fn group_leader(status: &[u8]) -> Option<Pid> {
    // The name before it has its line ends escaped.
    let line = status.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"Tgid:"))?;
    std::str::from_utf8(line).ok()?.trim().parse().ok().map(Pid)
}

/// A group's path as it is shown, and its processes.
fn cgroup(roots: &Roots, path: &Path) -> Result<(String, Vec<Pid>), TargetError> {
    let all = cgroups::hierarchies(roots);
    let mut empty = None;
    for (hierarchy, dir) in candidates(&all, path) {
        // A directory of control groups has this file, whichever the version.
        if !dir.join("cgroup.procs").exists() {
            continue;
        }
        let name = hierarchy.map_or_else(|| dir.to_string_lossy().into_owned(), |h| h.shown(&dir));
        let members = processes_in(roots, &dir)?;
        if !members.is_empty() {
            return Ok((name, members));
        }
        empty.get_or_insert(name);
    }
    let name = path.to_string_lossy().into_owned();
    match empty {
        Some(name) => Err(TargetError::EmptyCgroup { name }),
        None => {
            Err(TargetError::UnknownCgroup { near_names: near_groups(&all, &name), searched: searched(&all), name })
        }
    }
}

/// The directories that a path can mean, likeliest first.
fn candidates<'a>(all: &'a [Hierarchy], path: &Path) -> Vec<(Option<&'a Hierarchy>, PathBuf)> {
    let mut found = Vec::new();
    if path.components().any(|part| part == Component::ParentDir) {
        return found;
    }
    if path.is_absolute()
        && let Ok(dir) = fs::canonicalize(path)
    {
        let own = all.iter().find(|h| fs::canonicalize(&h.root).is_ok_and(|root| dir.starts_with(root)));
        let dir = match own {
            // As the hierarchy is called here, so that the rest is the group's path.
            Some(h) => fs::canonicalize(&h.root)
                .ok()
                .and_then(|root| Some(h.root.join(dir.strip_prefix(root).ok()?)))
                .unwrap_or(dir),
            None => dir,
        };
        found.push((own, dir));
    }
    let relative: PathBuf = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    found.extend(all.iter().map(|h| (Some(h), without_slash(h.root.join(&relative)))));
    found
}

/// `a/` as `a`: joining an empty path adds a slash.
fn without_slash(path: PathBuf) -> PathBuf {
    path.components().collect()
}

/// Every process of a group and of those below it, ascending; friday left out.
pub(crate) fn processes_in(roots: &Roots, group: &Path) -> Result<Vec<Pid>, TargetError> {
    let mut members = BTreeSet::new();
    let mut refused = None;
    cgroups::walk(group, &mut |group| {
        let path = group.join("cgroup.procs");
        match fs::read_to_string(&path) {
            Ok(list) => members.extend(numbers(&list).map(Pid)),
            // A threaded group of version 2 lists its threads only.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                let threads = fs::read_to_string(group.join("cgroup.threads")).unwrap_or_default();
                members.extend(numbers(&threads).filter_map(|thread| {
                    group_leader(&fs::read(roots.proc.join(thread.to_string()).join("status")).ok()?)
                }));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                refused.get_or_insert(unreadable(path, error));
            }
            // Removed meanwhile.
            Err(_) => {}
        }
        true
    });
    members.remove(&own_pid(roots));
    match refused {
        Some(error) if members.is_empty() => Err(error),
        _ => Ok(members.into_iter().collect()),
    }
}

/// Process ids in a list; 0 stands for those outside this PID namespace.
fn numbers(list: &str) -> impl Iterator<Item = u32> {
    list.lines().filter_map(|line| line.trim().parse().ok()).filter(|number| *number != 0)
}

fn unreadable(path: PathBuf, source: io::Error) -> TargetError {
    if source.kind() == io::ErrorKind::PermissionDenied {
        TargetError::Permission { path, source }
    } else {
        TargetError::Unreadable { path, source }
    }
}

/// The roots of hierarchies, for messages.
pub(crate) fn searched(all: &[Hierarchy]) -> Vec<String> {
    all.iter().map(|h| h.root.to_string_lossy().into_owned()).collect()
}

fn near_groups(all: &[Hierarchy], name: &str) -> Vec<String> {
    let mut names = BTreeSet::new();
    for hierarchy in all.iter().filter(|h| h.kind == Kind::V2 || !h.has_v1("systemd")) {
        cgroups::walk(&hierarchy.root, &mut |group| {
            names.insert(hierarchy.shown(group));
            names.len() < MOST_COMPARED
        });
    }
    let wanted = name.trim_end_matches('/').rsplit('/').next().unwrap_or(name);
    nearest(wanted, names, |group| group.rsplit('/').next().unwrap_or(group).to_owned())
}

/// The names nearest to a wanted one: those that contain it, then those a few letters away.
pub(crate) fn nearest(
    wanted: &str,
    names: impl IntoIterator<Item = String>,
    key: impl Fn(&str) -> String,
) -> Vec<String> {
    let wanted = wanted.to_lowercase();
    // Two letters swapped are two away.
    let tolerated = match wanted.chars().count() {
        0..=3 => 1,
        4..=8 => 2,
        _ => 3,
    };
    let mut ranked: Vec<(usize, String)> = names
        .into_iter()
        .filter_map(|name| {
            let key = key(&name).to_lowercase();
            if key.is_empty() || wanted.is_empty() {
                return None;
            }
            if key.contains(&wanted) || (key.len() > 2 && wanted.contains(&key)) {
                return Some((0, name));
            }
            let stem = key.rsplit_once('.').map_or(key.as_str(), |(stem, _)| stem);
            let away = letters_apart(&wanted, &key).min(letters_apart(&wanted, stem));
            (away <= tolerated).then_some((away, name))
        })
        .collect();
    ranked.sort();
    ranked.truncate(MOST_NEAR);
    ranked.into_iter().map(|(_, name)| name).collect()
}

/// Letters to insert, remove or replace to make one word of the other (Levenshtein).
fn letters_apart(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(256).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().take(256).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(base: &Path, file: &str, content: &str) {
        let path = base.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn roots(base: &Path) -> Roots {
        Roots { proc: base.join("proc"), sys: base.join("sys"), btf: base.join("btf") }
    }

    fn running(base: &Path, pid: u32, name: &str, more: (&str, u64, u32)) {
        let (state, flags, threads) = more;
        put(base, &format!("proc/{pid}/status"), &format!("Name:\t{name}\nTgid:\t{pid}\nPid:\t{pid}\n"));
        let zeros = " 0".repeat(30);
        let stat = format!("{pid} ({name}) {state} 1 1 1 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 {threads} 0 5{zeros}\n");
        put(base, &format!("proc/{pid}/stat"), &stat);
    }

    fn why(result: Result<Target, TargetError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn processes_by_their_id_or_a_threads() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        running(base, 100, "postgres", ("S", 0, 3));
        put(base, "proc/102/status", "Name:\tworker\nTgid:\t100\nPid:\t102\n");
        running(base, 2, "kthreadd", ("S", 0x20_0000, 1));
        running(base, 30, "gone", ("Z", 0, 1));
        running(base, 31, "half", ("Z", 0, 4));
        running(base, 77, "friday", ("R", 0, 1));
        std::os::unix::fs::symlink("77", base.join("proc/self")).unwrap();
        let roots = roots(base);
        let target = resolve(&roots, &Request::Process(Pid(100))).unwrap();
        assert_eq!((target.kind, target.pid, target.name.as_str()), (TargetKind::Process, Some(Pid(100)), "postgres"));
        assert_eq!(target.members, [Pid(100)]);
        assert_eq!(resolve(&roots, &Request::Process(Pid(102))).unwrap(), target);
        assert_eq!(note(&roots, &Request::Process(Pid(100))), None);
        let noted = note(&roots, &Request::Process(Pid(102))).unwrap();
        assert_eq!(noted, "102 is a thread of process 100 (postgres): looking at the whole process");
        assert_eq!(members(&roots, &Request::Process(Pid(31))).unwrap(), [Pid(31)]);

        assert!(
            why(resolve(&roots, &Request::Process(Pid(1234))))
                .starts_with("pid 1234 does not exist: it may have ended")
        );
        assert!(why(resolve(&roots, &Request::Process(Pid(2)))).contains("kernel thread"));
        assert!(why(resolve(&roots, &Request::Process(Pid(30)))).contains("zombie"));
        assert!(why(resolve(&roots, &Request::Process(Pid(77)))).contains("friday itself"));
        assert!(why(resolve(&roots, &Request::Process(Pid(0)))).contains("does not exist"));
    }

    #[test]
    fn a_servers_workers_belong_to_it_and_a_shells_children_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        let program = |pid: u32, parent: u32, exe: &str| {
            running(base, pid, "x", ("S", 0, 1));
            let file = format!("proc/{pid}/stat");
            let stat = fs::read_to_string(base.join(&file)).unwrap().replacen("S 1 ", &format!("S {parent} "), 1);
            put(base, &file, &stat);
            std::os::unix::fs::symlink(exe, base.join(format!("proc/{pid}/exe"))).unwrap();
        };
        for (pid, parent, exe) in [
            (100, 1, "/usr/bin/postgres"),
            (101, 100, "/usr/bin/postgres"),
            (102, 101, "/usr/bin/postgres"),
            (103, 100, "/usr/bin/gzip"),
            (104, 1, "/usr/bin/postgres"),
            (200, 1, "/bin/bash"),
            (201, 200, "/bin/bash"),
        ] {
            program(pid, parent, exe);
        }
        let of = |pid| members(&roots(base), &Request::Process(Pid(pid))).unwrap();
        assert_eq!(of(100), [Pid(100), Pid(101), Pid(102)]);
        assert_eq!(of(101), [Pid(101), Pid(102)], "a session that was named is meant");
        assert_eq!(of(200), [Pid(200)]);
    }

    #[test]
    fn the_whole_machine_has_no_members() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "proc/sys/kernel/hostname", "db1\n");
        let target = resolve(&roots(dir.path()), &Request::System).unwrap();
        assert_eq!(target, Target::system("db1"));
        assert!(members(&roots(dir.path()), &Request::System).unwrap().is_empty());
    }

    #[test]
    fn version_1_groups_by_every_spelling() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        put(base, "sys/fs/cgroup/unified/cgroup.controllers", "");
        put(base, "sys/fs/cgroup/unified/cgroup.procs", "1\n");
        put(base, "sys/fs/cgroup/cpu,cpuacct/cgroup.procs", "1\n");
        put(base, "sys/fs/cgroup/cpu,cpuacct/web/cgroup.procs", "10\n11\n0\n");
        put(base, "sys/fs/cgroup/cpu,cpuacct/web/a/cgroup.procs", "");
        put(base, "sys/fs/cgroup/cpu,cpuacct/web/a/b/cgroup.procs", "9\n10\n");
        put(base, "sys/fs/cgroup/cpu,cpuacct/idle/cgroup.procs", "");
        put(base, "sys/fs/cgroup/memory/cgroup.procs", "1\n");
        put(base, "sys/fs/cgroup/memory/only-memory/cgroup.procs", "12\n");
        put(base, "sys/fs/cgroup/memory/idle/cgroup.procs", "13\n");
        std::os::unix::fs::symlink("cpu,cpuacct", base.join("sys/fs/cgroup/cpu")).unwrap();
        fs::create_dir_all(base.join("proc")).unwrap();
        std::os::unix::fs::symlink("11", base.join("proc/self")).unwrap();
        let roots = roots(base);
        let group = |path: &Path| resolve(&roots, &Request::Cgroup(path.to_path_buf()));

        for path in ["web", "/web", "web/", "./web"] {
            let target = group(Path::new(path)).unwrap();
            assert_eq!((target.kind, target.name.as_str()), (TargetKind::Cgroup, "/web"), "{path}");
            assert_eq!(target.members, [Pid(9), Pid(10)], "{path}");
        }
        for path in ["sys/fs/cgroup/cpu/web", "sys/fs/cgroup/cpu,cpuacct/web/"] {
            assert_eq!(group(&base.join(path)).unwrap().name, "/web", "{path}");
        }
        assert_eq!(group(Path::new("web/a")).unwrap().members, [Pid(9), Pid(10)]);
        assert_eq!(group(Path::new("only-memory")).unwrap().members, [Pid(12)]);
        // The first hierarchy in which it holds anybody.
        assert_eq!(group(Path::new("idle")).unwrap().members, [Pid(13)]);
        fs::write(base.join("sys/fs/cgroup/memory/idle/cgroup.procs"), "").unwrap();
        let empty = why(group(Path::new("idle")));
        assert!(empty.starts_with("control group /idle holds no process"), "{empty}");

        let unknown = why(group(Path::new("wbe")));
        assert!(unknown.contains("there is no control group wbe"), "{unknown}");
        assert!(unknown.contains("sys/fs/cgroup/unified") && unknown.contains("cpu,cpuacct"), "{unknown}");
        assert!(why(group(Path::new("wep"))).contains("similar: /web"));
        assert!(why(group(Path::new("web/../web"))).contains("there is no control group"));
        assert!(why(group(Path::new("/etc"))).contains("there is no control group /etc"));
    }

    #[test]
    fn version_2_groups() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        put(base, "sys/fs/cgroup/cgroup.controllers", "cpu\n");
        put(base, "sys/fs/cgroup/cgroup.procs", "1\n");
        put(base, "sys/fs/cgroup/kubepods/pod1/c1/cgroup.procs", "5\n6\n");
        put(base, "sys/fs/cgroup/kubepods/cgroup.procs", "");
        let roots = roots(base);
        let target = resolve(&roots, &Request::Cgroup("kubepods".into())).unwrap();
        assert_eq!((target.name.as_str(), &target.members[..]), ("/kubepods", &[Pid(5), Pid(6)][..]));
        let root = resolve(&roots, &Request::Cgroup("/".into())).unwrap();
        assert_eq!((root.name.as_str(), root.members.len()), ("/", 3));
    }

    #[test]
    fn without_any_hierarchy_the_error_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let unknown = why(resolve(&roots(dir.path()), &Request::Cgroup("web".into())));
        assert!(unknown.contains("where nothing is mounted"), "{unknown}");
    }

    #[test]
    fn similar_names_are_offered_nearest_first() {
        let names = ["nginx.service", "ngix2.service", "sshd.service", "nginx-debug.service"].map(str::to_owned);
        assert_eq!(nearest("ngnix", names.clone(), str::to_owned), ["nginx.service", "ngix2.service"]);
        assert_eq!(nearest("nginx", names.clone(), str::to_owned)[..2], ["nginx-debug.service", "nginx.service"]);
        assert!(nearest("postgres", names, str::to_owned).is_empty());
        assert_eq!(letters_apart("", "abc"), 3);
        assert_eq!(letters_apart("kitten", "sitting"), 3);
    }

    #[test]
    fn this_process_is_friday_and_its_parent_is_not() {
        let roots = Roots::default();
        assert!(matches!(resolve(&roots, &Request::Process(Pid(std::process::id()))), Err(TargetError::Friday(_))));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let target = resolve(&roots, &Request::Process(Pid(child.id())));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(target.unwrap().members, [Pid(child.id())]);
        assert!(matches!(resolve(&roots, &Request::Process(Pid(child.id()))), Err(TargetError::NoProcess(_))));
    }
}
