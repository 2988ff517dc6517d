//! Which control groups have a limit of I/O, and how much of it do they use?
//!
//! Cost: the trees are walked at the start and at the end, at some 20 µs a group; only groups with a limit are read.

use crate::{
    block::Disks,
    host::{
        cgroups::{self, Hierarchy, Kind},
        text,
    },
    roots::Roots,
};
use observe::{Absent, Fact, Labels, Point, Recording, Series, catalog};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

/// ours: a big Kubernetes node has as many containers.
const MOST: usize = 256;

/// Version 1's files by version 2's names.
const FILES: [(&str, &str); 4] = [
    ("rbps", "blkio.throttle.read_bps_device"),
    ("wbps", "blkio.throttle.write_bps_device"),
    ("riops", "blkio.throttle.read_iops_device"),
    ("wiops", "blkio.throttle.write_iops_device"),
];

/// What counts against each limit: in version 2's `io.stat`, and in version 1's file by its word.
const COUNTERS: [(&str, &str, &str, &str); 4] = [
    ("rbps", "rbytes", "blkio.throttle.io_service_bytes", "Read"),
    ("wbps", "wbytes", "blkio.throttle.io_service_bytes", "Write"),
    ("riops", "rios", "blkio.throttle.io_serviced", "Read"),
    ("wiops", "wios", "blkio.throttle.io_serviced", "Write"),
];

/// One limit of one group on one device.
struct Limit {
    group: String,
    dir: PathBuf,
    /// `254:0`.
    device: String,
    name: &'static str,
    value: u64,
    source: &'static str,
}

/// The groups with a limit, and what they had done when the window began.
pub(crate) struct IoLimits {
    before: BTreeMap<(String, String, &'static str), f64>,
}

impl IoLimits {
    /// Finds the groups and takes the first reading.
    pub fn new(roots: &Roots) -> Self {
        let limits = limits(&hierarchies(roots));
        let reading = limits.into_iter().filter_map(|limit| Some((used(&limit)?, limit)));
        IoLimits { before: reading.map(|(used, limit)| ((limit.group, limit.device, limit.name), used)).collect() }
    }

    /// Looks again, takes the last reading and adds it all to the recording.
    pub fn finish(self, roots: &Roots, disks: &mut Disks, length: Duration, into: &mut Recording) {
        let hierarchies = hierarchies(roots);
        if hierarchies.is_empty() {
            let why = || Absent::Unsupported("no control group hierarchy that can limit I/O is mounted".to_owned());
            into.set(&catalog::CGROUP_IO_LIMIT, Err(why()));
            into.set(&catalog::CGROUP_IO, Err(why()));
            return;
        }
        into.set(&catalog::CGROUP_IO_LIMIT, Ok(Vec::new()));
        into.set(&catalog::CGROUP_IO, Ok(Vec::new()));
        for limit in limits(&hierarchies) {
            let device = number(&limit.device).map_or_else(|| limit.device.clone(), |n| disks.name(roots, n));
            let labels =
                Labels::new([("cgroup", limit.group.clone()), ("device", device), ("limit", limit.name.to_owned())]);
            if let Some(used) = used(&limit) {
                let before = self.before.get(&(limit.group, limit.device, limit.name));
                let before = before.map(|value| Point { at: Duration::ZERO, value: *value });
                let points = before.into_iter().chain([Point { at: length, value: used }]).collect();
                into.push(&catalog::CGROUP_IO, Series { labels: labels.clone(), points });
            }
            let fact = Fact { labels, value: limit.value.to_string(), source: limit.source.to_owned() };
            into.push(&catalog::CGROUP_IO_LIMIT, fact);
        }
    }
}

fn hierarchies(roots: &Roots) -> Vec<Hierarchy> {
    cgroups::hierarchies(roots).into_iter().filter(|h| h.kind == Kind::V2 || h.has_v1("blkio")).collect()
}

fn limits(hierarchies: &[Hierarchy]) -> Vec<Limit> {
    let mut found = Vec::new();
    for hierarchy in hierarchies {
        cgroups::walk(&hierarchy.root, &mut |dir| {
            let group = hierarchy.shown(dir);
            let of_group = match hierarchy.kind {
                Kind::V2 => second_version(dir),
                Kind::V1(_) => first_version(dir),
            };
            let limits = of_group.into_iter().map(|(device, name, value, source)| Limit {
                group: group.clone(),
                dir: dir.to_owned(),
                device,
                name,
                value,
                source,
            });
            found.extend(limits);
            found.len() < MOST
        });
    }
    found
}

type Named = (String, &'static str, u64, &'static str);

/// `254:0 rbps=1048576 wbps=max riops=max wiops=max`.
fn second_version(dir: &Path) -> Vec<Named> {
    let text = text(&dir.join("io.max")).unwrap_or_default();
    let of_line = |line: &str| -> Vec<Named> {
        let Some((device, rest)) = line.split_once(' ') else { return Vec::new() };
        let value = |name| rest.split(' ').find_map(|one| one.strip_prefix(name)?.strip_prefix('=')?.parse().ok());
        FILES.iter().filter_map(|(name, _)| Some((device.to_owned(), *name, value(name)?, "io.max"))).collect()
    };
    text.lines().flat_map(of_line).collect()
}

/// `254:0 1048576` in a file for each.
fn first_version(dir: &Path) -> Vec<Named> {
    let of_file = |(name, file): (&'static str, &'static str)| -> Vec<Named> {
        let text = text(&dir.join(file)).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.filter_map(|(device, value)| Some((device.to_owned(), name, value.trim().parse().ok()?, file))).collect()
    };
    FILES.into_iter().flat_map(of_file).collect()
}

/// How much counts against a limit so far; nothing yet where the device is not in the file.
fn used(limit: &Limit) -> Option<f64> {
    let (_, key, file, word) = COUNTERS.iter().find(|(name, ..)| *name == limit.name)?;
    let of_device = |text: String, find: &dyn Fn(&str) -> Option<f64>| {
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find_map(|(device, rest)| if device == limit.device { find(rest) } else { None }).unwrap_or_default()
    };
    if limit.source == "io.max" {
        let value = |rest: &str| rest.split(' ').find_map(|one| one.strip_prefix(key)?.strip_prefix('=')?.parse().ok());
        return Some(of_device(text(&limit.dir.join("io.stat")).unwrap_or_default(), &value));
    }
    let value = |rest: &str| rest.strip_prefix(word)?.trim().parse().ok();
    Some(of_device(text(&limit.dir.join(file))?, &value))
}

/// `254:0` as the kernel keeps it.
fn number(device: &str) -> Option<u32> {
    let (major, minor) = device.split_once(':')?;
    Some(major.parse::<u32>().ok()? << 20 | minor.parse::<u32>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Host, Target, Window};
    use std::{fs, time::SystemTime};

    fn collected(files: &[(&str, &str)], later: &[(&str, &str)]) -> Recording {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        let write = |files: &[(&str, &str)]| {
            for (file, content) in files {
                let path = base.join("sys/fs/cgroup").join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
        };
        let roots = Roots { proc: base.join("proc"), sys: base.join("sys"), btf: base.join("btf") };
        write(files);
        let limits = IoLimits::new(&roots);
        write(later);
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(4) };
        let mut rec = Recording::new(host, Target::system("h"), window);
        limits.finish(&roots, &mut Disks::default(), Duration::from_secs(4), &mut rec);
        rec
    }

    fn used(rec: &Recording) -> Vec<(String, Option<f64>)> {
        let rows = rec.get(&catalog::CGROUP_IO).unwrap().iter();
        let name = |labels: &Labels| ["cgroup", "device", "limit"].map(|name| labels.get(name)).join(" ");
        rows.map(|row| (name(&row.labels), row.increase())).collect()
    }

    #[test]
    fn version_2_has_one_file() {
        let rec = collected(
            &[
                ("cgroup.controllers", "io"),
                ("web/io.max", "254:0 rbps=max wbps=1000 riops=max wiops=max\n"),
                ("web/io.stat", "254:0 rbytes=5 wbytes=10 rios=1 wios=1 dbytes=0 dios=0\n"),
                ("free/io.max", ""),
            ],
            &[("web/io.stat", "8:0 wbytes=1\n254:0 rbytes=5 wbytes=3010 rios=1 wios=9 dbytes=0 dios=0\n")],
        );
        assert_eq!(used(&rec), [("/web 254:0 wbps".to_owned(), Some(3000.0))]);
        let fact = &rec.get(&catalog::CGROUP_IO_LIMIT).unwrap()[0];
        assert_eq!((fact.value.as_str(), fact.source.as_str()), ("1000", "io.max"));
    }

    #[test]
    fn version_1_has_one_for_each() {
        let rec = collected(
            &[
                ("blkio/cgroup.procs", ""),
                ("blkio/box/blkio.throttle.read_iops_device", "254:0 100\n"),
                ("blkio/box/blkio.throttle.io_serviced", "254:0 Read 7\n254:0 Write 70\nTotal 77\n"),
            ],
            &[("blkio/box/blkio.throttle.io_serviced", "254:0 Read 407\n254:0 Write 90\nTotal 497\n")],
        );
        assert_eq!(used(&rec), [("/box 254:0 riops".to_owned(), Some(400.0))]);
        assert!(collected(&[], &[]).get(&catalog::CGROUP_IO).is_err());
    }
}
