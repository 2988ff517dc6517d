//! Unwinding tables for the kernel side: built in the background, shared by all processes that run the same binary.
//!
//! Cost: 2 ms for a C library's table, 40 ms for Node.js's; some 80 ms for all of an ordinary machine's processes, in the
//! background. Kernel memory grows by the megabyte, to 64 MiB at most; 5 MB with a compiler, Node.js and Python running. A
//! stack of eight frames costs 1.2 µs more at a switch than the one or two that frame pointers give, and 0.15 µs a frame
//! from there on. Until a process has its tables, for code that has none, and when there is no more room, frame pointers are
//! followed, and the recording says so.

mod processes;
mod rules;
mod tables;

#[cfg(all(test, target_arch = "x86_64"))]
mod live;

use crate::bpf::{Kernel, refused, types::unwind_end as End};
use libbpf_rs::MapHandle;
use observe::{Absent, Fact, Labels, Pid, Recording, Series, catalog};
use processes::Processes;
use std::{
    collections::BTreeMap,
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
}

impl Unwinder {
    /// Begins with the tables of some processes, then goes on with all others, those that used most CPU first, and then
    /// with those that the kernel side meets. Returns at once.
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
        let (orders, taken) = mpsc::channel();
        let report = Arc::new(Mutex::new(Report::default()));
        let shared = Arc::clone(&report);
        let work = move || {
            let mut processes = Processes::new(maps, proc);
            let publish = |processes: &Processes| {
                *shared.lock().unwrap_or_else(PoisonError::into_inner) = processes.report();
            };
            first.iter().for_each(|pid| processes.add(*pid));
            publish(&processes);
            let mut others = processes.others().into_iter();
            let (mut met, mut refresh) = (Instant::now(), Instant::now() + REFRESH);
            loop {
                // What is asked for, and what is met, comes between two processes of the long first list, too.
                let other = others.next();
                match taken.recv_timeout(if other.is_some() { Duration::ZERO } else { INTERVAL }) {
                    Ok(Order::Add(pid)) => processes.add(pid),
                    Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => {}
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
        Ok(Unwinder { orders, thread: Some(thread), report })
    }

    /// Builds the tables of a process soon, or brings them up to date.
    pub fn add_process(&self, pid: Pid) {
        // The thread can only be gone after a panic; what it did stays.
        let _ = self.orders.send(Order::Add(pid));
    }

    /// What was built so far.
    pub fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Adds what the user stacks of a recording are worth.
pub(crate) fn collect(kernel: &Kernel, unwinder: &Result<Unwinder, Absent>, into: &mut Recording) {
    let length = into.window.length;
    let ends = kernel.stack_ends();
    into.set(&catalog::USER_STACKS, Ok(Vec::new()));
    for (end, count) in ends.iter().enumerate().filter(|(_, count)| **count > 0) {
        let labels = Labels::new([("end", name(end as u32).to_owned())]);
        into.push(&catalog::USER_STACKS, Series::total(labels, length, *count as f64));
    }
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

/// Why a stack ends, in words.
fn name(end: u32) -> &'static str {
    match End(end) {
        End::UNWIND_BY_KERNEL => "kernel",
        End::UNWIND_ROOT => "root",
        End::UNWIND_DEEP => "deep",
        End::UNWIND_NO_TABLE => "no table",
        End::UNWIND_FAULT => "fault",
        End::UNWIND_BAD_FRAME => "bad frame",
        End::UNWIND_UNSUPPORTED => "unsupported",
        _ => "no registers",
    }
}

impl Drop for Unwinder {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
