//! Control groups: where their hierarchies are, which groups there are, which have a CPU quota.

use crate::{host::text, roots::Roots};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// ours: deeper trees are made by mistake.
const DEEPEST: usize = 32;
/// ours: a hundred times what a big Kubernetes node has.
const MOST_GROUPS: usize = 100_000;

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Where it is mounted.
    pub(crate) root: PathBuf,
    /// What it controls.
    pub(crate) kind: Kind,
}

/// The versions of the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Version 1, with these controllers; `systemd` for systemd's own.
    V1(Vec<String>),
    /// Version 2.
    V2,
}

impl Hierarchy {
    /// Whether it is version 1 with this controller.
    pub(crate) fn has_v1(&self, controller: &str) -> bool {
        matches!(&self.kind, Kind::V1(controllers) if controllers.iter().any(|one| one == controller))
    }

    /// A group's path as `/proc/PID/cgroup` shows it.
    pub(crate) fn shown(&self, group: &Path) -> String {
        match group.strip_prefix(&self.root) {
            Ok(inside) => format!("/{}", inside.to_string_lossy()),
            Err(_) => group.to_string_lossy().into_owned(),
        }
    }
}

/// The mounted hierarchies: version 2 first, then the `cpu` controller's, then the others by name.
pub(crate) fn hierarchies(roots: &Roots) -> Vec<Hierarchy> {
    let base = roots.sys.join("fs/cgroup");
    if base.join("cgroup.controllers").is_file() {
        return vec![Hierarchy { root: base, kind: Kind::V2 }];
    }
    let Ok(entries) = fs::read_dir(&base) else { return Vec::new() };
    let mut found: Vec<Hierarchy> = entries
        .flatten()
        // `cpu` and `cpuacct` are links to `cpu,cpuacct` where the two are mounted together.
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| {
            let root = entry.path();
            if root.join("cgroup.controllers").is_file() {
                return Some(Hierarchy { root, kind: Kind::V2 });
            }
            if !root.join("cgroup.procs").is_file() {
                return None;
            }
            let controllers = entry.file_name().to_string_lossy().split(',').map(str::to_owned).collect();
            Some(Hierarchy { root, kind: Kind::V1(controllers) })
        })
        .collect();
    found.sort_by_cached_key(|h| (h.kind != Kind::V2, !h.has_v1("cpu"), h.root.clone()));
    found
}

/// Visits a group and all below it, parents first; `visit` says whether to go deeper.
pub(crate) fn walk(top: &Path, visit: &mut dyn FnMut(&Path) -> bool) {
    let mut open = vec![(top.to_path_buf(), 0usize)];
    let mut seen = 0usize;
    while let Some((group, depth)) = open.pop() {
        seen += 1;
        if seen > MOST_GROUPS {
            return;
        }
        if !visit(&group) || depth == DEEPEST {
            continue;
        }
        // A directory without directories in it has two links: nothing to list.
        if fs::metadata(&group).is_ok_and(|about| about.nlink() == 2) {
            continue;
        }
        let Ok(entries) = fs::read_dir(&group) else { continue };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push((entry.path(), depth + 1));
            }
        }
    }
}

/// A group's CPU quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    /// The group as `/proc/PID/cgroup` shows it.
    pub(crate) cgroup: String,
    /// Its directory.
    pub(crate) dir: PathBuf,
    /// CPU time in each period, in microseconds.
    pub(crate) quota: u64,
    /// The period, in microseconds.
    pub(crate) period: u64,
    /// The file it was read from.
    pub(crate) source: &'static str,
}

/// What a walk over the groups that can have a CPU quota found.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    /// Whether there is a hierarchy in which CPU time can be limited.
    pub(crate) possible: bool,
    /// The groups that have a quota.
    pub(crate) limited: Vec<Quota>,
    /// Every group.
    pub(crate) groups: BTreeSet<PathBuf>,
}

/// Every group with a CPU quota; about 10 µs a group.
pub(crate) fn quotas(roots: &Roots) -> Quotas {
    let mut found = Quotas::default();
    for hierarchy in hierarchies(roots) {
        let read = if hierarchy.has_v1("cpu") {
            read_v1 as fn(&Path) -> Option<(u64, u64, &'static str)>
        } else if hierarchy.kind == Kind::V2 && v2_has_cpu(&hierarchy.root) {
            read_v2
        } else {
            continue;
        };
        found.possible = true;
        walk(&hierarchy.root, &mut |group| {
            if let Some((quota, period, source)) = read(group) {
                let cgroup = hierarchy.shown(group);
                found.limited.push(Quota { cgroup, dir: group.to_path_buf(), quota, period, source });
            }
            found.groups.insert(group.to_path_buf());
            true
        });
    }
    found.limited.sort_by(|a, b| a.cgroup.cmp(&b.cgroup));
    found
}

/// Whether the `cpu` controller is this version 2 hierarchy's.
pub(crate) fn v2_has_cpu(root: &Path) -> bool {
    text(&root.join("cgroup.controllers")).is_some_and(|list| list.split_ascii_whitespace().any(|one| one == "cpu"))
}

fn read_v1(group: &Path) -> Option<(u64, u64, &'static str)> {
    // −1 is no limit.
    let quota: u64 = text(&group.join("cpu.cfs_quota_us"))?.parse().ok().filter(|quota| *quota > 0)?;
    let period = text(&group.join("cpu.cfs_period_us"))?.parse().ok()?;
    Some((quota, period, "cpu.cfs_quota_us"))
}

fn read_v2(group: &Path) -> Option<(u64, u64, &'static str)> {
    let limit = text(&group.join("cpu.max"))?;
    let (quota, period) = limit.split_once(' ')?;
    // `max` is no limit and no number.
    Some((quota.parse().ok()?, period.trim().parse().ok()?, "cpu.max"))
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
        Roots { sys: base.to_path_buf(), ..Roots::default() }
    }

    #[test]
    fn version_2_quotas() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n");
        put(dir.path(), "fs/cgroup/web.slice/cpu.max", "max 100000\n");
        put(dir.path(), "fs/cgroup/web.slice/a.service/cpu.max", "20000 100000\n");
        let found = quotas(&roots(dir.path()));
        assert!(found.possible);
        let limits: Vec<_> = found.limited.iter().map(|q| (q.cgroup.as_str(), q.quota, q.period)).collect();
        assert_eq!(limits, [("/web.slice/a.service", 20000, 100000)]);
        assert_eq!(found.groups.len(), 3);
    }

    #[test]
    fn version_1_quotas_in_a_joint_hierarchy() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "fs/cgroup/cpu,cpuacct/cgroup.procs", "");
        put(dir.path(), "fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
        put(dir.path(), "fs/cgroup/cpu,cpuacct/web/cpu.cfs_quota_us", "50000\n");
        put(dir.path(), "fs/cgroup/cpu,cpuacct/web/cpu.cfs_period_us", "100000\n");
        put(dir.path(), "fs/cgroup/memory/cgroup.procs", "");
        put(dir.path(), "fs/cgroup/unified/cgroup.controllers", "\n");
        std::os::unix::fs::symlink("cpu,cpuacct", dir.path().join("fs/cgroup/cpu")).unwrap();
        let all = hierarchies(&roots(dir.path()));
        let names: Vec<_> = all.iter().map(|h| h.root.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["unified", "cpu,cpuacct", "memory"]);
        let found = quotas(&roots(dir.path()));
        assert_eq!(found.limited.iter().map(|q| (q.cgroup.as_str(), q.quota)).collect::<Vec<_>>(), [("/web", 50000)]);
    }

    #[test]
    fn without_a_cpu_controller_nothing_is_possible() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!quotas(&roots(dir.path())).possible);
        put(dir.path(), "fs/cgroup/cgroup.controllers", "memory pids\n");
        assert!(!quotas(&roots(dir.path())).possible);
    }
}
