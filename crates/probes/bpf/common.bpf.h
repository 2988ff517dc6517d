/* SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause) */
/* Maps, settings and helpers that the programs share. */
#ifndef FRIDAY_COMMON_H
#define FRIDAY_COMMON_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "shared.h"

#define PF_KTHREAD 0x00200000
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
u64 lost = 0;	      /* rows, stacks and events that did not fit */
u64 throttling = 0;   /* somebody has been throttled: look more closely from then on */
u64 calls_since = 0;  /* system calls are traced since then; 0: they are not */
/* Which process ids can be targets, so that the others' system calls cost no lookup. */
u64 target_filter[TARGET_WORDS] = {};

/* No map holds these types, so they are named here for the generated bindings. */
const volatile struct event exported_event = {};
const volatile struct unwind_row exported_row = {};
const volatile enum unwind_limit exported_limit = 0;
const volatile enum unwind_kind exported_kind = 0;
const volatile enum unwind_layout exported_layout = 0;
const volatile enum unwind_flag exported_flag = 0;
const volatile enum unwind_end exported_end = 0;
const volatile enum socket_reason exported_reason = 0;

enum thread_state { UNSEEN = 0, RUNNING = 1, RUNNABLE = 2, BLOCKED = 3 };

/* What is remembered of a thread between events. */
struct thread {
	struct thread_times times;
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
	u64 executed_at;  /* the scheduler's account when it began to run */
	u64 failed_at;	  /* end of its last call, pauses apart, if that failed; else 0 */
	u64 lock;	  /* the kernel's lock it contends for */
	u64 lock_since;
	u64 minor_before; /* faults before the window */
	u64 major_before;
	u64 reclaim_since[RECLAIM_KINDS];
	u32 lock_flags;
	u32 lock_holder;
	u32 holder;	  /* of the lock it waits for */
	u32 waker_tid;
	u32 waker_tgid;
	u32 device;	  /* of its latest block request */
	u32 calm;	  /* short waits in a row */
	s16 syscall;
	s16 waker_syscall;
	u8 state;
	u8 flags;
	u8 object;
	u8 kind; /* enum call_kind of the wait */
	u8 poll_one;
	u8 throttled;
	u8 early_wake;
	u8 faults_known; /* it was there when the window opened, or was made later */
	u8 reason;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread);
} threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, u32);
	__type(value, u8);
} targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, struct kernel_stack);
} kernel_stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct user_stack);
} user_stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

/* When a socket last sent something again, by its address. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, u64);
} retransmitting SEC(".maps");

/* Programs of different kinds can interrupt one another: each has its own scratch space. */
enum scratch { SCRATCH_SWITCH = 0, SCRATCH_WAKE = 1, SCRATCH_SAMPLE = 2, SCRATCH_ITER = 3, SCRATCH_LOCK = 4, SCRATCH_FAULT = 5, SCRATCHES = 6 };

/* Where a walk of a user stack has got to. */
struct walk {
	u64 ip;
	u64 sp;
	u64 bp;
	u64 end;
	u32 first; /* range */
	u32 ranges;
	u32 exact; /* ip is where it was, not where it returns to */
	u32 missed;
	u32 guessed;
	u32 pad;
	struct unwind_range range; /* that of the last frame */
};

struct stack_scratch {
	struct kernel_stack kernel;
	struct user_stack user;
	struct walk walk;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCHES);
	__type(key, u32);
	__type(value, struct stack_scratch);
} scratches SEC(".maps");

static __always_inline void count_lost(void)
{
	__sync_fetch_and_add(&lost, 1);
}

static __always_inline bool window_open(void)
{
	return window_begin && !window_end;
}

/* Records are made where tasks are made and when the window begins, never here: making one allocates memory, and the
 * scheduler's tracepoints run with run-queue locks held (before Linux 6.4 the allocation could wake kswapd). */
static __always_inline struct thread *thread_of(struct task_struct *task)
{
	struct thread *t = bpf_task_storage_get(&threads, task, 0, 0);

	if (!t)
		count_lost();
	return t;
}

static __always_inline bool is_target(u32 tgid)
{
	u64 word = (tgid / 64) & (TARGET_WORDS - 1);

	if (trace_everyone)
		return tgid != self_tgid;
	return target_filter[word] & (1ULL << (tgid & 63)) && bpf_map_lookup_elem(&targets, &tgid);
}

/* What is known of a system call; NULL for numbers out of range. */
static __always_inline const volatile struct call_info *call_of(u64 nr)
{
	if (nr >= MAX_SYSCALLS)
		return NULL;
	asm volatile("" : "+r"(nr)); /* keeps the compiler from dropping the mask that the verifier needs */
	return &calls[nr & (MAX_SYSCALLS - 1)];
}

static __always_inline u64 mix(u64 hash, u64 value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15ULL;
	return hash ^ (hash >> 29);
}

/* Stores the kernel stack that lies in scratch; returns its id, 0 when there is none. */
static __noinline u64 keep_kernel_stack(struct kernel_stack *stack, long bytes)
{
	u64 hash = 0x6b65726e656cULL;
	u64 depth = (u64)bytes / 8;

	if (bytes <= 0)
		return 0;
	if (depth > KERNEL_DEPTH)
		depth = KERNEL_DEPTH;
	stack->depth = depth;
	for (u64 i = 0; i < KERNEL_DEPTH; i++) {
		if (i >= depth)
			break;
		hash = mix(hash, stack->ips[i]);
	}
	if (!hash)
		hash = 1;
	if (!bpf_map_lookup_elem(&kernel_stacks, &hash) &&
	    bpf_map_update_elem(&kernel_stacks, &hash, stack, BPF_ANY))
		count_lost();
	return hash;
}

/* The same for a user stack; the process is part of the id, as addresses mean nothing without it. */
static __noinline u64 keep_user_stack(struct user_stack *stack, long bytes, u32 tgid)
{
	u64 hash = mix(0x75736572ULL, tgid);
	u64 depth = (u64)bytes / 8;

	if (bytes <= 0)
		return 0;
	if (depth > USER_DEPTH)
		depth = USER_DEPTH;
	stack->depth = depth;
	for (u64 i = 0; i < USER_DEPTH; i++) {
		if (i >= depth)
			break;
		hash = mix(hash, stack->ips[i]);
	}
	if (!hash)
		hash = 1;
	if (!bpf_map_lookup_elem(&user_stacks, &hash) &&
	    bpf_map_update_elem(&user_stacks, &hash, stack, BPF_ANY))
		count_lost();
	return hash;
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

static __always_inline struct event *reserve_event(u32 kind, u64 at)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		count_lost();
		return NULL;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->kind = kind;
	event->at = at;
	return event;
}

#endif
