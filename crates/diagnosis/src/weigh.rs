//! Weighing every cause for every victim, joining what explains one another, and the order of what is found.

use crate::{
    Cause, Confidence, Draft, Effect, Finding, Party, Scene, ShareIs, Victim,
    cause::{WORTH_SAYING, grade, how_much},
    causes, chain, experiment,
    path::{self, Gain},
};
use observe::{Pid, Ratio};
use std::{cmp::Reverse, collections::BTreeSet, time::Duration};

/// What every cause comes to.
pub struct Found {
    /// Ranked.
    pub findings: Vec<Finding>,
    /// All of them only say what time goes to.
    pub all_descriptive: bool,
}

/// What the victims suffer from, what holds up those they wait for, and what the busiest processes work at where nobody
/// was named.
pub fn findings(scene: &Scene, victims: &[Victim], busiest: &[Victim], named: bool) -> Found {
    let mut weighed: Vec<Weighed> = victims.iter().flat_map(|victim| weigh(scene, victim)).collect();
    for pid in awaited(scene, victims, &weighed, named) {
        let mut found = weigh(scene, &Victim::behind_another(scene, pid));
        // Its own waits matter as far as they are somebody's; what it hardly does, or may want, is not of interest here.
        found.retain(|w| w.sure() && w.cause.id != causes::WAITS_FOR_CHILD && !is_known(&weighed, w));
        if let Some(waiter) = waiter(scene, victims, pid) {
            for w in found.iter_mut().filter(|w| !w.finding.summary.contains(&waiter.who)) {
                w.finding.summary += &format!(" {} {}.", waiter.who, waiter.why);
            }
            for w in &mut found {
                (w.time, w.worth) = (w.time.min(waiter.time), w.worth.min(waiter.time));
            }
        }
        found.iter_mut().for_each(|w| w.awaited = true);
        weighed.extend(found);
    }
    // Whoever talks to another waits for its answers: that alone is wrong only where somebody asks about it.
    let as_a_matter_of_course =
        |w: &&mut Weighed| !named && w.cause.id == causes::WAITS_FOR_CHILD && !causes::is_held(scene, &w.finding);
    for w in weighed.iter_mut().filter(as_a_matter_of_course) {
        w.finding.confidence = Confidence::Possible;
        w.descriptive = true;
    }
    for victim in busiest {
        let mut found = weigh(scene, victim);
        let worth_saying = |w: &Weighed| w.sure() || w.cause.id == causes::LEAK;
        found.retain(|w| worth_saying(w) && causes::OWN_WORK.contains(&w.cause.id) && !is_known(&weighed, w));
        for w in &mut found {
            w.finding.confidence = Confidence::Possible;
            w.descriptive = true;
            w.finding.summary += " Nobody asked about it: it is among what this machine works at most.";
        }
        weighed.extend(found);
    }
    weighed.iter_mut().for_each(|w| experiment::apply(scene.rec, &mut w.finding));
    join(&mut weighed);
    rank(scene, &mut weighed, &ways(scene, victims), named);
    let weighed = once_a_service(scene, weighed);
    let all_descriptive = weighed.iter().all(|w| w.descriptive);
    let mut findings: Vec<Finding> = weighed.into_iter().map(|w| w.finding).collect();
    within_the_whole(&mut findings);
    for (at, finding) in findings.iter_mut().enumerate() {
        finding.rank = at as u32 + 1;
    }
    Found { findings, all_descriptive }
}

fn is_known(weighed: &[Weighed], new: &Weighed) -> bool {
    weighed.iter().any(|w| w.cause.id == new.cause.id && w.finding.victim.pid == new.finding.victim.pid)
}

/// The way from each victim to the one it waits for in the end.
fn ways(scene: &Scene, victims: &[Victim]) -> Vec<(Party, Vec<Pid>)> {
    victims.iter().filter_map(|victim| Some((victim.party(), chain::longest(scene, victim)?.path))).collect()
}

/// Whom victims wait for, all along the way to who is at the end of it: what holds up the one in the middle is the cause as well.
fn awaited(scene: &Scene, victims: &[Victim], weighed: &[Weighed], named: bool) -> BTreeSet<Pid> {
    // The parts of a job wait for each other as a matter of course, unless somebody asks about one.
    let own = |w: &Weighed| {
        let ends = w.finding.victim.pid.zip(w.finding.culprit.pid);
        !named && ends.is_some_and(|(victim, culprit)| scene.is_one_job(Pid(victim), Pid(culprit)))
    };
    let waits = |w: &&Weighed| w.sure() && w.cause.id == causes::WAITS_FOR_CHILD && !own(w);
    let ends: BTreeSet<Pid> = weighed.iter().filter(waits).filter_map(|w| w.finding.culprit.pid.map(Pid)).collect();
    let ways = ways(scene, victims).into_iter().map(|(_, path)| path);
    let ways = ways.filter(|path| path.last().is_some_and(|end| ends.contains(end))).flatten();
    let all = ends.iter().copied().chain(ways);
    all.filter(|pid| !victims.iter().any(|v| v.contains(*pid) && (v.named || !ends.contains(pid)))).collect()
}

/// A victim that waits for a process that nobody named.
struct Waiter {
    who: String,
    /// How long, and along which way.
    why: String,
    time: Duration,
}

/// Why a process that nobody named is looked at: the victim with the longest way to it.
fn waiter(scene: &Scene, victims: &[Victim], pid: Pid) -> Option<Waiter> {
    let chains = victims.iter().filter_map(|victim| Some((victim, chain::longest(scene, victim)?)));
    let through = chains.filter(|(_, chain)| chain.path.contains(&pid));
    let (victim, chain) = through.max_by_key(|(_, chain)| (chain.end() == pid, chain.path.len(), chain.ending))?;
    let (seconds, way) = (chain.ending.as_secs_f64(), chain.names(scene));
    Some(Waiter { who: victim.label(), why: format!("waits {seconds:.1} s for it, along {way}"), time: chain.ending })
}

/// A finding with what its rank depends on.
struct Weighed {
    finding: Finding,
    time: Duration,
    /// The same by what requests lose, or threads that wait for one another, where the event window has seen it: they queue.
    worth: Duration,
    descriptive: bool,
    /// Its victim is not one, but is what a victim waits for.
    awaited: bool,
    /// Another finding is its root.
    follows: bool,
    cause: &'static Cause,
}

impl Weighed {
    fn sure(&self) -> bool {
        self.finding.confidence >= Confidence::Likely
    }

    /// What the one it is about does itself, rather than what holds it up.
    fn is_own_doing(&self) -> bool {
        causes::OWN_WORK.contains(&self.cause.id) || self.cause.id == causes::SLEEPS
    }
}

/// Weighs every cause for one victim.
fn weigh(scene: &Scene, victim: &Victim) -> Vec<Weighed> {
    let judged = causes::ALL.iter().flat_map(|cause| (cause.judge)(scene, victim).into_iter().map(move |d| (cause, d)));
    judged
        .map(|(cause, mut draft)| {
            let gain = scene.timeline().and_then(|timeline| path::gain(scene, timeline, victim, &draft.removes));
            if let Some(gain) = &gain {
                on_the_path(&mut draft, victim, gain);
            }
            let (time, descriptive, at_most) = (draft.time, draft.descriptive, victim.share(draft.time));
            let mut worth = time;
            if let Some(gain) = gain.as_ref().filter(|gain| gain.typical(at_most)) {
                let gained = victim.active().mul_f64(gain.in_all(at_most).0);
                // Threads that wait for one another lose more than each waits itself.
                worth = if gain.of_requests { gained } else { gained.max(time) };
                if causes::GRADED_BY_LOSS.contains(&cause.id) {
                    draft.confidence = draft.confidence.max(grade(scene, victim, worth).unwrap_or(draft.confidence));
                }
            }
            let mut finding = draft.finish(cause, victim);
            if let Some(gain) = gain.filter(|gain| gain.typical(at_most)) {
                finding.share = Ratio((gain.in_all(at_most).0 * 1e4).round() / 1e4);
                finding.share_is = ShareIs::Estimate;
                if !gain.of_requests && worth >= time.mul_f64(MORE) {
                    // What it takes itself is said in the first sentence, and is the smaller part of it.
                    let alone = how_much(victim, time);
                    let with =
                        alone.replace(" s)", &format!(" s; {} with the threads that wait behind it)", finding.share));
                    finding.summary = finding.summary.replacen(&alone, &with, 1);
                }
                if gain.of_requests && finding.share >= WORTH_SAYING {
                    finding.summary += &format!(" Without it, its requests would take {} less time.", finding.share);
                }
            }
            Weighed { time, worth, descriptive, awaited: false, follows: false, cause, finding }
        })
        .collect()
}

/// A wait that could be long without holding anything up is no cause of slowness.
fn on_the_path(draft: &mut Draft, victim: &Victim, gain: &Gain) {
    let at_most = victim.share(draft.time);
    if !gain.typical(at_most) || gain.share >= WORTH_SAYING || at_most < WORTH_SAYING {
        return;
    }
    draft.confidence = Confidence::Possible;
    draft.time = draft.time.mul_f64((gain.share.0 / at_most.0).clamp(0.0, 1.0));
    draft.summary += " But it holds nothing up: replaying the event window without it gains hardly anything.";
}

/// Joins the findings of a victim that explain one another: the consequence says what it follows from, and comes after it.
fn join(weighed: &mut [Weighed]) {
    /// ours: a root that explains less than this part of a consequence is a cause beside it.
    const EXPLAINS: f64 = 0.5;
    /// ours: the same where the consequence only says where time goes; why is worth more, even if it explains less.
    const EXPLAINS_WORK: f64 = 0.4;
    let explains = |root: &Weighed, w: &Weighed| {
        (root.cause.root_of.contains(&w.cause.id) || is_suffered_under_a_lock(root, w))
            && root.finding.victim == w.finding.victim
            && !competes_with_itself(root)
            && root.finding.confidence >= w.finding.confidence
            && root.worth.max(root.time) >= w.time.mul_f64(if w.is_own_doing() { EXPLAINS_WORK } else { EXPLAINS })
    };
    let root_of = |w: &Weighed| weighed.iter().filter(|root| explains(root, w)).max_by_key(|root| root.time);
    let roots: Vec<Option<String>> = weighed.iter().map(|w| Some(said_of(&root_of(w)?.finding))).collect();
    for (w, root) in weighed.iter_mut().zip(roots) {
        if let Some(root) = root {
            w.follows = true;
            w.finding.summary += &format!(" It follows from {root}.");
        }
    }
}

/// ours: by replay, threads that wait for one another lose so many times what each waits itself. Half as much again can be
/// chance; every thread that waits adds once as much.
const MORE: f64 = 1.5;

/// Whether it is what a lock's holder suffers while others wait for the lock: without it, all of them together would gain much
/// more than it takes itself.
fn is_suffered_under_a_lock(root: &Weighed, w: &Weighed) -> bool {
    let of_a_lock = |id: &str| causes::WAITS_FOR_LOCKS.contains(&id);
    of_a_lock(w.cause.id) && !of_a_lock(root.cause.id) && !root.is_own_doing() && root.worth >= root.time.mul_f64(MORE)
}

/// Whether a culprit that should compete with its victim is the victim: what it does to itself has other reasons.
fn competes_with_itself(root: &Weighed) -> bool {
    let Finding { victim, culprit, .. } = &root.finding;
    root.cause.frozen == Effect::Helps && culprit.pid.is_some() && culprit.pid == victim.pid
}

/// `cpu.throttled by cgroup /web`.
fn said_of(finding: &Finding) -> String {
    format!("{} by {} {}", finding.cause, finding.culprit.kind, finding.culprit.name)
}

/// What is sure comes before what is only possible; within, what costs its victim most. Waiting for a process explains
/// nothing where something holds that process up, or one on the way to it: the root comes first. What it does itself
/// comes first too, unless the user asked about the waiter.
fn rank(scene: &Scene, weighed: &mut [Weighed], ways: &[(Party, Vec<Pid>)], named: bool) {
    /// ours: what explains less than this part of the time of the one that is waited for is not the root.
    const EXPLAINS: Ratio = Ratio(0.3);
    let explained: BTreeSet<Pid> = weighed
        .iter()
        .filter(|w| w.sure() && w.cause.id != causes::WAITS_FOR_CHILD)
        .filter(|w| !named || w.awaited && !w.is_own_doing() && w.finding.share >= EXPLAINS)
        .filter_map(|w| w.finding.victim.pid.map(Pid))
        .collect();
    let link = |w: &Weighed| {
        let mut on_the_way = ways.iter().filter(|(victim, _)| *victim == w.finding.victim).flat_map(|(_, way)| way);
        w.cause.id == causes::WAITS_FOR_CHILD
            && (w.finding.culprit.pid.is_some_and(|pid| explained.contains(&Pid(pid)))
                || on_the_way.any(|pid| explained.contains(pid)))
    };
    // Where nobody is named, what one does to others comes before what it does to itself.
    let harms: BTreeSet<Pid> = weighed
        .iter()
        .filter(|w| w.sure() && w.cause.frozen == Effect::Helps && !competes_with_itself(w))
        .filter_map(|w| w.finding.culprit.pid.map(Pid))
        .collect();
    let harms = |pid: Pid| harms.iter().any(|one| *one == pid || scene.siblings(*one, pid));
    let harms_others = |w: &Weighed| !named && w.is_own_doing() && w.finding.victim.pid.map(Pid).is_some_and(harms);
    let aside = |w: &Weighed| link(w) || harms_others(w) || named && w.awaited && w.is_own_doing();
    // Pauses that may be wanted explain less than anything else that is possible.
    let may_be_wanted = |w: &Weighed| !w.sure() && w.cause.id == causes::SLEEPS;
    let only_says = |w: &Weighed| !w.sure() && w.descriptive;
    let place =
        |w: &Weighed| (Reverse(w.sure()), aside(w), w.follows, only_says(w), may_be_wanted(w), Reverse(w.worth));
    weighed.sort_by_key(|w| (place(w), w.finding.cause.clone()));
}

/// Processes of one service that suffer the same by the same, or by one another, are told of once, with the first.
fn once_a_service(scene: &Scene, ranked: Vec<Weighed>) -> Vec<Weighed> {
    let of_one_service = |a: Option<u32>, b: Option<u32>| match (a.map(Pid), b.map(Pid)) {
        (Some(a), Some(b)) => a == b || scene.siblings(a, b),
        (a, b) => a == b,
    };
    let alike = |a: &Finding, b: &Finding| {
        let culprits = (&a.culprit, &b.culprit);
        a.cause == b.cause
            && a.victim.pid.is_some()
            && a.victim.pid != b.victim.pid
            && of_one_service(a.victim.pid, b.victim.pid)
            && (&culprits.0.kind, &culprits.0.name) == (&culprits.1.kind, &culprits.1.name)
            && of_one_service(culprits.0.pid, culprits.1.pid)
    };
    let mut kept: Vec<(Weighed, Vec<u32>)> = Vec::new();
    for w in ranked {
        match kept.iter_mut().find(|(first, _)| alike(&first.finding, &w.finding)) {
            Some((_, others)) => others.extend(w.finding.victim.pid),
            None => kept.push((w, Vec::new())),
        }
    }
    let say = |(mut first, others): (Weighed, Vec<u32>)| {
        if !others.is_empty() {
            let pids: Vec<String> = others.iter().map(u32::to_string).collect();
            let (count, name) = (pids.len(), &first.finding.victim.name);
            first.finding.summary += &format!(" So do {count} more of {name} (pid {}).", pids.join(", "));
        }
        first
    };
    kept.into_iter().map(say).collect()
}

/// Two causes may explain the same time: what a finding above has taken of its victim's time is not counted again.
fn within_the_whole(findings: &mut [Finding]) {
    for at in 0..findings.len() {
        let (above, rest) = findings.split_at_mut(at);
        let finding = &mut rest[0];
        let taken: f64 = above.iter().filter(|f| f.victim == finding.victim).map(|f| f.share.0).sum();
        let left = ((1.0 - taken).max(0.0) * 1e4).round() / 1e4;
        if finding.share.0 > left {
            finding.summary +=
                &format!(" All but {} of its time is also explained by what is found above.", Ratio(left));
            finding.share = Ratio(left);
        }
    }
}
