//! How close are control groups to their limits of memory and processes, how often did a limit act, who is under
//! pressure inside?
//!
//! Cost: the trees are walked at the start and at the end, at some 50 µs a group. In between, every two seconds, some
//! eight files of about 10 µs each are read for each of the target's groups and of those with a memory limit. No file
//! stays open, since there may be more groups than descriptors.

use crate::{
    host::{
        cgroups::{self, Hierarchy, Kind},
        text,
    },
    roots::Roots,
};
use observe::{Absent, Fact, Labels, Observed, Point, Recording, Series, Target, catalog, catalog::Metric};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// ours: what squeezes a group shows in a handful of points.
const INTERVAL: Duration = Duration::from_secs(2);
/// ours: a big Kubernetes node has as many containers. The target's groups come first, then limits of memory.
const MOST: usize = 256;
/// ours: a target's processes are in a few groups; this many are asked.
const MOST_ASKED: usize = 1000;
/// Version 1 writes "no limit" as the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 60;

/// Files that hold a limit or a weight, shown as they are.
const FACTS: [&str; 8] = [
    "memory.max",
    "memory.high",
    "memory.swap.max",
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "pids.max",
    "cpu.weight",
    "cpu.shares",
];

/// Weights, and what they are where nobody has set one (Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/cpu).
const WEIGHTS: [(&str, &str); 2] = [("cpu.weight", "100"), ("cpu.shares", "1024")];

/// Files that are read again and again.
const READ: [&str; 12] = [
    "memory.current",
    "memory.usage_in_bytes",
    "memory.events.local",
    "memory.events",
    "memory.failcnt",
    "memory.oom_control",
    "memory.stat",
    "pids.current",
    "pids.events",
    "cpu.pressure",
    "io.pressure",
    "memory.pressure",
];

type Points = BTreeMap<(String, &'static str, &'static str), Vec<Point>>;

/// The groups that are watched, and what was read of them.
pub(crate) struct Limits {
    roots: Roots,
    hierarchies: Vec<Hierarchy>,
    tree: Tree,
    watched: BTreeMap<String, Watched>,
    next: Duration,
    usage: Points,
    pids: Points,
    events: Points,
    pressure: Points,
}

struct Watched {
    /// Its directory in each hierarchy that has it.
    dirs: Vec<PathBuf>,
    /// Those of the files to read that are there.
    files: Vec<(PathBuf, &'static str)>,
    /// It is read in between too.
    often: bool,
}

/// What one walk over the trees found.
#[derive(Default)]
struct Tree {
    /// Every group of the hierarchies that can limit memory, by the number of its directory.
    memory: HashMap<u64, String>,
    /// Groups with a limit of memory.
    short: BTreeSet<String>,
    /// Groups with a limit of processes.
    few: BTreeSet<String>,
    /// Groups that the scheduler prefers, or others to them.
    weighed: BTreeSet<String>,
    /// Every group.
    all: BTreeSet<String>,
}

impl Limits {
    /// Finds the groups and takes the first reading.
    pub fn new(roots: &Roots, target: &Target) -> Self {
        let hierarchies = cgroups::hierarchies(roots);
        let mut limits = Limits {
            tree: Tree::walk(&hierarchies),
            roots: roots.clone(),
            hierarchies,
            watched: BTreeMap::new(),
            next: Duration::ZERO,
            usage: Points::new(),
            pids: Points::new(),
            events: Points::new(),
            pressure: Points::new(),
        };
        limits.choose(target);
        limits.sample(Duration::ZERO);
        limits
    }

    /// Reads the groups when it is time; `at` is the time since the window began.
    pub fn sample(&mut self, at: Duration) {
        if at >= self.next {
            self.next = at + INTERVAL;
            self.read(at, at == Duration::ZERO);
        }
    }

    /// Looks for new groups, takes the last reading and adds it all to the recording. Returns the groups that can limit
    /// memory by the number of their directory, those that are gone included.
    pub fn finish(mut self, length: Duration, into: &mut Recording) -> HashMap<u64, String> {
        let before = std::mem::replace(&mut self.tree, Tree::walk(&self.hierarchies));
        let known: BTreeSet<String> = self.watched.keys().cloned().collect();
        self.choose(&into.target);
        let new: Vec<String> = self.watched.keys().filter(|group| !known.contains(*group)).cloned().collect();
        self.read(length, true);
        for (group, _, _) in self.events.keys().cloned().collect::<Vec<_>>() {
            // Its counters began at zero inside the window.
            if new.contains(&group) && !before.all.contains(&group) {
                let of_group = self.events.iter_mut().filter(|((name, _, _), _)| *name == group);
                of_group.for_each(|(_, points)| points.insert(0, Point { at: Duration::ZERO, value: 0.0 }));
            }
        }
        let facts = self.facts();
        let has = |controller| self.hierarchies.iter().any(|h| controls(h, controller));
        let missing =
            |what| Absent::Unsupported(format!("no control group hierarchy with a {what} controller is mounted"));
        let memory = if has("memory") { Ok(()) } else { Err(missing("memory")) };
        let pids = if has("pids") { Ok(()) } else { Err(missing("pids")) };
        let either = memory.clone().or(pids.clone());
        let unified = self.hierarchies.iter().any(|h| h.kind == Kind::V2);
        let second = if unified { Ok(()) } else { Err(missing("version 2")) };
        into.set(&catalog::CGROUP_LIMIT, either.clone().map(|()| facts));
        put(into, &catalog::CGROUP_MEMORY, &memory, self.usage);
        put(into, &catalog::CGROUP_PIDS, &pids, self.pids);
        put(into, &catalog::CGROUP_EVENTS, &either, self.events);
        put(into, &catalog::CGROUP_PRESSURE, &second, self.pressure);
        let mut names = before.memory;
        names.extend(self.tree.memory);
        names
    }

    /// Adds groups to those that are watched, the target's first.
    fn choose(&mut self, target: &Target) {
        let own: BTreeSet<String> = target.members.iter().take(MOST_ASKED).flat_map(|p| self.groups_of(p.0)).collect();
        let tree = &self.tree;
        for (groups, often) in [(&own, true), (&tree.short, true), (&tree.few, false), (&tree.weighed, false)] {
            for group in groups.iter().filter(|group| *group != "/") {
                if self.watched.len() >= MOST {
                    return;
                }
                if let Some(known) = self.watched.get_mut(group) {
                    known.often |= often;
                    continue;
                }
                let limiting = self
                    .hierarchies
                    .iter()
                    .filter(|h| h.kind == Kind::V2 || ["memory", "pids", "cpu"].iter().any(|one| h.has_v1(one)));
                let dirs = limiting.map(|h| h.root.join(group.trim_start_matches('/')));
                let dirs: Vec<PathBuf> = dirs.filter(|dir| dir.is_dir()).collect();
                let files = dirs.iter().flat_map(|dir| READ.map(|name| (dir.join(name), name)));
                let files = files.filter(|(path, _)| path.exists()).collect();
                self.watched.insert(group.clone(), Watched { dirs, files, often });
            }
        }
    }

    /// The groups of a process in all hierarchies.
    fn groups_of(&self, pid: u32) -> Vec<String> {
        let file = fs::read(self.roots.proc.join(format!("{pid}/cgroup"))).unwrap_or_default();
        let lines = String::from_utf8_lossy(&file);
        lines.lines().filter_map(|line| line.splitn(3, ':').nth(2)).map(str::to_owned).collect()
    }

    fn read(&mut self, at: Duration, all: bool) {
        for (group, watched) in self.watched.iter().filter(|(_, watched)| all || watched.often) {
            let add = |points: &mut Points, first, second, value: f64| {
                points.entry((group.clone(), first, second)).or_default().push(Point { at, value });
            };
            let own = watched.files.iter().any(|(_, name)| *name == "memory.events.local");
            for (path, name) in &watched.files {
                let Some(text) = text(path) else { continue };
                let number = text.parse::<u64>().ok().map(|number| number as f64);
                match (*name, number) {
                    ("memory.current" | "memory.usage_in_bytes", Some(bytes)) => add(&mut self.usage, "", "", bytes),
                    ("pids.current", Some(threads)) => add(&mut self.pids, "", "", threads),
                    ("cpu.pressure", _) => add_stalls(&mut self.pressure, &add, "cpu", &text),
                    ("io.pressure", _) => add_stalls(&mut self.pressure, &add, "io", &text),
                    ("memory.pressure", _) => add_stalls(&mut self.pressure, &add, "memory", &text),
                    _ => events(name, &text, own).for_each(|(event, count)| add(&mut self.events, event, "", count)),
                }
            }
        }
    }

    fn facts(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        for (group, watched) in &self.watched {
            for (dir, file) in watched.dirs.iter().flat_map(|dir| FACTS.map(|file| (dir, file))) {
                let value = text(&dir.join(file)).filter(|value| value != "max");
                if let Some(value) = value.filter(|value| value.parse::<u64>().is_ok_and(|n| n < NO_LIMIT)) {
                    let labels = Labels::new([("cgroup", group.clone()), ("name", file.to_owned())]);
                    facts.push(Fact { labels, value, source: file.to_owned() });
                }
            }
        }
        facts
    }
}

impl Tree {
    fn walk(hierarchies: &[Hierarchy]) -> Self {
        let mut tree = Tree::default();
        for hierarchy in hierarchies {
            let [memory, pids, cpu] = ["memory", "pids", "cpu"].map(|controller| controls(hierarchy, controller));
            if !memory && !pids && !cpu {
                continue;
            }
            cgroups::walk(&hierarchy.root, &mut |dir| {
                let name = hierarchy.shown(dir);
                if memory && let Ok(about) = fs::metadata(dir) {
                    tree.memory.insert(about.ino(), name.clone());
                }
                let limits: &[&str] = match hierarchy.kind {
                    Kind::V1(_) => &["memory.limit_in_bytes"],
                    Kind::V2 => &["memory.max", "memory.high"],
                };
                if memory && limits.iter().any(|file| limit(dir, file).is_some()) {
                    tree.short.insert(name.clone());
                }
                if pids && limit(dir, "pids.max").is_some() {
                    tree.few.insert(name.clone());
                }
                if cpu
                    && WEIGHTS.iter().any(|(file, usual)| text(&dir.join(file)).is_some_and(|weight| weight != *usual))
                {
                    tree.weighed.insert(name.clone());
                }
                tree.all.insert(name);
                true
            });
        }
        tree
    }
}

/// Whether a hierarchy has a controller.
fn controls(hierarchy: &Hierarchy, controller: &str) -> bool {
    match hierarchy.kind {
        Kind::V1(_) => hierarchy.has_v1(controller),
        Kind::V2 => text(&hierarchy.root.join("cgroup.controllers"))
            .is_some_and(|list| list.split_ascii_whitespace().any(|one| one == controller)),
    }
}

/// A group's limit; `None` where there is none.
fn limit(dir: &Path, file: &str) -> Option<u64> {
    text(&dir.join(file))?.parse().ok().filter(|limit| *limit < NO_LIMIT)
}

/// What happened to a group, by one of its files. A group's `own` events are in a file of their own since Linux 5.2;
/// in the other one those of the groups below it count too.
fn events<'a>(file: &str, text: &'a str, own: bool) -> impl Iterator<Item = (&'static str, f64)> + 'a {
    let lines: &'static [(&str, &str)] = match file {
        "memory.events.local" => &[("high", "memory.high"), ("max", "memory.max"), ("oom", "memory.oom")],
        "memory.events" if own => &[("oom_kill", "memory.oom_kill")],
        "memory.events" => {
            &[("high", "memory.high"), ("max", "memory.max"), ("oom", "memory.oom"), ("oom_kill", "memory.oom_kill")]
        }
        "memory.failcnt" => &[("", "memory.max")],
        "memory.oom_control" => &[("oom_kill", "memory.oom_kill")],
        // Version 1 names the sum over the groups below it so; version 2 has no other.
        "memory.stat" if text.contains("total_workingset_refault_file") => {
            &[("total_workingset_refault_file", "memory.refault_file")]
        }
        "memory.stat" => &[("workingset_refault_file", "memory.refault_file")],
        "pids.events" => &[("max", "pids.max")],
        _ => &[],
    };
    lines.iter().filter_map(move |(key, event)| {
        let value = if key.is_empty() { text.parse().ok() } else { line(text, key) };
        Some((*event, value?))
    })
}

fn line(text: &str, key: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    rest.trim().parse().ok()
}

fn add_stalls(
    points: &mut Points,
    add: &impl Fn(&mut Points, &'static str, &'static str, f64),
    resource: &'static str,
    text: &str,
) {
    stalls(text).into_iter().for_each(|(kind, seconds)| add(points, resource, kind, seconds));
}

/// Stalled seconds by kind.
fn stalls(text: &str) -> Vec<(&'static str, f64)> {
    let seconds = |kind: &'static str| {
        let line = text.lines().find(|line| line.starts_with(kind))?;
        let micros: f64 = line.rsplit_once("total=")?.1.trim().parse().ok()?;
        Some((kind, micros / 1e6))
    };
    ["some", "full"].into_iter().filter_map(seconds).collect()
}

fn put(into: &mut Recording, metric: &Metric<Series>, possible: &Observed<()>, rows: Points) {
    let series = rows.into_iter().map(|((group, first, second), points)| {
        let values = [group, first.to_owned(), second.to_owned()];
        let labels = metric.labels.iter().zip(values).map(|(name, value)| ((*name).to_owned(), value));
        Series { labels: Labels(labels.collect()), points }
    });
    let series = series.collect();
    into.set(metric, possible.clone().map(|()| series));
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Host, Pid, TargetKind, Window};
    use std::time::SystemTime;

    fn write(base: &Path, file: &str, content: &str) {
        let path = base.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn roots(base: &Path) -> Roots {
        Roots { proc: base.join("proc"), sys: base.join("sys"), btf: base.join("btf") }
    }

    fn target(members: &[u32]) -> Target {
        let members = members.iter().copied().map(Pid).collect();
        Target { kind: TargetKind::Cgroup, pid: None, name: "t".into(), members }
    }

    fn recording(target: Target) -> Recording {
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(4) };
        Recording::new(host, target, window)
    }

    fn points(rows: &[Series], group: &str, value: &str) -> Vec<(u64, f64)> {
        let is = |row: &&Series| {
            row.labels.get("cgroup") == group && (value.is_empty() || row.labels.0.values().any(|label| label == value))
        };
        let row = rows.iter().find(is).unwrap_or_else(|| panic!("{group} {value} in {rows:?}"));
        row.points.iter().map(|point| (point.at.as_secs(), point.value)).collect()
    }

    #[test]
    fn version_2_groups_with_limits_and_the_targets() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        let group = |file: &str, content: &str| write(base, &format!("sys/fs/cgroup/{file}"), content);
        group("cgroup.controllers", "cpu memory pids\n");
        group("web/memory.max", "max\n");
        group("web/memory.high", "1048576\n");
        group("web/memory.current", "900\n");
        group("web/memory.events", "low 0\nhigh 99\nmax 99\noom 0\noom_kill 1\n");
        group("web/memory.events.local", "low 0\nhigh 5\nmax 2\noom 0\noom_kill 0\n");
        group(
            "web/memory.pressure",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0 total=500000\n",
        );
        group("web/memory.stat", "anon 5\nworkingset_refault_file 12\nworkingset_refault_anon 3\n");
        group("web/pids.max", "max\n");
        group("batch/pids.max", "10\n");
        group("batch/pids.current", "9\n");
        group("batch/pids.events", "max 3\n");
        group("own/cpu.weight", "50\n");
        group("own/memory.current", "7\n");
        group("free/memory.max", "max\n");
        write(base, "proc/7/cgroup", "0::/own\n");
        let mut limits = Limits::new(&roots(base), &target(&[7]));
        group("web/memory.events.local", "low 0\nhigh 8\nmax 2\noom 0\noom_kill 0\n");
        group("web/memory.current", "950\n");
        limits.sample(Duration::from_secs(2));
        group("late/memory.max", "4096\n");
        group("late/memory.events", "max 4\n");
        let mut rec = recording(target(&[7]));
        let names = limits.finish(Duration::from_secs(4), &mut rec);
        let facts: Vec<_> = rec.get(&catalog::CGROUP_LIMIT).unwrap().iter().collect();
        let facts: Vec<_> =
            facts.iter().map(|f| (f.labels.get("cgroup"), f.labels.get("name"), f.value.as_str())).collect();
        assert_eq!(
            facts,
            [
                ("/batch", "pids.max", "10"),
                ("/late", "memory.max", "4096"),
                ("/own", "cpu.weight", "50"),
                ("/web", "memory.high", "1048576")
            ]
        );
        let events = rec.get(&catalog::CGROUP_EVENTS).unwrap();
        assert_eq!(points(events, "/web", "memory.high"), [(0, 5.0), (2, 8.0), (4, 8.0)]);
        assert_eq!(points(events, "/web", "memory.oom_kill").last(), Some(&(4, 1.0)));
        assert_eq!(points(events, "/web", "memory.refault_file").last(), Some(&(4, 12.0)));
        assert_eq!(points(events, "/batch", "pids.max"), [(0, 3.0), (4, 3.0)], "not read in between");
        assert_eq!(points(events, "/late", "memory.max"), [(0, 0.0), (4, 4.0)], "made inside the window");
        assert_eq!(points(rec.get(&catalog::CGROUP_MEMORY).unwrap(), "/web", "")[1], (2, 950.0));
        assert_eq!(points(rec.get(&catalog::CGROUP_MEMORY).unwrap(), "/own", "").len(), 3);
        assert_eq!(points(rec.get(&catalog::CGROUP_PIDS).unwrap(), "/batch", "")[0], (0, 9.0));
        let pressure = rec.get(&catalog::CGROUP_PRESSURE).unwrap();
        assert_eq!(points(pressure, "/web", "some")[0], (0, 1.5));
        assert_eq!(points(pressure, "/web", "full")[0], (0, 0.5));
        let web = fs::metadata(base.join("sys/fs/cgroup/web")).unwrap().ino();
        assert_eq!(names.get(&web).map(String::as_str), Some("/web"));
    }

    #[test]
    fn version_1_groups_are_one_whatever_the_hierarchy() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        let group = |file: &str, content: &str| write(base, &format!("sys/fs/cgroup/{file}"), content);
        for controller in ["cpu", "memory", "pids"] {
            group(&format!("{controller}/cgroup.procs"), "");
        }
        group("memory/memory.limit_in_bytes", "9223372036854771712\n");
        group("memory/box/memory.limit_in_bytes", "33554432\n");
        group("memory/box/memory.usage_in_bytes", "33550336\n");
        group("memory/box/memory.failcnt", "12\n");
        group("memory/box/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
        group("memory/box/memory.stat", "workingset_refault_file 1\ntotal_workingset_refault_file 3\n");
        group("memory/free/memory.limit_in_bytes", "9223372036854771712\n");
        group("cpu/box/cpu.shares", "512\n");
        group("cpu/batch/cpu.shares", "4096\n");
        group("cpu/usual/cpu.shares", "1024\n");
        let limits = Limits::new(&roots(base), &target(&[]));
        let mut rec = recording(target(&[]));
        limits.finish(Duration::from_secs(4), &mut rec);
        let facts: Vec<_> = rec.get(&catalog::CGROUP_LIMIT).unwrap().iter().map(|f| f.value.as_str()).collect();
        assert_eq!(facts, ["4096", "512", "33554432"]);
        let events = rec.get(&catalog::CGROUP_EVENTS).unwrap();
        assert_eq!(points(events, "/box", "memory.max"), [(0, 12.0), (4, 12.0)]);
        assert_eq!(points(events, "/box", "memory.refault_file"), [(0, 3.0), (4, 3.0)]);
        assert_eq!(points(events, "/box", "memory.oom_kill"), [(0, 2.0), (4, 2.0)]);
        assert!(matches!(rec.get(&catalog::CGROUP_PRESSURE), Err(Absent::Unsupported(_))));
    }

    #[test]
    fn without_control_groups_it_is_said_why() {
        let dir = tempfile::tempdir().unwrap();
        let mut rec = recording(target(&[]));
        Limits::new(&roots(dir.path()), &target(&[])).finish(Duration::from_secs(1), &mut rec);
        assert!(matches!(rec.get(&catalog::CGROUP_EVENTS), Err(Absent::Unsupported(_))));
        assert!(matches!(rec.get(&catalog::CGROUP_LIMIT), Err(Absent::Unsupported(_))));
    }
}
