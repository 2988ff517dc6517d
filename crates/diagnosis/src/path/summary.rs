//! The critical path in a table: which party holds which part of the victim's time.

use super::{
    jobs,
    timeline::Timeline,
    walk::{Segment, critical_path},
};
use crate::{Scene, Victim, code};
use observe::{Pid, Ratio, TargetKind, Tid, TimeClass};
use serde::{Deserialize, Serialize};
use std::{cmp::Reverse, collections::HashMap};

/// The critical path of one victim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Path {
    /// Whose it is.
    pub victim: String,
    /// What time it is of: `the command, from its start to its end`, `its threads, by what they ran, over 3.0 s`.
    pub about: String,
    /// How long the event window was.
    pub seconds: f64,
    /// Episodes that were lost in it; if there are any, the path is incomplete.
    pub lost: u64,
    /// Its parts, the largest first.
    pub rows: Vec<PathRow>,
}

/// One party's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathRow {
    /// The process on the path.
    pub party: String,
    /// Its id.
    pub pid: u32,
    /// What it did: a class of the ledger.
    pub class: TimeClass,
    /// What it waited for; empty when it ran.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// Who ran meanwhile, or whom it waited for and who could not be followed; empty when nobody is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// For how long.
    pub seconds: f64,
    /// Part of the victim's time, idleness left out.
    pub share: Ratio,
    /// Where in the code, outermost first, where it is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codepath: Vec<String>,
}

/// ours: smaller parts are not shown.
const LEAST: f64 = 0.001;
const MOST_ROWS: usize = 40;

/// What segments have in common.
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord, Clone)]
struct Part<'a> {
    pid: Pid,
    class: TimeClass,
    resource: &'a str,
    by: Option<Pid>,
}

/// Time by where it was spent: the thread, and the row of the waits.
type Places = HashMap<(Tid, Option<u32>), f64>;

/// Walks the victim's jobs.
pub fn summarize(scene: &Scene, timeline: &Timeline, victim: &Victim) -> Option<Path> {
    let jobs = jobs::of(scene, timeline, victim);
    if jobs.is_empty() {
        return None;
    }
    let mut parts: HashMap<Part, (f64, Places)> = HashMap::new();
    let mut active = 0.0;
    for job in &jobs {
        active += job.weight * job.active(timeline, victim) as f64;
        for segment in critical_path(timeline, job.tid, job.from, job.to) {
            let time = job.weight * (segment.to - segment.from) as f64;
            let (sum, places) = parts.entry(part(timeline, &segment)).or_default();
            *sum += time;
            *places.entry((segment.tid, segment.wait)).or_default() += time;
        }
    }
    let mut rows: Vec<(Part, f64, (Tid, Option<u32>))> = parts
        .into_iter()
        .filter(|(part, _)| part.class != TimeClass::BlockedIdle || !victim.contains(part.pid))
        .map(|(part, (time, places))| {
            let place = places.into_iter().max_by(|a, b| a.1.total_cmp(&b.1).then_with(|| b.0.cmp(&a.0)));
            (part, time, place.map_or((Tid(0), None), |(place, _)| place))
        })
        .filter(|(_, time, _)| active > 0.0 && time / active >= LEAST)
        .collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    rows.truncate(MOST_ROWS);
    let seconds = (timeline.end - timeline.begin) as f64 / 1e9;
    let label = |pid: Pid| format!("{} ({pid})", scene.rec.process_name(pid));
    let rows = rows.into_iter().map(|(part, time, (tid, wait))| PathRow {
        party: label(part.pid),
        pid: part.pid.0,
        class: part.class,
        resource: part.resource.to_owned(),
        by: part.by.map_or_else(String::new, label),
        seconds: time / 1e9,
        share: Ratio((time / active * 1e4).round() / 1e4),
        codepath: codepath(scene, timeline, part.class, tid, wait),
    });
    Some(Path {
        victim: victim.label(),
        about: match scene.rec.target.kind {
            TargetKind::Command if jobs.len() == 1 && timeline.thread(jobs[0].tid).is_some_and(|t| t.ended) => {
                "the command, from its start or the event window's to its end".to_owned()
            }
            _ => format!("the threads that do its work, on average, over {seconds:.1} s"),
        },
        seconds,
        lost: timeline.lost,
        rows: rows.collect(),
    })
}

fn part<'a>(timeline: &Timeline<'a>, segment: &Segment) -> Part<'a> {
    let wait = segment.wait.and_then(|at| timeline.waits.get(at as usize));
    Part {
        pid: segment.pid,
        class: segment.class,
        resource: wait.map_or("", |wait| wait.resource.as_str()),
        by: segment.by.map(|(pid, _)| pid),
    }
}

fn codepath(scene: &Scene, timeline: &Timeline, class: TimeClass, tid: Tid, wait: Option<u32>) -> Vec<String> {
    if let Some(wait) = wait.and_then(|at| timeline.waits.get(at as usize)) {
        return code::path(scene.rec, &wait.stack);
    }
    if !class.is_running() {
        return Vec::new();
    }
    let samples = scene.samples(|_| true).unwrap_or_default();
    let hottest = samples.into_iter().filter(|stack| stack.tid == tid).min_by_key(|stack| Reverse(stack.samples));
    hottest.map_or_else(Vec::new, |stack| code::path(scene.rec, &stack.frames))
}
