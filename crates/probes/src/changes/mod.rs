//! What changed on this machine lately: packages, settings, programs, its kernel, its start. Read after the window, bounded in
//! volume. Measured: 20 ms.

mod packages;
mod programs;
mod settings;
mod stamp;

use crate::roots::Roots;
use observe::{Fact, Labels, Pid, Process, Recording, catalog};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// ours: who notices something on Monday remembers two weeks.
const RECENT_SECONDS: i64 = 14 * 86_400;

/// One change.
#[derive(Clone, Debug, PartialEq)]
struct Change {
    kind: &'static str,
    /// What changed.
    of: String,
    /// What became of it.
    what: String,
    /// Seconds since 1970.
    at: i64,
    /// Of a program: since when it has been running.
    since: Option<i64>,
    source: String,
}

impl Change {
    fn new(kind: &'static str, of: String, what: impl Into<String>, at: i64, source: impl Into<String>) -> Self {
        Change { kind, of, what: what.into(), at, since: None, source: source.into() }
    }
}

/// Changes of one kind, newest first, how many more there were, and what could not be read.
#[derive(Debug)]
struct Found {
    changes: Vec<Change>,
    left_out: usize,
    why: String,
}

impl Found {
    fn new(mut changes: Vec<Change>, most: usize, why: String) -> Self {
        changes.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.of.cmp(&b.of)));
        let left_out = changes.len().saturating_sub(most);
        changes.truncate(most);
        Found { changes, left_out, why }
    }
}

/// Whether it was within the last two weeks.
fn recent(at: i64, now: i64) -> bool {
    (now - RECENT_SECONDS..=now).contains(&at)
}

/// Adds everything that changed lately. `root` is the file system's.
pub(crate) fn collect(roots: &Roots, root: &Path, processes: &BTreeMap<Pid, Process>, into: &mut Recording) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let (boot, kernel) = settings::system(root, &roots.proc, now);
    let found = [
        ("package", packages::read(root, now, stamp::here)),
        ("config", settings::read(root, now)),
        ("program", programs::read(&roots.proc, processes, now)),
        ("kernel", kernel),
        ("boot", boot),
    ];
    let (mut changes, mut told) = (Vec::new(), Vec::new());
    for (kind, found) in found {
        let labels = Labels::new([("kind", kind.to_owned()), ("left_out", found.left_out.to_string())]);
        told.push(Fact { labels, value: found.why, source: "friday".to_owned() });
        changes.extend(found.changes.into_iter().map(|change| Fact {
            labels: Labels::new([
                ("kind", change.kind.to_owned()),
                ("of", change.of),
                ("at", change.at.to_string()),
                ("since", change.since.map_or_else(String::new, |since| since.to_string())),
            ]),
            value: change.what,
            source: change.source,
        }));
    }
    into.set(&catalog::HOST_CHANGE, Ok(changes));
    if let Some(value) = os(root) {
        let labels = Labels::new([("name", "os".to_owned())]);
        into.push(&catalog::HOST_FACT, Fact { labels, value, source: "/etc/os-release".to_owned() });
    }
    into.set(&catalog::HOST_CHANGES_SEEN, Ok(told));
}

/// The distribution, as it calls itself.
fn os(root: &Path) -> Option<String> {
    let text =
        ["etc/os-release", "usr/lib/os-release"].iter().find_map(|file| fs::read_to_string(root.join(file)).ok())?;
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim().trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Host, Target, Window};
    use std::time::Duration;

    #[test]
    fn changes_and_what_could_not_be_read_are_facts() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        fs::create_dir_all(&etc).unwrap();
        fs::write(etc.join("os-release"), "ID=debian\nPRETTY_NAME=\"Debian 12\"\n").unwrap();
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
        let mut rec = Recording::new(host, Target::system("h"), window);
        let roots = Roots { proc: dir.path().join("proc"), ..Roots::default() };
        collect(&roots, dir.path(), &BTreeMap::new(), &mut rec);
        let all = rec.get(&catalog::HOST_CHANGE).unwrap();
        assert_eq!((all.len(), all[0].labels.get("of")), (1, "/etc/os-release"));
        let seen = rec.get(&catalog::HOST_CHANGES_SEEN).unwrap();
        let why = |kind: &str| seen.iter().find(|fact| fact.labels.get("kind") == kind).unwrap().value.clone();
        assert!(why("package").contains("no log") && why("config").is_empty());
        assert_eq!(rec.get(&catalog::HOST_FACT).unwrap()[0].value, "Debian 12");
    }
}
