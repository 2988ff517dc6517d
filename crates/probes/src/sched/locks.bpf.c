// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * Contended locks of the kernel (Linux 5.19 and later): who waits for which lock and, where the lock tells, who holds
 * it. Locks that put the waiter to sleep become the object of its wait; time spent spinning is counted here.
 */

/* The lowest bits of a mutex' or rwsem's owner are flags. */
#define OWNER_FLAGS 7
#define RWSEM_READER_OWNED 1

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct spin_key);
	__type(value, struct wait_value);
} spins SEC(".maps");

/* The thread that holds a mutex or a rwsem for writing. */
static __noinline u32 lock_holder(u64 lock, u32 flags)
{
	struct task_struct *owner;
	u64 word = 0;

	if (flags & LCB_F_MUTEX && bpf_core_field_exists(struct mutex, owner))
		word = (u64)BPF_CORE_READ((struct mutex *)lock, owner.counter);
	else if (!(flags & (LCB_F_SPIN | LCB_F_RT | LCB_F_PERCPU)) && bpf_core_field_exists(struct rw_semaphore, owner))
		word = (u64)BPF_CORE_READ((struct rw_semaphore *)lock, owner.counter);
	if (!(flags & LCB_F_MUTEX) && word & RWSEM_READER_OWNED)
		return 0;
	owner = (struct task_struct *)(word & ~(u64)OWNER_FLAGS);
	return owner ? BPF_CORE_READ(owner, pid) : 0;
}

SEC("tp_btf/contention_begin")
int BPF_PROG(lock_begin, void *lock, unsigned int flags)
{
	struct thread *t;

	if (!window_open())
		return 0;
	t = bpf_task_storage_get(&threads, bpf_get_current_task_btf(), 0, 0);
	if (!t || (t->lock && !(t->lock_flags & LCB_F_SPIN))) /* a spin lock inside a sleeping lock's slow path */
		return 0;
	t->lock = (u64)lock;
	t->lock_flags = flags;
	t->lock_since = bpf_ktime_get_ns();
	t->lock_holder = flags & LCB_F_SPIN ? 0 : lock_holder((u64)lock, flags);
	return 0;
}

SEC("tp_btf/contention_end")
int BPF_PROG(lock_end, void *lock, int result)
{
	struct wait_value *value, first = {};
	struct stack_scratch *stacks;
	struct spin_key key = {};
	u32 scratch = SCRATCH_LOCK;
	struct thread *t;
	u64 now, ns;

	t = bpf_task_storage_get(&threads, bpf_get_current_task_btf(), 0, 0);
	if (!t || t->lock != (u64)lock)
		return 0;
	t->lock = 0;
	if (!(t->lock_flags & LCB_F_SPIN) || !window_open() || t->times.tgid == self_tgid)
		return 0;
	now = bpf_ktime_get_ns();
	ns = now - t->lock_since;
	t->times.spun += ns;
	if (ns < stack_threshold_ns || !take_stacks)
		return 0;
	stacks = bpf_map_lookup_elem(&scratches, &scratch);
	if (!stacks)
		return 0;
	key.tgid = t->times.tgid;
	key.kernel_stack = keep_kernel_stack(
		scratch, bpf_get_stack(ctx, stacks->kernel.ips, sizeof(stacks->kernel.ips), 0));
	value = bpf_map_lookup_elem(&spins, &key);
	if (!value) {
		bpf_map_update_elem(&spins, &key, &first, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&spins, &key);
		if (!value) {
			count_lost();
			return 0;
		}
	}
	__sync_fetch_and_add(&value->ns, ns);
	__sync_fetch_and_add(&value->count, 1);
	if (ns > value->max)
		value->max = ns;
	return 0;
}
