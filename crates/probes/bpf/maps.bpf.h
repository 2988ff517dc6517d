/* SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause) */
/* Maps that the traced programs share: threads' records, targets, stacks and events. */
#ifndef FRIDAY_MAPS_H
#define FRIDAY_MAPS_H

#include "common.bpf.h"

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

/* Programs of different kinds can interrupt one another: each has its own scratch space. */
enum scratch {
	SCRATCH_SWITCH = 0,
	SCRATCH_WAKE = 1,
	SCRATCH_SAMPLE = 2,
	SCRATCH_ITER = 3,
	SCRATCH_FAULT = 4,
	SCRATCH_GOROUTINE = 5,
	SCRATCHES = 6,
};

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
	u16 crossed; /* the frame pointer has just led to another stack */
	u16 crossings;
	struct unwind_range range; /* that of the last frame */
};

struct stack_scratch {
	struct kernel_stack kernel;
	struct user_stack user;
	struct walk walk;
	u64 allowed[4]; /* CPUs, as bits */
	struct seen_episode seen;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCHES);
	__type(key, u32);
	__type(value, struct stack_scratch);
} scratches SEC(".maps");

/* Records are made where tasks are made and when the window begins, never here: making one allocates memory, and the
 * scheduler's tracepoints run with run-queue locks held (before Linux 6.4 the allocation could wake kswapd). */
static __always_inline struct thread *thread_of(struct task_struct *task)
{
	struct thread *t = bpf_task_storage_get(&threads, task, 0, 0);

	if (!t)
		count_lost_of(LOST_CLOCKS);
	return t;
}

/* ours: processes that live for less have no row of their own in tables by process: a storm of them would fill those. */
#define YOUNG_NS 1000000000ULL
#define GENERATIONS 4

/* The process in whose name a thread's calls and waits are counted: its own, or the nearest ancestor that is no child. */
static __noinline u32 account_of(struct task_struct *task, struct thread *t, u64 now)
{
	u32 tgid = t->times.tgid;

	if (t->times.begin == window_begin)
		return tgid;
	for (int i = 0; i < GENERATIONS; i++) {
		struct task_struct *leader = BPF_CORE_READ(task, group_leader);

		tgid = BPF_CORE_READ(leader, tgid);
		if (BPF_CORE_READ(leader, start_time) + YOUNG_NS < now)
			break;
		task = BPF_CORE_READ(leader, real_parent);
	}
	return tgid;
}

static __always_inline bool is_target(u32 tgid)
{
	u64 word = (tgid / 64) & (TARGET_WORDS - 1);

	if (trace_everyone)
		return tgid != self_tgid;
	return target_filter[word] & (1ULL << (tgid & 63)) && bpf_map_lookup_elem(&targets, &tgid);
}

static __always_inline u64 mix(u64 hash, u64 value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15ULL;
	return hash ^ (hash >> 29);
}

/*
 * What has loops is a global function wherever its arguments are plain numbers: the verifier checks those once and by
 * themselves, not once for every way that leads to them.
 */

/* Stores the kernel stack that lies in scratch; returns its id, 0 when there is none. */
__noinline u64 keep_kernel_stack(u32 scratch, s64 bytes)
{
	struct stack_scratch *stacks = bpf_map_lookup_elem(&scratches, &scratch);
	u64 hash = 0x6b65726e656cULL;
	u64 depth = (u64)bytes / 8;
	struct kernel_stack *stack;

	if (bytes <= 0 || !stacks)
		return 0;
	stack = &stacks->kernel;
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
		count_lost_of(LOST_STACKS);
	return hash;
}

/* The same for a user stack. The process is part of the id, as addresses mean nothing without it, and so is its end, as
 * the same frames may be found once with tables and once without. */
__noinline u64 keep_user_stack(u32 scratch, s64 bytes, u32 tgid)
{
	struct stack_scratch *stacks = bpf_map_lookup_elem(&scratches, &scratch);
	u64 hash = mix(0x75736572ULL, tgid);
	u64 depth = (u64)bytes / 8;
	struct user_stack *stack;

	if (bytes <= 0 || !stacks)
		return 0;
	stack = &stacks->user;
	if (depth > USER_DEPTH)
		depth = USER_DEPTH;
	stack->depth = depth;
	for (u64 i = 0; i < USER_DEPTH; i++) {
		if (i >= depth)
			break;
		hash = mix(hash, stack->ips[i]);
	}
	hash = mix(hash, stack->end);
	if (!hash)
		hash = 1;
	if (!bpf_map_lookup_elem(&user_stacks, &hash) &&
	    bpf_map_update_elem(&user_stacks, &hash, stack, BPF_ANY))
		count_lost_of(LOST_STACKS);
	return hash;
}

static __always_inline struct event *reserve_event(u32 kind, u64 at)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		count_lost_of(LOST_EVENTS);
		return NULL;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->kind = kind;
	event->at = at;
	return event;
}

#endif
