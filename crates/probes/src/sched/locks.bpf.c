// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * Contended locks of the kernel (Linux 5.19 and later): who waits for which lock and, where the lock tells, who holds
 * it. Locks that put the waiter to sleep become the object of its wait; time spent spinning is added up by thread.
 *
 * The lock may be one of BPF's own, which is held right then, so nothing here may take a lock: no update of a map, no
 * record made. The record of the current thread is only looked up.
 */

/* The lowest bits of a mutex' or rwsem's owner are flags. */
#define OWNER_FLAGS 7
#define RWSEM_READER_OWNED 1

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
	struct thread *t = bpf_task_storage_get(&threads, bpf_get_current_task_btf(), 0, 0);

	if (!t || t->lock != (u64)lock)
		return 0;
	t->lock = 0;
	if (t->lock_flags & LCB_F_SPIN && window_open())
		t->times.spun += bpf_ktime_get_ns() - t->lock_since;
	return 0;
}
