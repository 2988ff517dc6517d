//! One window on a live system: arms the probes, keeps them drained, and turns what they saw into a recording.

use crate::{
    block::{self, Disks},
    bpf::{Group, Kernel, Settings, rows, types},
    changes,
    cpu::{self, Samples},
    goroutines,
    host::{
        counters::Counters,
        facts::{self, HostError},
        file_locks::FileLocks,
        filesystems,
        io_limits::IoLimits,
        limits::Limits,
        members::Members,
        settings, software, stopped,
    },
    memory,
    net::{self, Network},
    process::{self, Lifecycle},
    processes, quality, requests,
    roots::Roots,
    sched,
    snapshots::Snapshots,
    stacks::Stacks,
    stream::{self, Span, Stream, Streamed},
    syscalls,
    threads::Totals,
    tools::Begun,
    topology,
    unwind::{self, Unwinder},
};
use observe::{Absent, AnyMetric, Pid, Process, Recording, Target, TargetKind, Window, catalog};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    time::{Duration, Instant, SystemTime},
};
use symbolize::Symbolizer;

/// CPU profile rate in hertz: off the beat of timers that run at 100 Hz.
const SAMPLE_HZ: u64 = 99;

/// How often counters are read.
const COUNTER_INTERVAL: Duration = Duration::from_millis(500);

/// Kernel-side programs are measured for this part of every so many seconds: measuring takes 0.1 µs for every run.
const STATISTICS_SLICE: Duration = Duration::from_millis(100);
const STATISTICS_SECONDS: u64 = 4;

/// ours: new processes, not the target's, whose maps are kept at each poll: 50 µs each.
const MOST_REMEMBERED: usize = 8;

/// How deep to look: each tier includes those before it and costs more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Files of the kernel's, read a few times a second; nothing is attached.
    Counters = 1,
    /// Where threads' time goes, aggregated in the kernel.
    Times = 2,
    /// Code paths as well.
    Stacks = 3,
    /// For a few seconds, every switch between threads one by one.
    Events = 4,
}

/// The event window, before, while and after it is open.
enum Events {
    Planned(Span),
    Open(Stream, Span),
    Done(Streamed),
    /// It never was, or is not any more.
    Absent(Absent),
}

impl Events {
    /// Its requests, which are told with all others.
    fn take_requests(&mut self) -> Result<Vec<types::request_span>, Absent> {
        match self {
            Events::Done(streamed) => Ok(std::mem::take(&mut streamed.requests)),
            Events::Absent(why) => Err(why.clone()),
            Events::Planned(_) | Events::Open(..) => Err(Absent::NotCollected("no event window".to_owned())),
        }
    }
}

/// Probes that are armed.
pub struct Session {
    roots: Roots,
    target: Target,
    kernel: Result<Kernel, Absent>,
    unwinder: Result<Unwinder, Absent>,
    symbolizer: Symbolizer,
    kept: BTreeSet<u32>,
    /// Go programs were looked for among those that run.
    looked_for_go: bool,
    /// What Python programs are at.
    interpreted: Option<cpu::Interpreted>,
    counters: Counters,
    usage: memory::Usage,
    limits: Limits,
    io_limits: IoLimits,
    members: Members,
    file_locks: FileLocks,
    network: Network,
    processes: BTreeMap<Pid, Process>,
    lifecycle: Lifecycle,
    /// The target's threads as the window began.
    at_first: Option<Totals>,
    /// In place of the kernel side.
    snapshots: Option<Snapshots>,
    events: Events,
    pace: requests::Pace,
    tools: Option<Begun>,
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
    pub fn start(roots: &Roots, target: Target, tier: Tier) -> Result<Session, HostError> {
        let cpu_at_start = own_cpu();
        let host = facts::host(roots)?;
        let window = Window { start: SystemTime::now(), length: Duration::ZERO };
        let mut recording = Recording::new(host.clone(), target.clone(), window);
        facts::facts(roots, &mut recording);
        let mut processes = BTreeMap::new();
        processes::snapshot(roots, &mut processes);
        // What is held back until the window begins still runs friday's program; it is told by what it becomes.
        if let Some(held) = target.pid.filter(|_| target.kind == TargetKind::Command) {
            processes.remove(&held);
        }
        let mut symbolizer = Symbolizer::new();
        for pid in &target.members {
            symbolizer.remember(*pid);
        }
        let kernel = if tier == Tier::Counters {
            Err(Absent::NotCollected("nothing was attached to the kernel (--tier 1)".to_owned()))
        } else {
            Kernel::start(&Settings {
                roots,
                tier,
                everyone: !target.is_named(),
                targets: target.members.iter().map(|pid| pid.0).collect(),
                listening: net::Listening::read(roots),
                sample_hz: SAMPLE_HZ,
                tables: tier >= Tier::Stacks,
                pass_samples: false,
            })
        };
        let unwinder = match &kernel {
            Ok(kernel) => Unwinder::start(kernel, roots.proc.clone(), target.members.clone()),
            Err(why) => Err(why.clone()),
        };
        let mut kernel = kernel;
        if let Ok(kernel) = &mut kernel {
            kernel.follow_goroutines(goroutines::find(roots, target.members.iter().copied()));
        }
        let stacks_wanted = kernel.is_ok() && tier >= Tier::Stacks;
        let mut interpreted = stacks_wanted.then(|| cpu::Interpreted::start(roots.proc.clone())).flatten();
        if let Some(interpreted) = &mut interpreted {
            target.members.iter().for_each(|pid| interpreted.offer(*pid));
        }
        let usage = memory::Usage::new(roots, &target, kernel.is_err());
        let limits = Limits::new(roots, &target);
        let mut counters = Counters::new(roots);
        let network = Network::start(roots, &target);
        counters.sample(Duration::ZERO);
        let cpu_before = own_cpu();
        recording.cost.arming = cpu_before.saturating_sub(cpu_at_start);
        let started = Instant::now();
        recording.window.start = SystemTime::now();
        Ok(Session {
            at_first: None,
            snapshots: kernel.is_err().then(|| Snapshots::start(roots, &target)),
            events: Events::Absent(Absent::NotCollected("the event window was not asked for (--tier)".to_owned())),
            pace: requests::Pace::default(),
            tools: None,
            roots: roots.clone(),
            target,
            kernel,
            unwinder,
            symbolizer,
            kept: BTreeSet::new(),
            looked_for_go: false,
            interpreted,
            counters,
            usage,
            limits,
            io_limits: IoLimits::new(roots),
            members: Members::new(roots),
            file_locks: FileLocks::default(),
            network,
            processes,
            lifecycle: Lifecycle::default(),
            recording,
            started,
            next_counters: started + COUNTER_INTERVAL,
            cpu_before,
        })
    }

    /// What health tools asked for is part of the recording as well.
    pub fn with_tools(&mut self, begun: Begun) {
        self.tools = Some(begun);
    }

    /// Plans the event window: it opens by itself where there is something to look closer at, and closes at its end, when it
    /// is full, or with the window.
    pub fn plan_events(&mut self, span: Span) {
        if self.kernel.is_ok() {
            self.events = Events::Planned(span);
            self.at_first = self.target.is_named().then(|| Totals::read(&self.roots, &self.target));
        }
    }

    /// What speaks against opening the event window now: a named target that has done next to nothing so far.
    fn idle_so_far(&self, now: Duration) -> Option<Absent> {
        /// ours: friday itself may take as much of a CPU.
        const RUNNING: f64 = 0.005;
        /// ours: who waits for others and goes on is switched in more often.
        const SWITCHES_A_SECOND: f64 = 5.0;
        let (Ok(kernel), Some(before)) = (&self.kernel, &self.at_first) else { return None };
        if now.is_zero() || kernel.targets().len() > self.target.members.len() {
            return None;
        }
        let (threads, _) = before.until_now(&self.roots, &self.target, now);
        let running: u64 = threads.iter().map(|thread| thread.running).sum();
        let switches: u64 = threads.iter().map(|thread| thread.switches).sum();
        let seconds = now.as_secs_f64();
        let idle = (running as f64) < RUNNING * seconds * 1e9 && (switches as f64) < SWITCHES_A_SECOND * seconds;
        idle.then(|| {
            Absent::NotCollected(format!(
                "not opened: in {seconds:.0} s the target ran {:.0} ms and was switched in {switches} times",
                running as f64 / 1e6
            ))
        })
    }

    /// Opens the event window or closes it when it is time.
    fn pace_events(&mut self, now: Duration, last: bool) {
        let due = matches!(&self.events, Events::Planned(span) if now >= span.after && !span.after.is_zero() && !last);
        if let Some(why) = due.then(|| self.idle_so_far(now)).flatten() {
            self.events = Events::Absent(why);
        }
        let Ok(kernel) = &mut self.kernel else { return };
        let early = Absent::NotCollected("the run ended before the event window".to_owned());
        self.events = match std::mem::replace(&mut self.events, Events::Absent(early)) {
            Events::Planned(span) if now >= span.after && !last => match Stream::open(kernel, span.most) {
                Ok(stream) => Events::Open(stream, span),
                Err(why) => Events::Absent(why),
            },
            Events::Planned(span) if !last => Events::Planned(span),
            Events::Open(stream, span) if last || stream.is_full() || now >= span.after + span.length => {
                stream.close(kernel).map_or_else(Events::Absent, Events::Done)
            }
            Events::Planned(_) => return,
            other => other,
        };
    }

    /// Why the kernel side is missing, if it is.
    pub fn blind(&self) -> Option<&Absent> {
        self.kernel.as_ref().err()
    }

    /// Drains what has come and reads counters when it is time; call a few times a second.
    pub fn poll(&mut self) {
        self.pace_events(self.started.elapsed(), false);
        if let Ok(kernel) = &mut self.kernel {
            let now = self.started.elapsed();
            kernel.pace(now);
            kernel.keep_statistics(measures_programs(now));
            let began = self.lifecycle.take(kernel.events());
            let targets: BTreeSet<u32> =
                if began.is_empty() { BTreeSet::new() } else { kernel.targets().into_iter().collect() };
            let (ours, others): (Vec<Pid>, Vec<Pid>) = began.into_iter().partition(|pid| targets.contains(&pid.0));
            for pid in &ours {
                self.symbolizer.remember(*pid);
                self.interpreted.iter_mut().for_each(|interpreted| interpreted.offer(*pid));
                if let Ok(unwinder) = &self.unwinder {
                    unwinder.add_process(*pid);
                }
            }
            // Of a storm of others, some stand for all; tables are made for those that are met.
            others.iter().take(MOST_REMEMBERED).for_each(|pid| self.symbolizer.remember(*pid));
        }
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.look();
        }
        if let Ok(kernel) = &self.kernel {
            self.pace.look(kernel, &self.roots, &self.target, self.started.elapsed());
        }
        if Instant::now() >= self.next_counters {
            // What runs now may be gone at the end: its maps are kept while they can be read.
            if let Ok(kernel) = &self.kernel {
                for pid in kernel.sampled() {
                    if self.kept.insert(pid) {
                        self.symbolizer.remember(Pid(pid));
                        self.interpreted.iter_mut().for_each(|interpreted| interpreted.offer(Pid(pid)));
                    }
                }
            }
            self.follow_goroutines();
            self.counters.sample(self.started.elapsed());
            self.usage.sample(self.started.elapsed());
            self.limits.sample(self.started.elapsed());
            self.file_locks.sample(&self.roots);
            self.network.sample(self.started.elapsed());
            self.next_counters += COUNTER_INTERVAL;
        }
    }

    /// Where nobody was named, follows the goroutines of the programs that were met running first.
    fn follow_goroutines(&mut self) {
        let Ok(kernel) = &mut self.kernel else { return };
        if self.target.is_named() || self.looked_for_go || kernel.sampled().is_empty() {
            return;
        }
        self.looked_for_go = true;
        let own = std::process::id();
        let running = kernel.sampled().into_iter().filter(|pid| *pid != own).map(Pid);
        kernel.follow_goroutines(goroutines::find(&self.roots, running));
    }

    /// Ends the window, detaches everything and gives what was seen.
    pub fn finish(mut self) -> Recording {
        topology::collect(&self.roots, &self.target, self.started.elapsed(), &mut self.recording);
        stopped::collect(&self.roots, &mut self.recording);
        let mut length = self.started.elapsed();
        self.counters.sample(length);
        self.network.end(length);
        self.pace_events(length, true);
        if let Ok(kernel) = &self.kernel {
            self.pace.end(kernel, &self.roots, &self.target, length);
        }
        if let Ok(kernel) = &mut self.kernel {
            length = Duration::from_nanos(kernel.close() - kernel.begin());
            self.lifecycle.take(kernel.events());
        }
        self.recording.window.length = length;
        // What reading it all out costs comes after the window and is not part of what the window cost.
        self.recording.cost.cpu = own_cpu().saturating_sub(self.cpu_before);
        self.counters.finish(&mut self.recording);
        self.usage.finish(length, &mut self.recording);
        let groups = self.limits.finish(length, &mut self.recording);
        self.io_limits.finish(&self.roots, &mut Disks::default(), length, &mut self.recording);
        self.members.finish(&self.roots, &mut self.recording);
        filesystems::collect(&self.roots, length, &mut self.recording);
        self.file_locks.finish(&self.roots, length, &mut self.recording);
        let sockets = self.network.finish(length, &mut self.recording);
        processes::snapshot(&self.roots, &mut self.processes);
        self.lifecycle.identify(&mut self.processes);
        let (recording, processes) = (&mut self.recording, self.processes);
        recording.processes = processes;
        match self.kernel {
            Ok(kernel) => {
                unwind::collect(&self.unwinder, recording);
                let streamed = self.events.take_requests();
                if present(&kernel, Group::Network, net::METRICS, recording) {
                    net::collect(&kernel, &sockets, length, recording);
                }
                // Who asks whom says what a wait in a poll was for.
                if present(&kernel, Group::Requests, requests::METRICS, recording) {
                    requests::collect(&kernel, &sockets, length, streamed, recording);
                }
                if present(&kernel, Group::Requests, requests::PACE_METRICS, recording) {
                    self.pace.finish(&kernel, &sockets, recording);
                }
                read_out(
                    &kernel,
                    &self.unwinder,
                    &self.roots,
                    &mut self.symbolizer,
                    Beside { lifecycle: &self.lifecycle, groups: &groups, events: self.events },
                    recording,
                );
                if let Some(interpreted) = self.interpreted {
                    interpreted.finish(recording);
                }
                recording.target.members = members(&self.target, &kernel, &recording.processes);
            }
            Err(why) => {
                blind(&why, recording);
                if let Some(snapshots) = self.snapshots {
                    let mut disks = Disks::default();
                    let mut namer = sched::Namer::new(&self.roots, &mut disks, []);
                    snapshots.finish(&self.roots, &self.target, &mut self.symbolizer, &mut namer, recording);
                }
            }
        }
        settings::collect(&self.roots, recording);
        let processes = recording.processes.clone();
        software::collect(&self.roots, &processes, recording);
        changes::collect(&self.roots, Path::new("/"), &processes, recording);
        if let Some(tools) = self.tools {
            tools.finish(recording);
        }
        recording.cost.rss_bytes = peak_rss();
        self.recording
    }
}

/// The named target's processes, with the descendants that were born in the window.
fn members(target: &Target, kernel: &Kernel, processes: &BTreeMap<Pid, Process>) -> Vec<Pid> {
    match target.kind {
        TargetKind::System => Vec::new(),
        // Of a server with workers, the new ones too.
        TargetKind::Process => {
            let exe = |pid: Pid| processes.get(&pid).map(|process| process.exe.as_str()).unwrap_or_default();
            let program = target.pid.map(exe).unwrap_or_default();
            let born = kernel.targets().into_iter().map(Pid);
            let born = born.filter(|pid| target.members.len() > 1 && !program.is_empty() && exe(*pid) == program);
            born.chain(target.members.iter().copied()).collect::<BTreeSet<_>>().into_iter().collect()
        }
        TargetKind::Cgroup | TargetKind::Unit | TargetKind::Command => {
            let mut all: Vec<Pid> = kernel.targets().into_iter().map(Pid).collect();
            all.sort_unstable();
            all
        }
    }
}

/// What was seen beside the tables of the kernel side.
struct Beside<'a> {
    lifecycle: &'a Lifecycle,
    groups: &'a HashMap<u64, String>,
    events: Events,
}

fn read_out(
    kernel: &Kernel,
    unwinder: &Result<Unwinder, Absent>,
    roots: &Roots,
    symbolizer: &mut Symbolizer,
    beside: Beside,
    into: &mut Recording,
) {
    let Beside { lifecycle, groups, events } = beside;
    let length = into.window.length;
    let samples = Samples::read(kernel);
    let mut books = sched::Books::read(kernel, length);
    let sleepers = match (&mut books, unwinder) {
        (Ok(books), Ok(unwinder)) => books.add_sleepers(unwinder.take_sleepers()),
        _ => Vec::new(),
    };
    let mut faults = memory::Faults::read(kernel, length);
    let goroutines = goroutines::Counted::read(kernel, roots);
    let mut owners: HashMap<u64, u32> = samples.owners().chain(faults.owners()).chain(goroutines.owners()).collect();
    if let Ok(books) = &books {
        faults.fit(books);
        owners.extend(books.owners());
    }
    let stacks = Stacks::read(kernel, sleepers, symbolizer, &owners);
    goroutines.collect(kernel, &stacks, length, into);
    let mut disks = Disks::default();
    if present(kernel, Group::Profile, cpu::METRICS, into) {
        samples.collect(&stacks, roots, into);
    }
    if present(kernel, Group::Block, block::METRICS, into) {
        block::collect(kernel, roots, &mut disks, length, into);
    }
    if present(kernel, Group::Calls, syscalls::METRICS, into) {
        syscalls::collect(kernel, length, into);
    }
    if present(kernel, Group::Memory, memory::METRICS, into) {
        memory::collect(kernel, &faults, &stacks, lifecycle, groups, into);
    }
    lifecycle.collect(roots, &mut disks, kernel.begin(), into);
    for (group, metrics) in
        [(Group::Block, block::METRICS), (Group::Calls, syscalls::METRICS), (Group::Lifecycle, process::METRICS)]
    {
        present(kernel, group, metrics, into);
    }
    if kernel.absent.contains_key(&Group::Profile) {
        let why = Absent::NotCollected("no stacks were taken".to_owned());
        refuse(&[&catalog::STACK_SETS, &catalog::STACK_ENDS, &catalog::STACK_NAMES], &why, into);
        refuse(&[&catalog::PROCESS_STACKS, &catalog::PROCESS_FRAMES], &why, into);
    } else {
        quality::collect(&samples, books.as_ref().ok(), &stacks, into);
    }
    match books {
        Ok(books) => {
            let mut namer = sched::Namer::new(roots, &mut disks, rows(&kernel.maps().file_names));
            namer.know(requests::clients(into));
            memory::collect_faults(&books, into);
            sched::collect(&books, kernel, &stacks, &mut namer, &samples, into);
            match events {
                Events::Done(streamed) => {
                    stream::collect(streamed, &books, &stacks, &mut namer, kernel.begin(), into);
                }
                Events::Absent(why) => refuse(stream::METRICS, &why, into),
                Events::Planned(_) | Events::Open(..) => {}
            }
        }
        Err(why) => {
            refuse(sched::METRICS, &why, into);
            refuse(&[&catalog::PROCESS_FAULTS], &why, into);
            refuse(stream::METRICS, &why, into);
        }
    }
    into.frames = stacks.into_frames();
    into.cost.lost = kernel.lost();
    if lifecycle.dropped() > 0 {
        into.cost.lost.insert("events kept by friday".to_owned(), lifecycle.dropped());
    }
    into.cost.lost_events = into.cost.lost.values().sum();
    into.cost.programs = kernel.costs();
    into.cost.programs_measured = kernel.measured();
}

/// Whether a group of programs ran; if not, its metrics say why.
fn present(kernel: &Kernel, group: Group, metrics: &[&dyn AnyMetric], into: &mut Recording) -> bool {
    match kernel.absent.get(&group) {
        Some(why) => refuse(metrics, why, into),
        None => return true,
    }
    false
}

/// Whether it is time to measure the kernel-side programs. The moment moves from second to second: what comes and goes
/// with the window's begin or with the seconds, such as programs that are attached in slices, is met as often as not.
fn measures_programs(now: Duration) -> bool {
    let (turn, second) = (now.as_secs() / STATISTICS_SECONDS, now.as_secs() % STATISTICS_SECONDS);
    let room = 1000 - STATISTICS_SLICE.as_millis();
    let begin = (100 + 370 * u128::from(turn)) % room;
    second == 0 && (begin..begin + STATISTICS_SLICE.as_millis()).contains(&u128::from(now.subsec_millis()))
}

fn refuse(metrics: &[&dyn AnyMetric], why: &Absent, into: &mut Recording) {
    metrics.iter().for_each(|metric| metric.refuse(into, why));
}

/// Says of every metric that comes from the kernel side why it is missing.
fn blind(why: &Absent, into: &mut Recording) {
    for metrics in [
        sched::METRICS,
        cpu::METRICS,
        block::METRICS,
        syscalls::METRICS,
        process::METRICS,
        memory::METRICS,
        net::METRICS,
        stream::METRICS,
        requests::METRICS,
        requests::PACE_METRICS,
        goroutines::METRICS,
    ] {
        refuse(metrics, why, into);
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
