//! Unwinding tables for the kernel side: built in the background, shared by all processes that run the same binary.
//!
//! Cost, paced so that it stays small: 2 ms for a C library's table, 40 ms for Node.js's; some 80 ms for all of an ordinary machine's processes, in the
//! background. Kernel memory grows by the megabyte, to 64 MiB at most; 5 MB with a compiler, Node.js and Python running. A
//! stack of eight frames costs 1.2 µs more at a switch than the one or two that frame pointers give, and 0.15 µs a frame
//! from there on. Until a process has its tables, for code that has none, and when there is no more room, frame pointers are
//! followed, and the recording says so.

mod processes;
mod rules;
mod sleepers;
mod tables;

pub(crate) use sleepers::Walked;

#[cfg(all(test, target_arch = "x86_64"))]
mod live;

use crate::bpf::{Kernel, refused, types::unwind_end as End};
use libbpf_rs::MapHandle;
use observe::{Absent, Fact, Labels, Pid, Recording, Series, catalog};
use processes::Processes;
use std::{
    collections::{BTreeMap, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How often processes that were met without a table are looked for.
const INTERVAL: Duration = Duration::from_millis(50);

/// How soon it is looked whether a process has loaded more code, at first.
const REFRESH: Duration = Duration::from_millis(100);

/// ours: CPU time for tables that is spent at once; for the target's own it may be more.
const AT_ONCE: Duration = Duration::from_millis(150);

/// ours: part of one CPU that further tables may take from then on.
const SHARE: f64 = 0.005;

/// What was built.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Kernel memory that the rows take.
    pub bytes: usize,
    /// Binaries without a table: name and reason.
    pub without: BTreeMap<String, String>,
}

/// The kernel side's maps, from user space.
struct Maps {
    processes: MapHandle,
    ranges: MapHandle,
    chunks: MapHandle,
    firsts: MapHandle,
    wanted: MapHandle,
}

enum Order {
    Add(Pid),
    Stop,
}

/// The thread that builds tables. It ends when this is dropped.
pub(crate) struct Unwinder {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
    report: Arc<Mutex<Report>>,
    walked: Arc<Mutex<HashMap<u32, Walked>>>,
}

impl Unwinder {
    /// Begins with the tables of some processes, the target's, and goes on with those that the kernel side meets. Where
    /// there are none to begin with, all others come first, those that used most CPU before the rest. Returns at once.
    pub fn start(kernel: &Kernel, proc: PathBuf, first: Vec<Pid>) -> Result<Unwinder, Absent> {
        if let Some(why) = &kernel.no_tables {
            return Err(why.clone());
        }
        let from = kernel.maps();
        let failed = |error: libbpf_rs::Error| refused("sharing the unwinding tables", &error);
        let maps = Maps {
            processes: MapHandle::try_from(&from.unwind_processes).map_err(failed)?,
            ranges: MapHandle::try_from(&from.unwind_ranges).map_err(failed)?,
            chunks: MapHandle::try_from(&from.unwind_chunks).map_err(failed)?,
            firsts: MapHandle::try_from(&from.unwind_chunk_firsts).map_err(failed)?,
            wanted: MapHandle::try_from(&from.unwind_wanted).map_err(failed)?,
        };
        // The target's threads alone, where there is one.
        let mut places = kernel.places();
        places.retain(|place| first.is_empty() || first.contains(&Pid(place.tgid)));
        let walked = Arc::new(Mutex::new(HashMap::new()));
        let shared_walked = Arc::clone(&walked);
        let (orders, taken) = mpsc::channel();
        let report = Arc::new(Mutex::new(Report::default()));
        let shared = Arc::clone(&report);
        let walk_proc = proc.clone();
        let work = move || {
            let mut processes = Processes::new(maps, proc);
            let publish = |processes: &Processes| {
                *shared.lock().unwrap_or_else(PoisonError::into_inner) = processes.report();
            };
            first.iter().for_each(|pid| processes.add(*pid));
            publish(&processes);
            *shared_walked.lock().unwrap_or_else(PoisonError::into_inner) = sleepers::walk(&walk_proc, &places);
            let mut others = if first.is_empty() { processes.others() } else { Vec::new() }.into_iter();
            let (mut met, mut refresh) = (Instant::now(), Instant::now() + REFRESH);
            let pace = Pace { started: Instant::now(), before: thread_cpu() };
            loop {
                // What is asked for, and what is met, comes between two processes of the long first list, too.
                let behind = pace.behind();
                let other = if behind { None } else { others.next() };
                match taken.recv_timeout(if other.is_some() { Duration::ZERO } else { INTERVAL }) {
                    Ok(Order::Add(pid)) => processes.add(pid),
                    Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => {}
                }
                if behind {
                    continue;
                }
                let now = Instant::now();
                if now >= met {
                    processes.add_wanted();
                    met = now + INTERVAL;
                }
                if now >= refresh {
                    processes.refresh();
                    refresh = now + REFRESH;
                }
                other.into_iter().for_each(|pid| processes.add_new(pid));
                publish(&processes);
            }
        };
        // Files are made to break parsers: then there are no more tables, and that is all.
        let guarded = move || drop(catch_unwind(AssertUnwindSafe(work)));
        let thread = std::thread::Builder::new()
            .name("unwind-tables".to_owned())
            .spawn(guarded)
            .map_err(|error| Absent::Failed(format!("starting the thread that builds unwinding tables: {error}")))?;
        Ok(Unwinder { orders, thread: Some(thread), report, walked })
    }

    /// Builds the tables of a process soon, or brings them up to date.
    pub fn add_process(&self, pid: Pid) {
        // The thread can only be gone after a panic; what it did stays.
        let _ = self.orders.send(Order::Add(pid));
    }

    /// Takes the stacks of threads that were blocked when the window began, by thread.
    pub fn take_sleepers(&self) -> HashMap<u32, Walked> {
        std::mem::take(&mut self.walked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was built so far.
    pub fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How much CPU time the thread that builds tables may have spent by now.
struct Pace {
    started: Instant,
    before: Duration,
}

impl Pace {
    /// Whether it has spent more, and should wait.
    fn behind(&self) -> bool {
        let spent = thread_cpu().saturating_sub(self.before);
        spent > AT_ONCE + self.started.elapsed().mul_f64(SHARE)
    }
}

/// CPU time of the calling thread.
fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result; the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Adds which tables there are.
pub(crate) fn collect(unwinder: &Result<Unwinder, Absent>, into: &mut Recording) {
    let length = into.window.length;
    let report = match unwinder {
        Ok(unwinder) => unwinder.report(),
        Err(why) => {
            into.set(&catalog::UNWIND_TABLES, Err(why.clone()));
            into.set(&catalog::UNWIND_WITHOUT, Err(why.clone()));
            return;
        }
    };
    let bytes = Series::total(Labels::default(), length, report.bytes as f64);
    into.set(&catalog::UNWIND_TABLES, Ok(vec![bytes]));
    let without = report.without.into_iter().map(|(binary, why)| Fact {
        labels: Labels::new([("binary", binary)]),
        value: why,
        source: ".eh_frame".to_owned(),
    });
    into.set(&catalog::UNWIND_WITHOUT, Ok(without.collect()));
}

/// How a stack ends that was left to the kernel, for want of tables.
pub(crate) const BY_FRAME_POINTERS: &str = "frame pointers only";

/// Why a stack ends, in words; whether it is complete.
pub(crate) fn ending(end: u64) -> (&'static str, bool) {
    match End(end as u32 & !End::UNWIND_GUESSED.0) {
        End::UNWIND_ROOT => ("root", true),
        End::UNWIND_DEEP => ("deep", true),
        End::UNWIND_BY_KERNEL => (BY_FRAME_POINTERS, false),
        End::UNWIND_NO_TABLE => ("no table", false),
        End::UNWIND_FAULT => ("fault", false),
        End::UNWIND_BAD_FRAME => ("bad frame", false),
        End::UNWIND_UNSUPPORTED => ("unsupported", false),
        _ => ("no registers", false),
    }
}

/// Whether some caller was found by frame pointer only.
pub(crate) fn is_guessed(end: u64) -> bool {
    end as u32 & End::UNWIND_GUESSED.0 != 0
}

impl Drop for Unwinder {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
