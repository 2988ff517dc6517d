//! Which processes are in version 1's groups of memory, tasks and I/O? There, a process is in a group of each hierarchy.
//!
//! Cost: about 10 µs a group, at the start and at the end.

use crate::{
    host::{
        cgroups::{self, Hierarchy},
        text,
    },
    roots::Roots,
};
use observe::{Absent, Fact, Labels, Recording, catalog};
use std::collections::BTreeSet;

/// ours: ten processes in each of as many groups as a big Kubernetes node has.
const MOST: usize = 10_000;

/// Group and process.
pub(crate) struct Members(BTreeSet<(String, u32)>);

impl Members {
    /// Who is in a group when the window begins: who is gone at its end is in none.
    pub fn new(roots: &Roots) -> Self {
        let mut members = Members(BTreeSet::new());
        members.read(&hierarchies(roots));
        members
    }

    /// Adds those at the end, and all to the recording.
    pub fn finish(mut self, roots: &Roots, into: &mut Recording) {
        let hierarchies = hierarchies(roots);
        if hierarchies.is_empty() {
            let why = "version 1 of control groups is not mounted, and a process is in one group".to_owned();
            return into.set(&catalog::CGROUP_MEMBER, Err(Absent::Unsupported(why)));
        }
        self.read(&hierarchies);
        let facts = self.0.into_iter().map(|(group, pid)| Fact {
            labels: Labels::new([("cgroup", group), ("pid", pid.to_string())]),
            value: "member".to_owned(),
            source: "cgroup.procs".to_owned(),
        });
        into.set(&catalog::CGROUP_MEMBER, Ok(facts.collect()));
    }

    fn read(&mut self, hierarchies: &[Hierarchy]) {
        for hierarchy in hierarchies {
            cgroups::walk(&hierarchy.root, &mut |dir| {
                if dir != hierarchy.root {
                    let processes = text(&dir.join("cgroup.procs")).unwrap_or_default();
                    let pids = processes.lines().filter_map(|line| line.parse().ok());
                    self.0.extend(pids.map(|pid| (hierarchy.shown(dir), pid)));
                }
                self.0.len() < MOST
            });
        }
    }
}

fn hierarchies(roots: &Roots) -> Vec<Hierarchy> {
    let limiting = |h: &Hierarchy| ["memory", "pids", "blkio"].iter().any(|controller| h.has_v1(controller));
    cgroups::hierarchies(roots).into_iter().filter(limiting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Host, Target, Window};
    use std::{
        fs,
        time::{Duration, SystemTime},
    };

    #[test]
    fn those_of_the_begin_and_the_end_without_root_groups() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        let write = |file: &str, content: &str| {
            let path = base.join("sys/fs/cgroup").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        write("memory/cgroup.procs", "1\n");
        write("memory/box/cgroup.procs", "7\n8\n");
        write("cpu/other/cgroup.procs", "9\n");
        write("cpu/cgroup.procs", "1\n");
        let roots = Roots { proc: base.join("proc"), sys: base.join("sys"), btf: base.join("btf") };
        let members = Members::new(&roots);
        write("memory/box/cgroup.procs", "8\n10\n");
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
        let mut rec = Recording::new(host, Target::system("h"), window);
        members.finish(&roots, &mut rec);
        let facts = rec.get(&catalog::CGROUP_MEMBER).unwrap();
        let found: Vec<_> = facts.iter().map(|f| (f.labels.get("cgroup"), f.labels.get("pid"))).collect();
        assert_eq!(found, [("/box", "7"), ("/box", "8"), ("/box", "10")]);
    }
}
