//! Waiting for other processes: for whom first, on whom it rests in the end, and is anybody at work there?

use crate::{
    Scene, Victim,
    graph::{Node, Part, Root},
};
use observe::{Pid, Ratio};
use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

/// ours: of the time that a process is waited for, at least this part must rest on somebody or something at work. Where all
/// of them idle, they wait for work that nobody sends.
const AT_WORK: Ratio = Ratio(0.3);

/// A victim's waiting for one process, and where most of it ends.
pub struct Chain {
    /// For whom it waits.
    pub first: Pid,
    /// How long, whoever is behind it.
    pub time: Duration,
    /// The processes from the victim's on; the last is the one to look at.
    pub path: Vec<Pid>,
    /// What most of the time that ends there rests on.
    pub root: Root,
    /// The time that ends there, of all that the victim waits for other processes.
    pub ending: Duration,
    /// The other processes for which the one at the end stands.
    pub alike: Vec<Pid>,
}

impl Chain {
    /// The process at the end.
    pub fn end(&self) -> Pid {
        self.path.last().copied().unwrap_or(self.first)
    }

    /// Whether others are between the victim and the end.
    pub fn is_long(&self) -> bool {
        self.end() != self.first
    }

    /// The way in words: `api → db → disk:vda`.
    pub fn names(&self, scene: &Scene) -> String {
        let names: Vec<String> = self.path.iter().map(|pid| scene.rec.process_name(*pid)).collect();
        let resource = matches!(self.root.node, Node::Resource(..)).then(|| self.root.node.label(scene.rec));
        names.into_iter().chain(resource).collect::<Vec<_>>().join(" → ")
    }

    /// The one at the end: `db (pid 20)`, `db (pid 20 and 3 alike)`.
    pub fn label(&self, scene: &Scene) -> String {
        match self.alike.len() {
            0 => scene.label(self.end()),
            alike => format!("{} (pid {} and {alike} alike)", scene.rec.process_name(self.end()), self.end()),
        }
    }
}

/// The victim's longest wait for another process that is held up by somebody at work.
pub fn longest(scene: &Scene, victim: &Victim) -> Option<Chain> {
    let merged = victim.awaited(scene);
    let parts = &merged.parts;
    let held_up = by_first(parts).into_iter().filter(|(_, (all, vain))| !is_vain(*all, *vain));
    let (first, (time, _)) = held_up.max_by_key(|(pid, (all, _))| (*all, Reverse(*pid)))?;
    let ends = |part: &&Part| part.path.last().is_some_and(|pid| !victim.contains(*pid)) && !part.in_vain();
    let mut paths: BTreeMap<&[Pid], Duration> = BTreeMap::new();
    for part in parts.iter().filter(|part| part.first == Some(first)).filter(ends) {
        *paths.entry(&part.path).or_default() += part.time;
    }
    let (path, _) = paths.into_iter().max_by_key(|(path, time)| (*time, Reverse(path.len())))?;
    let at_end = || parts.iter().filter(ends).filter(|part| part.path.last() == path.last());
    let mut roots: BTreeMap<&Root, Duration> = BTreeMap::new();
    at_end().filter(|part| part.path == path).for_each(|part| *roots.entry(&part.root).or_default() += part.time);
    let root = roots.into_iter().max_by_key(|(_, time)| *time)?.0.clone();
    let alike = merged.services.others(*path.last()?).to_vec();
    Some(Chain { first, time, path: path.to_vec(), root, ending: at_end().map(|part| part.time).sum(), alike })
}

/// The processes that a victim waited for and behind which nobody is at work, and for how long.
pub fn in_vain(scene: &Scene, victim: &Victim) -> BTreeMap<Pid, Duration> {
    let sums = by_first(&victim.awaited_one_by_one(scene)).into_iter();
    sums.filter(|(_, (all, vain))| is_vain(*all, *vain)).map(|(pid, (all, _))| (pid, all)).collect()
}

fn is_vain(all: Duration, vain: Duration) -> bool {
    Ratio::of(all.saturating_sub(vain), all) < AT_WORK
}

/// The time that was waited for each process, and how much of it in vain.
fn by_first(parts: &[Part]) -> BTreeMap<Pid, (Duration, Duration)> {
    let mut sums: BTreeMap<Pid, (Duration, Duration)> = BTreeMap::new();
    for part in parts {
        let Some(first) = part.first else { continue };
        let (all, vain) = sums.entry(first).or_default();
        *all += part.time;
        if part.in_vain() {
            *vain += part.time;
        }
    }
    sums
}
