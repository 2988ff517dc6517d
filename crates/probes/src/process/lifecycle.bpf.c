// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/* Processes that begin and end: descendants of targets become targets, and short lives are counted. */

SEC("tp_btf/sched_process_fork")
int BPF_PROG(lifecycle_fork, struct task_struct *parent, struct task_struct *child)
{
	u32 tgid = child->tgid, from = parent->tgid;
	u8 one = 1;

	if (child->pid != child->tgid)
		return 0;
	unwind_fork(from, tgid);
	if (!bpf_map_lookup_elem(&targets, &from))
		return 0;
	if (bpf_map_update_elem(&targets, &tgid, &one, BPF_ANY))
		count_lost();
	__sync_fetch_and_or(&target_filter[(tgid / 64) & (TARGET_WORDS - 1)], 1ULL << (tgid & 63));
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(lifecycle_exec, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct event *event;

	unwind_forget(task->tgid);
	if (!window_open() || task->tgid == self_tgid)
		return 0;
	event = reserve_event(EVENT_EXEC, bpf_ktime_get_ns());
	if (!event)
		return 0;
	event->tgid = task->tgid;
	event->tid = task->pid;
	event->other = BPF_CORE_READ(task, real_parent, tgid);
	__builtin_memcpy(event->comm, task->comm, COMM_LEN);
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(lifecycle_exit, struct task_struct *task)
{
	u64 now = bpf_ktime_get_ns();
	struct event *event;

	if (BPF_CORE_READ(task, signal, live.counter))
		return 0;
	unwind_forget(task->tgid);
	if (!window_open() || task->tgid == self_tgid)
		return 0;
	event = reserve_event(EVENT_EXIT, now);
	if (!event)
		return 0;
	event->tgid = task->tgid;
	event->tid = task->pid;
	event->other = BPF_CORE_READ(task, real_parent, tgid);
	event->detail = task->exit_code;
	event->duration = now - BPF_CORE_READ(task, group_leader, start_time);
	/* Whichever thread is the last: the process goes by its first one's name. */
	BPF_CORE_READ_STR_INTO(&event->comm, task, group_leader, comm);
	BPF_CORE_READ_STR_INTO(&event->other_comm, task, real_parent, comm);
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return 0;
}
