// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/* The target's system calls: counts, times, failures, empty results. */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct call_key);
	__type(value, struct call_value);
} call_totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct error_key);
	__type(value, struct error_value);
} call_errors SEC(".maps");

/* Calls seen since the window began, by which user space bounds the cost of tracing them. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} calls_seen SEC(".maps");

/* Results that say "not now" rather than "no". */
#define EAGAIN 11
#define EINTR 4
/* Between these, the kernel tells itself to start the call again after a signal: user space never sees them. */
#define ERESTARTSYS 512
#define ERESTART_RESTARTBLOCK 516

static __always_inline int keep_argument(struct error_value *value, u8 kind, struct pt_regs *regs)
{
	switch (kind) {
	case ARG_PATH0:
		bpf_probe_read_user_str(value->argument, NAME_LEN, (void *)REGS_ARG0(regs));
		break;
	case ARG_PATH1:
		bpf_probe_read_user_str(value->argument, NAME_LEN, (void *)REGS_ARG1(regs));
		break;
	case ARG_ADDR1:
		bpf_probe_read_user(value->argument, 28, (void *)REGS_ARG1(regs));
		break;
	}
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(call_enter, struct pt_regs *regs, long nr)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32, zero = 0;
	u64 *seen = bpf_map_lookup_elem(&calls_seen, &zero);
	struct thread *t;

	if (seen)
		(*seen)++;
	if (!window_open() || !is_target(tgid))
		return 0;
	t = start_clock(bpf_get_current_task_btf(), RUNNING, window_begin);
	if (!t)
		return 0;
	t->call_off_cpu = t->off_cpu;
	t->call_begin = bpf_ktime_get_ns();
	t->times.traced = 1;
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_exit, struct pt_regs *regs, long result)
{
	u64 id = bpf_get_current_pid_tgid(), nr, now, wall, off;
	struct call_key key = { .tgid = id >> 32 };
	const volatile struct call_info *call;
	struct call_value *value;
	struct thread *t;
	bool failed;
	u8 kind;

	if (!window_open() || !is_target(key.tgid))
		return 0;
	t = bpf_task_storage_get(&threads, bpf_get_current_task_btf(), 0, 0);
	/* A call that began when calls were traced the last time did not end then. */
	if (!t || !t->call_begin || t->call_begin < attached_since[FREQUENT_CALLS])
		return 0;
	now = bpf_ktime_get_ns();
	wall = now - t->call_begin;
	off = t->off_cpu - t->call_off_cpu;
	t->call_begin = 0;
	if (off < wall)
		t->times.in_syscall += wall - off;
	nr = (u16)REGS_SYSCALL(regs);
	call = call_of(nr);
	if (!call)
		return 0;
	key.nr = nr;
	key.tgid = account_of(bpf_get_current_task_btf(), t, now);
	kind = call->kind;
	value = bpf_map_lookup_elem(&call_totals, &key);
	if (!value) {
		bpf_map_update_elem(&call_totals, &key, &no_call, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&call_totals, &key);
		if (!value) {
			count_lost();
			return 0;
		}
	}
	if (!(__sync_fetch_and_add(&value->count, 1) & 63) && call->bytes) {
		value->looked_at++;
		if (file_type(file_of(bpf_get_current_task_btf(), REGS_ARG0(regs))) == TYPE_SOCKET)
			value->on_sockets++;
	}
	if (off < wall)
		__sync_fetch_and_add(&value->cpu_ns, wall - off);
	hist_add(&value->time, wall);
	if (!result && call->counts)
		__sync_fetch_and_add(&value->empty, 1);
	if (result > 0 && call->bytes)
		__sync_fetch_and_add(&value->bytes, result);
	/* A pause keeps what it follows: "fail, sleep, try again" is one story. */
	failed = result < 0 && result >= -4095 && !(result <= -ERESTARTSYS && result >= -ERESTART_RESTARTBLOCK);
	if (kind != CALL_SLEEP && kind != CALL_POLL && kind != CALL_FUTEX)
		t->failed_at = failed && result != -EAGAIN && result != -EINTR ? now : 0;
	if (failed) {
		struct error_key which = { .tgid = key.tgid, .nr = nr, .error = -result };
		struct error_value *error, first = {};

		__sync_fetch_and_add(&value->errors, 1);
		error = bpf_map_lookup_elem(&call_errors, &which);
		if (!error) {
			bpf_map_update_elem(&call_errors, &which, &first, BPF_NOEXIST);
			error = bpf_map_lookup_elem(&call_errors, &which);
		}
		if (!error) {
			count_lost();
		} else {
			if (!(error->count & 63))
				keep_argument(error, call->arg, regs);
			__sync_fetch_and_add(&error->count, 1);
		}
	}
	if (wall >= slow_syscall_ns && kind != CALL_SLEEP && kind != CALL_POLL) {
		struct event *event = reserve_event(EVENT_SLOW_SYSCALL, now);

		if (event) {
			event->duration = wall;
			event->tgid = id >> 32;
			event->tid = (u32)id;
			event->detail = nr;
			bpf_get_current_comm(event->comm, COMM_LEN);
			bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
		}
	}
	return 0;
}
