//! Waiting for somebody who waits for somebody: who is at the end, and are they at work?

use crate::Scene;
use observe::{Pid, Ratio, TimeClass, Wait};
use std::{collections::BTreeMap, time::Duration};

/// ours: chains longer than this are not followed.
const DEEPEST: usize = 6;

/// ours: the process at the end must have been at work for at least this part of the time it was waited for. One that
/// idles waits itself for work that nobody sends.
const AT_WORK: Ratio = Ratio(0.3);

/// Whom a wait for another process is for: who ended it; for one that has not ended, who of its children (or its parent,
/// unless it waits for a child) is most at work. `None` when nobody is known.
pub fn whom(scene: &Scene, wait: &Wait) -> Option<Pid> {
    if let Some((by, _)) = wait.by {
        return Some(by);
    }
    let parent = scene.rec.processes.get(&wait.pid).map(|p| p.parent).filter(|_| wait.resource != "child");
    let family = scene.children(wait.pid).chain(parent).filter(|pid| !scene.threads(*pid).is_empty());
    family.filter(|pid| !scene.is_background(*pid)).max_by_key(|pid| (at_work(scene, *pid), *pid))
}

/// For whom some waits are, and how long. Members of the own group, kernel threads and friday are left out.
pub fn awaited<'a>(
    scene: &Scene,
    own: impl Fn(Pid) -> bool,
    waits: impl Iterator<Item = &'a Wait>,
) -> BTreeMap<Pid, Duration> {
    let mut awaited: BTreeMap<Pid, Duration> = BTreeMap::new();
    for wait in waits.filter(|w| w.class == TimeClass::BlockedProcess) {
        if let Some(pid) = whom(scene, wait).filter(|pid| !own(*pid) && !scene.is_background(*pid)) {
            *awaited.entry(pid).or_default() += wait.time;
        }
    }
    awaited
}

/// From an awaited process on to the one that does not itself mostly wait for another.
pub fn follow(scene: &Scene, own: &impl Fn(Pid) -> bool, first: Pid) -> Vec<Pid> {
    let mut chain = vec![first];
    while chain.len() < DEEPEST {
        let pid = chain[chain.len() - 1];
        let waiting = scene.times(pid)[TimeClass::BlockedProcess];
        if Ratio::of(waiting, scene.times(pid).active()) < Ratio(0.5) {
            break;
        }
        let next = awaited(scene, own, scene.waits(pid).iter().copied()).into_iter().max_by_key(|(_, time)| *time);
        match next {
            Some((next, _)) if !chain.contains(&next) => chain.push(next),
            _ => break,
        }
    }
    chain
}

/// Time in which a process did or wanted something itself, rather than wait for another: its busiest thread's, or that of
/// its short-lived threads together, which take turns.
pub fn at_work(scene: &Scene, pid: Pid) -> Duration {
    let own = |class: TimeClass| !class.is_idle() && class != TimeClass::BlockedProcess;
    let threads = || scene.threads(pid).iter().map(|t| (t.wall, t.classes.sum(own)));
    let busiest = threads().map(|(_, time)| time).max().unwrap_or_default();
    let in_turns: Duration = threads().filter(|(wall, _)| *wall < scene.window() / 2).map(|(_, time)| time).sum();
    busiest.max(in_turns.min(scene.window()))
}

/// Whether the end of the chain behind an awaited process was at work while it was waited for.
pub fn holds_up(scene: &Scene, own: &impl Fn(Pid) -> bool, first: Pid, time: Duration) -> bool {
    let root = follow(scene, own, first).last().copied().unwrap_or(first);
    Ratio::of(at_work(scene, root), time) >= AT_WORK
}
