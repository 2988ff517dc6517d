//! Whose time a victim's is: the roots of its waiting, with their shares and the ways there.

use super::{Merged, Node, Part, Root};
use crate::{Party, Scene, Victim, cause::WORTH_SAYING};
use observe::{Pid, Ratio, Tid, TimeClass};
use serde::{Deserialize, Serialize};
use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

/// ours: more rows than this a victim nobody reads; the rest is one row.
const MOST: usize = 10;

/// A victim's active time by where it rests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Whose {
    /// Whose time it was.
    pub victim: Party,
    /// Its active time in seconds, over the threads that do its work.
    pub seconds: f64,
    /// The parts of it, the largest first; they sum to it.
    pub parts: Vec<WhosePart>,
    /// Threads that wait for one another and for nobody else, in which its time ends, a sentence each.
    pub knots: Vec<String>,
}

/// A part of a victim's time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhosePart {
    /// On whom or what it rests: `db (20)`, `disk:vda`, `tcp:10.0.0.2:5432`, `timer`.
    pub party: String,
    /// What that one does.
    pub doing: String,
    /// Part of the victim's active time, 0 to 1.
    pub share: f64,
    /// How long.
    pub seconds: f64,
    /// The way there, the victim first and the party last.
    pub path: Vec<String>,
}

/// The time of a victim by where it rests; `None` for one that did nothing.
pub fn whose(scene: &Scene, victim: &Victim) -> Option<Whose> {
    let merged = victim.redistributed(scene);
    let parts = &merged.parts;
    let all: Duration = parts.iter().map(|part| part.time).sum();
    if all.is_zero() {
        return None;
    }
    let row = |party: String, doing: &str, time: Duration, path: Vec<String>| WhosePart {
        party,
        doing: doing.to_owned(),
        share: Ratio::of(time, all).0,
        seconds: time.as_secs_f64(),
        path,
    };
    let mut sums: BTreeMap<(Vec<Pid>, Root), Duration> = BTreeMap::new();
    for part in parts {
        *sums.entry((part.path.clone(), by_process(&part.root))).or_default() += part.time;
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let rest: Duration = sums.iter().skip(MOST).map(|(_, time)| *time).sum();
    let shown = sums.iter().take(MOST).map(|((path, root), time)| {
        row(merged.label(scene, &root.node), root.doing(), *time, names_of(scene, &merged, path, root))
    });
    let mut rows: Vec<WhosePart> = shown.collect();
    if !rest.is_zero() {
        rows.push(row("others".to_owned(), "smaller parts together", rest, Vec::new()));
    }
    let seconds = all.as_secs_f64();
    Some(Whose { victim: victim.party(), seconds, parts: rows, knots: knots(scene, parts, all) })
}

/// The processes on the way to a root, and the root.
fn names_of(scene: &Scene, merged: &Merged, path: &[Pid], root: &Root) -> Vec<String> {
    let mut names: Vec<String> = path.iter().map(|pid| merged.label(scene, &Node::Process(*pid))).collect();
    if let Node::Resource(..) = root.node {
        names.push(root.node.label(scene.rec));
    }
    names
}

/// The same, whichever thread of the process it was.
fn by_process(root: &Root) -> Root {
    match &root.node {
        Node::Thread(pid, _) => Root { node: Node::Process(*pid), ..root.clone() },
        _ => root.clone(),
    }
}

/// The knots in which a noticeable part of the time ends.
fn knots(scene: &Scene, parts: &[Part], all: Duration) -> Vec<String> {
    let mut said = Vec::new();
    for knot in scene.graph().knots() {
        let ends = |part: &&Part| matches!(part.root.node, Node::Thread(pid, tid) if knot.contains(&(pid, tid)));
        let time: Duration = parts.iter().filter(ends).map(|part| part.time).sum();
        if Ratio::of(time, all) < WORTH_SAYING {
            continue;
        }
        let mut members: BTreeMap<Pid, usize> = BTreeMap::new();
        knot.iter().for_each(|(pid, _): &(Pid, Tid)| *members.entry(*pid).or_default() += 1);
        let mut members: Vec<(Pid, usize)> = members.into_iter().collect();
        members.sort_by_key(|(pid, threads)| (Reverse(*threads), *pid));
        let named: Vec<String> = members
            .iter()
            .take(3)
            .map(|(pid, threads)| match threads {
                1 => Node::Process(*pid).label(scene.rec),
                _ => format!("{threads} threads of {}", Node::Process(*pid).label(scene.rec)),
            })
            .collect();
        let more = if members.len() > 3 { format!(" and {} more", members.len() - 3) } else { String::new() };
        said.push(format!(
            "{}{more} wait for one another and for nobody else; {} of the time ends there: this loop bounds the throughput.",
            named.join(", "),
            Ratio::of(time, all),
        ));
    }
    said
}

impl Root {
    /// What the party does or is, in a few words.
    pub fn doing(&self) -> &'static str {
        use TimeClass::*;
        match (&self.node, self.class) {
            (Node::Ahead(..), _) => "had requests ahead in the device's queue",
            (Node::Resource(..), class) => resource(class),
            (_, class) if class.is_runnable() => "ran on the CPU meanwhile",
            (_, RunningUser) => "runs its own code",
            (_, RunningKernel) => "runs in the kernel",
            (_, BlockedIdle) => "idles itself",
            (_, _) => "not followed further",
        }
    }
}

/// What kind of resource a wait of a class is for, where nobody is known to be behind it.
fn resource(class: TimeClass) -> &'static str {
    use TimeClass::*;
    match class {
        RunningUser | RunningKernel => "code",
        RunningInterrupted => "interrupts took the CPU",
        RunningStolen => "the hypervisor took the CPU",
        RunnableBusy | RunnableOutranked => "busy CPU, runner not known",
        RunnablePinned => "its CPUs, while others idled",
        RunnableThrottled => "CPU quota",
        RunnableWaking => "idle CPU, until it was awake",
        BlockedDisk => "block device",
        BlockedFs => "file system",
        BlockedMemory => "memory management",
        BlockedLock => "lock, holder not known",
        BlockedKernelLock => "kernel lock, holder not known",
        BlockedNetwork => "remote peer",
        BlockedThread => "another of its threads, not known",
        BlockedProcess => "process not known",
        BlockedSleep => "timer",
        BlockedIdle => "no work",
        BlockedStopped => "stopped",
        BlockedUnknown => "reason not known",
    }
}
