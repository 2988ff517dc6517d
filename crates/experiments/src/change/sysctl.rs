//! # Change a sysctl
//!
//! **Does** write another value into a file below `/proc/sys`. The old value undoes it; where two settings switch one another
//! off (`vm.dirty_bytes` and `vm.dirty_ratio`), that of the other does.
//! **Shows** whether the setting is what holds the victim up.
//! **Misleads** where it only counts for what is made later: sockets, processes.

use super::{
    Act, Change, ChangeError, Level, need_root,
    step::{Step, value},
};
use crate::Roots;
use std::{fs, os::unix::fs::MetadataExt};

/// Once set, these cannot be taken back before the next boot, or do something as they are written.
const ONE_WAY: [&str; 8] = [
    "kernel.modules_disabled",
    "kernel.kexec_load_disabled",
    "kernel.unprivileged_bpf_disabled",
    "kernel.yama.ptrace_scope",
    "kernel.io_uring_disabled",
    "vm.drop_caches",
    "vm.compact_memory",
    "vm.stat_refresh",
];

/// Settings of which one is zero while the other counts.
const PAIRS: [[&str; 2]; 3] = [
    ["vm.dirty_bytes", "vm.dirty_ratio"],
    ["vm.dirty_background_bytes", "vm.dirty_background_ratio"],
    ["vm.overcommit_kbytes", "vm.overcommit_ratio"],
];

/// Sets `name` (`vm.swappiness`) to a value.
///
/// # Errors
/// There is no such setting, or it cannot be taken back.
pub fn plan(roots: &Roots, name: &str, to: &str) -> Result<Change, ChangeError> {
    need_root("a setting of the whole machine")?;
    let impossible = |why: String| ChangeError::Impossible(why);
    // As sysctl does: a slash for names that have a dot in them, such as those of interfaces.
    let dots = name.replace('/', ".");
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if name.is_empty() || !name.chars().all(is_name) || name.split(['.', '/']).any(str::is_empty) {
        return Err(impossible(format!("`{name}` is no name of a setting, such as vm.swappiness")));
    }
    if to.is_empty() || to.contains(['\n', '\0']) || to.len() > 256 {
        return Err(impossible(format!("`{to}` is no value of a setting")));
    }
    if ONE_WAY.contains(&dots.as_str()) {
        return Err(impossible(format!("{dots} cannot be taken back, or is no setting")));
    }
    let file = |name: &str| {
        let inside = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
        roots.proc.join("sys").join(inside)
    };
    let path = file(name);
    let about = fs::symlink_metadata(&path)
        .ok()
        .filter(|about| about.is_file())
        .ok_or_else(|| impossible(format!("there is no setting {dots}")))?;
    if about.mode() & 0o600 != 0o600 {
        return Err(impossible(format!("{dots} cannot be read and written, so it could not be taken back")));
    }
    let read = |path: &std::path::Path| {
        fs::read_to_string(path).map(|text| value(&text)).map_err(ChangeError::io(format!("cannot read {dots}")))
    };
    let (old, new) = (read(&path)?, value(to));
    if old == new {
        return Err(impossible(format!("{dots} is `{old}` already")));
    }
    let other = PAIRS.iter().find(|pair| pair.contains(&dots.as_str())).map(|[a, b]| if *a == dots { *b } else { *a });
    let other = other.map(|name| Ok::<_, ChangeError>((file(name), read(&file(name))?))).transpose()?;
    let act = match other.filter(|(_, old)| old != "0") {
        // Writing this one sets the other to zero, and the other way round.
        Some((path_of_other, old_of_other)) => Act::WriteFor {
            path,
            new: new.clone(),
            undo: Step::Write { path: path_of_other, old: old_of_other, new: "0".into(), netns: None },
        },
        None => Act::Write { path, new: new.clone() },
    };
    Ok(Change {
        kind: "sysctl",
        about: format!("set {dots} to `{new}` (it is `{old}`)"),
        level: Level::Change,
        notes: vec!["it is for the whole machine, or for this network namespace".into()],
        acts: vec![act],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> (tempfile::TempDir, Roots) {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { proc: dir.path().join("proc"), sys: dir.path().join("sys") };
        let sys = roots.proc.join("sys");
        for (file, text) in [
            ("vm/swappiness", "60\n"),
            ("vm/dirty_bytes", "0\n"),
            ("vm/dirty_ratio", "20\n"),
            ("vm/drop_caches", "0\n"),
            ("net/ipv4/tcp_rmem", "4096\t131072\t6291456\n"),
        ] {
            fs::create_dir_all(sys.join(file).parent().unwrap()).unwrap();
            fs::write(sys.join(file), text).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", sys.join("vm/link")).unwrap();
        (dir, roots)
    }

    #[test]
    fn what_cannot_be_taken_back_is_refused() {
        if !crate::change::is_root() {
            eprintln!("skipped: only root may");
            return;
        }
        let (_dir, roots) = machine();
        for (name, to) in [
            ("vm.drop_caches", "3"),
            ("vm.nothing", "1"),
            ("vm.link", "1"),
            ("../../etc/passwd", "x"),
            ("vm..swappiness", "1"),
            ("", "1"),
            ("vm.swappiness", "60"),
            ("vm.swappiness", "1\n2"),
        ] {
            assert!(plan(&roots, name, to).is_err(), "{name}={to}");
        }
        let change = plan(&roots, "vm.swappiness", "10").unwrap();
        assert!(change.about.contains("`10` (it is `60`)"), "{}", change.about);
        let spaces = plan(&roots, "net.ipv4.tcp_rmem", "4096 131072 1000000").unwrap();
        assert!(spaces.about.contains("(it is `4096 131072 6291456`)"), "{}", spaces.about);
    }

    #[test]
    fn of_a_pair_the_other_one_is_written_back() {
        if !crate::change::is_root() {
            eprintln!("skipped: only root may");
            return;
        }
        let (_dir, roots) = machine();
        let change = plan(&roots, "vm.dirty_bytes", "1048576").unwrap();
        let Act::WriteFor { undo: Step::Write { path, old, new, .. }, .. } = &change.acts[0] else {
            panic!("{change:?}")
        };
        assert!(path.ends_with("vm/dirty_ratio"));
        assert_eq!((old.as_str(), new.as_str()), ("20", "0"));
        // The one that counts now is an ordinary setting.
        assert!(matches!(plan(&roots, "vm.dirty_ratio", "5").unwrap().acts[0], Act::Write { .. }));
    }
}
