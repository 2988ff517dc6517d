//! Micro-benchmarks: bounded in time and volume, and judged against what this machine or its class does.
//!
//! They put load on a machine that may be in trouble, so each states its bound and keeps to it, writes to nothing but a file
//! without a name, and leaves nothing behind. A slow result may be the queue and not the component: what the benchmark
//! itself waited for a CPU is told beside it.

mod disk;
mod dns;
mod judge;
mod memory;
mod network;
mod processor;
mod system;

pub use judge::{Kept, judge};

use observe::{Absent, Observed};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Where a benchmark works.
#[derive(Clone, Debug)]
pub struct Place {
    /// The folder whose file system is written and read.
    pub folder: PathBuf,
}

/// One micro-benchmark.
pub struct Benchmark {
    /// Stable id: `load.fsync`.
    pub id: &'static str,
    /// The component that it loads.
    pub group: &'static str,
    /// What it does.
    pub about: &'static str,
    /// The unit of its values.
    pub unit: &'static str,
    /// What it takes at most.
    pub bound: &'static str,
    /// Whether larger values are better.
    pub more_is_better: bool,
    /// One value for each repetition.
    pub(crate) run: fn(&Place) -> Observed<Values>,
}

/// What was measured, and what it is to be compared with on such a machine.
pub struct Values {
    pub(crate) each: Vec<f64>,
    /// What its class does: from here on it is slow, and who says so.
    pub(crate) slow_from: Option<(f64, String)>,
    /// How often it failed.
    pub(crate) failed: u32,
    /// What it was done on.
    pub(crate) on: String,
}

impl Values {
    pub(crate) fn new(each: Vec<f64>, on: impl Into<String>) -> Self {
        Values { each, slow_from: None, failed: 0, on: on.into() }
    }

    pub(crate) fn slow_from(mut self, value: f64, source: impl Into<String>) -> Self {
        self.slow_from = Some((value, source.into()));
        self
    }
}

/// The result of one benchmark.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Median of the repetitions.
    pub median: f64,
    /// Smallest.
    pub least: f64,
    /// Largest.
    pub most: f64,
    /// How many.
    pub samples: usize,
    /// How many failed.
    pub failed: u32,
    /// What it was done on.
    pub on: String,
    /// From here on it is slow, and who says so.
    pub slow_from: Option<(f64, String)>,
    /// Wall time of the whole benchmark.
    pub wall: Duration,
    /// For how long of that it waited for a CPU; unknown where the kernel does not tell.
    pub waited: Option<Duration>,
}

/// Every benchmark, in the order in which they are run.
pub fn all() -> &'static [&'static Benchmark] {
    &[
        &processor::CLOCK,
        &system::CLOCK_GETTIME,
        &system::SYSCALL,
        &system::CONTEXT_SWITCH,
        &system::FORK_EXEC,
        &memory::LATENCY,
        &memory::BANDWIDTH,
        &disk::READ,
        &disk::FSYNC,
        &network::LOOPBACK,
        &network::GATEWAY,
        &dns::LOOKUP,
    ]
}

impl Benchmark {
    /// Runs it.
    ///
    /// # Errors
    /// What it needs is not here.
    pub fn measure(&self, place: &Place) -> Observed<Measured> {
        let (began, waited) = (Instant::now(), run_queue_wait());
        let values = (self.run)(place)?;
        let wall = began.elapsed();
        let waited = waited.zip(run_queue_wait()).map(|(before, after)| after.saturating_sub(before));
        let mut each = values.each;
        each.retain(|value| value.is_finite());
        each.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (each.first(), each.last()) else {
            return Err(Absent::Failed(format!("no repetition came to an end ({} failed)", values.failed)));
        };
        Ok(Measured {
            median: each[each.len() / 2],
            least: *least,
            most: *most,
            samples: each.len(),
            failed: values.failed,
            on: values.on,
            slow_from: values.slow_from,
            wall,
            waited,
        })
    }
}

/// For how long this thread has waited for a CPU so far.
fn run_queue_wait() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

/// What the system said no with.
pub(crate) fn failed(what: &str) -> impl Fn(std::io::Error) -> Absent + '_ {
    move |error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => Absent::NoPermission(format!("{what}: {error}")),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::Unsupported => {
            Absent::Unsupported(format!("{what}: {error}"))
        }
        _ => Absent::Failed(format!("{what}: {error}")),
    }
}

/// A small file of the kernel's.
pub(crate) fn text(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_states_its_bound_and_has_its_own_id() {
        let mut ids: Vec<&str> = all().iter().map(|benchmark| benchmark.id).collect();
        assert!(ids.iter().all(|id| id.starts_with("load.")));
        assert!(all().iter().all(|b| !b.bound.is_empty() && !b.about.is_empty()));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 12);
    }

    #[test]
    fn the_middle_and_the_ends_are_kept_and_nothing_is_no_result() {
        fn some(_: &Place) -> Observed<Values> {
            Ok(Values::new(vec![3.0, 1.0, f64::NAN, 2.0], "x"))
        }
        fn none(_: &Place) -> Observed<Values> {
            Ok(Values { failed: 4, ..Values::new(Vec::new(), "x") })
        }
        let benchmark = |run| Benchmark {
            id: "load.x",
            group: "cpu",
            about: "a",
            unit: "s",
            bound: "b",
            more_is_better: false,
            run,
        };
        let place = Place { folder: "/tmp".into() };
        let seen = benchmark(some).measure(&place).unwrap();
        assert_eq!((seen.least, seen.median, seen.most, seen.samples), (1.0, 2.0, 3.0, 3));
        assert!(matches!(benchmark(none).measure(&place), Err(Absent::Failed(why)) if why.contains('4')));
    }
}
