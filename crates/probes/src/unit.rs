//! From the name of a systemd unit to its control group: no bus and no systemctl, only the tree that systemd makes.

use crate::{
    host::cgroups::{self, Hierarchy, Kind},
    roots::Roots,
    target::{TargetError, nearest, processes_in, searched},
};
use observe::Pid;
use std::path::{Path, PathBuf};

/// Kinds of unit that have a control group.
const WITH_PROCESSES: [&str; 6] = ["service", "scope", "slice", "socket", "mount", "swap"];
/// Kinds that only start, name or wait for others.
const WITHOUT_PROCESSES: [&str; 5] = ["timer", "target", "path", "device", "automount"];

/// A unit's full name, and its processes.
pub(crate) fn find(roots: &Roots, unit: &str) -> Result<(String, Vec<Pid>), TargetError> {
    let name = full_name(unit);
    let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
    if WITHOUT_PROCESSES.contains(&kind) {
        return Err(TargetError::NotAProcessUnit { kind: kind.to_owned(), name });
    }
    let all: Vec<Hierarchy> =
        cgroups::hierarchies(roots).into_iter().filter(|h| h.kind == Kind::V2 || h.has_v1("systemd")).collect();
    let mut running = Vec::new();
    for hierarchy in &all {
        let units = Units::of(&hierarchy.root);
        // The machine's own manager before those of its users.
        for found in [&units.system, &units.users] {
            let groups: Vec<&PathBuf> =
                found.iter().filter(|(unit, _)| *unit == name).map(|(_, group)| group).collect();
            match groups[..] {
                [] => {}
                [group] => {
                    let members = processes_in(roots, group)?;
                    return if members.is_empty() { Err(TargetError::EmptyUnit { name }) } else { Ok((name, members)) };
                }
                _ => {
                    let groups = groups.into_iter().map(|group| hierarchy.shown(group)).collect();
                    return Err(TargetError::AmbiguousUnit { name, groups });
                }
            }
        }
        running.extend(units.system.into_iter().chain(units.users).map(|(unit, _)| unit));
    }
    if running.is_empty() {
        return Err(TargetError::NoSystemd { searched: searched(&all) });
    }
    running.sort();
    running.dedup();
    let wanted = if unit == name { name.clone() } else { unit.to_owned() };
    Err(TargetError::UnknownUnit {
        near_names: nearest(&wanted, running, str::to_owned),
        searched: searched(&all),
        name,
    })
}

/// A name without the suffix of any kind of unit is a service's, as for systemctl.
fn full_name(unit: &str) -> String {
    let known = unit.rsplit_once('.').is_some_and(|(stem, kind)| {
        !stem.is_empty() && (WITH_PROCESSES.contains(&kind) || WITHOUT_PROCESSES.contains(&kind))
    });
    if known { unit.to_owned() } else { format!("{unit}.service") }
}

/// The units that have a control group in one hierarchy, with their directories.
struct Units {
    system: Vec<(String, PathBuf)>,
    users: Vec<(String, PathBuf)>,
}

impl Units {
    fn of(root: &Path) -> Self {
        let mut units = Units { system: Vec::new(), users: Vec::new() };
        cgroups::walk(root, &mut |group| {
            if group == root {
                return true;
            }
            let Some(unit) = unit_of(group) else { return false };
            // What is below a user's manager is that user's.
            let above = group.strip_prefix(root).unwrap_or(group).parent();
            let by_user = above
                .is_some_and(|above| above.components().any(|part| is_manager(&part.as_os_str().to_string_lossy())));
            let deeper = unit.ends_with(".slice") || is_manager(&unit);
            let list = if by_user { &mut units.users } else { &mut units.system };
            list.push((unit, group.to_path_buf()));
            // Below any other unit are its own groups: those of a container may have units of the same names.
            deeper
        });
        units.system.sort();
        units.users.sort();
        units
    }
}

/// The unit a group belongs to: its name, less the underscore that keeps it apart from the kernel's own files.
fn unit_of(group: &Path) -> Option<String> {
    let name = group.file_name()?.to_str()?;
    let name = name.strip_prefix('_').unwrap_or(name);
    let (_, kind) = name.rsplit_once('.')?;
    WITH_PROCESSES.contains(&kind).then(|| name.to_owned())
}

/// `user@1000.service` runs a manager of its own.
fn is_manager(unit: &str) -> bool {
    unit.starts_with("user@") && unit.ends_with(".service")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Request, resolve};
    use observe::TargetKind;
    use std::fs;

    /// A tree as systemd makes it, below one hierarchy's root.
    fn systemd(root: &Path) {
        for (group, pids) in [
            ("", ""),
            ("init.scope", "1\n"),
            ("system.slice", ""),
            ("system.slice/nginx.service", "10\n11\n"),
            ("system.slice/_cpu.service", "12\n"),
            ("system.slice/system-getty.slice", ""),
            ("system.slice/system-getty.slice/getty@tty1.service", "13\n"),
            ("system.slice/system-serial\\x2dgetty.slice/serial-getty@ttyS0.service", "14\n"),
            ("system.slice/var-lib\\x2dx.mount", ""),
            ("system.slice/docker-abc.scope", "15\n"),
            ("system.slice/docker-abc.scope/system.slice/nginx.service", "16\n"),
            ("system.slice/docker-abc.scope/system.slice/inner.service", "17\n"),
            ("user.slice/user-1000.slice/user@1000.service/app.slice/app.service", "20\n"),
            ("user.slice/user-1001.slice/user@1001.service/app.slice/app.service", "21\n"),
            ("user.slice/user-1001.slice/user@1001.service/app.slice/only.service", "22\n"),
            ("user.slice/user-1000.slice/session-2.scope", "23\n"),
            ("user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service", "24\n"),
            ("machine.slice/machine-qemu\\x2d1\\x2dvm.scope", "25\n"),
            ("a.slice/a-b.slice/deep.service", "26\n"),
            ("lxc/c1/system.slice/lost.service", "27\n"),
        ] {
            let dir = root.join(group);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("cgroup.procs"), pids).unwrap();
        }
    }

    fn layouts() -> Vec<(&'static str, tempfile::TempDir)> {
        let touch = |path: PathBuf| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        let second = tempfile::tempdir().unwrap();
        touch(second.path().join("sys/fs/cgroup/cgroup.controllers"));
        systemd(&second.path().join("sys/fs/cgroup"));
        let hybrid = tempfile::tempdir().unwrap();
        touch(hybrid.path().join("sys/fs/cgroup/unified/cgroup.controllers"));
        touch(hybrid.path().join("sys/fs/cgroup/cpu,cpuacct/cgroup.procs"));
        systemd(&hybrid.path().join("sys/fs/cgroup/unified"));
        systemd(&hybrid.path().join("sys/fs/cgroup/systemd"));
        let first = tempfile::tempdir().unwrap();
        // Mounted by hand, without units in it.
        touch(first.path().join("sys/fs/cgroup/unified/cgroup.controllers"));
        systemd(&first.path().join("sys/fs/cgroup/systemd"));
        vec![("version 2", second), ("hybrid", hybrid), ("version 1", first)]
    }

    fn roots(base: &Path) -> Roots {
        Roots { proc: base.join("proc"), sys: base.join("sys"), btf: base.join("btf") }
    }

    #[test]
    fn units_are_found_in_every_layout() {
        for (layout, dir) in layouts() {
            let roots = roots(dir.path());
            for (asked, name, pids) in [
                ("nginx", "nginx.service", &[10, 11][..]),
                ("nginx.service", "nginx.service", &[10, 11]),
                ("cpu.service", "cpu.service", &[12]),
                ("getty@tty1", "getty@tty1.service", &[13]),
                ("serial-getty@ttyS0.service", "serial-getty@ttyS0.service", &[14]),
                ("docker-abc.scope", "docker-abc.scope", &[15, 16, 17]),
                ("session-2.scope", "session-2.scope", &[23]),
                ("only", "only.service", &[22]),
                ("a-b.slice", "a-b.slice", &[26]),
                ("deep", "deep.service", &[26]),
                ("user-1001.slice", "user-1001.slice", &[21, 22]),
                ("machine-qemu\\x2d1\\x2dvm.scope", "machine-qemu\\x2d1\\x2dvm.scope", &[25]),
            ] {
                let target = resolve(&roots, &Request::Unit(asked.to_owned()));
                let target = target.unwrap_or_else(|error| panic!("{layout}: {asked}: {error}"));
                assert_eq!((target.kind, target.name.as_str()), (TargetKind::Unit, name), "{layout}: {asked}");
                let members: Vec<u32> = target.members.iter().map(|pid| pid.0).collect();
                assert_eq!(members, pids, "{layout}: {asked}");
            }
        }
    }

    #[test]
    fn what_cannot_be_had_says_why() {
        for (layout, dir) in layouts() {
            let roots = roots(dir.path());
            let why = |unit: &str| resolve(&roots, &Request::Unit(unit.to_owned())).unwrap_err().to_string();
            let unknown = why("ngnix");
            assert!(unknown.starts_with("no unit ngnix.service is running"), "{layout}: {unknown}");
            assert!(unknown.contains("similar: nginx.service"), "{layout}: {unknown}");
            assert!(why("inner.service").contains("no unit inner.service"), "{layout}");
            assert!(why("lost").contains("no unit lost.service"), "{layout}");
            let several = why("app.service");
            assert!(
                several.contains("/user.slice/user-1000.slice/user@1000.service/app.slice/app.service"),
                "{several}"
            );
            assert!(why("var-lib\\x2dx.mount").contains("holds no process"), "{layout}");
            assert!(why("logrotate.timer").contains("is a timer and has no processes"), "{layout}");
        }
        let none = tempfile::tempdir().unwrap();
        let why = resolve(&roots(none.path()), &Request::Unit("nginx".to_owned())).unwrap_err();
        assert!(matches!(why, TargetError::NoSystemd { .. }), "{why}");
    }
}
