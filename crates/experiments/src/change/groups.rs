//! Control groups as experiments need them: where a process is in each version, and who else is there.

use super::{ChangeError, step::GROUP_PREFIX};
use crate::{
    Roots,
    process::{self, Stat},
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// A control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Its folder.
    pub(super) dir: PathBuf,
    /// Its hierarchy's.
    root: PathBuf,
}

/// Where version 2 is mounted.
fn v2_root(roots: &Roots) -> Option<PathBuf> {
    let base = roots.sys.join("fs/cgroup");
    [base.clone(), base.join("unified")].into_iter().find(|root| root.join("cgroup.controllers").is_file())
}

/// Where a controller of version 1 is mounted.
fn v1_root(roots: &Roots, controller: &str) -> Option<PathBuf> {
    let base = roots.sys.join("fs/cgroup");
    let entries = fs::read_dir(&base).ok()?.flatten();
    let mut found = entries
        .filter(|entry| entry.file_name().to_string_lossy().split(',').any(|one| one == controller))
        .map(|entry| entry.path())
        .filter(|root| root.join("cgroup.procs").is_file() && !root.join("cgroup.controllers").is_file());
    found.next()
}

/// The path in the lines of `/proc/PID/cgroup` for a controller of version 1, or for version 2 (`None`).
fn path_in(text: &str, controller: Option<&str>) -> Option<String> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is_it = match controller {
            Some(wanted) => controllers.split(',').any(|one| one == wanted),
            None => id == "0" && controllers.is_empty(),
        };
        // Outside of what this namespace shows.
        (is_it && !path.starts_with("/..")).then(|| path.to_owned())
    })
}

impl Group {
    fn at(root: PathBuf, path: &str) -> Group {
        Group { dir: root.join(path.trim_start_matches('/')), root }
    }

    /// It is its hierarchy's root, where limits do not apply.
    pub(super) fn is_root(&self) -> bool {
        self.dir == self.root
    }

    /// A file of its, where it has it.
    pub(super) fn file(&self, name: &str) -> Option<PathBuf> {
        let file = self.dir.join(name);
        file.is_file().then_some(file)
    }

    /// Whether only these processes are in it and the groups below it.
    pub(super) fn holds_only(&self, pids: &BTreeSet<u32>) -> bool {
        !self.is_root() && only(&self.dir, pids, 0)
    }

    /// The name of a new group of friday's below it.
    pub(super) fn new_below(&self) -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("{GROUP_PREFIX}{}-{number}", std::process::id()))
    }

    /// How it is called in its hierarchy.
    pub(super) fn shown(&self) -> String {
        self.dir
            .strip_prefix(&self.root)
            .map_or_else(|_| self.dir.to_string_lossy().into_owned(), |inside| format!("/{}", inside.to_string_lossy()))
    }
}

fn only(dir: &Path, pids: &BTreeSet<u32>, depth: u32) -> bool {
    /// ours: deeper trees are made by mistake.
    const DEEPEST: u32 = 32;
    let Ok(text) = fs::read_to_string(dir.join("cgroup.procs")) else { return false };
    let inside = text.lines().all(|line| line.parse().is_ok_and(|pid: u32| pids.contains(&pid)));
    let mut below = fs::read_dir(dir).into_iter().flatten().flatten();
    inside
        && depth < DEEPEST
        && below.all(|entry| !entry.file_type().is_ok_and(|t| t.is_dir()) || only(&entry.path(), pids, depth + 1))
}

/// The one group of version 2 in which all of these processes are.
pub(super) fn v2(roots: &Roots, stats: &[Stat]) -> Option<Group> {
    common(roots, stats, v2_root(roots)?, None)
}

/// The one group of a controller of version 1 in which all threads of these processes are.
pub(super) fn v1(roots: &Roots, stats: &[Stat], controller: &str) -> Option<Group> {
    common(roots, stats, v1_root(roots, controller)?, Some(controller))
}

fn common(roots: &Roots, stats: &[Stat], root: PathBuf, controller: Option<&str>) -> Option<Group> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    for stat in stats {
        for tid in process::threads(&roots.proc, stat.pid) {
            let Ok(text) = fs::read_to_string(roots.proc.join(format!("{}/task/{tid}/cgroup", stat.pid))) else {
                continue;
            };
            found.insert(path_in(&text, controller)?);
        }
    }
    let path = found.pop_first()?;
    let group = Group::at(root, &path);
    (found.is_empty() && group.dir.is_dir()).then_some(group)
}

/// A group that the user named: an absolute path, or one relative to a hierarchy that has this file in it.
///
/// # Errors
/// No such group.
pub(super) fn named(roots: &Roots, name: &Path, controller: &str, files: &[&str]) -> Result<PathBuf, ChangeError> {
    let inside = name.strip_prefix("/").unwrap_or(name);
    let escapes = name.components().any(|part| part == std::path::Component::ParentDir);
    let tried = [Some(PathBuf::from("/")), v2_root(roots), v1_root(roots, controller)];
    let found = tried.into_iter().flatten().map(|root| root.join(inside)).find_map(|dir| {
        // An absolute path counts only where groups are.
        let below = dir.starts_with(roots.sys.join("fs/cgroup"));
        files.iter().map(|file| dir.join(file)).find(|file| below && file.is_file())
    });
    found.filter(|_| !escapes).ok_or_else(|| {
        ChangeError::Impossible(format!("there is no control group {} with a {}", name.display(), files.join(" or ")))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::process::tests::fake;

    /// A machine with a hierarchy of version 2 and one of version 1 for `cpu`, and processes in groups.
    pub(in crate::change) fn machine(groups: &[(u32, &str, &str)]) -> (tempfile::TempDir, Roots) {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { proc: dir.path().join("proc"), sys: dir.path().join("sys") };
        let base = roots.sys.join("fs/cgroup");
        for root in ["unified", "cpu,cpuacct"] {
            fs::create_dir_all(base.join(root)).unwrap();
            fs::write(base.join(root).join("cgroup.procs"), "").unwrap();
        }
        fs::write(base.join("unified/cgroup.controllers"), "").unwrap();
        for (pid, name, group) in groups {
            fake(&roots.proc, *pid, name, 1, *pid, 0);
            let inside = group.trim_start_matches('/');
            let text = format!("4:cpu,cpuacct:{group}\n1:name=systemd:/x\n0::{group}\n");
            fs::write(roots.proc.join(format!("{pid}/task/{pid}/cgroup")), text).unwrap();
            for root in ["unified", "cpu,cpuacct"] {
                let dir = base.join(root).join(inside);
                fs::create_dir_all(&dir).unwrap();
                let procs = dir.join("cgroup.procs");
                let before = fs::read_to_string(&procs).unwrap_or_default();
                fs::write(&procs, format!("{before}{pid}\n")).unwrap();
            }
        }
        (dir, roots)
    }

    fn stats(roots: &Roots, pids: &[u32]) -> Vec<Stat> {
        pids.iter().map(|pid| Stat::read(&roots.proc, *pid).unwrap()).collect()
    }

    #[test]
    fn a_group_is_found_in_both_versions_and_knows_who_else_is_there() {
        let (_dir, roots) = machine(&[(10, "hog", "/web"), (11, "hog", "/web"), (12, "db", "/web/db"), (13, "x", "/")]);
        let hogs = stats(&roots, &[10, 11]);
        for group in [v2(&roots, &hogs).unwrap(), v1(&roots, &hogs, "cpu").unwrap()] {
            assert_eq!(group.shown(), "/web");
            assert!(!group.holds_only(&BTreeSet::from([10, 11])), "the group below holds another");
            assert!(group.holds_only(&BTreeSet::from([10, 11, 12])));
        }
        assert!(v2(&roots, &stats(&roots, &[10, 12])).is_none(), "two groups are not one");
        assert!(v1(&roots, &hogs, "freezer").is_none());
        assert!(
            !v2(&roots, &stats(&roots, &[13])).unwrap().holds_only(&BTreeSet::from([13])),
            "the root is not its own"
        );
    }

    #[test]
    fn groups_are_named_as_people_do_and_nothing_else_is_reached() {
        let (dir, roots) = machine(&[(10, "hog", "/web")]);
        let base = roots.sys.join("fs/cgroup");
        fs::write(base.join("cpu,cpuacct/web/cpu.cfs_quota_us"), "-1").unwrap();
        fs::write(dir.path().join("cpu.max"), "").unwrap();
        let files = ["cpu.max", "cpu.cfs_quota_us"];
        let found = named(&roots, "/web".as_ref(), "cpu", &files).unwrap();
        assert_eq!(found, base.join("cpu,cpuacct/web/cpu.cfs_quota_us"));
        assert_eq!(named(&roots, &base.join("cpu,cpuacct/web"), "cpu", &files).unwrap(), found);
        assert!(named(&roots, dir.path(), "cpu", &files).is_err(), "no control group");
        assert!(named(&roots, "web/../../../..".as_ref(), "cpu", &files).is_err());
    }
}
