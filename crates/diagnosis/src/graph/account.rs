//! One thread's or process' books: what it did itself, and for whom or what it waited.

use super::Node;
use crate::Scene;
use observe::{Pid, ThreadTime, TimeClass, Wait, catalog};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// ours: so many edges a thread or process keeps, the longest. Half as many keep their thread, the others their process only;
/// what is left then keeps nothing but its class. A server with a thread for each connection has more threads than that.
const MOST_EDGES: usize = 64;

/// One edge of the wait graph: for what somebody waited.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// For whom or what.
    pub to: Node,
    /// The class of the wait.
    pub class: TimeClass,
    /// The resource by name; empty when unknown.
    pub resource: String,
    /// Summed time.
    pub time: Duration,
    /// The most of it that one thread waited.
    pub most: Duration,
    /// Number of waits; 0 where only their time is known.
    pub count: u64,
    /// The longest.
    pub longest: Duration,
    /// A pause that holds nobody up but who waits for a lock that is held meanwhile.
    pub housekeeping: bool,
}

impl Edge {
    fn is_for(&self, device: &str) -> bool {
        matches!(&self.to, Node::Resource(TimeClass::BlockedDisk, name) if name == device)
    }
}

/// Where the time goes in which somebody did or wanted something. Idleness is left out.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Running, in own code and in the kernel.
    pub own: Vec<(TimeClass, Duration)>,
    /// Everything else, the longest first.
    pub edges: Vec<Edge>,
}

impl Account {
    /// From a thread's ledger and its waits. The ledger has the last word on the time of each class; the waits tell how
    /// it is split.
    pub fn of_thread(scene: &Scene, thread: &ThreadTime, pauses_matter: bool, waits: &[&Wait]) -> Self {
        let mut account = Account::default();
        let mut seen: HashMap<TimeClass, Duration> = HashMap::new();
        for wait in waits {
            *seen.entry(wait.class).or_default() += wait.time;
        }
        let mut left: BTreeMap<TimeClass, Duration> = BTreeMap::new();
        for (class, time) in thread.classes.iter().filter(|(class, _)| !class.is_idle()) {
            if matches!(class, TimeClass::RunningUser | TimeClass::RunningKernel) {
                account.own.push((class, time));
            } else {
                left.insert(class, time.saturating_sub(seen.get(&class).copied().unwrap_or_default()));
            }
        }
        for wait in waits.iter().filter(|w| left.contains_key(&w.class)) {
            let (all, told) = (thread.classes[wait.class], seen[&wait.class]);
            let part = if told > all { all.as_secs_f64() / told.as_secs_f64() } else { 1.0 };
            account.edges.push(Edge {
                to: Node::of(scene, wait),
                class: wait.class,
                resource: wait.resource.clone(),
                time: wait.time.mul_f64(part),
                most: Duration::ZERO,
                count: wait.count,
                longest: wait.longest,
                housekeeping: wait.class == TimeClass::BlockedSleep && !pauses_matter,
            });
        }
        account.edges.extend(left.into_iter().filter(|(_, time)| !time.is_zero()).map(|(class, time)| Edge {
            to: Node::Resource(class, String::new()),
            class,
            resource: String::new(),
            time,
            most: Duration::ZERO,
            count: 0,
            longest: Duration::ZERO,
            housekeeping: class == TimeClass::BlockedSleep && !pauses_matter,
        }));
        let mut account = account.tidied();
        account.edges.iter_mut().for_each(|edge| edge.most = edge.time);
        account
    }

    /// Several together.
    pub fn sum<'a>(accounts: impl Iterator<Item = &'a Account>) -> Self {
        let mut own: BTreeMap<TimeClass, Duration> = BTreeMap::new();
        let mut edges = Vec::new();
        for account in accounts {
            account.own.iter().for_each(|(class, time)| *own.entry(*class).or_default() += *time);
            edges.extend(account.edges.iter().cloned());
        }
        Account { own: own.into_iter().collect(), edges }.tidied()
    }

    /// All of it but housekeeping.
    pub fn active(&self) -> Duration {
        let own: Duration = self.own.iter().map(|(_, time)| *time).sum();
        own + self.edges.iter().filter(|e| !e.housekeeping).map(|e| e.time).sum::<Duration>()
    }

    /// For how long it waited for a device.
    pub fn blocked_on(&self, device: &str) -> Duration {
        self.edges.iter().filter(|e| e.is_for(device)).map(|e| e.time).sum()
    }

    /// Splits the waits for a device by whose requests were ahead. The queue is known for the process as a whole, so it is
    /// set against the longest that one of its threads was blocked there.
    pub fn split_queue(&mut self, device: &str, longest: Duration, ahead: &[(Pid, Duration)]) {
        let Some(at) = self.edges.iter().position(|e| e.is_for(device)) else { return };
        let of = longest.max(ahead.iter().map(|(_, time)| *time).sum());
        let whole = self.edges[at].clone();
        for (pid, time) in ahead {
            let time = whole.time.mul_f64(time.as_secs_f64() / of.as_secs_f64()).min(self.edges[at].time);
            self.edges[at].time -= time;
            self.edges.push(Edge { to: Node::Ahead(*pid, device.to_owned()), time, most: time, ..whole.clone() });
        }
    }

    /// Edges for the same thing are one, the longest come first, and what is beyond the bound loses its thread, then its
    /// name.
    fn tidied(self) -> Self {
        let mut edges = merged(self.edges);
        let beyond = edges.split_off(edges.len().min(MOST_EDGES / 2));
        edges.extend(beyond.into_iter().map(of_process));
        edges = merged(edges);
        let beyond = edges.split_off(edges.len().min(MOST_EDGES));
        edges.extend(beyond.into_iter().map(nameless));
        Account { own: self.own, edges: merged(edges) }
    }
}

/// Edges for the same thing as one, the longest first.
fn merged(edges: Vec<Edge>) -> Vec<Edge> {
    let mut merged: BTreeMap<(Node, TimeClass, String, bool), Edge> = BTreeMap::new();
    for edge in edges {
        let key = (edge.to.clone(), edge.class, edge.resource.clone(), edge.housekeeping);
        match merged.get_mut(&key) {
            None => drop(merged.insert(key, edge)),
            Some(known) => {
                known.time += edge.time;
                known.most = known.most.max(edge.most);
                known.count += edge.count;
                known.longest = known.longest.max(edge.longest);
            }
        }
    }
    let mut edges: Vec<Edge> = merged.into_values().collect();
    edges.sort_by_key(|e| Reverse(e.time));
    edges
}

/// The same without the thread.
fn of_process(edge: Edge) -> Edge {
    match edge.to {
        Node::Thread(pid, _) => Edge { to: Node::Process(pid), ..edge },
        _ => edge,
    }
}

/// Who is waited for where that is more processes than are kept, as by a script that starts one after another.
pub const MANY: &str = "many processes";

/// The same without anything but its class, and whether somebody was waited for.
fn nameless(edge: Edge) -> Edge {
    let name = if edge.to.pid().is_some() { MANY } else { "" };
    Edge { to: Node::Resource(edge.class, name.to_owned()), resource: String::new(), ..edge }
}

/// Whose requests a process' own were behind, by process and device.
pub fn queues(scene: &Scene) -> BTreeMap<(Pid, String), Vec<(Pid, Duration)>> {
    let mut queues: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for row in scene.rec.get(&catalog::BLOCK_BEHIND).into_iter().flatten() {
        let ahead = row.labels.get("behind").parse().ok().map(Pid);
        let time = Duration::try_from_secs_f64(row.last()).unwrap_or_default();
        if let (Some(pid), Some(ahead)) = (row.labels.pid(), ahead)
            && pid != ahead
            && !time.is_zero()
            && !scene.rec.is_friday(ahead)
        {
            queues.entry((pid, format!("disk:{}", row.labels.get("device")))).or_default().push((ahead, time));
        }
    }
    queues
}
