//! What a wait is for: a thread of this machine, or the resource where nobody of this machine is behind it.

use crate::Scene;
use observe::{Pid, Recording, Tid, TimeClass, Wait, catalog};

/// The end of an edge of the wait graph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// A thread.
    Thread(Pid, Tid),
    /// A process of which it is not known which thread.
    Process(Pid),
    /// A device that served a process' requests first.
    Ahead(Pid, String),
    /// A device, a peer, a timer, a quota …: what the class of time says, and its name.
    Resource(TimeClass, String),
}

impl Node {
    /// What a wait is for. Sleeps, stops, quotas and peers have nobody behind them, whoever ended them; nor has a wait of
    /// which it is not known what it was for.
    pub fn of(scene: &Scene, wait: &Wait) -> Node {
        use TimeClass::*;
        let somebody = wait.by.filter(|(pid, _)| !scene.rec.is_friday(*pid));
        let nobodys =
            matches!(wait.class, BlockedSleep | BlockedStopped | BlockedNetwork | BlockedUnknown | RunnableThrottled);
        match (somebody, wait.class) {
            (Some((pid, tid)), _) if !nobodys => Node::Thread(pid, tid),
            (None, BlockedProcess) => {
                whom(scene, wait).map_or_else(|| Node::Resource(wait.class, wait.resource.clone()), Node::Process)
            }
            _ => Node::Resource(wait.class, wait.resource.clone()),
        }
    }

    /// The process that acts, where it is one.
    pub fn pid(&self) -> Option<Pid> {
        match self {
            Node::Thread(pid, _) | Node::Process(pid) | Node::Ahead(pid, _) => Some(*pid),
            Node::Resource(..) => None,
        }
    }

    /// What people call it.
    pub fn label(&self, rec: &Recording) -> String {
        match self {
            Node::Resource(class, name) if name.is_empty() => unnamed(*class).to_owned(),
            Node::Resource(_, name) => name.clone(),
            _ => self.pid().map(|pid| format!("{} ({pid})", rec.process_name(pid))).unwrap_or_default(),
        }
    }
}

/// A resource of which only the class of the wait is known.
fn unnamed(class: TimeClass) -> &'static str {
    use TimeClass::*;
    match class {
        RunningUser | RunningKernel => "code",
        RunningInterrupted => "interrupts",
        RunningStolen => "hypervisor",
        RunnableBusy | RunnableOutranked | RunnablePinned | RunnableWaking => "cpu",
        RunnableThrottled => "cpu quota",
        BlockedDisk => "disk",
        BlockedFs => "file system",
        BlockedMemory => "memory",
        BlockedLock => "lock",
        BlockedKernelLock => "kernel lock",
        BlockedNetwork => "network",
        BlockedThread => "another of its threads",
        BlockedProcess => "unknown process",
        BlockedSleep => "timer",
        BlockedIdle => "work",
        BlockedStopped => "stopped",
        BlockedUnknown => "unknown",
    }
}

/// Whom a wait for another process is for that nobody was seen to end: who listens at the other end, else who of its children
/// (or its parent, unless it waits for a child) is most at work. `None` when nobody is known.
fn whom(scene: &Scene, wait: &Wait) -> Option<Pid> {
    if let Some(address) = wait.end() {
        return listener(scene, address).filter(|pid| *pid != wait.pid);
    }
    let parent = scene.rec.processes.get(&wait.pid).map(|p| p.parent).filter(|_| wait.resource != "child");
    let family = scene.children(wait.pid).chain(parent).filter(|pid| !scene.threads(*pid).is_empty());
    family.filter(|pid| !scene.is_background(*pid)).max_by_key(|pid| (scene.at_work(*pid), *pid))
}

/// Who listens on the port of an address of this machine.
pub fn listener(scene: &Scene, address: &str) -> Option<Pid> {
    let port = |address: &str| address.rsplit_once(':').map(|(_, port)| port.to_owned());
    let rows = scene.rec.get(&catalog::LISTEN_QUEUE).into_iter().flatten();
    let wanted = port(address)?;
    rows.filter(|row| port(row.labels.get("address")).is_some_and(|own| own == wanted)).find_map(|row| row.labels.pid())
}
