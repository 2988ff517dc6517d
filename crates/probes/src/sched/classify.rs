//! Why a thread blocked: one table of rules over the kernel stack, the system call and the flags of the wait.

use super::resource::Object;
use observe::TimeClass;

/// The wait is uninterruptible (state D).
pub(crate) const UNINTERRUPTIBLE: u16 = 1;
/// The kernel counts it as waiting for I/O.
pub(crate) const IOWAIT: u16 = 2;
/// The thread's last call before it had failed.
pub(crate) const AFTER_FAILURE: u16 = 4;
/// Stopped by a signal or traced.
pub(crate) const STOPPED: u16 = 8;
/// Not over when the window ended.
pub(crate) const OPEN: u16 = 16;
/// Woken from an interrupt, hard or soft: the waker may be whoever was interrupted.
pub(crate) const WOKEN_IN_INTERRUPT: u16 = 32;

/// Began before the window did.
pub(crate) const BEFORE: u16 = 64;
/// A timer ended it.
pub(crate) const TIMED: u16 = 128;
/// The thread had a request in hand: read, and not answered.
pub(crate) const IN_REQUEST: u16 = 256;
/// A timer's signal broke it off.
pub(crate) const SIGNALLED: u16 = 512;

/// What is known of one wait.
pub(crate) struct Seen<'a> {
    /// Names of the kernel frames, in any order; empty when none was taken.
    pub kernel: &'a [&'a str],
    /// Names of the user frames.
    pub user: &'a [&'a str],
    /// The system call; empty when none.
    pub syscall: &'a str,
    /// The flags above.
    pub flags: u16,
    /// The object waited for.
    pub object: &'a Object,
}

/// A rule applies when one of its kernel frames is on the stack (or it names none), the system call is one of its
/// (or it names none), and all its flags are set.
struct Rule {
    class: TimeClass,
    frames: &'static [&'static str],
    calls: &'static [&'static str],
    flags: u16,
}

const fn by_frame(class: TimeClass, frames: &'static [&'static str]) -> Rule {
    Rule { class, frames, calls: &[], flags: 0 }
}

const fn by_call(class: TimeClass, calls: &'static [&'static str]) -> Rule {
    Rule { class, frames: &[], calls, flags: 0 }
}

/// In order; the first that applies decides. Frames are functions of kernels 5.4 to 6.18; a name that a kernel does
/// not have matches nothing there.
const RULES: &[Rule] = &[
    Rule { class: TimeClass::BlockedStopped, frames: &[], calls: &[], flags: STOPPED },
    by_frame(
        TimeClass::BlockedStopped,
        &[
            "do_signal_stop",
            "ptrace_stop",
            "ptrace_do_notify",
            "__refrigerator",
            "do_freezer_trap",
            "cgroup_enter_frozen",
        ],
    ),
    by_frame(
        TimeClass::BlockedMemory,
        &[
            "try_to_free_pages",
            "try_to_free_mem_cgroup_pages",
            "__perform_reclaim",
            "shrink_node",
            "reclaim_throttle",
            "throttle_direct_reclaim",
            "mem_cgroup_handle_over_high",
            "mem_cgroup_oom_synchronize",
            "mem_cgroup_out_of_memory",
            "try_charge_memcg",
            "compact_zone_order",
            "try_to_compact_pages",
            "do_swap_page",
            "swap_readpage",
            "swap_read_folio",
            "out_of_memory",
            "filemap_fault",
            "do_read_fault",
            "migration_entry_wait",
            "do_numa_page",
        ],
    ),
    by_frame(
        TimeClass::BlockedFs,
        &[
            "jbd2_log_wait_commit",
            "jbd2_complete_transaction",
            "jbd2_fc_wait_bufs",
            "wait_transaction_locked",
            "start_this_handle",
            "do_get_write_access",
            "ext4_sync_file",
            "ext4_fc_commit",
            "xfs_file_fsync",
            "xlog_wait_on_iclog",
            "xfs_log_force",
            "xfs_log_force_seq",
            "btrfs_sync_file",
            "btrfs_sync_log",
            "btrfs_commit_transaction",
            "f2fs_sync_file",
            "generic_file_fsync",
            "file_write_and_wait_range",
            "__filemap_fdatawait_range",
            "filemap_fdatawait_range",
            "blkdev_issue_flush",
            "balance_dirty_pages",
            "wb_wait_for_completion",
            "sync_inodes_sb",
            "wait_on_page_writeback",
            "folio_wait_writeback",
            "nfs_wait_on_request",
            "zil_commit",
            "txg_wait_synced",
        ],
    ),
    by_call(TimeClass::BlockedFs, &["fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync"]),
    Rule { class: TimeClass::BlockedDisk, frames: &[], calls: &[], flags: IOWAIT },
    by_frame(
        TimeClass::BlockedDisk,
        &[
            "io_schedule",
            "io_schedule_timeout",
            "blk_mq_get_tag",
            "rq_qos_wait",
            "submit_bio_wait",
            "blk_execute_rq",
            "__iomap_dio_rw",
            "do_blockdev_direct_IO",
            "wait_on_page_bit",
            "folio_wait_bit_common",
            "__wait_on_buffer",
            "wait_on_buffer",
            "read_events",
        ],
    ),
    by_frame(
        TimeClass::BlockedKernelLock,
        &[
            "rwsem_down_read_slowpath",
            "rwsem_down_write_slowpath",
            "__mutex_lock",
            "__mutex_lock_slowpath",
            "mutex_lock",
            "__down_common",
            "__down",
            "__down_interruptible",
            "percpu_rwsem_wait",
            "rt_mutex_slowlock",
            "rt_mutex_schedule",
            "__rt_mutex_slowlock",
            "queued_write_lock_slowpath",
            "down_read",
            "down_write",
        ],
    ),
    by_frame(TimeClass::BlockedLock, &["__futex_lock_pi", "futex_lock_pi", "do_semtimedop", "__do_semtimedop"]),
    by_frame(
        TimeClass::BlockedLock,
        &["locks_lock_inode_wait", "flock_lock_inode_wait", "fcntl_setlk", "posix_lock_inode_wait"],
    ),
    by_frame(TimeClass::BlockedSleep, &["do_nanosleep", "hrtimer_nanosleep", "timerfd_read", "timerfd_read_iter"]),
    by_call(TimeClass::BlockedSleep, &["nanosleep", "clock_nanosleep"]),
    by_frame(TimeClass::BlockedProcess, &["do_wait", "kernel_wait4", "wait_for_vfork_done"]),
    by_call(TimeClass::BlockedProcess, &["wait4", "waitid", "vfork"]),
    Rule {
        class: TimeClass::BlockedProcess,
        frames: &["kernel_clone", "_do_fork"],
        calls: &["clone", "clone3"],
        flags: UNINTERRUPTIBLE,
    },
    by_frame(
        TimeClass::BlockedProcess,
        &[
            "pipe_read",
            "pipe_write",
            "anon_pipe_read",
            "anon_pipe_write",
            "wait_for_partner",
            "fifo_open",
            "pipe_wait_readable",
            "pipe_wait_writable",
        ],
    ),
    by_call(TimeClass::BlockedProcess, QUEUES),
    by_frame(TimeClass::BlockedIdle, &["unix_accept", "inet_csk_accept", "inet_accept", "vsock_accept"]),
    by_call(TimeClass::BlockedIdle, &["accept", "accept4"]),
    by_frame(
        TimeClass::BlockedProcess,
        &[
            "unix_stream_data_wait",
            "unix_stream_read_generic",
            "unix_dgram_recvmsg",
            "unix_wait_for_peer",
            "unix_stream_connect",
            "sock_alloc_send_pskb",
        ],
    ),
    by_frame(
        TimeClass::BlockedIdle,
        &[
            "n_tty_read",
            "eventfd_read",
            "eventfd_ctx_do_read",
            "signalfd_read_iter",
            "signalfd_read",
            "inotify_read",
            "fanotify_read",
            "do_sigtimedwait",
            "sigsuspend",
            "wait_for_unix_gc",
            "io_cqring_wait",
            "io_cqring_schedule",
            "kmsg_read",
            "devkmsg_read",
            "syslog_print",
            "fuse_dev_do_read",
            "perf_read",
        ],
    ),
    by_call(TimeClass::BlockedIdle, &["pause", "rt_sigtimedwait", "rt_sigsuspend", "sigsuspend", "io_uring_enter"]),
    // Where its stack is known and names a server or a network, that was waited for.
    by_call(TimeClass::BlockedLock, &["flock"]),
];

/// Waits for a page of a mapped file.
pub(super) const MAJOR_FAULT: &str = "memory:major fault";

/// Frames that tell what a wait for memory was for, and its name. In order; the first that is on the stack decides.
const MEMORY: &[(&[&str], &str)] = &[
    (
        &[
            "try_to_free_mem_cgroup_pages",
            "mem_cgroup_handle_over_high",
            "mem_cgroup_oom_synchronize",
            "mem_cgroup_out_of_memory",
            "try_charge_memcg",
        ],
        "memory:cgroup limit",
    ),
    (&["compact_zone_order", "try_to_compact_pages"], "memory:compaction"),
    (&["do_swap_page", "swap_readpage", "swap_read_folio"], "memory:swap-in"),
    (&["filemap_fault", "do_read_fault"], MAJOR_FAULT),
    (&["migration_entry_wait", "do_numa_page"], "memory:page migration"),
    (
        &[
            "try_to_free_pages",
            "__perform_reclaim",
            "shrink_node",
            "reclaim_throttle",
            "throttle_direct_reclaim",
            "out_of_memory",
        ],
        "memory:direct reclaim",
    ),
];

/// What a wait for memory was for.
pub(crate) fn memory_resource(kernel: &[&str]) -> &'static str {
    let on_stack = |frames: &[&str]| kernel.iter().any(|frame| frames.contains(&base(frame)));
    MEMORY.iter().find(|(frames, _)| on_stack(frames)).map_or("memory", |(_, name)| name)
}

/// User-space functions that wait for a lock rather than for work.
const LOCK_FUNCTIONS: &[&str] = &[
    "pthread_mutex_lock",
    "__pthread_mutex_lock",
    "___pthread_mutex_lock",
    "pthread_mutex_timedlock",
    "pthread_mutex_clocklock",
    "__lll_lock_wait",
    "__lll_lock_wait_private",
    "lll_lock_wait",
    "pthread_rwlock_rdlock",
    "pthread_rwlock_wrlock",
    "__pthread_rwlock_rdlock",
    "__pthread_rwlock_wrlock",
    "___pthread_rwlock_rdlock",
    "___pthread_rwlock_wrlock",
    "pthread_spin_lock",
    "ObjectMonitor::enter",
    "ObjectMonitor::EnterI",
    "ObjectSynchronizer::enter",
    "SharedRuntime::complete_monitor_locking_C",
    "take_gil",
    "PyEval_RestoreThread",
    "PyEval_AcquireThread",
    "PyGILState_Ensure",
    "_PyThreadState_Attach",
    "gvl_acquire",
    "thread_sched_to_running",
    "rb_thread_io_blocking_region",
    "rb_nogvl",
];

/// System calls that send to a message queue or receive from one, System V and POSIX.
pub(super) const QUEUES: &[&str] = &["mq_timedreceive", "mq_timedsend", "msgrcv", "msgsnd"];

/// System calls that receive from a socket.
const RECEIVES: &[&str] = &["read", "readv", "recvfrom", "recvmsg", "recvmmsg"];

/// The value a futex-based mutex waits on while somebody else waits too: glibc's and musl's low-level locks, Rust's
/// `std::sync::Mutex` and Go's `mutex` all use 2 for "locked, with waiters" (Drepper, "Futexes are Tricky", mutex 2).
const CONTENDED: u32 = 2;

/// Whether a function says of itself that it waits for a lock: `LockAcquireExtended`, `MDL_context::acquire_lock`,
/// `lock_wait_suspend`. Threads that look after such waits are named so too, as are a runtime's locks of which it makes its
/// queues (`PyThread_acquire_lock_timed`).
fn acquires_lock(function: &str) -> bool {
    let name = function.split(['(', '<', '@']).next().unwrap_or(function);
    let name = name.rsplit("::").next().unwrap_or(name);
    let words = words(name);
    let has = |any: &[&str]| words.iter().any(|word| any.contains(&word.as_str()));
    has(&["lock"]) && has(&["acquire", "wait", "obtain"]) && !has(&["thread", "timeout", "monitor"])
}

/// The words of a name in small letters, whether capitals or other characters part them.
fn words(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (at, letter) in letters.iter().enumerate() {
        let after_small = at > 0 && letters[at - 1].is_lowercase();
        let before_small = letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if !letter.is_alphabetic() || letter.is_uppercase() && (after_small || before_small) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphabetic()) {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

/// The function in which a thread waits for a lock, as far as the code's names tell: a program's own locks, as a database's of
/// rows and tables, are made of latches and conditions on which idle threads wait as well.
pub(super) fn lock_function<'a>(user: &[&'a str]) -> Option<&'a str> {
    user.iter().rev().find(|function| acquires_lock(function)).copied()
}

/// The class of a wait.
pub(crate) fn classify(seen: &Seen) -> TimeClass {
    // The functions of unix sockets do not tell a server's end from a client's.
    if let Object::Socket(socket) = seen.object
        && socket.unix
        && socket.serving
        && RECEIVES.contains(&seen.syscall)
    {
        return TimeClass::BlockedIdle;
    }
    for rule in RULES {
        let frames = rule.frames.is_empty() || seen.kernel.iter().any(|f| rule.frames.contains(&base(f)));
        let calls = rule.calls.is_empty() || rule.calls.contains(&seen.syscall);
        if frames && calls && seen.flags & rule.flags == rule.flags {
            return rule.class;
        }
    }
    match seen.object {
        Object::Lock { .. } => return TimeClass::BlockedKernelLock,
        Object::Futex { value, operation, .. } => return futex(*value, *operation, seen.user),
        Object::Socket(socket) => return socket.wait_class(),
        Object::Pipe(_) => return TimeClass::BlockedProcess,
        Object::Child => return TimeClass::BlockedProcess,
        Object::Disk(_) => return TimeClass::BlockedDisk,
        Object::Tty => return TimeClass::BlockedIdle,
        Object::Poll { descriptors: Some(0) } => return TimeClass::BlockedSleep,
        Object::Poll { .. } => return TimeClass::BlockedIdle,
        Object::None | Object::File { .. } | Object::Other => {}
    }
    // The kernel's stack walk leaves out the functions of its lock and completion primitives (they are marked as
    // scheduler code), so their callers are what is seen: an uninterruptible wait for nothing named above.
    if seen.flags & UNINTERRUPTIBLE != 0 && !seen.kernel.is_empty() {
        return TimeClass::BlockedKernelLock;
    }
    TimeClass::BlockedUnknown
}

fn futex(value: u32, operation: u32, user: &[&str]) -> TimeClass {
    const COMMAND: u32 = 0x7f;
    let lock_protocol = match operation & COMMAND {
        6 | 13 => true,              // FUTEX_LOCK_PI, FUTEX_LOCK_PI2
        0 | 9 => value == CONTENDED, // FUTEX_WAIT, FUTEX_WAIT_BITSET
        _ => false,
    };
    if lock_protocol || user.iter().any(|f| LOCK_FUNCTIONS.contains(&base(f))) {
        TimeClass::BlockedLock
    } else {
        TimeClass::BlockedIdle
    }
}

/// A function's name without what compilers append to it, nor its symbol version.
fn base(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    match name.find('.') {
        Some(at) if at > 0 => &name[..at],
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::super::resource::Socket;
    use super::*;

    fn class(kernel: &[&str], syscall: &str, flags: u16, object: Object) -> TimeClass {
        classify(&Seen { kernel, user: &[], syscall, flags, object: &object })
    }

    #[test]
    fn the_stack_says_what_the_call_alone_does_not() {
        let reclaim = ["__schedule", "schedule", "io_schedule", "shrink_node", "try_to_free_pages", "__alloc_pages"];
        assert_eq!(class(&reclaim, "read", IOWAIT, Object::None), TimeClass::BlockedMemory);
        let direct = ["__schedule", "io_schedule", "__iomap_dio_rw", "ext4_file_read_iter"];
        assert_eq!(class(&direct, "pread64", IOWAIT, Object::None), TimeClass::BlockedDisk);
        let journal = ["schedule", "jbd2_log_wait_commit", "ext4_fsync"];
        assert_eq!(class(&journal, "fsync", UNINTERRUPTIBLE, Object::None), TimeClass::BlockedFs);
        assert_eq!(class(&["rwsem_down_read_slowpath"], "", 0, Object::None), TimeClass::BlockedKernelLock);
        assert_eq!(class(&["do_wait.part.0"], "wait4", 0, Object::Child), TimeClass::BlockedProcess);
    }

    #[test]
    fn without_a_stack_the_call_decides() {
        assert_eq!(class(&[], "fdatasync", UNINTERRUPTIBLE | IOWAIT, Object::None), TimeClass::BlockedFs);
        assert_eq!(class(&[], "clock_nanosleep", 0, Object::None), TimeClass::BlockedSleep);
        assert_eq!(class(&[], "flock", 0, Object::None), TimeClass::BlockedLock);
        assert_eq!(class(&[], "accept4", 0, Object::None), TimeClass::BlockedIdle);
        assert_eq!(class(&[], "mq_timedreceive", 0, Object::None), TimeClass::BlockedProcess);
        assert_eq!(class(&[], "", 0, Object::None), TimeClass::BlockedUnknown);
    }

    #[test]
    fn a_contended_mutex_is_a_lock_and_a_waiting_worker_is_idle() {
        let mutex = Object::Futex { address: 1, value: 2, operation: 128 };
        assert_eq!(class(&[], "futex", 0, mutex), TimeClass::BlockedLock);
        let condition = Object::Futex { address: 1, value: 418, operation: 0x189 };
        assert_eq!(class(&[], "futex", 0, condition), TimeClass::BlockedIdle);
        let inheriting = Object::Futex { address: 1, value: 0, operation: 134 };
        assert_eq!(class(&[], "futex", 0, inheriting), TimeClass::BlockedLock);
        let rwlock = Object::Futex { address: 1, value: 3, operation: 0x189 };
        let seen = Seen {
            kernel: &[],
            user: &["pthread_rwlock_wrlock@@GLIBC_2.34"],
            syscall: "futex",
            flags: 0,
            object: &rwlock,
        };
        assert_eq!(classify(&seen), TimeClass::BlockedLock);
    }

    #[test]
    fn an_uninterruptible_wait_for_nothing_else_is_a_kernel_lock() {
        let stack = ["vm_mmap_pgoff", "do_syscall_64"];
        assert_eq!(class(&stack, "mmap", UNINTERRUPTIBLE, Object::None), TimeClass::BlockedKernelLock);
        assert_eq!(class(&stack, "mmap", 0, Object::None), TimeClass::BlockedUnknown);
        assert_eq!(class(&["kernel_clone"], "clone3", UNINTERRUPTIBLE, Object::None), TimeClass::BlockedProcess);
    }

    #[test]
    fn names_tell_who_takes_a_lock() {
        for name in
            ["MDL_context::acquire_lock(MDL_request*, double)", "lock_wait_suspend", "WaitOnLock", "LWLockAcquire"]
        {
            assert!(acquires_lock(name), "{name}");
        }
        for name in [
            "std::condition_variable::wait(std::unique_lock<std::mutex>&)",
            "wait_for_block",
            "clock_wait",
            "PyThread_acquire_lock_timed",
            "lock_wait_timeout_thread",
            "pthread_cond_wait",
            "wait_for<std::unique_lock<std::mutex>>",
        ] {
            assert!(!acquires_lock(name), "{name}");
        }
        let session = ["PostgresMain", "LockAcquireExtended", "", "ProcSleep", "WaitLatch", "WaitEventSetWait"];
        assert_eq!(lock_function(&session), Some("LockAcquireExtended"));
        assert_eq!(lock_function(&["PostgresMain", "pq_getbyte", "secure_read", "WaitEventSetWait"]), None);
    }

    #[test]
    fn polling_nothing_is_sleeping() {
        assert_eq!(class(&[], "select", 0, Object::Poll { descriptors: Some(0) }), TimeClass::BlockedSleep);
        assert_eq!(class(&[], "epoll_wait", 0, Object::Poll { descriptors: None }), TimeClass::BlockedIdle);
    }

    #[test]
    fn a_server_waits_for_work_and_a_client_for_its_server() {
        let socket = |serving, loopback| {
            Object::Socket(Socket { remote: "10.0.0.2:5432".into(), unix: false, serving, loopback, listening: false })
        };
        assert_eq!(class(&["tcp_recvmsg"], "recvfrom", 0, socket(true, false)), TimeClass::BlockedIdle);
        assert_eq!(class(&["tcp_recvmsg"], "recvfrom", 0, socket(false, true)), TimeClass::BlockedProcess);
        assert_eq!(class(&["tcp_recvmsg"], "recvfrom", 0, socket(false, false)), TimeClass::BlockedNetwork);
        let local = |serving| {
            Object::Socket(Socket { remote: String::new(), unix: true, serving, loopback: false, listening: false })
        };
        let frames = ["unix_stream_read_generic", "unix_stream_data_wait"];
        assert_eq!(class(&frames, "recvfrom", 0, local(true)), TimeClass::BlockedIdle);
        assert_eq!(class(&frames, "recvfrom", 0, local(false)), TimeClass::BlockedProcess);
    }

    #[test]
    fn waits_for_memory_say_what_for() {
        let limit =
            ["schedule", "shrink_node", "try_to_free_mem_cgroup_pages", "try_charge_memcg", "do_anonymous_page"];
        assert_eq!(memory_resource(&limit), "memory:cgroup limit");
        assert_eq!(memory_resource(&["io_schedule", "swap_read_folio", "do_swap_page"]), "memory:swap-in");
        assert_eq!(memory_resource(&["io_schedule", "filemap_fault", "__do_fault"]), "memory:major fault");
        assert_eq!(memory_resource(&["shrink_node", "try_to_free_pages"]), "memory:direct reclaim");
        assert_eq!(memory_resource(&["something_new"]), "memory");
        let by_class = RULES.iter().filter(|rule| rule.class == TimeClass::BlockedMemory);
        let classified: Vec<_> = by_class.flat_map(|rule| rule.frames).collect();
        assert!(MEMORY.iter().flat_map(|(frames, _)| *frames).all(|frame| classified.contains(&frame)));
    }

    #[test]
    fn the_kernels_word_on_its_locks_counts() {
        let stack = ["schedule", "vfs_write", "ksys_write"];
        assert_eq!(class(&stack, "write", UNINTERRUPTIBLE, Object::Lock { flags: 32 }), TimeClass::BlockedKernelLock);
    }

    #[test]
    fn no_frame_is_claimed_by_two_classes() {
        let mut seen = std::collections::HashMap::new();
        for rule in RULES {
            for frame in rule.frames {
                if let Some(class) = seen.insert(frame, rule.class) {
                    assert_eq!(class, rule.class, "{frame}");
                }
            }
        }
    }
}
