/* SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause) */
/* What the kernel side and user space exchange. User space reads these through the generated bindings. */
#ifndef FRIDAY_SHARED_H
#define FRIDAY_SHARED_H

#define MAX_CPUS 1024
#define KERNEL_DEPTH 48
#define SNAPSHOT_DEPTH 24
#define USER_DEPTH 127
#define HIST_SLOTS 160
#define MAX_SYSCALLS 512
#define COMM_LEN 16
#define NAME_LEN 64
#define TARGET_WORDS 64
#define SHORT_SLOTS 56 /* histogram slots of waits under 2^16 ns */

/* What a system call waits for, as far as its number tells: index of the short-wait totals. */
enum call_kind {
	CALL_OTHER = 0,
	CALL_FD = 1,	/* first argument is a file descriptor */
	CALL_FUTEX = 2,
	CALL_SLEEP = 3, /* clock_nanosleep and its kin */
	CALL_POLL = 4,	/* poll, select, epoll_wait */
	CALL_CHILD = 5, /* wait4, waitid */
	CALL_NONE = 6,	/* not in a system call */
	CALL_IOWAIT = 7,
	CALL_KINDS = 8,
};

/* What a failed call's argument is, for showing it. */
enum arg_kind {
	ARG_NONE = 0,
	ARG_PATH0 = 1,
	ARG_PATH1 = 2,
	ARG_ADDR1 = 3,
};

/* Where a call of kind CALL_POLL has its descriptors. */
enum poll_kind {
	POLL_LIST = 0,	 /* poll: array, count */
	POLL_SELECT = 1, /* select: count, sets */
	POLL_EPOLL = 2,
};
#define POLL_MANY 0xffff

/* Per system call number, set by user space before loading. */
struct call_info {
	u8 kind;    /* enum call_kind */
	u8 arg;	    /* enum arg_kind */
	u8 counts;  /* a result of zero means that nothing was there */
	u8 bytes;   /* a positive result is a number of bytes */
	u8 poll;    /* enum poll_kind */
};

enum object_kind {
	OBJECT_NONE = 0,
	OBJECT_FUTEX = 1,  /* a: user address, b: expected value | operation << 32 */
	OBJECT_FILE = 2,   /* a: inode, b: device */
	OBJECT_PIPE = 3,   /* a: inode */
	OBJECT_SOCKET = 4, /* a: local port | remote port << 16 | family << 32 | state << 48, b: remote address */
	OBJECT_DISK = 5,   /* a: device */
	OBJECT_CHILD = 6,  /* a: pid argument */
	OBJECT_OTHER = 7,  /* another kind of descriptor; a: file mode */
	OBJECT_TTY = 8,
	OBJECT_POLL = 9, /* b: number of descriptors */
	OBJECT_LOCK = 10, /* a lock of the kernel's; a: its address, b: enum of LCB_F_… flags */
};

/* Flags of lock:contention_begin, from include/trace/events/lock.h. */
enum lock_flags {
	LCB_F_SPIN = 1,
	LCB_F_READ = 2,
	LCB_F_WRITE = 4,
	LCB_F_RT = 8,
	LCB_F_PERCPU = 16,
	LCB_F_MUTEX = 32,
};

/* What held up a wait on a TCP socket, as far as this end of it knows. */
enum socket_reason {
	SOCKET_PEER = 0,   /* nothing here: the other end has not answered */
	SOCKET_LOSS = 1,   /* segments were sent again meanwhile */
	SOCKET_WINDOW = 2, /* the other end takes no more data */
	SOCKET_HELD = 3,   /* Nagle's algorithm held small data back until an acknowledgement came */
	SOCKET_BUFFER = 4, /* the send buffer is full, and the path takes what it can */
};

enum wait_flags {
	WAIT_UNINTERRUPTIBLE = 1,
	WAIT_IOWAIT = 2,
	WAIT_AFTER_FAILURE = 4, /* the thread's last call, pauses apart, had failed */
	WAIT_STOPPED = 8,
	WAIT_OPEN = 16,		/* not over when the window ended */
	WAIT_WOKEN_IN_INTERRUPT = 32, /* the waker may be whoever was interrupted */
	WAIT_BEFORE = 64,	/* began before the window did */
	WAIT_TIMED = 128,	/* a timer ended it */
	WAIT_IN_REQUEST = 256,	/* the thread had a request in hand: read, and not answered */
	WAIT_SIGNALLED = 512,	/* a timer's signal broke it off, or the end of the process */
};

/* One class of blocked waits of one thread. */
struct wait_key {
	u64 kernel_stack;
	u64 user_stack; /* 0: not sampled */
	u64 waker_stack;
	u64 object_a;
	u64 object_b;
	u32 tid;
	u32 tgid;
	u32 waker_tid;
	u32 waker_tgid;
	s16 syscall; /* -1: none */
	s16 waker_syscall; /* in which the waker was; -1: none, or an interrupt hit user code */
	u16 flags;
	u8 object;
	u8 reason; /* enum socket_reason */
	/* Thread that held the lock, as the lock itself tells; of a unix socket, the process that opened the other end. 0: not
	 * known. */
	u32 holder;
	u8 kind; /* enum call_kind */
	u8 pad2[3];
};

struct wait_value {
	u64 ns;
	u64 count;
	u64 max;
	/* Part of both above: waits that stand for others of their thread and kind, which were skipped. */
	u64 sampled_ns;
	u64 sampled;
};

struct blame_value {
	u64 ns;
	u64 count;
	u64 max;
};

enum blame_how {
	BEHIND = 0,
	OUTRANKED = 1, /* the runner is preferred by class or by far in niceness */
	WAKING = 2,    /* the CPU idled, and had to be woken */
};

/* Who ran while somebody was runnable. */
struct blame_key {
	u32 victim_tid;
	u32 victim_tgid;
	u32 runner_tgid; /* 0: the CPU idled, or the runner is not known */
	u32 runner_tid;
	enum blame_how how;
	u32 pad;
};

struct kernel_stack {
	u64 depth;
	u64 ips[KERNEL_DEPTH];
};

/* What a task does at one moment. */
struct snapshot {
	struct wait_key key; /* without stacks */
	u32 blocked;	     /* it runs or could run otherwise */
	u32 depth;
	u64 ips[SNAPSHOT_DEPTH];
};

struct user_stack {
	u64 depth;
	u64 ips[USER_DEPTH];
	u64 end; /* enum unwind_end, | UNWIND_GUESSED */
};

/* What is lost when something does not fit. */
enum lost_kind {
	LOST_ROWS = 0,	 /* of tables: sums are too low */
	LOST_STACKS = 1, /* the time is there, its stack is not */
	LOST_CLOCKS = 2, /* events of threads without a record */
	LOST_EVENTS = 3, /* single ones */
	LOST_EPISODES = 4, /* of the event window */
	LOST_KINDS = 5,
};

/* Why a user stack ends where it does. */
enum unwind_end {
	UNWIND_BY_KERNEL = 0,	 /* the kernel followed the frame pointers; nobody knows whether it got to the root */
	UNWIND_ROOT = 1,	 /* the thread's first function */
	UNWIND_DEEP = 2,	 /* there is more than USER_DEPTH */
	UNWIND_NO_TABLE = 3,	 /* code without a table, and no frame pointer that makes sense */
	UNWIND_FAULT = 4,	 /* the stack is not in memory */
	UNWIND_BAD_FRAME = 5,	 /* the caller's frame would lie below, or its code outside user space */
	UNWIND_UNSUPPORTED = 6,	 /* a rule that is not served */
	UNWIND_NO_REGISTERS = 7, /* a thread without user state */
	UNWIND_ENDS = 8,
	UNWIND_GUESSED = 0x100,	 /* with any of them: some caller was found by frame pointer only, so one may be missing */
};

/*
 * Unwinding tables: rows of all binaries one after the other, in chunks that are made as they are needed. A process is a
 * slice of the ranges, each of which points to its binary's rows. 1024 chunks of 64 KiB: 64 MiB at most.
 */
enum unwind_limit {
	UNWIND_CHUNK_ROWS = 8192,
	UNWIND_CHUNKS = 1024,
	UNWIND_RANGES = 65536,
	UNWIND_PROCESSES = 8192,
	UNWIND_PROCESS_RANGES = 2048,
};

/* How the caller is found: the lowest four bits of a rule. What follows is in words of eight bytes. */
enum unwind_kind {
	UNWIND_UNKNOWN = 0,	   /* by frame pointer */
	UNWIND_OUTERMOST = 1,
	UNWIND_SIGNAL = 2,
	UNWIND_NOT_SERVED = 3,
	UNWIND_SP = 4,		   /* CFA: stack pointer + a */
	UNWIND_FP = 5,		   /* frame pointer + a, signed */
	UNWIND_LINKAGE = 6,	   /* stack pointer + 1, + 1 from byte a of the 16-byte entry on */
	UNWIND_AT_FP = 7,	   /* stored at frame pointer + a, signed */
	UNWIND_AT_SP = 8,	   /* stored at stack pointer + low byte of a, + its high byte */
};

/*
 * Then a: 16 bits; then b, 12 bits, the caller's frame pointer: 0: unchanged, else stored that many words below the CFA,
 * or one of two.
 */
enum unwind_layout {
	UNWIND_A_SHIFT = 4,
	UNWIND_B_SHIFT = 20,
	UNWIND_SAVED_AT_FP = 0xffe,
	UNWIND_SAVED_NOWHERE = 0xfff,
};

struct unwind_row {
	u32 pc; /* distance from the binary's base; up to the next row's */
	u32 rule;
};

struct unwind_chunk {
	struct unwind_row rows[UNWIND_CHUNK_ROWS];
};

/* A binary's code in a process. */
struct unwind_range {
	u64 start;
	u64 end;
	u64 bias; /* of the base of its rows */
	u32 first;
	u32 rows; /* 0: no table */
};

struct unwind_process {
	u32 first; /* range */
	u32 ranges;
	u32 missed; /* code was met that no range holds */
	u32 flags;
};

enum unwind_flag {
	UNWIND_LEAVE = 1, /* its stacks are the kernel's to walk: a 32-bit program, or one that may not be looked at */
};

/* Events so frequent that their programs are attached in slices. */
enum frequent {
	FREQUENT_CALLS = 0,
	FREQUENT_FAULTS = 1,
	FREQUENT_INTERRUPTS = 2,
	FREQUENT_REQUESTS = 3,
	FREQUENT_GOROUTINES = 4,
	FREQUENT_KINDS = 5,
};

/* Goroutines that wait for locks of Go's package sync. */
struct goroutine_key {
	u64 g;
	u32 tgid;
	u32 pad;
};

struct goroutine_wait {
	u64 since;
	u64 lock; /* address of its semaphore */
	u64 stack;
	u64 sp; /* as it went to wait, and what was there: where it returns to */
	u64 back;
};

struct goroutine_lock_key {
	u64 lock;
	u32 tgid;
	u32 pad;
};

struct goroutine_lock {
	u64 slice;
	u64 changed; /* when somebody came or went */
	u64 waited;  /* by all who wait, since it was last let go */
	u64 waiters;
};

/* Which side of a lock a row is about. */
enum goroutine_side {
	GOROUTINE_WAITS = 0,
	GOROUTINE_LETS_GO = 1,
};

struct goroutine_row_key {
	u64 lock;
	u64 stack;
	u32 tgid;
	u32 side;
};

struct goroutine_row {
	u64 ns;
	u64 count;
	u64 max;
};

/* A CPU's account of these. */
struct goroutine_cpu {
	u64 seen;
	u64 busy;
};

/* A CPU's interrupts, hard and soft. */
struct interrupts {
	u64 slice;    /* the one that the rest is of */
	u64 begin;    /* of the outermost one that is being handled */
	u64 hard_end; /* of the last hard one */
	u64 seen;     /* outermost ones in all slices */
	u32 depth;
	u32 own; /* the current task's own doing */
};

struct hist {
	u64 sum;
	u64 max;
	u32 slots[HIST_SLOTS];
};

/* A thread's totals, kept in task storage and written out at its end or the window's. */
struct thread_times {
	u32 tid;
	u32 tgid;
	u64 begin; /* ns, later of window begin and birth */
	u64 end;
	u64 running;
	u64 runnable;
	u64 throttled; /* part of runnable */
	u64 pinned;    /* part of runnable */
	u64 blocked;
	u64 in_syscall;	 /* part of running; only while system calls are traced */
	u64 interrupted; /* part of running: hard and soft interrupts on others' behalf */
	u64 executed;	 /* the scheduler's own account of running, without what a hypervisor took */
	u64 spun;	 /* part of running: waiting for spin locks of the kernel */
	u64 switches;
	u64 minor_faults;
	u64 major_faults;
	u64 skipped_ns[CALL_KINDS]; /* blocked waits that are in no table: sampled ones stand for them */
	u64 short_run_queue_ns;
	u64 short_run_queue_max;
	u32 short_run_queue[SHORT_SLOTS]; /* run-queue waits under the threshold, by histogram slot */
	char comm[COMM_LEN];
	u32 parent;
	u32 kernel;
	u32 traced;
	u32 pad;
};

/* How a thread's time off a CPU began, or what it did when the event window ended. */
enum episode_kind {
	EPISODE_PREEMPTED = 0,
	EPISODE_BLOCKED = 1,
	EPISODE_BORN = 2, /* it did not exist before; its waker is its parent */
	EPISODE_ENDED = 3, /* it does not come back */
	EPISODE_RUNNING = 4, /* not an episode: it ran as the event window ended, since on_at */
};

/* One time of a thread off the CPUs. Between two of them it runs. */
struct episode {
	u64 off_at;
	u64 woken_at; /* 0: it was not; preempted threads need not be */
	u64 on_at;    /* 0: not before the event window ended */
	u32 tid;
	u32 tgid;
	u32 waker_tid;
	u32 waker_tgid;
	u32 throttled_us; /* of the time from woken_at, or off_at, to on_at */
	u32 pinned_us;
	s16 syscall;
	s16 waker_syscall;
	u16 cpu; /* on which it runs from on_at */
	u16 flags; /* enum wait_flags */
	u8 kind;   /* enum episode_kind */
	u8 call;   /* enum call_kind */
	u8 pad[6];
};

/* One that was looked at. */
struct seen_episode {
	struct episode episode;
	struct wait_key key;
};

/* Where a blocked thread is in user space. */
struct place {
	u32 tid;
	u32 tgid;
	u64 ip;
	u64 sp;
	u64 bp;
	u64 context_switches; /* in its life */
};

struct sample_key {
	u64 kernel_stack;
	u64 user_stack;
	u32 tid;
	u32 tgid;
};

struct call_key {
	u32 tgid;
	u32 nr;
};

struct call_value {
	u64 count;
	u64 errors;
	u64 empty;
	u64 bytes;
	u64 cpu_ns;
	u64 looked_at;	/* calls whose descriptor was looked at: one in 64 */
	u64 on_sockets; /* of those */
	struct hist time;
};

struct error_key {
	u32 tgid;
	u32 nr;
	u32 error;
	u32 pad;
};

struct error_value {
	u64 count;
	char argument[NAME_LEN];
};

struct block_key {
	u32 device;
	u32 operation;
	u32 tgid; /* 0 in the latency map */
	u32 pad;
};

struct behind_key {
	u32 device;
	u32 tgid;
	u32 ahead;
};

struct block_value {
	u64 count;
	u64 bytes;
	u64 ns;
};

struct file_key {
	u64 inode;
	u64 device;
};

struct file_name {
	char name[NAME_LEN];
};

/* What a fault was about. */
enum fault_kind {
	FAULT_READ = 0,
	FAULT_WRITE = 1,
	FAULT_EXECUTE = 2,
	FAULT_PROTECTED = 3, /* the page was there, but not for that: shared until it is written to, mostly */
};

struct fault_key {
	u64 user_stack; /* 0: not taken */
	u32 tid;
	u32 tgid; /* 0: none, or friday */
	u32 kind; /* enum fault_kind */
	u32 pad;
};

/* Where a CPU's count of faults has got to. */
struct fault_clock {
	struct fault_key last; /* the one that was looked at */
	u64 passed;	       /* it, and those since */
	u64 before;	       /* those before it that it stands for */
	u64 period;	       /* from one that is looked at to the next */
	u64 since;	       /* ns */
	u64 since_tick;
	u64 seen;	       /* all of them */
};

enum reclaim_kind {
	RECLAIM_DIRECT = 0,
	RECLAIM_GROUP = 1, /* under the limit of a control group */
	RECLAIM_COMPACTION = 2,
	RECLAIM_KINDS = 3,
};

struct reclaim_key {
	u64 group; /* inode of the memory control group */
	u32 tgid;
	u32 kind; /* enum reclaim_kind */
};

#define DROP_REASONS 256

/* How a segment came to be sent again. */
enum resend_kind {
	RESEND_TIMEOUT = 0, /* the retransmission timer ran out, or the recovery that follows */
	RESEND_FAST = 1,    /* acknowledgements told that it is missing */
	RESEND_PROBE = 2,   /* the last segment, to provoke an acknowledgement (tail loss probe) */
	RESEND_SYN = 3,     /* the first segment of a connection */
	RESEND_SYNACK = 4,  /* the answer to it */
};

/* IPv4 addresses are in the first word, in network byte order; ports are in the host's. */
struct resend_key {
	u32 address[4];
	u32 netns;
	u32 inode; /* of the socket; 0: no process holds it */
	u32 tgid;  /* that opened the connection; 0: not known */
	u16 remote_port;
	u16 local_port;
	u16 family;
	u16 kind; /* enum resend_kind */
};

struct resend_value {
	u64 segments;
	u64 timeouts; /* times the timer ran out */
	u64 waited;   /* for that, in the scheduler's ticks */
};

struct connect_key {
	u32 address[4];
	u32 tgid;
	u32 error; /* of a failure; 0: the process gave up */
	u16 port;
	u16 family;
};

struct connecting {
	u64 since; /* 0: it was made, or was not */
	struct connect_key key;
	u32 pad;
};

struct connect_failures {
	u64 count;
	u64 ns;
};

struct accept_key {
	u32 netns;
	u32 port;
};

#define PATH_LEN 104 /* of a unix socket; the kernel has at most 108 */

/* Which end of a connection a socket is. */
enum request_side {
	SIDE_UNKNOWN = 0, /* nobody listened for it, or nobody knows */
	SIDE_SERVER = 1,  /* it was accepted */
	SIDE_CLIENT = 2,
	SIDE_ASIDE = 4,   /* added to either: booked while requests are followed for the event window alone */
};

/* What is listened on: a port or a path. Of a server it is its own, of a client the other end's. Addresses and ports as in
 * resend_key; a server has no address. */
struct request_end {
	u32 address[4];
	u32 netns;
	u16 port;
	u16 family;
	char path[PATH_LEN]; /* as bound: an abstract one begins with a zero */
};

/* Finer than the other distributions: sixteen slots for each power of two, up to two minutes. */
#define REQUEST_SLOTS 544

struct request_times {
	u64 sum;
	u64 max;
	u32 slots[REQUEST_SLOTS];
};

struct request_key {
	u64 end;    /* id of a request_end */
	u64 within; /* of a client: that of the server whose request the thread had in hand; 0: none */
	u32 tgid;
	u32 side; /* enum request_side */
};

/* Times in ns, summed; of clients only the bytes and the distribution are kept. */
struct request_value {
	u64 queued;    /* data was there and nobody had read it */
	u64 running;   /* of the thread that read it, until it sent */
	u64 runnable;
	u64 blocked;
	u64 elsewhere; /* another thread sent than the one that had read or sent before */
	u64 bytes_in;
	u64 bytes_out;
	struct request_times time;
};

/*
 * One request in the event window, or one exchange with whom a client asks, as far as it is answered: told anew with each
 * further data of the answer. Unlike an episode it tells by its size what it is.
 */
struct request_span {
	u64 connection;	  /* the same at both ends */
	u64 end;	  /* id of a request_end */
	u64 begin;	  /* the question came, or was sent */
	u64 read_at;	  /* a thread took it in hand */
	u64 answered_at;  /* the last data so far */
	u64 within;	  /* of a client: connection of the request that the thread had in hand; 0: none */
	u64 within_begin; /* and when that began */
	u32 tid;	  /* who answered; of a client: who asked */
	u32 tgid;
	u32 side; /* enum request_side */
	u32 pad;
};

/* One that is not answered when the window ends. */
struct request_open {
	struct request_key key; /* tgid 0: nobody has read it */
	u64 age;
};

enum event_kind {
	EVENT_EXEC = 1,
	EVENT_EXIT = 2,
	EVENT_SLOW_RUN_QUEUE = 3,
	EVENT_SLOW_BLOCK = 4,
	EVENT_SLOW_SYSCALL = 5,
	EVENT_OOM_KILL = 6, /* duration: inode of the victim's memory group */
};

struct event {
	u64 at;	      /* ns, monotonic */
	u64 duration; /* ns */
	u32 kind;
	u32 tgid;
	u32 tid;
	u32 other; /* parent, runner, device */
	s32 detail; /* exit code, system call, operation */
	u32 pad;
	char comm[COMM_LEN];
	char other_comm[COMM_LEN];
};

#endif
