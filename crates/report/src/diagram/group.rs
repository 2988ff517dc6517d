//! Which processes are one box: those of a unit, container or pod, of a control group, else of one program with one parent.

use observe::{Pid, Process, Recording, catalog};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Groups that hold whatever a person, or the whole machine, started: they say nothing about who belongs together.
const SESSIONS: [&str; 6] = ["session-", "user@", "user-", "user.slice", "init.scope", "app-"];
/// Arguments that are programs, by what they end in.
const SCRIPTS: [&str; 16] =
    ["py", "pyc", "js", "mjs", "cjs", "ts", "rb", "pl", "php", "sh", "lua", "jar", "ex", "exs", "tcl", "R"];

/// Processes that are drawn as one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    pub title: String,
    pub pids: BTreeSet<Pid>,
    /// Programs, with how many processes each.
    pub programs: BTreeMap<String, u32>,
    /// Of those whose threads were counted.
    pub threads: u64,
    pub is_target: bool,
}

/// Every process that may be drawn, by group.
pub struct Groups {
    pub all: Vec<Group>,
    of: BTreeMap<Pid, usize>,
}

impl Groups {
    /// Those that have `connections` are told apart by their parents; of others, all of one program are one.
    pub fn of(recording: &Recording, connections: &BTreeSet<Pid>) -> Groups {
        let people: Vec<&Process> =
            recording.processes.values().filter(|p| !p.is_kernel && !p.is_friday && p.life.is_none()).collect();
        // In a container without a view of the groups, all are in one.
        let telling = |cgroup: &str| {
            let within = people.iter().filter(|process| process.cgroup == cgroup).count();
            cgroup.len() > 1 && within * 2 <= people.len()
        };
        let groups: BTreeSet<&str> =
            people.iter().map(|p| p.cgroup.as_str()).filter(|cgroup| telling(cgroup)).collect();
        let threads: BTreeMap<Pid, f64> = recording
            .get(&catalog::PROCESS_THREADS)
            .into_iter()
            .flatten()
            .filter_map(|row| Some((row.labels.pid()?, row.last())))
            .collect();
        let connected: BTreeSet<(String, Pid)> = people
            .iter()
            .filter(|process| connections.contains(&process.pid))
            .map(|process| (program(process), eldest(recording, process)))
            .collect();
        let mut found = Groups { all: Vec::new(), of: BTreeMap::new() };
        let mut keys: BTreeMap<(String, Pid), usize> = BTreeMap::new();
        for process in people {
            let (title, under) = match (unit(&process.container), groups.contains(process.cgroup.as_str())) {
                (Some(unit), _) => (unit.to_owned(), Pid(0)),
                (None, true) if !is_session(&process.cgroup) => (process.cgroup.clone(), Pid(0)),
                _ => {
                    let own = (program(process), eldest(recording, process));
                    if connected.contains(&own) { own } else { (own.0, Pid(0)) }
                }
            };
            let at = *keys.entry((title.clone(), under)).or_insert(found.all.len());
            if at == found.all.len() {
                found.all.push(Group { title, ..Group::default() });
            }
            let group = &mut found.all[at];
            group.pids.insert(process.pid);
            *group.programs.entry(program(process)).or_default() += 1;
            group.threads += threads.get(&process.pid).copied().unwrap_or(0.0) as u64;
            group.is_target |= recording.target.is_named() && recording.target.contains(process.pid);
            found.of.insert(process.pid, at);
        }
        found
    }

    /// The group of a process.
    pub fn holding(&self, pid: Pid) -> Option<usize> {
        self.of.get(&pid).copied()
    }
}

/// The name of what a process belongs to, unless that is a person's session.
fn unit(container: &str) -> Option<&str> {
    let name = container.strip_prefix("unit ").unwrap_or(container);
    (!name.is_empty() && !is_session(name)).then_some(name)
}

fn is_session(group: &str) -> bool {
    let last = group.rsplit('/').find(|part| !part.is_empty()).unwrap_or(group);
    SESSIONS.iter().any(|start| last.starts_with(start))
}

/// The parent under which processes of one program are one: above those of the same program.
fn eldest(recording: &Recording, process: &Process) -> Pid {
    let mut at = process;
    // A circle would be a damaged recording.
    for _ in 0..64 {
        match recording.processes.get(&at.parent) {
            Some(parent) if program(parent) == program(process) => at = parent,
            _ => break,
        }
    }
    at.parent
}

/// `nginx`, `python3 app.py`.
pub fn program(process: &Process) -> String {
    // What it was started as, unless it calls itself something else: then what its program is called.
    let started = base(process.cmdline.split(' ').next().unwrap_or_default()).trim_end_matches(':');
    let name = match (base(&process.exe), process.name.as_str()) {
        (_, name) if !name.is_empty() && started.starts_with(name) => started.to_owned(),
        ("", "") => format!("pid {}", process.pid),
        ("", name) | (name, _) => name.to_owned(),
    };
    let mut words = process.cmdline.split(' ').skip(1);
    let script = loop {
        match words.next() {
            Some("-m" | "-jar") => break words.next(),
            Some(flag) if flag.starts_with('-') => {}
            Some(word) => break Some(word).filter(|word| is_script(word)),
            None => break None,
        }
    };
    match script.map(base).filter(|script| !script.is_empty() && *script != name) {
        Some(script) => format!("{name} {script}"),
        None => name,
    }
}

fn is_script(word: &str) -> bool {
    let extension = Path::new(word).extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| SCRIPTS.contains(&extension))
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(exe: &str, name: &str, cmdline: &str) -> Process {
        Process { pid: Pid(7), exe: exe.into(), name: name.into(), cmdline: cmdline.into(), ..Process::default() }
    }

    #[test]
    fn programs_are_called_by_what_they_run() {
        let called = |exe, name, cmdline| program(&process(exe, name, cmdline));
        assert_eq!(called("/usr/bin/python3.11", "python3", "python3 -u /srv/app.py --port 1"), "python3 app.py");
        assert_eq!(called("/usr/bin/python3.11", "python3", "python3 -m http.server 80"), "python3 http.server");
        assert_eq!(called("/opt/jdk/bin/java", "java", "java -Xmx1g -jar /opt/shop.jar"), "java shop.jar");
        assert_eq!(called("/usr/sbin/nginx", "nginx", "nginx: worker process"), "nginx");
        assert_eq!(called("/usr/bin/redis-check-rdb", "redis-server", "/usr/bin/redis-server *:6379"), "redis-server");
        assert_eq!(called("/usr/bin/node", "MainThread", "/usr/bin/node server.js"), "node server.js");
        assert_eq!(called("/usr/bin/redis-server", "redis-server", "redis-server 127.0.0.1:6379"), "redis-server");
        assert_eq!(called("/usr/lib/postgres", "postgres", "postgres: walwriter"), "postgres");
        assert_eq!(called("", "worker", ""), "worker");
        assert_eq!(called("", "", ""), "pid 7");
    }

    #[test]
    fn a_persons_session_is_no_service() {
        assert_eq!(unit("unit nginx.service"), Some("nginx.service"));
        assert_eq!(unit("docker web (0123456789ab)"), Some("docker web (0123456789ab)"));
        assert_eq!((unit("unit session-3.scope"), unit("unit user@1000.service"), unit("")), (None, None, None));
    }
}
