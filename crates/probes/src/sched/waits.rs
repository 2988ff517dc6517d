//! What a blocked wait was: its class, the resource, and whom it was for.

use super::{
    classify::{self, AFTER_FAILURE, IN_REQUEST, OPEN, SIGNALLED, Seen, TIMED, WOKEN_IN_INTERRUPT, classify},
    resource::{Namer, Object},
};
use crate::{bpf::types, stacks::Stacks, syscalls};
use observe::{Pid, TIMER, Tid, TimeClass, Wait};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

/// How many kinds of short waits the kernel side tells apart.
pub(super) const KINDS: usize = 8;

/// A classified wait of one thread, and the kind under which the kernel side would have counted it had it been short.
pub(crate) struct Classified {
    pub wait: Wait,
    pub kind: usize,
    /// Who ended it, where that thread can have done so; the wait names the holder of a lock first.
    pub waker: Option<(Pid, Tid)>,
    /// It was ended from an interrupt.
    pub in_interrupt: bool,
    /// A timer's signal broke it off: what it was for, only its continuation can tell.
    pub broken_off: bool,
}

/// Classifies and names one. `owners` are the processes of the threads there were.
pub(super) fn name_wait(
    key: &types::wait_key,
    value: &types::wait_value,
    stacks: &Stacks,
    namer: &mut Namer,
    owners: &HashMap<u32, u32>,
) -> Classified {
    let syscall = u32::try_from(key.syscall).map_or_else(|_| String::new(), syscalls::name);
    let object = namer.object(key);
    let kernel = stacks.names(stacks.kernel(key.kernel_stack));
    let user = stacks.names(stacks.user(key.user_stack));
    let mut class =
        classify(&Seen { kernel: &kernel, user: &user, syscall: &syscall, flags: key.flags, object: &object });
    let woken_by = waker(key, class, &object);
    let by = holder(key, class, owners).or(woken_by);
    // Where nobody has woken it yet: whoever holds the other end.
    let by = by.or_else(|| if class == TimeClass::BlockedProcess { other_end(key, &object, namer) } else { None });
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
    if let Some(function) = nobody_let_go(key, &object, by, class).then(|| classify::lock_function(&user)).flatten() {
        (class, resource) = (TimeClass::BlockedLock, function.to_owned());
    }
    match class {
        TimeClass::BlockedMemory => resource = classify::memory_resource(&kernel).to_owned(),
        TimeClass::BlockedIdle if ran_out(key, &object) => resource = TIMER.to_owned(),
        TimeClass::BlockedProcess if resource.is_empty() && classify::QUEUES.contains(&syscall.as_str()) => {
            resource = "message queue".to_owned();
        }
        TimeClass::BlockedUnknown | TimeClass::BlockedKernelLock if resource.is_empty() => {
            resource = waiting_function(&kernel).to_owned();
        }
        _ => {}
    }
    if let Some(reason) = socket_reason(key.reason) {
        resource = format!("{resource} ({reason})");
    }
    Classified {
        kind: usize::from(key.kind) & (KINDS - 1),
        waker: woken_by,
        in_interrupt: key.flags & WOKEN_IN_INTERRUPT != 0,
        broken_off: key.flags & SIGNALLED != 0,
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

/// Whether a wait that looks like idleness or a pause can be one for a lock that nobody let go of: it is not over, or its time
/// ran out, as that of programs that look for deadlocks or at their limits every second and go on waiting.
fn nobody_let_go(key: &types::wait_key, object: &Object, by: Option<(Pid, Tid)>, class: TimeClass) -> bool {
    let latched = matches!(object, Object::Poll { .. } | Object::Futex { .. });
    let idle = class == TimeClass::BlockedIdle && key.flags & OPEN != 0;
    latched && by.is_none() && (idle || class == TimeClass::BlockedSleep)
}

/// Whether a poll was over because its time was.
fn ran_out(key: &types::wait_key, object: &Object) -> bool {
    matches!(object, Object::Poll { .. }) && key.flags & (TIMED | OPEN | SIGNALLED) == TIMED
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
    let over = key.flags & (OPEN | SIGNALLED) == 0 && !signals(key.waker_syscall);
    let in_request = key.flags & IN_REQUEST != 0;
    match object {
        // Whoever has a request in hand waits for the sake of that, not for work.
        Object::Poll { .. } if in_request && key.flags & TIMED != 0 => TimeClass::BlockedSleep,
        Object::Futex { .. } | Object::Other if in_request && by.is_some() && !other_process => {
            TimeClass::BlockedThread
        }
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
    if key.waker_tid == 0 || key.flags & (TIMED | SIGNALLED) != 0 {
        return None;
    }
    let call = u32::try_from(key.waker_syscall).map_or_else(|_| String::new(), syscalls::name);
    let interrupt = key.flags & WOKEN_IN_INTERRUPT != 0;
    let did_it = match object {
        // A thread's end wakes who joins it. A signal only breaks a wait off.
        Object::Futex { .. } => {
            !interrupt && (call.starts_with("futex") || matches!(call.as_str(), "exit" | "madvise"))
        }
        // Delivery on the loopback runs in a soft interrupt of the sender; any other soft interrupt hits a bystander.
        Object::Socket(socket) => !call.is_empty() && (socket.unix || socket.loopback),
        Object::Poll { .. } => !call.is_empty() && !call.starts_with("futex"),
        Object::Pipe(_) | Object::Tty | Object::Other => !interrupt && !call.is_empty(),
        Object::Child => !interrupt,
        Object::None | Object::File { .. } => {
            let by_somebody =
                matches!(class, TimeClass::BlockedProcess | TimeClass::BlockedLock | TimeClass::BlockedKernelLock);
            !interrupt && (by_somebody || signals(key.waker_syscall))
        }
        Object::Lock { .. } => !interrupt,
        Object::Disk(_) => false,
    };
    did_it.then_some((Pid(key.waker_tgid), Tid(key.waker_tid)))
}

/// The innermost kernel function that is not the scheduler's own.
pub(super) fn waiting_function<'a>(outermost_first: &[&'a str]) -> &'a str {
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
        "__bpf_trace_contention_end",
        "__traceiter_contention_end",
        "native_queued_spin_lock_slowpath",
        "queued_spin_lock_slowpath",
        "__pv_queued_spin_lock_slowpath",
        "_raw_spin_lock",
        "_raw_spin_lock_irq",
        "_raw_spin_lock_irqsave",
        "_raw_spin_lock_bh",
    ];
    outermost_first.iter().rev().find(|name| !name.is_empty() && !SCHEDULER.contains(name)).copied().unwrap_or("")
}

/// The holder of a lock, as the lock's own memory tells, where it is a thread that there was: of the same process for a
/// lock in user space.
fn holder(key: &types::wait_key, class: TimeClass, owners: &HashMap<u32, u32>) -> Option<(Pid, Tid)> {
    let tgid = *owners.get(&key.holder)?;
    let told = match class {
        TimeClass::BlockedLock => tgid == key.tgid,
        TimeClass::BlockedKernelLock => true,
        _ => false,
    };
    (told && key.holder != key.tid).then_some((Pid(tgid), Tid(key.holder)))
}

/// The process at the other end of a pipe or socket, or the one child, of a wait that was not over.
fn other_end(key: &types::wait_key, object: &Object, namer: &mut Namer) -> Option<(Pid, Tid)> {
    if key.flags & OPEN == 0 {
        return None;
    }
    let pid = match object {
        Object::Socket(socket) if socket.unix && key.holder != 0 => Some(key.holder),
        Object::Socket(socket) if socket.unix => namer.ends().of_socket(key.object_b, key.tgid),
        Object::Socket(socket) if socket.loopback => namer.ends().of_connection(key.object_a),
        Object::Pipe(inode) => namer.ends().of_pipe(*inode, key.tgid),
        Object::Child => namer.ends().only_child(key.tgid),
        _ => None,
    }?;
    (pid != key.tgid).then_some((Pid(pid), Tid(pid)))
}

/// What held up a wait on a socket, in words.
fn socket_reason(reason: u8) -> Option<&'static str> {
    match types::socket_reason(u32::from(reason)) {
        types::socket_reason::SOCKET_LOSS => Some("sent again"),
        types::socket_reason::SOCKET_WINDOW => Some("small window"),
        types::socket_reason::SOCKET_HELD => Some("held by Nagle's algorithm"),
        types::socket_reason::SOCKET_BUFFER => Some("send buffer full"),
        _ => None,
    }
}

/// A futex on which the same threads wait and wake one another is a lock that is handed around, whatever value it
/// waits on: a queue has one side that waits and another that wakes. Who gives up waiting for it after a while, to ask again,
/// has waited for it too.
pub(super) fn find_symmetric_locks(waits: &mut [Classified]) {
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
    /// ours: so many of the wake-ups must come from threads that wait there too. Of a pool that gives itself work now and
    /// then, most come from whoever gives it the rest.
    const BY_FELLOWS: f64 = 0.8;
    roles.retain(|_, threads| {
        let fellows = || threads.values().filter(|(waited, woke)| *waited >= OFTEN && *woke >= OFTEN);
        let woken: u64 = threads.values().map(|(_, woke)| woke).sum();
        fellows().count() >= 2 && fellows().map(|(_, woke)| woke).sum::<u64>() as f64 >= BY_FELLOWS * woken as f64
    });
    for Classified { wait, .. } in waits {
        if matches!(wait.class, TimeClass::BlockedIdle | TimeClass::BlockedSleep | TimeClass::BlockedThread)
            && roles.contains_key(&(wait.pid, wait.resource.clone()))
        {
            wait.class = TimeClass::BlockedLock;
        }
    }
}

/// A wait that a timer's signal broke off goes on at the same place in the code when the signal has been handled, as a
/// database's for a lock while it looks for deadlocks: it was for what that thread is seen to wait for there otherwise,
/// longest.
pub(super) fn continue_broken_off(waits: &mut [Classified]) {
    type Place = (Tid, String, Vec<observe::FrameId>);
    let place = |wait: &Wait| -> Place { (wait.tid, wait.syscall.clone(), wait.stack.clone()) };
    let broken: HashSet<Place> = waits.iter().filter(|c| c.broken_off).map(|c| place(&c.wait)).collect();
    let mut whole: HashMap<Place, &Classified> = HashMap::new();
    for one in waits.iter().filter(|c| !c.broken_off && broken.contains(&place(&c.wait))) {
        let longest = whole.entry(place(&one.wait)).or_insert(one);
        if one.wait.time > longest.wait.time {
            *longest = one;
        }
    }
    let whole: HashMap<Place, Wait> = whole.into_iter().map(|(place, c)| (place, c.wait.clone())).collect();
    for wait in waits.iter_mut().filter(|c| c.broken_off).map(|c| &mut c.wait) {
        if let Some(whole) = whole.get(&place(wait)) {
            (wait.class, wait.by) = (whole.class, whole.by);
            wait.resource.clone_from(&whole.resource);
            wait.waker_stack.clone_from(&whole.waker_stack);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn how_a_wait_ends_tells_what_it_was() {
        let futex = Object::Futex { address: 1, value: 0, operation: 0x189 };
        let poll = Object::Poll { descriptors: None };
        let key = types::wait_key { tgid: 7, tid: 7, waker_syscall: -1, ..Default::default() };
        let idle = |key: &types::wait_key, object: &Object, by: Option<u32>| {
            by_its_end(key, object, by.map(|pid| (Pid(pid), Tid(pid))), TimeClass::BlockedIdle, false)
        };
        assert_eq!(idle(&key, &futex, None), TimeClass::BlockedSleep);
        assert_eq!(idle(&types::wait_key { flags: OPEN, ..key }, &futex, None), TimeClass::BlockedIdle);
        assert_eq!(idle(&types::wait_key { flags: SIGNALLED, ..key }, &futex, None), TimeClass::BlockedIdle, "killed");
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
    fn a_poll_whose_time_ran_out_was_for_its_timer() {
        let key = |flags| types::wait_key { tgid: 7, tid: 7, flags, ..Default::default() };
        let poll = Object::Poll { descriptors: None };
        assert!(ran_out(&key(TIMED | WOKEN_IN_INTERRUPT), &poll));
        assert!(!ran_out(&key(WOKEN_IN_INTERRUPT), &poll), "data came");
        assert!(!ran_out(&key(TIMED | SIGNALLED), &poll) && !ran_out(&key(TIMED | OPEN), &poll));
        assert!(!ran_out(&key(TIMED), &Object::Futex { address: 1, value: 0, operation: 0x189 }));
    }

    #[test]
    fn a_thread_with_a_request_in_hand_does_not_wait_for_work() {
        let key = |flags| types::wait_key { tgid: 7, tid: 7, waker_syscall: -1, flags, ..Default::default() };
        let end = |flags, object: &Object, by: Option<u32>| {
            by_its_end(&key(flags), object, by.map(|pid| (Pid(pid), Tid(8))), TimeClass::BlockedIdle, true)
        };
        let poll = Object::Poll { descriptors: None };
        assert_eq!(end(TIMED | IN_REQUEST, &poll, None), TimeClass::BlockedSleep);
        assert_eq!(end(TIMED, &poll, None), TimeClass::BlockedIdle, "a look at what else there is to do");
        assert_eq!(end(IN_REQUEST, &poll, None), TimeClass::BlockedIdle, "data came");
        let futex = Object::Futex { address: 1, value: 0, operation: 0x189 };
        assert_eq!(end(IN_REQUEST, &futex, Some(7)), TimeClass::BlockedThread);
        assert_eq!(end(0, &futex, Some(7)), TimeClass::BlockedIdle, "an idle worker gets something to do");
        assert_eq!(end(IN_REQUEST, &futex, Some(9)), TimeClass::BlockedProcess);
    }

    #[test]
    fn a_lock_names_its_holder_only_where_that_makes_sense() {
        let owners = HashMap::from([(7, 7), (8, 7), (9, 9)]);
        let key = |holder| types::wait_key { tgid: 7, tid: 7, holder, ..Default::default() };
        let lock = |held_by| holder(&key(held_by), TimeClass::BlockedLock, &owners).map(|(_, tid)| tid.0);
        assert_eq!([8, 9, 7, 0, 1234].map(lock), [Some(8), None, None, None, None]);
        let kernel = holder(&key(9), TimeClass::BlockedKernelLock, &owners);
        assert_eq!(kernel, Some((Pid(9), Tid(9))), "the kernel's locks are everybody's");
        assert_eq!(holder(&key(8), TimeClass::BlockedIdle, &owners), None);
    }

    #[test]
    fn a_wait_that_a_signal_breaks_off_is_for_what_it_goes_on_for() {
        let process = TimeClass::BlockedProcess;
        let mut waits =
            [wait(1, 2, process, 9, 3), wait(1, 1, TimeClass::BlockedIdle, 900, 3), wait(2, 1, process, 5, 1)];
        waits[1].broken_off = true;
        waits[1].wait.by = None;
        continue_broken_off(&mut waits);
        assert_eq!((waits[1].wait.class, waits[1].wait.by), (process, Some((Pid(7), Tid(2)))));
        let mut elsewhere = [wait(2, 1, process, 9, 3), wait(1, 1, TimeClass::BlockedIdle, 900, 3)];
        elsewhere[1].broken_off = true;
        continue_broken_off(&mut elsewhere);
        assert_eq!(elsewhere[1].wait.class, TimeClass::BlockedIdle, "another thread's waits say nothing of this one's");
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
        let mut helped = [wait(1, 2, idle, 9, 30), wait(2, 1, idle, 9, 30), wait(1, 9, idle, 9, 90)];
        find_symmetric_locks(&mut helped);
        assert!(helped.iter().all(|c| c.wait.class == idle), "most of the work comes from outside");
    }
}
