//! Everything seen in one window: the only thing that checks and diagnosis read.

use crate::{
    Absent, Episode, Event, Fact, Frame, FrameId, Histogram, Observed, Pid, Request, Series, Shape, Stack, Target,
    ThreadTime, Wait, catalog::Metric,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

/// The rows of one metric.
pub type Table<S> = Vec<S>;

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Kernel release.
    pub kernel: String,
    /// CPUs online.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

/// When it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Wall-clock time of its begin.
    pub start: SystemTime,
    /// How long.
    pub length: Duration,
}

/// One process that lived in the window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// The process.
    pub pid: Pid,
    /// Its parent; 0 when unknown.
    pub parent: Pid,
    /// The kernel's command name (at most 15 bytes, as the system gives it: escape before showing).
    pub name: String,
    /// Path of the executable; empty when it could not be read.
    pub exe: String,
    /// Arguments, separated by spaces; empty when they could not be read.
    pub cmdline: String,
    /// Its control group (the `cpu` controller's on v1); empty when it could not be read.
    pub cgroup: String,
    /// The container, pod or unit it belongs to: `pod shop/api-7d9 container api (0123456789ab)`, `docker web
    /// (0123456789ab)`, `unit nginx.service`; empty when it belongs to none, or to one that was not recognised.
    pub container: String,
    /// A kernel thread.
    pub is_kernel: bool,
    /// This is friday: never a victim, never a culprit.
    pub is_friday: bool,
    /// CPUs it may run on, where that is fewer than are online; 0 when not restricted or not known.
    pub allowed_cpus: u32,
    /// Nice value, −20 to 19.
    pub nice: i32,
    /// Scheduling policy of its main thread with the real-time priority (`fifo 50`, `rr 1`, `deadline`, `batch`, `idle`);
    /// empty for the normal one.
    pub policy: String,
    /// Life span, when it began and ended inside the window.
    pub life: Option<Duration>,
}

/// Cost of one kernel-side program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgramCost {
    /// Program name.
    pub name: String,
    /// Mean run time in nanoseconds; 0 when it did not run.
    pub ns_per_run: u64,
    /// Number of runs.
    pub runs: u64,
}

/// What the looking itself cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// CPU time of friday's own process while the window was open.
    pub cpu: Duration,
    /// Largest resident set size.
    pub rss_bytes: u64,
    /// Events, samples or table rows that did not fit and were dropped.
    pub lost_events: u64,
    /// The same by what it was.
    #[serde(default)]
    pub lost: BTreeMap<String, u64>,
    /// Kernel-side programs, as far as they were measured; empty when their statistics were not to be had.
    pub programs: Vec<ProgramCost>,
    /// For how long of the window the kernel-side programs were measured: measuring makes each of them slower.
    #[serde(default)]
    pub programs_measured: Duration,
    /// CPU time of friday's own process for arming the probes, before the window.
    #[serde(default)]
    pub arming: Duration,
}

/// Everything seen in one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// The machine.
    pub host: Host,
    /// What was asked about.
    pub target: Target,
    /// When.
    pub window: Window,
    /// Every process that lived in the window and was seen, by pid.
    pub processes: BTreeMap<Pid, Process>,
    /// The frames that stacks and waits refer to.
    pub frames: Vec<Frame>,
    /// What the looking cost.
    pub cost: Cost,
    pub(crate) facts: BTreeMap<String, Observed<Table<Fact>>>,
    pub(crate) series: BTreeMap<String, Observed<Table<Series>>>,
    pub(crate) histograms: BTreeMap<String, Observed<Table<Histogram>>>,
    pub(crate) stacks: BTreeMap<String, Observed<Table<Stack>>>,
    pub(crate) ledgers: BTreeMap<String, Observed<Table<ThreadTime>>>,
    pub(crate) waits: BTreeMap<String, Observed<Table<Wait>>>,
    pub(crate) events: BTreeMap<String, Observed<Table<Event>>>,
    pub(crate) episodes: BTreeMap<String, Observed<Table<Episode>>>,
    pub(crate) requests: BTreeMap<String, Observed<Table<Request>>>,
}

impl Recording {
    /// An empty recording.
    pub fn new(host: Host, target: Target, window: Window) -> Self {
        Recording {
            host,
            target,
            window,
            processes: BTreeMap::new(),
            frames: Vec::new(),
            cost: Cost::default(),
            facts: BTreeMap::new(),
            series: BTreeMap::new(),
            histograms: BTreeMap::new(),
            stacks: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            waits: BTreeMap::new(),
            events: BTreeMap::new(),
            episodes: BTreeMap::new(),
            requests: BTreeMap::new(),
        }
    }

    /// The rows of a metric.
    ///
    /// # Errors
    /// The reason why the metric was not collected.
    pub fn get<S: Shape>(&self, metric: &Metric<S>) -> Observed<&[S]> {
        match S::tables(self).get(metric.name) {
            Some(Ok(table)) => Ok(table),
            Some(Err(why)) => Err(why.clone()),
            None => Err(Absent::NotCollected(format!("{} was not part of this run", metric.name))),
        }
    }

    /// Stores the rows of a metric, or the reason why there are none.
    pub fn set<S: Shape>(&mut self, metric: &Metric<S>, rows: Observed<Table<S>>) {
        S::tables_mut(self).insert(metric.name.to_owned(), rows);
    }

    /// Adds one row to a metric that may already have some.
    pub fn push<S: Shape>(&mut self, metric: &Metric<S>, row: S) {
        let entry = S::tables_mut(self).entry(metric.name.to_owned()).or_insert_with(|| Ok(Vec::new()));
        match entry {
            Ok(table) => table.push(row),
            Err(_) => *entry = Ok(vec![row]),
        }
    }

    /// Every table of one shape by metric name, for storing.
    pub fn tables<S: Shape>(&self) -> &BTreeMap<String, Observed<Table<S>>> {
        S::tables(self)
    }

    /// Puts back a table of one shape by metric name, when loading.
    pub fn restore<S: Shape>(&mut self, name: &str, rows: Observed<Table<S>>) {
        S::tables_mut(self).insert(name.to_owned(), rows);
    }

    /// Adds one row to a table by the metric's name, where it has one.
    pub fn append<S: Shape>(&mut self, name: &str, row: S) {
        if let Some(Ok(table)) = S::tables_mut(self).get_mut(name) {
            table.push(row);
        }
    }

    /// The frame behind an id.
    pub fn frame(&self, id: FrameId) -> &Frame {
        &self.frames[id.0 as usize]
    }

    /// What people call a process: its command name, or `pid N` when it was never seen by name.
    pub fn process_name(&self, pid: Pid) -> String {
        match self.processes.get(&pid) {
            Some(process) if !process.name.is_empty() => process.name.clone(),
            _ => format!("pid {pid}"),
        }
    }

    /// Whether the process is friday itself.
    pub fn is_friday(&self, pid: Pid) -> bool {
        self.processes.get(&pid).is_some_and(|p| p.is_friday)
    }
}

/// A metric of any shape, as far as saying that there is none of it goes.
pub trait AnyMetric: Sync {
    /// Notes why the metric is missing.
    fn refuse(&self, recording: &mut Recording, why: &Absent);
}

impl<S: Shape> AnyMetric for Metric<S> {
    fn refuse(&self, recording: &mut Recording, why: &Absent) {
        recording.set(self, Err(why.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Labels, catalog};

    fn empty() -> Recording {
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
        Recording::new(host, Target::system("h"), window)
    }

    #[test]
    fn what_was_not_collected_says_so_and_is_not_empty() {
        let mut rec = empty();
        assert!(matches!(rec.get(&catalog::HOST_FACT), Err(Absent::NotCollected(_))));
        let why = Absent::NoPermission("needs root".into());
        rec.set(&catalog::HOST_FACT, Err(why.clone()));
        assert_eq!(rec.get(&catalog::HOST_FACT), Err(why));
        rec.push(&catalog::HOST_FACT, Fact { labels: Labels::default(), value: "v".into(), source: "s".into() });
        assert_eq!(rec.get(&catalog::HOST_FACT).unwrap().len(), 1);
    }
}
