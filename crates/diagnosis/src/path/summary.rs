//! The critical path in a table: which party holds which part of the victim's time.

use super::{
    alone::Alone,
    jobs,
    requests::{self, request_path},
    resource,
    timeline::Timeline,
    walk::{Segment, critical_path},
};
use crate::{Scene, Victim, code, graph::Services};
use observe::{Pid, Ratio, Request, Tid, TimeClass};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// The critical path of one victim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Path {
    /// Whose it is.
    pub victim: String,
    /// What time it is of: `a typical request at port 80, 1.200 ms; …`, `the slowest requests at …`, `the command, from its start to its end`.
    pub about: String,
    /// How long that is: a request, or the event window.
    pub seconds: f64,
    /// Episodes that were lost in it; if there are any, the path is incomplete.
    pub lost: u64,
    /// Its parts, the largest first.
    pub rows: Vec<PathRow>,
}

/// One party's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathRow {
    /// The process on the path, and how many like it: `db (20)`, `db (20 and 3 alike)`.
    pub party: String,
    /// Its id.
    pub pid: u32,
    /// What it did: a class of the ledger.
    pub class: TimeClass,
    /// What it waited for; empty when it ran.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// Who ran meanwhile, or whom it waited for and who could not be followed; empty when nobody is known. Of a request that
    /// nobody had read while its thread ran: the thread's own process.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// For how long.
    pub seconds: f64,
    /// Part of the whole; of a program's, idleness left out.
    pub share: Ratio,
    /// Of what ran in a program that at times runs on several CPUs: the part in which no other of its threads ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone: Option<Ratio>,
    /// Where in the code, outermost first, where it is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codepath: Vec<String>,
}

/// ours: smaller parts are not shown.
const LEAST: f64 = 0.001;
const MOST_ROWS: usize = 100;

/// ours: so many of the requests that are alike tell what they are made of.
const MOST_REQUESTS: usize = 500;
/// ours: a victim's busiest services are enough.
const MOST_SERVICES: usize = 2;

/// What segments have in common.
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord, Clone)]
struct Part<'a> {
    pid: Pid,
    class: TimeClass,
    resource: Cow<'a, str>,
    by: Option<Pid>,
}

/// Time by where it was spent: the thread, and the row of the waits.
type Places = HashMap<(Tid, Option<u32>), f64>;

/// Time by party and kind, to become the rows of a path.
struct Sums<'a> {
    scene: &'a Scene<'a>,
    timeline: &'a Timeline<'a>,
    alone: Alone,
    parts: HashMap<Part<'a>, Sum>,
}

/// Time of one kind, where it was spent, and how much of it no other thread of the victim's ran.
#[derive(Default)]
struct Sum {
    time: f64,
    alone: Option<f64>,
    places: Places,
}

impl<'a> Sums<'a> {
    fn new(scene: &'a Scene<'a>, timeline: &'a Timeline<'a>, alone: Alone) -> Self {
        Sums { scene, timeline, alone, parts: HashMap::new() }
    }

    fn add(&mut self, segment: &Segment, weight: f64) {
        let time = weight * (segment.to - segment.from) as f64;
        let sum = self.parts.entry(part(self.timeline, segment)).or_default();
        sum.time += time;
        if let Some(alone) = self.alone.within(segment.from, segment.to).filter(|_| segment.class.is_running()) {
            *sum.alone.get_or_insert_default() += weight * alone as f64;
        }
        *sum.places.entry((segment.tid, segment.wait)).or_default() += time;
    }

    /// The largest parts of a whole; `each` is how often that was.
    fn rows(self, whole: f64, each: f64, counts: impl Fn(&Part) -> bool) -> Vec<PathRow> {
        let mut times: BTreeMap<Pid, Duration> = BTreeMap::new();
        for (part, Sum { time, .. }) in &self.parts {
            *times.entry(part.pid).or_default() += Duration::from_nanos(*time as u64);
            if let Some(by) = part.by {
                times.entry(by).or_default();
            }
        }
        let services = Services::of(times, |a, b| self.scene.siblings(a, b));
        let mut parts: HashMap<Part, Sum> = HashMap::new();
        for (part, sum) in self.parts {
            let part = Part { pid: services.head(part.pid), by: part.by.map(|pid| services.head(pid)), ..part };
            let all = parts.entry(part).or_default();
            all.time += sum.time;
            all.alone = match (all.alone, sum.alone) {
                (None, None) => None,
                (a, b) => Some(a.unwrap_or_default() + b.unwrap_or_default()),
            };
            all.places.extend(sum.places);
        }
        let mut rows: Vec<(Part, Sum)> =
            parts.into_iter().filter(|(part, sum)| counts(part) && whole > 0.0 && sum.time / whole >= LEAST).collect();
        rows.sort_by(|a, b| b.1.time.total_cmp(&a.1.time).then_with(|| a.0.cmp(&b.0)));
        rows.truncate(MOST_ROWS);
        let label = |pid: Pid| services.label(self.scene, pid);
        let row = |(part, sum): (Part, Sum)| {
            let most = sum.places.into_iter().max_by(|a, b| a.1.total_cmp(&b.1).then_with(|| b.0.cmp(&a.0)));
            let (tid, wait) = most.map_or((Tid(0), None), |(place, _)| place);
            PathRow {
                party: label(part.pid),
                pid: part.pid.0,
                class: part.class,
                resource: part.resource.clone().into_owned(),
                by: part.by.map_or_else(String::new, label),
                seconds: sum.time / each / 1e9,
                share: rounded(sum.time / whole),
                alone: sum.alone.map(|alone| rounded(alone / sum.time)),
                codepath: codepath(self.scene, self.timeline, part.class, tid, wait),
            }
        };
        rows.into_iter().map(row).collect()
    }
}

/// To a hundredth of a percent.
fn rounded(part: f64) -> Ratio {
    Ratio((part * 1e4).round() / 1e4)
}

/// What a victim's time is made of: its requests of each service, those in the middle and the slowest, where there are
/// requests; and its jobs.
pub fn summarize(scene: &Scene, timeline: &Timeline, victim: &Victim) -> Vec<Path> {
    let mut paths = of_requests(scene, timeline, victim);
    paths.extend(of_jobs(scene, timeline, victim));
    paths
}

fn of_jobs(scene: &Scene, timeline: &Timeline, victim: &Victim) -> Option<Path> {
    let jobs = jobs::of(scene, timeline, victim);
    if jobs.is_empty() {
        return None;
    }
    let wanted = jobs.iter().all(|job| job.wanted);
    let mut sums = Sums::new(scene, timeline, Alone::of(timeline, victim));
    let mut active = 0.0;
    for job in &jobs {
        active += job.weight * job.active(timeline, victim) as f64;
        critical_path(timeline, job.tid, job.from, job.to, job.wanted)
            .iter()
            .for_each(|segment| sums.add(segment, job.weight));
    }
    let seconds = (timeline.end - timeline.begin) as f64 / 1e9;
    Some(Path {
        victim: victim.label(),
        about: match wanted {
            true => "the command, from its start or the event window's to its end".to_owned(),
            false => format!("the threads that do its work, on average, over {seconds:.1} s"),
        },
        seconds,
        lost: timeline.lost,
        rows: sums
            .rows(active, 1.0, |part| wanted || part.class != TimeClass::BlockedIdle || !victim.contains(part.pid)),
    })
}

fn of_requests(scene: &Scene, timeline: &Timeline, victim: &Victim) -> Vec<Path> {
    let mut services: BTreeMap<&str, Vec<&Request>> = BTreeMap::new();
    for request in requests::of(timeline, victim) {
        services.entry(&request.place).or_default().push(request);
    }
    let mut services: Vec<_> = services.into_iter().collect();
    services.sort_by_key(|(place, requests)| (Reverse(requests.len()), *place));
    services.truncate(MOST_SERVICES);
    let mut paths = Vec::new();
    for (place, mut requests) in services {
        requests.sort_by_key(|request| (requests::length(request), request.begin));
        let count = requests.len();
        let colon = if place.starts_with(['/', '@']) { "" } else { "port " };
        for (which, from, to) in [("a typical request", 0.4, 0.6), ("the slowest requests", 0.99, 1.0)] {
            let at = |part: f64| ((count as f64 * part) as usize).min(count - 1);
            let alike = &requests[at(from)..(at(to) + 1).max(at(from) + 1)];
            let sample: Vec<_> = alike.iter().step_by(alike.len().div_ceil(MOST_REQUESTS)).collect();
            let mut sums = Sums::new(scene, timeline, Alone::default());
            sample
                .iter()
                .flat_map(|request| request_path(timeline, request))
                .for_each(|segment| sums.add(&segment, 1.0));
            let whole: f64 = sample.iter().map(|request| requests::length(request) as f64).sum();
            let each = whole / sample.len() as f64 / 1e9;
            paths.push(Path {
                victim: victim.label(),
                about: format!(
                    "{which} at {colon}{place}, {:.3} ms; {} of the {count} that were seen whole in {:.1} s",
                    each * 1e3,
                    alike.len(),
                    (timeline.end - timeline.begin) as f64 / 1e9
                ),
                seconds: each,
                lost: timeline.lost,
                rows: sums.rows(whole, sample.len() as f64, |_| true),
            });
        }
    }
    paths
}

fn part<'a>(timeline: &Timeline<'a>, segment: &Segment) -> Part<'a> {
    let wait = segment.wait.and_then(|at| timeline.waits.get(at as usize));
    let asked = segment.asked.and_then(|at| timeline.requests.get(at));
    Part {
        pid: segment.pid,
        class: segment.class,
        resource: match (wait, asked) {
            (Some(wait), _) => Cow::Borrowed(wait.resource.as_str()),
            (_, Some(asked)) => Cow::Owned(resource(asked)),
            _ => Cow::Borrowed(""),
        },
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
