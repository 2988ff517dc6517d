// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * Tasks that must make memory free before they get any: direct reclaim, reclaim under a control group's limit, and
 * compaction; and whom the kernel kills when that does not help. All of it is rare, and costs nothing while it does
 * not happen.
 */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct reclaim_key);
	__type(value, struct hist);
} reclaims SEC(".maps");

/* The inode number of a task's memory control group; 0 where there is none. */
static __always_inline u64 memory_group(struct task_struct *task)
{
	struct cgroup_subsys_state *state = NULL;
	struct css_set *set;
	u64 at;

	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		return 0;
	at = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);
	set = BPF_CORE_READ(task, cgroups);
	bpf_probe_read_kernel(&state, sizeof(state), (void *)&set->subsys[0] + at * sizeof(state));
	return state ? BPF_CORE_READ(state, cgroup, kn, id) : 0;
}

static __always_inline int reclaim_begins(u32 kind)
{
	struct thread *t;

	if (!window_open())
		return 0;
	t = bpf_task_storage_get(&threads, bpf_get_current_task_btf(), 0, 0);
	if (!t)
		return 0;
	t->reclaim_since[kind] = bpf_ktime_get_ns();
	return 0;
}

static __always_inline int reclaim_ends(u32 kind)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *t = bpf_task_storage_get(&threads, task, 0, 0);
	struct reclaim_key key = { .tgid = task->tgid, .kind = kind };
	struct hist *hist;
	u64 since;

	if (!t || !t->reclaim_since[kind])
		return 0;
	since = t->reclaim_since[kind];
	t->reclaim_since[kind] = 0;
	if (!window_open() || key.tgid == self_tgid)
		return 0;
	key.group = memory_group(task);
	hist = bpf_map_lookup_elem(&reclaims, &key);
	if (!hist) {
		bpf_map_update_elem(&reclaims, &key, &no_hist, BPF_NOEXIST);
		hist = bpf_map_lookup_elem(&reclaims, &key);
		if (!hist) {
			count_lost();
			return 0;
		}
	}
	hist_add(hist, since_until(since, bpf_ktime_get_ns()));
	return 0;
}

SEC("tp_btf/mm_vmscan_direct_reclaim_begin")
int BPF_PROG(memory_reclaim_begin)
{
	return reclaim_begins(RECLAIM_DIRECT);
}

SEC("tp_btf/mm_vmscan_direct_reclaim_end")
int BPF_PROG(memory_reclaim_end)
{
	return reclaim_ends(RECLAIM_DIRECT);
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_begin")
int BPF_PROG(memory_group_reclaim_begin)
{
	return reclaim_begins(RECLAIM_GROUP);
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_end")
int BPF_PROG(memory_group_reclaim_end)
{
	return reclaim_ends(RECLAIM_GROUP);
}

SEC("tp_btf/mm_compaction_begin")
int BPF_PROG(memory_compaction_begin)
{
	return reclaim_begins(RECLAIM_COMPACTION);
}

SEC("tp_btf/mm_compaction_end")
int BPF_PROG(memory_compaction_end)
{
	return reclaim_ends(RECLAIM_COMPACTION);
}

/* The victim; its process id before Linux 6.9. The current task is the one that asked for memory. */
SEC("tp_btf/mark_victim")
int memory_oom(u64 *ctx)
{
	struct task_struct *victim = (struct task_struct *)ctx[0], *asking = bpf_get_current_task_btf();
	struct event *event;

	if (!window_open())
		return 0;
	event = reserve_event(EVENT_OOM_KILL, bpf_ktime_get_ns());
	if (!event)
		return 0;
	if ((u64)victim >> 63) {
		event->tgid = BPF_CORE_READ(victim, tgid);
		event->tid = BPF_CORE_READ(victim, pid);
		event->duration = memory_group(victim);
		BPF_CORE_READ_STR_INTO(&event->comm, victim, comm);
	} else {
		event->tgid = event->tid = (u32)(u64)victim;
	}
	event->other = asking->tgid;
	__builtin_memcpy(event->other_comm, asking->comm, COMM_LEN);
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return 0;
}
