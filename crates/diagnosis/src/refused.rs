//! Calls that are refused for want of something: how often, and what their caller loses.

use crate::{
    Confidence, Scene, Victim,
    cause::{MATTERS, grade},
    causes::pauses_after,
};
use checks::Evidence;
use observe::{Pid, Ratio, Series, Tid, TimeClass, catalog};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// ours: fewer refusals than this in a window are an accident, or somebody who finds out how much there is.
const AGAIN: f64 = 10.0;

/// ours: below this many a second they are no habit.
const RATE: f64 = 1.0;

/// ours: the call before each refused one belongs to the same try: the poll that said that somebody waits, the pause.
const CALLS_OF_A_TRY: f64 = 2.0;

/// A victim's refused calls.
pub struct Refused {
    /// Whose most are.
    pub pid: Pid,
    /// The call that is refused most.
    pub call: String,
    /// With which error.
    pub errno: String,
    /// The path of one, where there is one.
    pub argument: String,
    /// How many of all kinds a second.
    pub rate: f64,
    /// Of the requests that the victim answers, at most one a refusal.
    pub of_requests: Ratio,
    /// In the calls, in what goes with them, in the pauses after them, and for requests that come to nothing.
    pub time: Duration,
}

impl Refused {
    /// The refusals of some kind, where they are a habit.
    pub fn of(scene: &Scene, victim: &Victim, kind: impl Fn(&str, &str) -> bool) -> Option<Self> {
        let refused = Self::any(scene, victim, kind)?;
        let count = refused.rate * scene.window().as_secs_f64();
        (count >= AGAIN && refused.rate >= RATE).then_some(refused)
    }

    /// The refusals of some kind, be they ever so few: for those of which something else is known.
    pub fn any(scene: &Scene, victim: &Victim, kind: impl Fn(&str, &str) -> bool) -> Option<Self> {
        let rows: Vec<&Series> =
            rows(scene, &kind).filter(|row| row.labels.pid().is_some_and(|p| victim.contains(p))).collect();
        let count: f64 = rows.iter().map(|row| row.last()).sum();
        let rate = count / scene.window().as_secs_f64();
        let most = rows.iter().max_by(|a, b| a.last().total_cmp(&b.last()))?;
        let argument = rows.iter().map(|row| row.labels.get("argument")).find(|path| path.starts_with('/'));
        let of_requests = Ratio(Ratio::of_counts(count, requests(scene, victim)).0.min(1.0));
        let tried = trying(scene, victim, count) + pauses(scene, victim, count);
        Some(Refused {
            pid: most.labels.pid()?,
            call: most.labels.get("syscall").to_owned(),
            errno: most.labels.get("errno").to_owned(),
            argument: argument.unwrap_or(most.labels.get("argument")).to_owned(),
            rate,
            of_requests,
            time: tried.min(victim.active()).max(victim.active().mul_f64(of_requests.0)),
        })
    }

    /// How sure, by what it costs: a refusal is seen as such.
    pub fn grade(&self, scene: &Scene, victim: &Victim) -> Confidence {
        let requests = (self.of_requests >= MATTERS).then_some(Confidence::Likely);
        grade(scene, victim, self.time).max(requests).unwrap_or(Confidence::Possible)
    }

    /// What it costs.
    pub fn evidence(&self) -> Vec<Evidence> {
        let tried =
            "in the refused calls, what goes with them and the pauses after them, or requests that come to nothing";
        let mut evidence = vec![
            Evidence::new(format!("sys_exit: {} = {}", self.call, self.errno), self.rate, "refusals/s")
                .at("recording/series.parquet"),
            Evidence::new(tried, self.time.as_secs_f64(), "s"),
        ];
        if self.of_requests > Ratio(0.0) {
            evidence.push(
                Evidence::new("refusals, of the requests that it answers", self.of_requests.0 * 100.0, "%")
                    .against(format!("> {MATTERS}"))
                    .at("recording/histograms.parquet"),
            );
        }
        evidence
    }
}

/// How many requests the victim answers.
fn requests(scene: &Scene, victim: &Victim) -> f64 {
    let rows = scene.rec.get(&catalog::REQUESTS).unwrap_or_default().iter();
    rows.filter(|h| h.labels.pid().is_some_and(|pid| victim.contains(pid))).map(|h| h.count as f64).sum()
}

/// Everybody who is refused so again and again.
pub fn refused(scene: &Scene, kind: impl Fn(&str, &str) -> bool) -> BTreeSet<Pid> {
    let mut counts: BTreeMap<Pid, f64> = BTreeMap::new();
    for row in rows(scene, &kind) {
        if let Some(pid) = row.labels.pid().filter(|pid| !scene.is_background(*pid)) {
            *counts.entry(pid).or_default() += row.last();
        }
    }
    let often = |count: f64| count >= AGAIN && count / scene.window().as_secs_f64() >= RATE;
    counts.into_iter().filter(|(_, count)| often(*count)).map(|(pid, _)| pid).collect()
}

fn rows<'s>(scene: &Scene<'s>, kind: &impl Fn(&str, &str) -> bool) -> impl Iterator<Item = &'s Series> {
    let rows = scene.rec.get(&catalog::SYSCALL_ERRORS).unwrap_or_default();
    rows.iter().filter(move |row| kind(row.labels.get("syscall"), row.labels.get("errno")))
}

/// What the victim runs for them.
fn trying(scene: &Scene, victim: &Victim, count: f64) -> Duration {
    let rows = scene.rec.get(&catalog::SYSCALL_TIME).unwrap_or_default();
    let mine = rows.iter().filter(|h| h.labels.pid().is_some_and(|pid| victim.contains(pid)));
    let all: u64 = mine.map(|h| h.count).sum();
    victim.times.sum(TimeClass::is_running).mul_f64(Ratio::of_counts(count * CALLS_OF_A_TRY, all as f64).0.min(1.0))
}

/// What it sleeps after them: as the kernel side noted, or in a thread that pauses about as often as calls are refused.
/// Cleaning up after a refusal hides which call came last.
fn pauses(scene: &Scene, victim: &Victim, count: f64) -> Duration {
    /// ours: a thread that pauses less than half as often does so for another reason.
    const AS_OFTEN: f64 = 0.5;
    let mut threads: BTreeMap<Tid, (u64, Duration)> = BTreeMap::new();
    for wait in victim.waits(scene).filter(|wait| wait.class == TimeClass::BlockedSleep) {
        let (pauses, time) = threads.entry(wait.tid).or_default();
        *pauses += wait.count;
        *time += wait.time;
    }
    let in_step = threads.into_values().filter(|(pauses, _)| *pauses as f64 >= count * AS_OFTEN);
    let in_step = in_step.map(|(pauses, time)| time.mul_f64(Ratio::of_counts(count, pauses as f64).0.min(1.0)));
    in_step.max().unwrap_or_default().max(pauses_after(scene, victim, count))
}
