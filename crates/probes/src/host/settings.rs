//! Every setting of the kernel's that can be written (sysctl), so that two cases can be compared. What only counts cannot.
//! Measured: 12 ms for 900 of them, after the window.

use crate::roots::Roots;
use observe::{Fact, Labels, Recording, catalog};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// ours: longer ones are lists that nobody compares by eye.
const LONGEST: usize = 256;

/// ours: a tree of the kernel's is smaller.
const MOST: usize = 4000;

/// What can be written and says where the kernel is rather than what it should do, or is written to have something done.
const COUNTERS: [&str; 3] = ["kernel.ns_last_pid", "kernel.tainted", "vm.drop_caches"];

/// What the kernel adapts by itself: the rate of samples when they take too long (kernel/events/core.c), what balancing
/// has cost (kernel/sched/fair.c, before 5.13).
const ADAPTED: [&str; 2] = ["kernel.perf_event_max_sample_rate", "kernel.sched_domain."];

/// Keys that the kernel draws, and that nobody else has to know.
const SECRETS: [&str; 2] = ["tcp_fastopen_key", "stable_secret"];

/// Adds all settings.
pub(crate) fn collect(roots: &Roots, into: &mut Recording) {
    let root = roots.proc.join("sys");
    let mut folders = vec![root.clone()];
    let mut facts = Vec::new();
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> = fs::read_dir(&folder).into_iter().flatten().flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && !is_one_of_many(&root, &path) {
                folders.push(path);
            } else if kind.is_file() && facts.len() < MOST {
                facts.extend(setting(&root, &path));
            }
        }
    }
    facts.sort_by(|a, b| a.labels.cmp(&b.labels));
    into.set(&catalog::SETTING, Ok(facts));
}

/// Whether a folder is an interface's, which come and go with containers; `all` and `default` stand for them.
fn is_one_of_many(root: &Path, path: &Path) -> bool {
    let parts: Vec<String> =
        path.strip_prefix(root).unwrap_or(path).iter().map(|part| part.to_string_lossy().into_owned()).collect();
    match parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["net", _, "conf" | "neigh", name] => !matches!(name, "all" | "default"),
        ["dev", ..] | ["fs", "binfmt_misc"] => true,
        _ => false,
    }
}

fn setting(root: &Path, path: &PathBuf) -> Option<Fact> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    // To be written and to be read.
    if mode & 0o200 == 0 || mode & 0o400 == 0 {
        return None;
    }
    let parts: Vec<String> =
        path.strip_prefix(root).ok()?.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let name = parts.join(".");
    if COUNTERS.contains(&name.as_str())
        || ADAPTED.iter().any(|adapted| name.starts_with(adapted))
        || SECRETS.iter().any(|secret| name.ends_with(secret))
    {
        return None;
    }
    let value = fs::read(path).ok()?;
    if value.len() > LONGEST {
        return None;
    }
    let value = String::from_utf8_lossy(&value).split_whitespace().collect::<Vec<_>>().join(" ");
    Some(Fact { labels: Labels::new([("name", name)]), value, source: path.display().to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Host, Target, Window};
    use std::time::{Duration, SystemTime};

    #[test]
    fn settings_are_what_can_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, value: &str, mode: u32| {
            let path = dir.path().join("sys").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, value).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        write("vm/swappiness", "60\n", 0o644);
        write("fs/dentry-state", "1\t2\n", 0o444);
        write("net/ipv4/tcp_rmem", "4096\t131072\t6291456\n", 0o644);
        write("net/ipv4/conf/veth7/forwarding", "1\n", 0o644);
        write("net/ipv4/conf/all/forwarding", "0\n", 0o644);
        write("net/ipv4/tcp_fastopen_key", "b0-b1-b2-b3\n", 0o600);
        write("kernel/perf_event_max_sample_rate", "50000\n", 0o644);
        write("kernel/ns_last_pid", "77\n", 0o666);
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
        let mut rec = Recording::new(host, Target::system("h"), window);
        collect(&Roots { proc: dir.path().to_owned(), ..Roots::default() }, &mut rec);
        let rows = rec.get(&catalog::SETTING).unwrap();
        let seen: Vec<(&str, &str)> = rows.iter().map(|f| (f.labels.get("name"), f.value.as_str())).collect();
        assert_eq!(
            seen,
            [
                ("net.ipv4.conf.all.forwarding", "0"),
                ("net.ipv4.tcp_rmem", "4096 131072 6291456"),
                ("vm.swappiness", "60")
            ]
        );
    }
}
