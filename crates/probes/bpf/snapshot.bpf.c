// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * What every task is doing at one moment: an iterator that attaches nothing. It serves where nothing should be attached,
 * and where the traced programs cannot be loaded.
 */
#include "common.bpf.h"
#include "../src/sched/blocked.bpf.h"

/* The iterator's notes of the task at hand. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct thread);
} notes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct snapshot);
} snapshots SEC(".maps");

/* Set by user space: only tasks of targets. */
const volatile u32 named = 0;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, u32);
	__type(value, u8);
} wanted SEC(".maps");

SEC("iter/task")
int snapshot_task(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct snapshot *row;
	u32 zero = 0, state, tgid;
	struct thread *t;
	long bytes;

	if (!task || !task->pid || task->flags & PF_KTHREAD || task->tgid == self_tgid)
		return 0;
	tgid = task->tgid;
	if (named && !bpf_map_lookup_elem(&wanted, &tgid))
		return 0;
	state = task_state(task);
	t = bpf_map_lookup_elem(&notes, &zero);
	row = bpf_map_lookup_elem(&snapshots, &zero);
	if (!t || !row || state & TASK_DEAD)
		return 0;
	__builtin_memset(t, 0, sizeof(*t));
	__builtin_memset(&row->key, 0, sizeof(row->key));
	row->depth = 0;
	row->blocked = state && !task->on_cpu;
	row->key.tid = task->pid;
	row->key.tgid = tgid;
	row->key.syscall = -1;
	row->key.waker_syscall = -1;
	if (row->blocked) {
		t->times.tid = task->pid;
		t->times.tgid = tgid;
		note_block(task, t, state);
		describe_object(task, t);
		row->key.syscall = t->syscall;
		row->key.flags = t->flags | WAIT_OPEN; /* nobody knows how it will end */
		row->key.object = t->object;
		row->key.object_a = t->object_a;
		row->key.object_b = t->object_b;
		row->key.reason = t->reason;
		bytes = bpf_get_task_stack(task, row->ips, sizeof(row->ips), 0);
		if (bytes > 0)
			row->depth = bytes / 8;
	}
	bpf_seq_write(ctx->meta->seq, row, sizeof(*row));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
