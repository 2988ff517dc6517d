//! `case.json`: the contract that people, scripts and tests rely on (`friday.case/1`).

use checks::{Evidence, Test};
use chrono::{DateTime, SecondsFormat, Utc};
use diagnosis::{Conclusion, Eliminated, Finding, Untested, Whose, path::Path};
use observe::{Host, ProgramCost, Ratio, Target, ThreadTime, Window};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The schema this version writes. Fields may be added to it; none is renamed or removed.
pub const SCHEMA: &str = "friday.case/1";

/// Everything a run concludes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: String,
    /// The case folder.
    pub case: String,
    /// The machine.
    pub host: HostPart,
    /// What was asked about.
    pub target: TargetPart,
    /// When it was looked at.
    pub window: WindowPart,
    /// What the run ends with.
    pub conclusion: Conclusion,
    /// One sentence a manager can read.
    pub headline: String,
    /// The problem statement: its six questions, with what people said and what the data says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statement: Vec<Question>,
    /// How the victims were chosen, when none was named; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub chosen: String,
    /// Ranked causes.
    pub findings: Vec<Finding>,
    /// The agenda.
    pub days: Vec<Day>,
    /// What was ruled out.
    pub eliminated: Vec<Eliminated>,
    /// Where threads' time went, the most active first.
    pub ledger: Vec<LedgerRow>,
    /// Who waited for whom, the longest first.
    pub waits: Vec<WaitRow>,
    /// On whom each victim's time rests in the end.
    #[serde(default)]
    pub whose: Vec<Whose>,
    /// Requests per service, the most frequent first.
    pub requests: Vec<RequestRow>,
    /// Exchanges with others, those that took most time first.
    #[serde(default)]
    pub upstreams: Vec<UpstreamRow>,
    /// What the stacks are worth, by set.
    #[serde(default)]
    pub stacks: Vec<StackSet>,
    /// What each victim's time in the event window is made of.
    #[serde(default)]
    pub paths: Vec<Path>,
    /// What is different from a case that was known to be good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
    /// What could not be seen.
    pub untested: Vec<Untested>,
    /// What looked, how deep and how long, and why no longer.
    #[serde(default)]
    pub armed: Vec<Armed>,
    /// What the looking cost.
    pub overhead: Overhead,
}

/// A question of the problem statement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// `problem`, `performed_well`, `changed`, `latency`, `others` or `environment`.
    pub id: String,
    /// As it is asked.
    pub asks: String,
    /// What people said; empty when nobody did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub said: String,
    /// What the data says, a sentence each, the most telling first.
    #[serde(default)]
    pub measured: Vec<String>,
    /// What the data cannot say, and why.
    #[serde(default)]
    pub unknown: Vec<String>,
}

/// What is different from a baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The baseline's case.
    pub with: String,
    /// What is different, beyond what both vary by.
    pub changes: Vec<compare::Change>,
}

/// A group of probes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Armed {
    /// What it sees.
    pub probe: String,
    /// How deep that is: 1 counters, 2 aggregates of the kernel's events, 3 stacks, 4 single events.
    pub tier: u8,
    /// For which part of the window it looked; 0 where it did not.
    pub of_window: f64,
    /// Why then, or why not.
    pub why: String,
}

impl Document {
    /// The same without numbers that JSON cannot hold: evidence that is not finite is left out, a share that is not
    /// is 0.
    pub(crate) fn finite(&self) -> Self {
        let mut document = self.clone();
        let keep = |evidence: &mut Vec<Evidence>| evidence.retain(|e| e.value.is_finite());
        let zero = |value: &mut f64| {
            if !value.is_finite() {
                *value = 0.0;
            }
        };
        for finding in &mut document.findings {
            keep(&mut finding.evidence);
            zero(&mut finding.share.0);
        }
        document.days.iter_mut().flat_map(|day| &mut day.tests).for_each(|test| keep(&mut test.evidence));
        document.eliminated.iter_mut().for_each(|eliminated| keep(&mut eliminated.evidence));
        document.waits.iter_mut().for_each(|w| [&mut w.seconds, &mut w.longest_s].into_iter().for_each(zero));
        for path in &mut document.paths {
            zero(&mut path.seconds);
            path.rows.iter_mut().flat_map(|row| [&mut row.seconds, &mut row.share.0]).for_each(zero);
        }
        for whose in &mut document.whose {
            zero(&mut whose.seconds);
            whose.parts.iter_mut().for_each(|p| [&mut p.seconds, &mut p.share].into_iter().for_each(zero));
        }
        for row in &mut document.requests {
            [&mut row.p50_s, &mut row.p99_s, &mut row.rate, &mut row.seconds, &mut row.followed]
                .into_iter()
                .chain(row.shares.values_mut())
                .for_each(zero);
            row.upstreams.iter_mut().for_each(|upstream| upstream.numbers().into_iter().for_each(zero));
        }
        document.upstreams.iter_mut().for_each(|upstream| upstream.numbers().into_iter().for_each(zero));
        for set in &mut document.stacks {
            [&mut set.weight, &mut set.unwound, &mut set.symbolized].into_iter().for_each(zero);
            set.not_unwound.iter_mut().chain(&mut set.not_symbolized).for_each(|reason| zero(&mut reason.part));
        }
        for row in &mut document.ledger {
            zero(&mut row.seconds);
            row.shares.values_mut().for_each(zero);
        }
        for change in document.compared.iter_mut().flat_map(|compared| &mut compared.changes) {
            change.times = change.times.filter(|times| times.is_finite());
        }
        document.armed.iter_mut().for_each(|armed| zero(&mut armed.of_window));
        zero(&mut document.window.seconds);
        zero(&mut document.overhead.cpu_percent);
        document
    }
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostPart {
    /// Its name.
    pub name: String,
    /// Kernel release.
    pub kernel: String,
    /// CPUs online.
    pub cpus: u32,
    /// Memory.
    pub memory_bytes: u64,
}

impl From<&Host> for HostPart {
    fn from(host: &Host) -> Self {
        HostPart {
            name: host.name.clone(),
            kernel: host.kernel.clone(),
            cpus: host.cpus,
            memory_bytes: host.memory_bytes,
        }
    }
}

/// What was asked about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetPart {
    /// `system`, `process`, `cgroup`, `unit` or `command`.
    pub kind: observe::TargetKind,
    /// The process, where it is one.
    pub pid: Option<u32>,
    /// Its name.
    pub name: String,
}

impl From<&Target> for TargetPart {
    fn from(target: &Target) -> Self {
        TargetPart { kind: target.kind, pid: target.pid.map(|pid| pid.0), name: target.name.clone() }
    }
}

/// When it was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowPart {
    /// RFC 3339.
    pub start: String,
    /// Length in seconds.
    pub seconds: f64,
}

impl From<&Window> for WindowPart {
    fn from(window: &Window) -> Self {
        WindowPart {
            start: DateTime::<Utc>::from(window.start).to_rfc3339_opts(SecondsFormat::Millis, true),
            seconds: window.length.as_secs_f64(),
        }
    }
}

/// One day of the agenda.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Day {
    /// `prior`, `monday` … `friday`, `post`.
    pub day: String,
    /// What is known at its end; only what is true.
    pub known: Vec<String>,
    /// The tests it ran.
    pub tests: Vec<Test>,
}

/// One thread's ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// Thread id.
    pub thread: u32,
    /// Process id.
    pub process: u32,
    /// Thread name.
    pub name: String,
    /// Wall time observed.
    pub seconds: f64,
    /// Its parts by class; they sum to 1.
    pub shares: BTreeMap<String, f64>,
}

impl From<&ThreadTime> for LedgerRow {
    /// Shares of the time in all classes together, so that they sum to 1.
    fn from(thread: &ThreadTime) -> Self {
        let total = thread.classes.total();
        let share = |time| Ratio::of(time, total).0;
        LedgerRow {
            thread: thread.tid.0,
            process: thread.pid.0,
            name: thread.name.clone(),
            seconds: thread.wall.as_secs_f64(),
            shares: thread.classes.iter().map(|(class, time)| (class.name().to_owned(), share(time))).collect(),
        }
    }
}

/// One line of "A queued behind B".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitRow {
    /// Who waited, as `name (pid)`.
    pub waiter: String,
    /// For whom, as `name (pid)`; empty when not known.
    #[serde(rename = "for")]
    pub by: String,
    /// For what: `cpu`, `disk:vda`, `lock` …
    pub resource: String,
    /// How long, summed over threads.
    pub seconds: f64,
    /// How often; 0 where only the time is known.
    #[serde(default)]
    pub count: u64,
    /// The longest time; 0 where it is not known.
    #[serde(default)]
    pub longest_s: f64,
}

/// One service's requests: of all processes of that name that answer there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RequestRow {
    /// Its name.
    pub service: String,
    /// Listening port; 0 of a unix socket.
    pub port: u16,
    /// Path of a unix socket.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Processes that answered.
    #[serde(default)]
    pub processes: Vec<u32>,
    /// Requests answered; scaled up to the whole window where `followed` is below 1.
    pub count: u64,
    /// Median latency in seconds.
    pub p50_s: f64,
    /// 99th percentile in seconds.
    pub p99_s: f64,
    /// Requests a second.
    #[serde(default)]
    pub rate: f64,
    /// Time of all of them, in seconds.
    #[serde(default)]
    pub seconds: f64,
    /// How it went: `queued`, `running`, `runnable`, `blocked`, `elsewhere`; parts of 1.
    #[serde(default)]
    pub shares: BTreeMap<String, f64>,
    /// Bytes of requests.
    #[serde(default)]
    pub bytes_in: u64,
    /// Bytes of answers.
    #[serde(default)]
    pub bytes_out: u64,
    /// Not answered when the window ended.
    #[serde(default)]
    pub in_flight: u64,
    /// How long the oldest of these had waited, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_s: Option<f64>,
    /// Part of the window in which requests were followed.
    #[serde(default)]
    pub followed: f64,
    /// Whom the threads asked that had these requests in hand.
    #[serde(default)]
    pub upstreams: Vec<UpstreamRow>,
}

/// One service's or process' exchanges with another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UpstreamRow {
    /// Name of the process that asks.
    pub process: String,
    /// Whom: address and port, or the path of a unix socket.
    pub peer: String,
    /// Name of the process that answers; empty when none of this machine is known.
    pub server: String,
    /// Exchanges.
    pub count: u64,
    /// Median in seconds.
    pub p50_s: f64,
    /// 99th percentile in seconds.
    pub p99_s: f64,
    /// Time of all of them, in seconds.
    pub seconds: f64,
    /// The part of it that was asked for by threads with a request in hand.
    pub in_requests_s: f64,
    /// Not answered when the window ended.
    pub in_flight: u64,
    /// How long the oldest of these had waited, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_s: Option<f64>,
}

impl UpstreamRow {
    fn numbers(&mut self) -> [&mut f64; 4] {
        [&mut self.p50_s, &mut self.p99_s, &mut self.seconds, &mut self.in_requests_s]
    }
}

/// How complete a set of stacks is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StackSet {
    /// `on-CPU`, `off-CPU` or `waker`.
    pub set: String,
    /// What it stands for: samples (on-CPU), or seconds of waiting.
    pub weight: f64,
    /// Part of that whose user stacks reach their root (or the greatest depth that is kept).
    pub unwound: f64,
    /// Part of the frames, user and kernel, that have names.
    pub symbolized: f64,
    /// Why the rest is not unwound, with its part of the weight, the largest first.
    pub not_unwound: Vec<Reason>,
    /// Why the rest has no names, with its part of the frames, the largest first.
    pub not_symbolized: Vec<Reason>,
}

/// A reason, and how much of something it explains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// In words.
    pub why: String,
    /// 0 to 1.
    pub part: f64,
}

/// What the looking cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overhead {
    /// friday's own CPU time plus its kernel-side programs, in percent of the whole machine.
    pub cpu_percent: f64,
    /// friday's own CPU time alone, in percent of the whole machine.
    #[serde(default)]
    pub own_percent: f64,
    /// friday's own CPU time for arming the probes before the window, in seconds.
    #[serde(default)]
    pub arming_seconds: f64,
    /// For how many seconds of the window the kernel-side programs were measured; their runs are those of that time.
    #[serde(default)]
    pub programs_seconds: f64,
    /// Largest resident set size of friday.
    pub rss_bytes: u64,
    /// What did not fit and was dropped.
    pub lost_events: u64,
    /// The same by what it was.
    #[serde(default)]
    pub lost: BTreeMap<String, u64>,
    /// Kernel-side programs.
    pub programs: Vec<ProgramCost>,
}

impl Overhead {
    /// From what was measured over the window.
    pub fn of(recording: &observe::Recording) -> Self {
        let cost = &recording.cost;
        let programs = cost.programs.iter().map(|p| p.ns_per_run.saturating_mul(p.runs)).fold(0, u64::saturating_add);
        let cpus = f64::from(recording.host.cpus);
        let machine = recording.window.length.as_secs_f64() * cpus;
        let own = Ratio::of_counts(cost.cpu.as_secs_f64(), machine).0 * 100.0;
        let measured = cost.programs_measured.as_secs_f64();
        let programs = Ratio::of_counts(programs as f64 / 1e9, measured * cpus).0 * 100.0;
        Overhead {
            cpu_percent: own + programs,
            own_percent: own,
            arming_seconds: cost.arming.as_secs_f64(),
            programs_seconds: measured,
            rss_bytes: cost.rss_bytes,
            lost_events: cost.lost_events,
            lost: cost.lost.clone(),
            programs: cost.programs.clone(),
        }
    }
}
