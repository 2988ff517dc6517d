//! Copies of one program under one parent are one party: the backends of a database, the workers of a web server.

use super::{Node, Part, Root};
use crate::Scene;
use observe::Pid;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Which processes are one party. Each goes by one of its processes.
pub struct Services {
    heads: BTreeMap<Pid, Pid>,
    members: BTreeMap<Pid, Vec<Pid>>,
}

impl Services {
    /// Of the processes on which time is spent, where two may be `alike`: a service goes by the one with most of it.
    pub fn of(times: BTreeMap<Pid, Duration>, alike: impl Fn(Pid, Pid) -> bool) -> Self {
        let mut order: Vec<(Pid, Duration)> = times.into_iter().collect();
        order.sort_by_key(|(pid, time)| (Reverse(*time), *pid));
        let mut services = Services { heads: BTreeMap::new(), members: BTreeMap::new() };
        for (pid, _) in order {
            let mut known = services.members.keys().copied();
            let head = known.find(|head| alike(*head, pid)).unwrap_or(pid);
            services.heads.insert(pid, head);
            services.members.entry(head).or_default().push(pid);
        }
        services
    }

    /// The one by which its service goes.
    pub fn head(&self, pid: Pid) -> Pid {
        self.heads.get(&pid).copied().unwrap_or(pid)
    }

    /// The others for which one stands.
    pub fn others(&self, pid: Pid) -> &[Pid] {
        self.members.get(&pid).and_then(|all| all.get(1..)).unwrap_or_default()
    }

    /// What people call a party: `db (20)`, `db (20 and 3 alike)`.
    pub fn label(&self, scene: &Scene, pid: Pid) -> String {
        match self.others(pid).len() {
            0 => Node::Process(pid).label(scene.rec),
            others => format!("{} ({pid} and {others} alike)", scene.rec.process_name(pid)),
        }
    }
}

/// Somebody's time by where it rests, with each service as one party.
pub struct Merged {
    /// The parts, the largest first.
    pub parts: Vec<Part>,
    /// The parties.
    pub services: Services,
}

impl Merged {
    /// Of parts of a redistribution; processes that are `alone` are no part of any service.
    pub fn of(scene: &Scene, parts: Vec<Part>, alone: impl Fn(Pid) -> bool) -> Merged {
        let mut times: BTreeMap<Pid, Duration> = BTreeMap::new();
        for part in &parts {
            let met: BTreeSet<Pid> = part.path.iter().copied().chain(part.root.node.pid()).chain(part.first).collect();
            met.into_iter().for_each(|pid| *times.entry(pid).or_default() += part.time);
        }
        let services = Services::of(times, |a, b| !alone(a) && !alone(b) && is_service(scene, a, b));
        let is_one_of_several = |pid: Pid| !services.others(services.head(pid)).is_empty();
        let mut sums: BTreeMap<(Option<Pid>, Vec<Pid>, Root), Duration> = BTreeMap::new();
        for part in parts {
            let node = match part.root.node {
                Node::Thread(pid, _) | Node::Process(pid) if is_one_of_several(pid) => {
                    Node::Process(services.head(pid))
                }
                Node::Ahead(pid, device) => Node::Ahead(services.head(pid), device),
                other => other,
            };
            let mut path: Vec<Pid> = Vec::new();
            for pid in part.path.iter().map(|pid| services.head(*pid)) {
                // Back at a service, the way between is its own business.
                match path.iter().position(|known| *known == pid) {
                    Some(at) => path.truncate(at + 1),
                    None => path.push(pid),
                }
            }
            let first = part.first.map(|pid| services.head(pid));
            *sums.entry((first, path, Root { node, ..part.root })).or_default() += part.time;
        }
        let mut parts: Vec<Part> =
            sums.into_iter().map(|((first, path, root), time)| Part { root, path, first, time }).collect();
        parts.sort_by_key(|part| Reverse(part.time));
        Merged { parts, services }
    }

    /// What people call a party or a resource.
    pub fn label(&self, scene: &Scene, node: &Node) -> String {
        node.pid().map_or_else(|| node.label(scene.rec), |pid| self.services.label(scene, pid))
    }
}

/// Whether both were forked by one parent and run its program: what a shell starts is not one service.
fn is_service(scene: &Scene, a: Pid, b: Pid) -> bool {
    let processes = &scene.rec.processes;
    let parent = processes.get(&a).and_then(|process| processes.get(&process.parent));
    let (Some(child), Some(parent)) = (processes.get(&a), parent) else { return false };
    scene.siblings(a, b) && child.exe == parent.exe && (!child.exe.is_empty() || child.name == parent.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Victim, testing::System};
    use TimeClass::{BlockedProcess, RunningUser};
    use observe::TimeClass;

    #[test]
    fn backends_of_one_server_are_one_party() {
        let mut system = System::new()
            .thread(5, "postgres", &[])
            .thread(10, "api", &[(RunningUser, 1.0), (BlockedProcess, 8.0)])
            .thread(20, "postgres", &[(RunningUser, 5.0)])
            .thread(21, "postgres", &[(RunningUser, 5.0)])
            .thread(30, "cache", &[(RunningUser, 5.0)]);
        for (by, time) in [(20, 3.0), (21, 4.0), (30, 1.0)] {
            system = system.wait(10, BlockedProcess, "recv", "tcp:127.0.0.1:5432", Some((by, by)), time, 10);
        }
        let mut rec = system.target(10).build();
        for pid in [20, 21, 30] {
            rec.processes.get_mut(&Pid(pid)).unwrap().parent = Pid(5);
        }
        let scene = Scene::new(&rec);
        let merged = Victim::behind_another(&scene, Pid(10)).redistributed(&scene);
        let time = |pid: u32| -> f64 {
            let parts = merged.parts.iter().filter(|part| part.path == [Pid(10), Pid(pid)]);
            parts.map(|part| part.time.as_secs_f64()).sum()
        };
        assert!((time(21) - 7.0).abs() < 1e-6 && (time(30) - 1.0).abs() < 1e-6, "{:?}", merged.parts);
        assert_eq!(merged.label(&scene, &Node::Process(Pid(21))), "postgres (21 and 1 alike)");
        assert_eq!(merged.label(&scene, &Node::Process(Pid(30))), "cache (30)");
    }
}
