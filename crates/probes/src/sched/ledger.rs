//! From the kernel side's tables to the ledger: every thread's time by class.
//!
//! Measured cost of the programs: see `overhead.programs` of any case; the switch and wake-up programs dominate.

use super::{
    classify::{BEFORE, MAJOR_FAULT},
    resource::{Namer, Object},
    run_queue,
    waits::{self, Classified, KINDS},
};
use crate::{
    bpf::{Frequent, Kernel, rows, text, types},
    cpu::{Samples, Split},
    stacks::{Stacks, UserStack},
    unwind::Walked,
};
use observe::{Absent, ClassTimes, Labels, Pid, Recording, Series, ThreadTime, Tid, TimeClass, Wait, catalog};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// What the kernel side counted, before stacks are named.
pub(crate) struct Books {
    pub(super) threads: Vec<types::thread_times>,
    pub(super) waits: Vec<(types::wait_key, types::wait_value)>,
    pub(super) blames: Vec<(types::blame_key, types::blame_value)>,
}

/// Gives the time of skipped waits to the sampled ones of the same thread and kind, each by its part of their time; where
/// there are none it stays what it is. The sum of each thread stays what it was.
fn spread_skipped(threads: &mut [types::thread_times], waits: &mut [(types::wait_key, types::wait_value)]) {
    let mut sampled: HashMap<(u32, u8), u64> = HashMap::new();
    for (key, value) in waits.iter().filter(|(_, value)| value.sampled_ns > 0) {
        *sampled.entry((key.tid, key.kind)).or_default() += value.sampled_ns;
    }
    let mut parts: HashMap<(u32, u8), f64> = HashMap::new();
    for times in threads {
        for (kind, skipped) in times.skipped_ns.iter_mut().enumerate() {
            let thread = (times.tid, kind as u8);
            if let Some(sampled) = sampled.get(&thread) {
                *parts.entry(thread).or_default() += std::mem::take(skipped) as f64 / *sampled as f64;
            }
        }
    }
    for (key, value) in waits.iter_mut().filter(|(_, value)| value.sampled_ns > 0) {
        let part = parts.get(&(key.tid, key.kind)).copied().unwrap_or(0.0);
        value.ns += (value.sampled_ns as f64 * part) as u64;
        value.count += (value.sampled as f64 * part).round() as u64;
    }
}

impl Books {
    /// Closes and reads the books; after the window has ended.
    pub fn read(kernel: &Kernel, window: Duration) -> Result<Self, Absent> {
        let mut threads = kernel.close_books()?;
        let traced = kernel.traced_part(Frequent::Interrupts, window);
        for times in &mut threads {
            times.interrupted = ((times.interrupted as f64 / traced) as u64).min(times.running);
        }
        let maps = kernel.maps();
        let mut waits = [rows(&maps.waits), rows(&maps.coarse_waits)].concat();
        spread_skipped(&mut threads, &mut waits);
        let blames = [rows(&maps.blames), rows(&maps.coarse_blames)].concat();
        Ok(Books { threads, waits, blames })
    }

    /// The threads that lived in the window.
    pub fn threads(&self) -> &[types::thread_times] {
        &self.threads
    }

    /// From threads and waits that were counted otherwise.
    pub fn of(threads: Vec<types::thread_times>, waits: Vec<(types::wait_key, types::wait_value)>) -> Self {
        Books { threads, waits, blames: Vec::new() }
    }

    /// Gives waits that began before the window the user stacks that their threads had then. Returns the stacks by the
    /// ids that the waits now have.
    pub fn add_sleepers(&mut self, mut walked: HashMap<u32, Walked>) -> Vec<UserStack> {
        let mut stacks = Vec::new();
        for (key, _) in self.waits.iter_mut().filter(|(key, _)| key.flags & BEFORE != 0 && key.user_stack == 0) {
            if let Some(stack) = walked.remove(&key.tid) {
                // Ids of the kernel side are hashes: one of these meets one of those by a rare chance only.
                key.user_stack = u64::from(key.tid) | u64::from(key.tgid) << 32;
                stacks.push(UserStack { id: key.user_stack, ips: stack.ips, end: stack.end });
            }
        }
        stacks
    }

    /// The waits, as counted.
    pub fn waits(&self) -> impl Iterator<Item = &(types::wait_key, types::wait_value)> {
        self.waits.iter()
    }

    /// Nanoseconds of waits that no sampled one stands for, by thread of the processes asked for.
    pub fn skipped_waits(&self, wanted: impl Fn(u32) -> bool) -> impl Iterator<Item = u64> {
        let threads = self.threads.iter().filter(move |times| times.kernel == 0 && wanted(times.tgid));
        threads.map(|times| times.skipped_ns.iter().sum())
    }

    /// Which process each user stack belongs to.
    pub fn owners(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.waits.iter().flat_map(|(key, _)| [(key.user_stack, key.tgid), (key.waker_stack, key.waker_tgid)])
    }
}

/// Adds what the kernel side knows to the recording: the ledger, the waits, run-queue latencies and spin locks.
pub(crate) fn collect(
    books: &Books,
    kernel: &Kernel,
    stacks: &Stacks,
    namer: &mut Namer,
    samples: &Samples,
    into: &mut Recording,
) {
    let machine = Machine {
        traced: kernel.traced_part(Frequent::Calls, into.window.length),
        steals: steals(into),
        ..Machine::of(books)
    };
    collect_ledger(books, stacks, namer, &samples.split(), machine, into);
    into.set(&catalog::RUN_QUEUE_WAIT, Ok(run_queue::latency(books, rows(&kernel.maps().run_queue_waits))));
    spins(books, samples, stacks, into);
}

/// Classifies and names waits.
pub(crate) fn name_waits(
    waits: &[(types::wait_key, types::wait_value)],
    books: &Books,
    stacks: &Stacks,
    namer: &mut Namer,
) -> Vec<Classified> {
    let owners: HashMap<u32, u32> = books.threads.iter().map(|times| (times.tid, times.tgid)).collect();
    let mut named: Vec<Classified> =
        waits.iter().map(|(key, value)| waits::name_wait(key, value, stacks, namer, &owners)).collect();
    waits::find_symmetric_locks(&mut named);
    waits::continue_broken_off(&mut named);
    named
}

/// Adds the ledger and the waits.
pub(crate) fn collect_ledger(
    books: &Books,
    stacks: &Stacks,
    namer: &mut Namer,
    samples: &HashMap<u32, Split>,
    machine: Machine,
    into: &mut Recording,
) {
    let classified = name_waits(&books.waits, books, stacks, namer);

    let mut by_thread: HashMap<u32, Vec<&Classified>> = HashMap::new();
    let mut by_process: HashMap<u32, [ClassTimes; KINDS]> = HashMap::new();
    for one in &classified {
        by_thread.entry(one.wait.tid.0).or_default().push(one);
        by_process.entry(one.wait.pid.0).or_default()[one.kind].add(one.wait.class, one.wait.time);
    }
    let empty = [ClassTimes::default(); KINDS];
    let outranked = run_queue::told_apart(books, types::blame_how::OUTRANKED);
    let waking = run_queue::told_apart(books, types::blame_how::WAKING);
    let mut ledger = Vec::with_capacity(books.threads.len());
    for times in &books.threads {
        let waits = by_thread.get(&times.tid).map_or(&[][..], Vec::as_slice);
        let process = by_process.get(&times.tgid).unwrap_or(&empty);
        let samples = samples.get(&times.tid).copied().unwrap_or_default();
        let of = |told: &HashMap<u32, u64>| told.get(&times.tid).copied().unwrap_or_default();
        let queued = Queued { outranked: of(&outranked), waking: of(&waking) };
        ledger.push(thread_time(times, waits, process, samples, queued, &machine));
    }
    files(&books.waits, &classified, namer, into);
    let mut waits: Vec<Wait> = classified.into_iter().map(|c| c.wait).collect();
    waits.extend(run_queue::waits(books, &run_queue::Quotas::of(into)));
    into.set(&catalog::THREAD_TIME, Ok(ledger));
    into.set(&catalog::WAITS, Ok(waits));
}

/// Which files were waited on, and how large they are.
fn files(
    keys: &[(types::wait_key, types::wait_value)],
    classified: &[Classified],
    namer: &mut Namer,
    into: &mut Recording,
) {
    let mut waits: BTreeMap<(Pid, String, &str), Duration> = BTreeMap::new();
    let mut sizes: BTreeMap<(Pid, String), u64> = BTreeMap::new();
    for ((key, _), Classified { wait, .. }) in keys.iter().zip(classified) {
        let Object::File { inode, device } = namer.object(key) else { continue };
        let call = match wait.class {
            TimeClass::BlockedDisk | TimeClass::BlockedFs => wait.syscall.as_str(),
            TimeClass::BlockedMemory if wait.resource == MAJOR_FAULT => "fault",
            _ => continue,
        };
        let file = namer.file(key.tgid, inode, device);
        *waits.entry((wait.pid, file.path.clone(), call)).or_default() += wait.time;
        sizes.extend(file.size.map(|size| ((wait.pid, file.path.clone()), size)));
    }
    let length = into.window.length;
    let waits = waits.into_iter().map(|((pid, file, call), time)| {
        let labels = Labels::new([("pid", pid.to_string()), ("file", file), ("for", call.to_owned())]);
        Series::total(labels, length, time.as_secs_f64())
    });
    let sizes = sizes.into_iter().map(|((pid, file), size)| {
        Series::total(Labels::new([("pid", pid.to_string()), ("file", file)]), length, size as f64)
    });
    into.set(&catalog::FILE_WAITS, Ok(waits.collect()));
    into.set(&catalog::FILE_SIZE, Ok(sizes.collect()));
}

/// Time spent waiting for spin locks of the kernel, by process; where, as far as the CPU profile tells.
fn spins(books: &Books, samples: &Samples, stacks: &Stacks, into: &mut Recording) {
    let length = into.window.length;
    into.set(&catalog::SPIN_TIME, Ok(Vec::new()));
    let mut by_process: BTreeMap<u32, u64> = BTreeMap::new();
    for times in books.threads.iter().filter(|times| times.spun > 0) {
        *by_process.entry(times.tgid).or_default() += times.spun;
    }
    let mut places: BTreeMap<(u32, String), u64> = BTreeMap::new();
    for (pid, _, kernel, count) in samples.stacks() {
        let names = stacks.names(stacks.kernel(kernel));
        if names.last().is_some_and(|name| name.contains("spin_lock_slowpath")) {
            *places.entry((pid, waits::waiting_function(&names).to_owned())).or_default() += count;
        }
    }
    for (pid, ns) in by_process {
        let mine = || places.range((pid, String::new())..(pid + 1, String::new()));
        let all: u64 = mine().map(|(_, count)| count).sum();
        let parts: Vec<(String, f64)> = match all {
            0 => vec![(String::new(), 1.0)],
            _ => mine().map(|((_, function), count)| (function.clone(), *count as f64 / all as f64)).collect(),
        };
        for (function, part) in parts {
            let labels = Labels::new([("pid", pid.to_string()), ("function", function)]);
            into.push(&catalog::SPIN_TIME, Series::total(labels, length, ns as f64 / 1e9 * part));
        }
    }
}

/// What of the machine the ledger of a thread depends on.
#[derive(Clone, Copy, Default)]
pub(crate) struct Machine {
    /// Part of the window in which system calls were traced.
    pub traced: f64,
    /// The hypervisor took CPU time in this window.
    pub steals: bool,
    /// The scheduler's account of running leaves interrupts out.
    pub account_without_interrupts: bool,
}

impl Machine {
    /// Kernels with CONFIG_IRQ_TIME_ACCOUNTING leave interrupts out of what threads are said to have run; it shows.
    fn of(books: &Books) -> Self {
        let sum = |part: fn(&types::thread_times) -> u64| books.threads.iter().map(part).sum::<u64>();
        let missing = sum(|t| t.running).saturating_sub(sum(|t| t.executed));
        Machine { account_without_interrupts: missing * 2 >= sum(|t| t.interrupted), ..Machine::default() }
    }
}

/// Whether `/proc/stat` counted stolen time.
fn steals(rec: &Recording) -> bool {
    let rows = rec.get(&catalog::CPU_TIME).into_iter().flatten();
    rows.filter(|row| row.labels.get("mode") == "steal").filter_map(Series::increase).any(|stolen| stolen > 0.0)
}

/// What of a thread's waits for CPUs was told apart, in nanoseconds.
#[derive(Clone, Copy, Default)]
struct Queued {
    outranked: u64,
    waking: u64,
}

fn thread_time(
    times: &types::thread_times,
    waits: &[&Classified],
    process: &[ClassTimes; KINDS],
    samples: Split,
    queued: Queued,
    machine: &Machine,
) -> ThreadTime {
    let ns = Duration::from_nanos;
    let mut classes = ClassTimes::default();
    let stolen = stolen_part(times, machine);
    let interrupted = times.interrupted.min(times.running - stolen);
    // Samples and system calls show interrupts as kernel time.
    let own = times.running - stolen - interrupted;
    let kernel = kernel_part(times, samples, machine.traced).saturating_sub(interrupted).min(own);
    classes.add(TimeClass::RunningStolen, ns(stolen));
    classes.add(TimeClass::RunningInterrupted, ns(interrupted));
    classes.add(TimeClass::RunningKernel, ns(kernel));
    classes.add(TimeClass::RunningUser, ns(own - kernel));
    let throttled = times.throttled.min(times.runnable);
    let pinned = times.pinned.min(times.runnable - throttled);
    let outranked = queued.outranked.min(times.runnable - throttled - pinned);
    let waking = queued.waking.min(times.runnable - throttled - pinned - outranked);
    classes.add(TimeClass::RunnableThrottled, ns(throttled));
    classes.add(TimeClass::RunnablePinned, ns(pinned));
    classes.add(TimeClass::RunnableOutranked, ns(outranked));
    classes.add(TimeClass::RunnableWaking, ns(waking));
    classes.add(TimeClass::RunnableBusy, ns(times.runnable - throttled - pinned - outranked - waking));
    let mut by_kind = [ClassTimes::default(); KINDS];
    let mut booked = Duration::ZERO;
    for one in waits {
        classes.add(one.wait.class, one.wait.time);
        by_kind[one.kind].add(one.wait.class, one.wait.time);
        booked += one.wait.time;
    }
    for (kind, skipped) in times.skipped_ns.iter().enumerate().filter(|(_, skipped)| **skipped > 0) {
        let class = if times.kernel != 0 {
            TimeClass::BlockedIdle
        } else {
            likeliest(&by_kind[kind]).or_else(|| likeliest(&process[kind])).unwrap_or(default_class(kind))
        };
        classes.add(class, ns(*skipped));
        booked += ns(*skipped);
    }
    // What the tables had no room for.
    classes.add(TimeClass::BlockedUnknown, ns(times.blocked).saturating_sub(booked));
    ThreadTime {
        pid: Pid(times.tgid),
        tid: Tid(times.tid),
        name: text(&times.comm),
        wall: ns(times.end.saturating_sub(times.begin)),
        classes,
        switches: times.switches,
    }
}

/// Running time in which the hypervisor ran somebody else: what the scheduler, which knows, does not count as running.
fn stolen_part(times: &types::thread_times, machine: &Machine) -> u64 {
    if !machine.steals || times.kernel != 0 {
        return 0;
    }
    let missing = times.running.saturating_sub(times.executed);
    if machine.account_without_interrupts { missing.saturating_sub(times.interrupted) } else { missing }
}

/// Running time spent in the kernel: measured by system call where those are traced, which leaves out faults, and by
/// sampling, which is coarse. The larger of the two is the better bound.
fn kernel_part(times: &types::thread_times, samples: Split, traced: f64) -> u64 {
    /// ours: below this many samples the standard error of a share is above 10 points.
    const ENOUGH: u64 = 25;
    let sampled = (times.running as f64 * samples.kernel as f64 / samples.all.max(1) as f64) as u64;
    let in_calls = (times.in_syscall as f64 / traced.clamp(1e-6, 1.0)) as u64;
    let part = match (times.traced != 0, samples.all >= ENOUGH) {
        (true, true) if traced < 1.0 => sampled,
        (true, true) => in_calls.max(sampled),
        (true, false) => in_calls,
        (false, _) => sampled,
    };
    if times.kernel != 0 { times.running } else { part.min(times.running) }
}

/// What no sampled wait stands for goes where the others of the same kind went.
fn likeliest(times: &ClassTimes) -> Option<TimeClass> {
    times.iter().max_by_key(|(_, time)| *time).map(|(class, _)| class)
}

/// What a wait of a kind (`call_kind`) mostly is.
pub(crate) fn default_class(kind: usize) -> TimeClass {
    match kind {
        1 | 5 => TimeClass::BlockedProcess,
        2 => TimeClass::BlockedLock,
        3 => TimeClass::BlockedSleep,
        4 => TimeClass::BlockedIdle,
        7 => TimeClass::BlockedDisk,
        _ => TimeClass::BlockedUnknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times() -> types::thread_times {
        types::thread_times {
            tid: 7,
            tgid: 7,
            begin: 0,
            end: 1_000,
            running: 300,
            runnable: 200,
            throttled: 50,
            pinned: 20,
            blocked: 500,
            in_syscall: 100,
            executed: 300,
            traced: 1,
            ..Default::default()
        }
    }

    fn wait(tid: u32, by: u32, class: TimeClass, ns: u64, count: u64) -> Classified {
        Classified {
            kind: 2,
            waker: None,
            in_interrupt: false,
            broken_off: false,
            wait: Wait {
                pid: Pid(7),
                tid: Tid(tid),
                class,
                resource: "futex:0x10".into(),
                by: Some((Pid(7), Tid(by))),
                syscall: "futex".into(),
                after_failure: false,
                time: Duration::from_nanos(ns),
                count,
                longest: Duration::ZERO,
                stack: Vec::new(),
                waker_stack: Vec::new(),
            },
        }
    }

    #[test]
    fn the_classes_of_a_thread_sum_to_its_wall_time() {
        let long = wait(7, 8, TimeClass::BlockedLock, 400, 1);
        let mut times = times();
        times.skipped_ns[2] = 60;
        let row = thread_time(
            &times,
            &[&long],
            &[ClassTimes::default(); KINDS],
            Split::default(),
            Queued { outranked: 0, waking: 30 },
            &Machine { traced: 1.0, ..Machine::default() },
        );
        assert_eq!(row.classes.total(), row.wall);
        assert_eq!(row.classes[TimeClass::BlockedLock], Duration::from_nanos(460));
        assert_eq!(row.classes[TimeClass::BlockedUnknown], Duration::from_nanos(40));
        assert_eq!(row.classes[TimeClass::RunnableWaking], Duration::from_nanos(30));
        assert_eq!(row.classes[TimeClass::RunnableBusy], Duration::from_nanos(100));
        assert_eq!(row.classes[TimeClass::RunningKernel], Duration::from_nanos(100));
    }

    #[test]
    fn sampled_waits_stand_for_the_skipped_ones_of_their_thread_and_kind() {
        let mut own = times();
        own.skipped_ns[2] = 300;
        own.skipped_ns[3] = 40;
        let row = |kind, ns, count, sampled_ns, sampled| {
            let key = types::wait_key { tid: 7, kind, ..Default::default() };
            (key, types::wait_value { ns, count, max: ns, sampled_ns, sampled })
        };
        let mut waits = [row(2, 100, 5, 50, 4), row(2, 100, 1, 100, 1), row(2, 500, 1, 0, 0), row(1, 70, 1, 70, 1)];
        let mut threads = [own];
        spread_skipped(&mut threads, &mut waits);
        let told: Vec<(u64, u64)> = waits.iter().map(|(_, value)| (value.ns, value.count)).collect();
        assert_eq!(told, [(200, 13), (300, 3), (500, 1), (70, 1)]);
        assert_eq!(threads[0].skipped_ns[..4], [0, 0, 0, 40], "nothing stands for the last ones");
    }

    #[test]
    fn running_time_is_split_by_who_had_the_cpu() {
        let one = types::thread_times { interrupted: 30, executed: 250, ..times() };
        let row = |machine| {
            thread_time(&one, &[], &[ClassTimes::default(); KINDS], Split::default(), Queued::default(), &machine)
        };
        let quiet = row(Machine { traced: 1.0, ..Machine::default() });
        assert_eq!(quiet.classes[TimeClass::RunningStolen], Duration::ZERO);
        assert_eq!(quiet.classes[TimeClass::RunningInterrupted], Duration::from_nanos(30));
        assert_eq!(quiet.classes[TimeClass::RunningKernel], Duration::from_nanos(70));
        let shared = row(Machine { traced: 1.0, steals: true, account_without_interrupts: true });
        assert_eq!(shared.classes[TimeClass::RunningStolen], Duration::from_nanos(20));
        assert_eq!(shared.classes.sum(TimeClass::is_running), Duration::from_nanos(300));
    }

    #[test]
    fn samples_show_kernel_time_that_system_calls_do_not() {
        assert_eq!(kernel_part(&times(), Split { all: 100, kernel: 90 }, 1.0), 270);
        assert_eq!(kernel_part(&times(), Split { all: 4, kernel: 4 }, 1.0), 100, "four samples prove nothing");
        assert_eq!(kernel_part(&times(), Split { all: 4, kernel: 4 }, 0.5), 200, "half of the window was traced");
        assert_eq!(kernel_part(&times(), Split { all: 100, kernel: 10 }, 0.5), 30, "many samples beat a part");
    }
}
