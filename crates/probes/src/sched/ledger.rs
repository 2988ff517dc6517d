//! From the kernel side's tables to the ledger: every thread's time by class, and who waited for whom.
//!
//! Measured cost of the programs: see `overhead.programs` of any case; the switch and wake-up programs dominate.

use super::{
    classify::{self, AFTER_FAILURE, OPEN, Seen, WOKEN_IN_SOFTIRQ, classify},
    resource::{Namer, Object},
};
use crate::{
    bpf::{Kernel, rows, text, types},
    cpu::Split,
    stacks::Stacks,
    syscalls,
};
use observe::{Absent, ClassTimes, Histogram, Labels, Pid, Recording, ThreadTime, Tid, TimeClass, Wait, catalog};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// Index of the short-wait totals, as the kernel side counts them.
const KINDS: usize = 8;

/// What the kernel side counted, before stacks are named.
pub(crate) struct Books {
    threads: Vec<types::thread_times>,
    waits: Vec<(types::wait_key, types::wait_value)>,
    blames: Vec<(types::blame_key, types::wait_value)>,
}

impl Books {
    /// Closes and reads the books; after the window has ended.
    pub fn read(kernel: &Kernel) -> Result<Self, Absent> {
        let mut threads = kernel.close_books()?;
        threads.extend(rows::<u64, types::thread_times>(&kernel.maps().ended).into_iter().map(|(_, times)| times));
        Ok(Books { threads, waits: rows(&kernel.maps().waits), blames: rows(&kernel.maps().blames) })
    }

    /// Which process each user stack belongs to.
    pub fn owners(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.waits.iter().flat_map(|(key, _)| [(key.user_stack, key.tgid), (key.waker_stack, key.waker_tgid)])
    }
}

/// A classified wait of one thread, and the kind under which the kernel side would have counted it had it been short.
struct Classified {
    wait: Wait,
    kind: usize,
}

/// Adds the ledger, the waits and the run-queue latencies to the recording.
pub(crate) fn collect(
    books: &Books,
    kernel: &Kernel,
    stacks: &Stacks,
    namer: &mut Namer,
    samples: &HashMap<u32, Split>,
    into: &mut Recording,
) {
    let mut classified: Vec<Classified> =
        books.waits.iter().map(|(key, value)| name_wait(key, value, stacks, namer)).collect();
    find_symmetric_locks(&mut classified);

    let mut by_thread: HashMap<u32, Vec<&Classified>> = HashMap::new();
    let mut by_process: HashMap<u32, [ClassTimes; KINDS]> = HashMap::new();
    for one in &classified {
        by_thread.entry(one.wait.tid.0).or_default().push(one);
        by_process.entry(one.wait.pid.0).or_default()[one.kind].add(one.wait.class, one.wait.time);
    }
    let empty = [ClassTimes::default(); KINDS];
    let mut ledger = Vec::with_capacity(books.threads.len());
    for times in &books.threads {
        let waits = by_thread.get(&times.tid).map_or(&[][..], Vec::as_slice);
        let process = by_process.get(&times.tgid).unwrap_or(&empty);
        ledger.push(thread_time(times, waits, process, samples.get(&times.tid).copied().unwrap_or_default()));
    }
    let mut waits: Vec<Wait> = classified.into_iter().map(|c| c.wait).collect();
    waits.extend(cpu_waits(books));
    into.set(&catalog::THREAD_TIME, Ok(ledger));
    into.set(&catalog::WAITS, Ok(waits));
    into.set(&catalog::RUN_QUEUE_WAIT, Ok(run_queue(books, rows(&kernel.maps().run_queue_waits))));
}

/// Run-queue latency by process: long waits as the kernel side put them together, short ones from each thread.
fn run_queue(books: &Books, long: Vec<(u32, types::hist)>) -> Vec<Histogram> {
    let mut by_process: BTreeMap<u32, types::hist> = long.into_iter().collect();
    for times in &books.threads {
        let hist = by_process.entry(times.tgid).or_default();
        hist.sum += times.short_run_queue_ns;
        hist.max = hist.max.max(times.short_run_queue_max);
        for (slot, count) in times.short_run_queue.iter().enumerate().filter(|(_, count)| **count > 0) {
            hist.slots[slot] += count;
        }
    }
    by_process
        .into_iter()
        .map(|(pid, hist)| {
            Histogram::from_slots(Labels::new([("pid", pid.to_string())]), &hist.slots, hist.sum, hist.max)
        })
        .filter(|hist| hist.count > 0)
        .collect()
}

fn name_wait(key: &types::wait_key, value: &types::wait_value, stacks: &Stacks, namer: &mut Namer) -> Classified {
    let syscall = u32::try_from(key.syscall).map_or_else(|_| String::new(), syscalls::name);
    let object = namer.object(key);
    let kernel = stacks.names(stacks.kernel(key.kernel_stack));
    let user = stacks.names(stacks.user(key.user_stack));
    let mut class =
        classify(&Seen { kernel: &kernel, user: &user, syscall: &syscall, flags: key.flags, object: &object });
    let by = waker(key, class, &object);
    let polled = syscalls::polls(&syscall);
    if class == TimeClass::BlockedIdle || polled {
        class = by_its_end(key, &object, by, class, polled);
    }
    // An event loop that its server woke had waited for the answer; one that a client woke had waited for work.
    if let (TimeClass::BlockedIdle, Object::Poll { .. }, Some((server, _))) = (class, &object, by)
        && server.0 != key.tgid
        && namer.is_client_of(key.tgid, server.0)
    {
        class = TimeClass::BlockedProcess;
    }
    let mut resource = namer.resource(class, &object, key.tgid);
    if resource.is_empty() && matches!(class, TimeClass::BlockedUnknown | TimeClass::BlockedKernelLock) {
        resource = waiting_function(&kernel).to_owned();
    }
    Classified {
        kind: kind_of(key.flags, &object, &syscall),
        wait: Wait {
            pid: Pid(key.tgid),
            tid: Tid(key.tid),
            class,
            resource,
            by,
            syscall,
            after_failure: key.flags & AFTER_FAILURE != 0,
            time: Duration::from_nanos(value.ns),
            count: value.count,
            longest: Duration::from_nanos(value.max),
            stack: stacks.both(key.user_stack, key.kernel_stack),
            waker_stack: stacks.user(key.waker_stack).to_vec(),
        },
    }
}

/// What an apparently idle wait, or a poll, was by what ended it.
fn by_its_end(
    key: &types::wait_key,
    object: &Object,
    by: Option<(Pid, Tid)>,
    class: TimeClass,
    polled: bool,
) -> TimeClass {
    let other_process = by.is_some_and(|(pid, _)| pid.0 != key.tgid);
    let over = key.flags & OPEN == 0;
    match object {
        // Nobody woke it: its time ran out. Runtimes sleep like that (a condition variable with a timeout).
        Object::Futex { .. } if by.is_none() && over => TimeClass::BlockedSleep,
        // A semaphore or latch in shared memory.
        Object::Futex { .. } if other_process => TimeClass::BlockedProcess,
        // A signal from another process: a latch, not a client.
        Object::Poll { .. } | Object::None if other_process && signals(key.waker_syscall) => TimeClass::BlockedProcess,
        // A look whether there is something, which there was not.
        _ if polled && by.is_none() && over && class == TimeClass::BlockedProcess => TimeClass::BlockedIdle,
        _ => class,
    }
}

fn signals(syscall: i16) -> bool {
    let call = u32::try_from(syscall).map_or_else(|_| String::new(), syscalls::name);
    matches!(call.as_str(), "kill" | "tkill" | "tgkill" | "rt_sigqueueinfo" | "rt_tgsigqueueinfo" | "pidfd_send_signal")
}

/// The waker, where it says whom the thread waited for. A timer or a device wakes in the name of whatever runs just
/// then, so the waker must be in a system call that can have done it.
fn waker(key: &types::wait_key, class: TimeClass, object: &Object) -> Option<(Pid, Tid)> {
    if key.waker_tid == 0 {
        return None;
    }
    let call = u32::try_from(key.waker_syscall).map_or_else(|_| String::new(), syscalls::name);
    let ends = matches!(call.as_str(), "exit" | "exit_group") || signals(key.waker_syscall);
    let soft = key.flags & WOKEN_IN_SOFTIRQ != 0;
    let did_it = match object {
        Object::Futex { .. } => !soft && (call.starts_with("futex") || ends || call == "madvise"),
        // Delivery on the loopback runs in a soft interrupt of the sender; any other soft interrupt hits a bystander.
        Object::Socket(socket) => !call.is_empty() && (socket.unix || socket.loopback),
        Object::Poll { .. } => !call.is_empty() && !call.starts_with("futex"),
        Object::Pipe(_) | Object::Tty | Object::Other => !soft && !call.is_empty(),
        Object::Child => !soft,
        Object::None | Object::File { .. } => {
            let by_somebody =
                matches!(class, TimeClass::BlockedProcess | TimeClass::BlockedLock | TimeClass::BlockedKernelLock);
            !soft && (by_somebody || signals(key.waker_syscall))
        }
        Object::Disk(_) => false,
    };
    did_it.then_some((Pid(key.waker_tgid), Tid(key.waker_tid)))
}

/// The innermost kernel function that is not the scheduler's own.
fn waiting_function<'a>(outermost_first: &[&'a str]) -> &'a str {
    const SCHEDULER: &[&str] = &[
        "schedule",
        "__schedule",
        "preempt_schedule",
        "schedule_timeout",
        "schedule_preempt_disabled",
        "schedule_hrtimeout_range",
        "schedule_hrtimeout_range_clock",
        "__cond_resched",
        "wait_for_completion",
        "__wait_for_common",
    ];
    outermost_first.iter().rev().find(|name| !name.is_empty() && !SCHEDULER.contains(name)).copied().unwrap_or("")
}

fn kind_of(flags: u8, object: &Object, syscall: &str) -> usize {
    if flags & classify::IOWAIT != 0 {
        return 7;
    }
    match (object, syscall) {
        (Object::Futex { .. }, _) => 2,
        (_, "nanosleep" | "clock_nanosleep") => 3,
        (Object::Poll { .. }, _) => 4,
        (Object::Child, _) => 5,
        (Object::None, "") => 6,
        (Object::None, _) => 0,
        _ => 1,
    }
}

/// A futex on which the same threads wait and wake one another is a lock that is handed around, whatever value it
/// waits on: a queue has one side that waits and another that wakes.
fn find_symmetric_locks(waits: &mut [Classified]) {
    /// ours: both roles must be seen often enough to be a habit.
    const OFTEN: u64 = 20;
    let mut roles: HashMap<(Pid, String), HashMap<Tid, (u64, u64)>> = HashMap::new();
    for Classified { wait, .. } in waits.iter() {
        if let (true, Some((pid, waker))) = (wait.resource.starts_with("futex:") && wait.syscall == "futex", wait.by)
            && pid == wait.pid
        {
            let threads = roles.entry((wait.pid, wait.resource.clone())).or_default();
            threads.entry(wait.tid).or_default().0 += wait.count;
            threads.entry(waker).or_default().1 += wait.count;
        }
    }
    roles
        .retain(|_, threads| threads.values().filter(|(waited, woke)| *waited >= OFTEN && *woke >= OFTEN).count() >= 2);
    for Classified { wait, .. } in waits {
        if wait.class == TimeClass::BlockedIdle && roles.contains_key(&(wait.pid, wait.resource.clone())) {
            wait.class = TimeClass::BlockedLock;
        }
    }
}

fn thread_time(
    times: &types::thread_times,
    waits: &[&Classified],
    process: &[ClassTimes; KINDS],
    samples: Split,
) -> ThreadTime {
    let ns = Duration::from_nanos;
    let mut classes = ClassTimes::default();
    let kernel = kernel_part(times, samples);
    classes.add(TimeClass::RunningKernel, ns(kernel));
    classes.add(TimeClass::RunningUser, ns(times.running - kernel));
    let throttled = times.throttled.min(times.runnable);
    let pinned = times.pinned.min(times.runnable - throttled);
    classes.add(TimeClass::RunnableThrottled, ns(throttled));
    classes.add(TimeClass::RunnablePinned, ns(pinned));
    classes.add(TimeClass::RunnableBusy, ns(times.runnable - throttled - pinned));
    let mut by_kind = [ClassTimes::default(); KINDS];
    let mut booked = Duration::ZERO;
    for one in waits {
        classes.add(one.wait.class, one.wait.time);
        by_kind[one.kind].add(one.wait.class, one.wait.time);
        booked += one.wait.time;
    }
    for (kind, short) in times.short_ns.iter().enumerate().filter(|(_, short)| **short > 0) {
        let class = if times.kernel != 0 {
            TimeClass::BlockedIdle
        } else {
            likeliest(&by_kind[kind]).or_else(|| likeliest(&process[kind])).unwrap_or(default_class(kind))
        };
        classes.add(class, ns(*short));
        booked += ns(*short);
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

/// Running time spent in the kernel: measured by system call where those are traced, which leaves out faults, and by
/// sampling, which is coarse. The larger of the two is the better bound.
fn kernel_part(times: &types::thread_times, samples: Split) -> u64 {
    /// ours: below this many samples the standard error of a share is above 10 points.
    const ENOUGH: u64 = 25;
    let sampled = (times.running as f64 * samples.kernel as f64 / samples.all.max(1) as f64) as u64;
    let part = match (times.traced != 0, samples.all >= ENOUGH) {
        (true, true) => times.in_syscall.max(sampled),
        (true, false) => times.in_syscall,
        (false, _) => sampled,
    };
    if times.kernel != 0 { times.running } else { part.min(times.running) }
}

/// Short waits are counted by kind only: they go where the longer ones of the same kind went.
fn likeliest(times: &ClassTimes) -> Option<TimeClass> {
    times.iter().max_by_key(|(_, time)| *time).map(|(class, _)| class)
}

fn default_class(kind: usize) -> TimeClass {
    match kind {
        1 | 5 => TimeClass::BlockedProcess,
        2 => TimeClass::BlockedLock,
        3 => TimeClass::BlockedSleep,
        4 => TimeClass::BlockedIdle,
        7 => TimeClass::BlockedDisk,
        _ => TimeClass::BlockedUnknown,
    }
}

/// Run-queue waits by who ran meanwhile, and those that no neighbour explains.
fn cpu_waits(books: &Books) -> Vec<Wait> {
    let pinned: HashMap<u32, (u64, u64)> = books
        .threads
        .iter()
        .filter(|t| t.pinned > 0)
        .map(|t| (t.tid, (t.pinned, t.runnable.saturating_sub(t.throttled))))
        .collect();
    let cpu = |pid: u32, tid: u32, class, time: u64| Wait {
        pid: Pid(pid),
        tid: Tid(tid),
        class,
        resource: "cpu".to_owned(),
        by: None,
        syscall: String::new(),
        after_failure: false,
        time: Duration::from_nanos(time),
        count: 0,
        longest: Duration::ZERO,
        stack: Vec::new(),
        waker_stack: Vec::new(),
    };
    let mut waits = Vec::new();
    for (key, value) in &books.blames {
        let by = (key.runner_tgid != 0).then_some((Pid(key.runner_tgid), Tid(key.runner_tid)));
        let part = pinned.get(&key.victim_tid).map_or(0.0, |(pinned, all)| *pinned as f64 / (*all).max(1) as f64);
        let in_vain = (value.ns as f64 * part.min(1.0)) as u64;
        for (class, time) in [(TimeClass::RunnablePinned, in_vain), (TimeClass::RunnableBusy, value.ns - in_vain)] {
            if time > 0 {
                let count = if class == TimeClass::RunnableBusy || in_vain == value.ns { value.count } else { 0 };
                let longest = Duration::from_nanos(value.max);
                waits.push(Wait { by, count, longest, ..cpu(key.victim_tgid, key.victim_tid, class, time) });
            }
        }
    }
    for times in books.threads.iter().filter(|t| t.throttled > 0) {
        let wait = cpu(times.tgid, times.tid, TimeClass::RunnableThrottled, times.throttled);
        waits.push(Wait { resource: "cpu quota".to_owned(), ..wait });
    }
    waits
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
            traced: 1,
            ..Default::default()
        }
    }

    fn wait(tid: u32, by: u32, class: TimeClass, ns: u64, count: u64) -> Classified {
        Classified {
            kind: 2,
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
        times.short_ns[2] = 60;
        let row = thread_time(&times, &[&long], &[ClassTimes::default(); KINDS], Split::default());
        assert_eq!(row.classes.total(), row.wall);
        assert_eq!(row.classes[TimeClass::BlockedLock], Duration::from_nanos(460));
        assert_eq!(row.classes[TimeClass::BlockedUnknown], Duration::from_nanos(40));
        assert_eq!(row.classes[TimeClass::RunnableBusy], Duration::from_nanos(130));
        assert_eq!(row.classes[TimeClass::RunningKernel], Duration::from_nanos(100));
    }

    #[test]
    fn samples_show_kernel_time_that_system_calls_do_not() {
        assert_eq!(kernel_part(&times(), Split { all: 100, kernel: 90 }), 270);
        assert_eq!(kernel_part(&times(), Split { all: 4, kernel: 4 }), 100, "four samples prove nothing");
    }

    #[test]
    fn how_a_wait_ends_tells_what_it_was() {
        let futex = Object::Futex { address: 1, value: 0, operation: 0x189 };
        let poll = Object::Poll { descriptors: None };
        let key = types::wait_key { tgid: 7, tid: 7, waker_syscall: -1, ..Default::default() };
        let idle = |key: &types::wait_key, object: &Object, by: Option<u32>| {
            by_its_end(key, object, by.map(|pid| (Pid(pid), Tid(pid))), TimeClass::BlockedIdle, false)
        };
        assert_eq!(idle(&key, &futex, None), TimeClass::BlockedSleep);
        assert_eq!(idle(&types::wait_key { flags: OPEN, ..key }, &futex, None), TimeClass::BlockedIdle);
        assert_eq!(idle(&key, &futex, Some(7)), TimeClass::BlockedIdle);
        assert_eq!(idle(&key, &futex, Some(9)), TimeClass::BlockedProcess);
        let latch = types::wait_key { waker_syscall: libc::SYS_kill as i16, ..key };
        assert_eq!(idle(&latch, &poll, Some(9)), TimeClass::BlockedProcess);
        let client = types::wait_key { waker_syscall: libc::SYS_sendto as i16, ..key };
        assert_eq!(idle(&client, &poll, Some(9)), TimeClass::BlockedIdle);
        let pipe = Object::Pipe(1);
        let process = TimeClass::BlockedProcess;
        assert_eq!(by_its_end(&key, &pipe, None, process, true), TimeClass::BlockedIdle, "a poll that timed out");
        assert_eq!(by_its_end(&key, &pipe, Some((Pid(9), Tid(9))), process, true), process);
    }

    #[test]
    fn threads_that_wait_for_and_wake_one_another_share_a_lock() {
        let idle = TimeClass::BlockedIdle;
        let mut ring = [wait(1, 2, idle, 9, 30), wait(2, 1, idle, 9, 30)];
        find_symmetric_locks(&mut ring);
        assert!(ring.iter().all(|c| c.wait.class == TimeClass::BlockedLock));
        let mut pool = [wait(1, 9, idle, 9, 30), wait(2, 9, idle, 9, 30)];
        find_symmetric_locks(&mut pool);
        assert!(pool.iter().all(|c| c.wait.class == idle));
    }
}
