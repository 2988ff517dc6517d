// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * Goroutines that wait for a lock of Go's package sync: the runtime parks them without a system call, and their thread
 * runs another or looks idle. Two functions of the runtime tell it, both probed at their entry only (a return probe
 * would break a stack that the runtime moves): the one in which a goroutine goes to wait for a lock's semaphore, and the one
 * that makes a waiter ready. Since Go 1.18 both have their first argument in the same register, and the goroutine that
 * runs in another one.
 *
 * Who lets a lock go is told all the waiting there was since it had been let go before: who got it for a moment only, in
 * a queue behind somebody else, has not made those behind it wait.
 */

#if defined(__TARGET_ARCH_x86)
#define REGS_GOROUTINE(regs) ((regs)->r14)
#define REGS_GO_ARG0(regs) ((regs)->ax)
#elif defined(__TARGET_ARCH_arm64)
#define REGS_GOROUTINE(regs) ((regs)->regs[28])
#define REGS_GO_ARG0(regs) ((regs)->regs[0])
#endif

/* Of struct g (runtime/runtime2.go), the same since Go 1.5: the stack pointer of a parked goroutine. */
#define GOROUTINE_SP 56
/* ours: from a lock's semaphore down to where it is parked are two small frames. */
#define GOROUTINE_DEEP 2048

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct goroutine_key);
	__type(value, struct goroutine_wait);
} goroutines_waiting SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct goroutine_lock_key);
	__type(value, struct goroutine_lock);
} goroutine_locks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct goroutine_row_key);
	__type(value, struct goroutine_row);
} goroutine_rows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct goroutine_cpu);
} goroutines_of SEC(".maps");

static const struct goroutine_row no_goroutine_row = {};
static const struct goroutine_lock no_goroutine_lock = {};

/* The lock, with the waiting for it up to now. */
static __always_inline struct goroutine_lock *goroutine_lock_of(u64 address, u32 tgid, u64 now, bool make)
{
	struct goroutine_lock_key key = { .lock = address, .tgid = tgid };
	struct goroutine_lock *lock = bpf_map_lookup_elem(&goroutine_locks, &key);

	if (!lock && make) {
		bpf_map_update_elem(&goroutine_locks, &key, &no_goroutine_lock, BPF_NOEXIST);
		lock = bpf_map_lookup_elem(&goroutine_locks, &key);
		if (!lock)
			count_lost();
	}
	if (!lock)
		return NULL;
	/* Who waited in an earlier slice may have got it in between. */
	if (lock->slice != attached_since[FREQUENT_GOROUTINES]) {
		lock->slice = attached_since[FREQUENT_GOROUTINES];
		lock->waited = 0;
		lock->waiters = 0;
	} else {
		lock->waited += since_until(lock->changed, now) * lock->waiters;
	}
	lock->changed = now;
	return lock;
}

static __always_inline void count_goroutine(u32 side, u32 tgid, u64 address, u64 stack, u64 ns)
{
	struct goroutine_row_key key = { .lock = address, .stack = stack, .tgid = tgid, .side = side };
	struct goroutine_row *row = bpf_map_lookup_elem(&goroutine_rows, &key);

	if (!row) {
		bpf_map_update_elem(&goroutine_rows, &key, &no_goroutine_row, BPF_NOEXIST);
		row = bpf_map_lookup_elem(&goroutine_rows, &key);
		if (!row) {
			count_lost();
			return;
		}
	}
	__sync_fetch_and_add(&row->ns, ns);
	__sync_fetch_and_add(&row->count, 1);
	if (ns > row->max)
		row->max = ns;
}

static __always_inline void goroutine_goes_to_wait(struct pt_regs *ctx)
{
	struct goroutine_key key = { .g = REGS_GOROUTINE(ctx), .tgid = bpf_get_current_pid_tgid() >> 32 };
	struct goroutine_wait wait = { .lock = REGS_GO_ARG0(ctx), .sp = REGS_SP(ctx) };
	struct goroutine_wait *before = bpf_map_lookup_elem(&goroutines_waiting, &key);
	struct goroutine_lock *lock;

	/* What it went to wait for before, it has got without being parked. */
	if (before && before->since >= attached_since[FREQUENT_GOROUTINES]) {
		lock = goroutine_lock_of(before->lock, key.tgid, bpf_ktime_get_ns(), false);
		if (lock && lock->waiters)
			lock->waiters--;
	}
	if (before)
		bpf_map_delete_elem(&goroutines_waiting, &key);
	if (bpf_probe_read_user(&wait.back, sizeof(wait.back), (void *)wait.sp))
		return;
	wait.stack = take_user_stack(ctx, SCRATCH_GOROUTINE, key.tgid);
	wait.since = bpf_ktime_get_ns();
	lock = goroutine_lock_of(wait.lock, key.tgid, wait.since, true);
	if (!lock)
		return;
	if (bpf_map_update_elem(&goroutines_waiting, &key, &wait, BPF_ANY)) {
		count_lost();
		return;
	}
	lock->waiters++;
}

static __always_inline void goroutine_is_let_go_on(struct pt_regs *ctx)
{
	struct goroutine_key key = { .tgid = bpf_get_current_pid_tgid() >> 32 };
	struct goroutine_wait *waiting, wait;
	struct goroutine_lock *lock;
	u64 now, sp = 0, back = 0, waited = 0;

	/* The argument is the waiter's place in the queue, which begins with its goroutine. */
	if (bpf_probe_read_user(&key.g, sizeof(key.g), (void *)REGS_GO_ARG0(ctx)))
		return;
	waiting = bpf_map_lookup_elem(&goroutines_waiting, &key);
	if (!waiting)
		return;
	wait = *waiting;
	bpf_map_delete_elem(&goroutines_waiting, &key);
	now = bpf_ktime_get_ns();
	if (wait.since < attached_since[FREQUENT_GOROUTINES])
		return;
	lock = goroutine_lock_of(wait.lock, key.tgid, now, false);
	if (lock && lock->waiters)
		lock->waiters--;
	/* It may have got the lock without being parked, and wait for something else now: then it is not where it went to
	 * wait for the lock. */
	if (bpf_probe_read_user(&sp, sizeof(sp), (void *)(key.g + GOROUTINE_SP)) ||
	    bpf_probe_read_user(&back, sizeof(back), (void *)wait.sp) || sp >= wait.sp ||
	    wait.sp - sp > GOROUTINE_DEEP || back != wait.back)
		return;
	if (lock) {
		waited = lock->waited;
		lock->waited = 0;
	}
	count_goroutine(GOROUTINE_WAITS, key.tgid, wait.lock, wait.stack, now - wait.since);
	count_goroutine(GOROUTINE_LETS_GO, key.tgid, wait.lock, take_user_stack(ctx, SCRATCH_GOROUTINE, key.tgid),
			waited);
}

/* A probe of user space may be preempted by another one on its CPU, and both would have the same scratch space. */
static __always_inline struct goroutine_cpu *goroutine_begin(void)
{
	u32 zero = 0;
	struct goroutine_cpu *cpu = bpf_map_lookup_elem(&goroutines_of, &zero);

	if (!cpu || !window_open() || !attached_since[FREQUENT_GOROUTINES])
		return NULL;
	cpu->seen++;
	if (cpu->busy) {
		count_lost();
		return NULL;
	}
	cpu->busy = 1;
	return cpu;
}

SEC("uprobe")
int goroutine_waits(struct pt_regs *ctx)
{
	struct goroutine_cpu *cpu = goroutine_begin();

	if (cpu) {
		goroutine_goes_to_wait(ctx);
		cpu->busy = 0;
	}
	return 0;
}

SEC("uprobe")
int goroutine_let_go(struct pt_regs *ctx)
{
	struct goroutine_cpu *cpu = goroutine_begin();

	if (cpu) {
		goroutine_is_let_go_on(ctx);
		cpu->busy = 0;
	}
	return 0;
}
