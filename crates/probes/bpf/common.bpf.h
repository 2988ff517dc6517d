/* SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause) */
/* Types, settings and helpers that all programs share. */
#ifndef FRIDAY_COMMON_H
#define FRIDAY_COMMON_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "shared.h"

#define PF_KTHREAD 0x00200000
#define SIGKILL 9
#define TASK_INTERRUPTIBLE 0x1
#define TASK_UNINTERRUPTIBLE 0x2
#define TASK_STOPPED_OR_TRACED 0xc
#define TASK_DEAD 0x80
#define TASK_WAKING 0x200
#define TASK_NOLOAD 0x400

/* Set before loading. */
const volatile u32 self_tgid = 0;
const volatile u32 cpus = 1;
const volatile u32 trace_everyone = 0; /* system calls of every process, not only of the targets */
const volatile u32 take_stacks = 1; /* 0: times only */
const volatile u64 stack_threshold_ns = 20000;
const volatile u64 slow_run_queue_ns = 20000000;
const volatile u64 slow_block_ns = 20000000;
const volatile u64 slow_syscall_ns = 100000000;
const volatile struct call_info calls[MAX_SYSCALLS] = {};

/* Set while running. */
u64 window_begin = 0; /* 0: not yet */
u64 window_end = 0;   /* 0: still open */
u64 lost[LOST_KINDS] = {}; /* what did not fit */
u64 throttling = 0;   /* somebody has been throttled: look more closely from then on */
u64 streaming = 0;    /* the event window is open */
u64 attached_since[FREQUENT_KINDS] = {}; /* of frequent events' programs; 0: they are not */
/* Which process ids can be targets, so that the others' system calls cost no lookup. */
u64 target_filter[TARGET_WORDS] = {};

/* No map holds these types, so they are named here for the generated bindings. */
const volatile struct event exported_event = {};
const volatile struct place exported_place = {};
const volatile struct seen_episode exported_episode = {};
const volatile enum episode_kind exported_episode_kind = 0;
const volatile enum lost_kind exported_lost = 0;
const volatile enum goroutine_side exported_goroutine_side = 0;
const volatile struct request_open exported_open = {};
const volatile struct request_span exported_span = {};
const volatile struct snapshot exported_snapshot = {};
const volatile struct unwind_row exported_row = {};
const volatile enum unwind_limit exported_limit = 0;
const volatile enum unwind_kind exported_kind = 0;
const volatile enum unwind_layout exported_layout = 0;
const volatile enum unwind_flag exported_flag = 0;
const volatile enum unwind_end exported_end = 0;
const volatile enum socket_reason exported_reason = 0;

enum thread_state { UNSEEN = 0, RUNNING = 1, RUNNABLE = 2, BLOCKED = 3 };

/* Whether a wait is looked at, and for how many it stands. */
enum chosen {
	SKIPPED = 0,
	SAMPLED = 1, /* for itself and skipped ones of its thread and kind */
	ALWAYS = 2,  /* for itself */
};

#define PLACES 16

/* Where in user space a thread was as its stack was taken. */
struct known_place {
	u64 place;
	u64 user_stack;
};

/* What is remembered of a thread between events. */
struct thread {
	struct thread_times times;
	struct known_place places[PLACES];
	u64 since; /* begin of the state it is in */
	u64 user_stack;
	u64 waker_stack;
	u64 blocked_ns;	  /* length of the wait that a wake-up ended, until it runs */
	u64 blocked_since;
	u64 last_wait;
	u64 off_cpu;	  /* all time not running, for system call CPU time */
	u64 call_begin;	  /* 0: not in a traced call */
	u64 call_off_cpu; /* off_cpu at that moment */
	u64 object_a;
	u64 object_b;
	u64 executed_at;  /* the scheduler's account when it began to run, or ceased to */
	u64 failed_at;	  /* end of its last call, pauses apart, if that failed; else 0 */
	u64 request;	  /* connection of the request it read last and has not answered; 0: none */
	u64 request_begin;
	u64 request_end;  /* where that came in */
	u64 request_slice; /* which slice of tracing that was in */
	u64 lock;	  /* the kernel's lock it contends for */
	u64 lock_since;
	u64 throttle_queue; /* whose throttled time was throttle_self as the wait began; 0: not counted */
	u64 throttle_self;
	u64 minor_before; /* faults before the window */
	u64 major_before;
	u64 reclaim_since[RECLAIM_KINDS];
	u64 file; /* inode of its latest block request, if that was for the page cache of a file; else 0 */
	u32 lock_flags;
	u32 lock_holder;
	u32 holder;	  /* of the lock it waits for */
	u32 waker_tid;
	u32 waker_tgid;
	u32 device;	  /* of its latest block request */
	u32 file_device;  /* of that file's file system */
	u32 calm;	  /* waits in a row that were not long */
	u32 calm_short;	  /* and not even worth a stack */
	s16 syscall;
	s16 waker_syscall;
	u16 flags;
	u8 state;
	u8 object;
	u8 kind; /* enum call_kind of the wait */
	u8 poll_one; /* enum polled */
	u8 throttled;
	u8 early_wake;
	u8 faults_known; /* it was there when the window opened, or was made later */
	u8 reason;
	u8 closed; /* its books are */
	u8 chosen; /* enum chosen: of the wait that goes on or ended last */
	u8 before; /* what it did as the window opened, if no event had shown it yet; else UNSEEN */
};

static __always_inline void count_lost_of(u64 kind)
{
	__sync_fetch_and_add(&lost[kind], 1);
}

static __always_inline void count_lost(void)
{
	count_lost_of(LOST_ROWS);
}

static __always_inline bool window_open(void)
{
	return window_begin && !window_end;
}

/* What is known of a system call; NULL for numbers out of range. */
static __always_inline const volatile struct call_info *call_of(u64 nr)
{
	if (nr >= MAX_SYSCALLS)
		return NULL;
	asm volatile("" : "+r"(nr)); /* keeps the compiler from dropping the mask that the verifier needs */
	return &calls[nr & (MAX_SYSCALLS - 1)];
}


static __always_inline u64 log2_floor(u64 v)
{
	u64 r = 0;

	if (v >> 32) {
		v >>= 32;
		r += 32;
	}
	if (v >> 16) {
		v >>= 16;
		r += 16;
	}
	if (v >> 8) {
		v >>= 8;
		r += 8;
	}
	if (v >> 4) {
		v >>= 4;
		r += 4;
	}
	if (v >> 2) {
		v >>= 2;
		r += 2;
	}
	return r + (v >> 1);
}

/* Log-linear: values below 8 have a bucket each, then four for each power of two. */
static __always_inline u64 hist_slot(u64 value)
{
	u64 shift;

	if (value < 8)
		return value;
	shift = log2_floor(value) - 2;
	return (shift + 1) * 4 + ((value >> shift) & 3);
}

static __always_inline void hist_add(struct hist *hist, u64 value)
{
	u64 slot = hist_slot(value);

	if (slot >= HIST_SLOTS)
		slot = HIST_SLOTS - 1;
	__sync_fetch_and_add(&hist->slots[slot], 1);
	__sync_fetch_and_add(&hist->sum, value);
	if (value > hist->max)
		hist->max = value;
}

/* CPUs' clocks are read just before the events they date, so two events can seem to swap. */
static __always_inline u64 since_until(u64 since, u64 now)
{
	return now > since ? now - since : 0;
}

static const struct hist no_hist = {};
static const struct call_value no_call = {};

/* System call number and arguments of a task that is in the kernel on behalf of user space. */
#if defined(__TARGET_ARCH_x86)
#define REGS_SYSCALL(regs) ((s16)(regs)->orig_ax)
#define REGS_ARG0(regs) ((regs)->di)
#define REGS_ARG1(regs) ((regs)->si)
#define REGS_ARG2(regs) ((regs)->dx)
#elif defined(__TARGET_ARCH_arm64)
#define REGS_SYSCALL(regs) ((s16)(regs)->syscallno)
#define REGS_ARG0(regs) ((regs)->orig_x0)
#define REGS_ARG1(regs) ((regs)->regs[1])
#define REGS_ARG2(regs) ((regs)->regs[2])
#endif

#endif
