//! One window on a live system: arms the probes, keeps them drained, and turns what they saw into a recording.

use crate::{
    block::{self, Disks},
    bpf::{Group, Kernel, Settings, rows},
    cpu::Samples,
    host::{
        counters::Counters,
        facts::{self, HostError},
    },
    process::Lifecycle,
    processes,
    roots::Roots,
    sched,
    stacks::Stacks,
    syscalls, threads,
    unwind::{self, Unwinder},
};
use observe::{
    Absent, Pid, Process, Recording, Series, Target, Window,
    catalog::{self, Metric},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant, SystemTime},
};
use symbolize::Symbolizer;

/// CPU profile rate in hertz: off the beat of timers that run at 100 Hz.
const SAMPLE_HZ: u64 = 99;

/// How often counters are read.
const COUNTER_INTERVAL: Duration = Duration::from_millis(500);

/// What is counted of system calls beside their duration.
const SYSCALL_TOTALS: [&Metric<Series>; 5] = [
    &catalog::SYSCALL_CPU,
    &catalog::SYSCALL_ERRORS,
    &catalog::SYSCALL_EMPTY,
    &catalog::SYSCALL_BYTES,
    &catalog::SYSCALL_SOCKETS,
];

/// Probes that are armed.
pub struct Session {
    roots: Roots,
    target: Target,
    kernel: Result<Kernel, Absent>,
    unwinder: Result<Unwinder, Absent>,
    symbolizer: Symbolizer,
    kept: BTreeSet<u32>,
    counters: Counters,
    processes: BTreeMap<Pid, Process>,
    lifecycle: Lifecycle,
    threads: threads::Totals,
    recording: Recording,
    started: Instant,
    next_counters: Instant,
    cpu_before: Duration,
}

impl Session {
    /// Arms the probes for a target. Probes that this system refuses are left out, with their reason in the
    /// recording.
    ///
    /// # Errors
    /// When not even the machine's own description can be read.
    pub fn start(roots: &Roots, target: Target) -> Result<Session, HostError> {
        let host = facts::host(roots)?;
        let window = Window { start: SystemTime::now(), length: Duration::ZERO };
        let mut recording = Recording::new(host, target.clone(), window);
        facts::facts(roots, &mut recording);
        let mut processes = BTreeMap::new();
        processes::snapshot(roots, &mut processes);
        let mut symbolizer = Symbolizer::new();
        for pid in &target.members {
            symbolizer.remember(*pid);
        }
        let cpu_before = own_cpu();
        let kernel = Kernel::start(&Settings {
            roots,
            everyone: !target.is_named(),
            targets: target.members.iter().map(|pid| pid.0).collect(),
            sample_hz: SAMPLE_HZ,
            tables: true,
            pass_samples: false,
        });
        let unwinder = match &kernel {
            Ok(kernel) => Unwinder::start(kernel, roots.proc.clone(), target.members.clone()),
            Err(why) => Err(why.clone()),
        };
        let mut counters = Counters::new(roots);
        counters.sample(Duration::ZERO);
        let started = Instant::now();
        recording.window.start = SystemTime::now();
        Ok(Session {
            threads: threads::Totals::read(roots, &target),
            roots: roots.clone(),
            target,
            kernel,
            unwinder,
            symbolizer,
            kept: BTreeSet::new(),
            counters,
            processes,
            lifecycle: Lifecycle::default(),
            recording,
            started,
            next_counters: started + COUNTER_INTERVAL,
            cpu_before,
        })
    }

    /// Why the kernel side is missing, if it is.
    pub fn blind(&self) -> Option<&Absent> {
        self.kernel.as_ref().err()
    }

    /// Drains what has come and reads counters when it is time; call a few times a second.
    pub fn poll(&mut self) {
        if let Ok(kernel) = &mut self.kernel {
            for pid in self.lifecycle.take(kernel.events()) {
                self.symbolizer.remember(pid);
                if let Ok(unwinder) = &self.unwinder {
                    unwinder.add_process(pid);
                }
            }
        }
        if Instant::now() >= self.next_counters {
            // What runs now may be gone at the end: its maps are kept while they can be read.
            if let Ok(kernel) = &self.kernel {
                for pid in kernel.sampled() {
                    if self.kept.insert(pid) {
                        self.symbolizer.remember(Pid(pid));
                    }
                }
            }
            self.counters.sample(self.started.elapsed());
            self.next_counters += COUNTER_INTERVAL;
        }
    }

    /// Ends the window, detaches everything and gives what was seen.
    pub fn finish(mut self) -> Recording {
        let mut length = self.started.elapsed();
        self.counters.sample(length);
        let mut begin = 0;
        if let Ok(kernel) = &mut self.kernel {
            begin = kernel.begin();
            length = Duration::from_nanos(kernel.close() - begin);
            self.lifecycle.take(kernel.events());
        }
        self.recording.window.length = length;
        // What reading it all out costs comes after the window and is not part of what the window cost.
        self.recording.cost.cpu = own_cpu().saturating_sub(self.cpu_before);
        self.counters.finish(&mut self.recording);
        processes::snapshot(&self.roots, &mut self.processes);
        self.lifecycle.identify(&mut self.processes);
        let (recording, processes) = (&mut self.recording, self.processes);
        recording.processes = processes;
        match self.kernel {
            Ok(kernel) => {
                unwind::collect(&kernel, &self.unwinder, recording);
                read_out(&kernel, &self.roots, &mut self.symbolizer, &self.lifecycle, begin, recording);
                recording.target.members = members(&self.target, &kernel);
            }
            Err(why) => {
                blind(&why, recording);
                self.threads.finish(&self.roots, &self.target, length, recording);
            }
        }
        recording.cost.rss_bytes = peak_rss();
        self.recording
    }
}

/// The named target's processes, with the descendants that were born in the window.
fn members(target: &Target, kernel: &Kernel) -> Vec<Pid> {
    use observe::TargetKind;
    match target.kind {
        TargetKind::System => Vec::new(),
        TargetKind::Process => target.members.clone(),
        TargetKind::Cgroup | TargetKind::Unit | TargetKind::Command => {
            let mut all: Vec<Pid> = kernel.targets().into_iter().map(Pid).collect();
            all.sort_unstable();
            all
        }
    }
}

fn read_out(
    kernel: &Kernel,
    roots: &Roots,
    symbolizer: &mut Symbolizer,
    lifecycle: &Lifecycle,
    begin: u64,
    into: &mut Recording,
) {
    let length = into.window.length;
    let samples = Samples::read(kernel);
    let books = sched::Books::read(kernel);
    let mut owners: HashMap<u64, u32> = samples.owners().collect();
    if let Ok(books) = &books {
        owners.extend(books.owners());
    }
    let stacks = Stacks::read(kernel, symbolizer, &owners);
    let mut disks = Disks::default();
    match kernel.absent.get(&Group::Profile) {
        Some(why) => into.set(&catalog::CPU_STACKS, Err(why.clone())),
        None => samples.collect(&stacks, into),
    }
    match kernel.absent.get(&Group::Block) {
        Some(why) => {
            into.set(&catalog::BLOCK_LATENCY, Err(why.clone()));
            for metric in [&catalog::BLOCK_ISSUED, &catalog::BLOCK_OPERATIONS, &catalog::BLOCK_TIME] {
                into.set(metric, Err(why.clone()));
            }
        }
        None => block::collect(kernel, roots, &mut disks, length, into),
    }
    match kernel.absent.get(&Group::Calls) {
        Some(why) => {
            into.set(&catalog::SYSCALL_TIME, Err(why.clone()));
            for metric in SYSCALL_TOTALS {
                into.set(metric, Err(why.clone()));
            }
        }
        None => syscalls::collect(kernel, length, into),
    }
    lifecycle.collect(roots, &mut disks, begin, into);
    for (group, metric) in [(Group::Block, &catalog::SLOW_BLOCK_IO), (Group::Calls, &catalog::SLOW_SYSCALL)] {
        if let Some(why) = kernel.absent.get(&group) {
            into.set(metric, Err(why.clone()));
        }
    }
    if let Some(why) = kernel.absent.get(&Group::Lifecycle) {
        into.set(&catalog::PROCESS_EXIT, Err(why.clone()));
    }
    match books {
        Ok(books) => {
            let mut namer = sched::Namer::new(roots, &mut disks, rows(&kernel.maps().file_names));
            sched::collect(&books, kernel, &stacks, &mut namer, &samples.split(), into);
        }
        Err(why) => {
            into.set(&catalog::THREAD_TIME, Err(why.clone()));
            into.set(&catalog::WAITS, Err(why.clone()));
            into.set(&catalog::RUN_QUEUE_WAIT, Err(why));
        }
    }
    into.frames = stacks.into_frames();
    into.cost.lost_events = kernel.lost() + lifecycle.dropped();
    into.cost.programs = kernel.costs();
}

/// Says of every metric that comes from the kernel side why it is missing.
fn blind(why: &Absent, into: &mut Recording) {
    into.set(&catalog::CPU_STACKS, Err(why.clone()));
    into.set(&catalog::THREAD_TIME, Err(why.clone()));
    into.set(&catalog::WAITS, Err(why.clone()));
    for metric in [&catalog::RUN_QUEUE_WAIT, &catalog::BLOCK_LATENCY, &catalog::SYSCALL_TIME] {
        into.set(metric, Err(why.clone()));
    }
    for metric in
        [&catalog::BLOCK_ISSUED, &catalog::BLOCK_OPERATIONS, &catalog::BLOCK_TIME].into_iter().chain(SYSCALL_TOTALS)
    {
        into.set(metric, Err(why.clone()));
    }
    for metric in [&catalog::PROCESS_EXIT, &catalog::SLOW_RUN_QUEUE, &catalog::SLOW_BLOCK_IO, &catalog::SLOW_SYSCALL] {
        into.set(metric, Err(why.clone()));
    }
}

/// CPU time this process has used, user and system.
fn own_cpu() -> Duration {
    let usage = own_usage();
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// Largest resident set of this process so far, in bytes.
fn peak_rss() -> u64 {
    own_usage().ru_maxrss as u64 * 1024
}

fn own_usage() -> libc::rusage {
    // SAFETY: all zeros is a valid `rusage`, and the call fills a valid place.
    unsafe {
        let mut usage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    }
}
