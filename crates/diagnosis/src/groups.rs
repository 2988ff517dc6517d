//! The control groups that hold a victim, and their limits.

use crate::{Scene, Victim};
use observe::{Bytes, Pid, Recording, catalog};
use std::collections::BTreeSet;

/// The groups that some processes are in: one of version 2, several of version 1.
pub struct Groups(BTreeSet<String>);

impl Groups {
    /// Those of a victim.
    pub fn of(scene: &Scene, victim: &Victim) -> Self {
        let mut groups: BTreeSet<String> =
            victim.pids.iter().filter_map(|pid| scene.rec.processes.get(pid)).map(|p| p.cgroup.clone()).collect();
        for member in scene.rec.get(&catalog::CGROUP_MEMBER).into_iter().flatten() {
            if member.labels.pid().is_some_and(|pid| victim.contains(pid)) {
                groups.insert(member.labels.get("cgroup").to_owned());
            }
        }
        Groups(groups)
    }

    /// Whether a group is one of them, or above one: its limits are theirs.
    pub fn are_in(&self, group: &str) -> bool {
        self.0.iter().any(|mine| is_in(mine, group))
    }
}

/// Whether a group is another, or below it.
pub fn is_in(group: &str, above: &str) -> bool {
    group.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a process is in a group, or in one below it.
pub fn holds(rec: &Recording, group: &str, pid: Pid) -> bool {
    let members = rec.get(&catalog::CGROUP_MEMBER).into_iter().flatten();
    rec.processes.get(&pid).is_some_and(|process| is_in(&process.cgroup, group))
        || members.filter(|m| m.labels.pid() == Some(pid)).any(|m| is_in(m.labels.get("cgroup"), group))
}

/// A group's limit of memory: which, and how much.
pub fn memory_limit(rec: &Recording, group: &str) -> Option<(&'static str, Bytes)> {
    let facts = rec.get(&catalog::CGROUP_LIMIT).ok()?;
    let of = |name: &'static str| {
        let fact = facts.iter().find(|f| f.labels.get("cgroup") == group && f.labels.get("name") == name)?;
        Some((name, Bytes(fact.value.parse().ok()?)))
    };
    ["memory.high", "memory.max", "memory.limit_in_bytes"].into_iter().filter_map(of).min_by_key(|(_, limit)| *limit)
}
