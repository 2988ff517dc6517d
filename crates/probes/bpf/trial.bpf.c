// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * One program of each kind that tracing is made of. Each is attached for a moment to see whether it works here: it tells that
 * it ran for friday itself, and does nothing for anybody else.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* Set before loading: friday's process, as its own namespace calls it, and that namespace. */
const volatile u32 own_pid = 0;
const volatile u64 namespace_device = 0;
const volatile u64 namespace_inode = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} fired SEC(".maps");

static __always_inline int tell(void)
{
	struct bpf_pidns_info who = {};
	u32 *told;

	if (bpf_get_ns_current_pid_tgid(namespace_device, namespace_inode, &who, sizeof(who)) || who.tgid != own_pid)
		return 0;
	told = bpf_ringbuf_reserve(&fired, sizeof(*told), 0);
	if (!told)
		return 0;
	*told = 1;
	bpf_ringbuf_submit(told, 0);
	return 0;
}

SEC("kprobe/vfs_read")
int trial_kprobe(void *ctx)
{
	return tell();
}

SEC("fentry/vfs_read")
int trial_fentry(void *ctx)
{
	return tell();
}

SEC("tp_btf/task_rename")
int trial_tracepoint(void *ctx)
{
	return tell();
}

SEC("uprobe")
int trial_uprobe(void *ctx)
{
	return tell();
}

SEC("iter/task")
int trial_iterator(struct bpf_iter__task *ctx)
{
	u32 one = 1;

	if (ctx->task)
		bpf_seq_write(ctx->meta->seq, &one, sizeof(one));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
