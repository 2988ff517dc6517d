//! One window of friday on a program, and what its JSON says about itself and about the program.

use super::compare::Flat;
use super::folded;
use super::options::Options;
use super::scene::Scene;
use crate::processes::{self, Stop};
use crate::programs::{create, last_words};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// ours: friday is done this long after its window at the latest.
const AFTER_WINDOW: Duration = Duration::from_secs(120);

/// What one window says.
pub struct Look {
    /// The program's threads.
    pub threads: Vec<Thread>,
    /// Completeness, set by set.
    pub stacks: Vec<StackSet>,
    /// friday's own cost.
    pub overhead: Overhead,
    /// From the end of the window to friday's exit.
    pub report_seconds: f64,
    /// The program's samples by innermost function.
    pub on_cpu: Flat,
}

/// One thread of the ledger.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Thread {
    /// Its id.
    pub thread: u32,
    /// Its process.
    pub process: u32,
    /// Its name.
    pub name: String,
    /// Wall time.
    pub seconds: f64,
    /// Its parts by class.
    pub shares: BTreeMap<String, f64>,
}

/// How complete a set of stacks is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StackSet {
    /// `on-CPU`, `off-CPU` or `waker`.
    pub set: String,
    /// Samples, or seconds.
    pub weight: f64,
    /// Part of the weight.
    pub unwound: f64,
    /// Part of the frames.
    pub symbolized: f64,
    /// Why the rest is not unwound.
    pub not_unwound: Vec<Reason>,
    /// Why the rest has no names.
    pub not_symbolized: Vec<Reason>,
}

/// A reason, and how much it explains.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Reason {
    /// In words.
    pub why: String,
    /// 0 to 1.
    pub part: f64,
}

/// friday's own cost.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Overhead {
    /// All of it, in percent of the machine.
    pub cpu_percent: f64,
    /// Without its kernel-side programs.
    pub own_percent: f64,
    /// Its largest resident set.
    pub rss_bytes: f64,
    /// What it dropped.
    pub lost_events: f64,
    /// The same by kind.
    #[serde(default)]
    pub lost: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Document {
    window: Window,
    ledger: Vec<Thread>,
    stacks: Vec<StackSet>,
    overhead: Overhead,
}

#[derive(Deserialize)]
struct Window {
    start: String,
    seconds: f64,
}

/// Runs friday once, on one process or on the whole machine, and keeps the case.
pub fn look(options: &Options, scene: &Scene, target: Option<u32>, case: &Path) -> Result<Look, Stop> {
    let (out, err) = (scene.dir().join("friday.out"), scene.dir().join("friday.err"));
    let mut command = Command::new(&options.friday);
    command.args(["run", "--for", &format!("{}s", options.seconds), "--format", "json", "--case"]).arg(case);
    if let Some(pid) = target {
        command.args(["-p", &pid.to_string()]);
    }
    command.stdout(create(&out)?).stderr(create(&err)?);
    let mut pids: BTreeSet<u32> = scene.pids().into_iter().collect();
    let child = processes::bind(&mut command).spawn().map_err(|e| format!("friday: {e}"))?;
    let (status, _) = processes::wait(child, Duration::from_secs_f64(options.seconds) + AFTER_WINDOW)?;
    let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    if !status.success() {
        return Err(Stop::Broken(format!("friday: {status}{}", last_words(&err))));
    }
    pids.extend(scene.pids());
    let read = |path: &Path| fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    let said = fs::read_to_string(&err).unwrap_or_default();
    if said.contains("cannot be traced") {
        return Err(Stop::Skip(last_words(&err)));
    }
    let document: Document = serde_json::from_str(&read(&out)?).map_err(|e| format!("friday's JSON: {e}"))?;
    Ok(Look {
        threads: document.ledger.into_iter().filter(|thread| pids.contains(&thread.process)).collect(),
        stacks: document.stacks,
        overhead: document.overhead,
        report_seconds: end - seconds_of(&document.window.start)? - document.window.seconds,
        on_cpu: folded::flat(&read(&case.join("cpu.folded"))?, &process_names(&pids)),
    })
}

/// The names that the folded stacks of these processes begin with.
fn process_names(pids: &BTreeSet<u32>) -> BTreeSet<String> {
    let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    pids.iter().filter_map(name).map(|name| name.trim().to_string()).collect()
}

/// Seconds since 1970 of a date that friday writes.
fn seconds_of(date: &str) -> Result<f64, String> {
    let output = Command::new("date").args(["-d", date, "+%s.%N"]).output().map_err(|e| format!("date: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| format!("no date: {date}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_survey_needs_is_in_the_json() {
        let text = r#"{ "window": { "start": "1970-01-01T00:01:00.250Z", "seconds": 10.0 }, "ledger": [ { "thread": 2,
            "process": 1, "name": "a", "seconds": 10.0, "shares": { "blocked.unknown": 0.25 } } ], "stacks": [],
            "overhead": { "cpu_percent": 2, "own_percent": 1, "rss_bytes": 3, "lost_events": 0, "programs": [] } }"#;
        let document: Document = serde_json::from_str(text).unwrap();
        assert_eq!(document.ledger[0].shares["blocked.unknown"], 0.25);
        assert_eq!(seconds_of(&document.window.start), Ok(60.25));
        assert!(seconds_of("yesterday or so").is_err());
    }

    #[test]
    fn processes_have_names() {
        assert_eq!(process_names(&BTreeSet::from([std::process::id(), 0])).len(), 1);
    }
}
