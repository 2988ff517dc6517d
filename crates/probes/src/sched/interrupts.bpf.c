// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * Hard and soft interrupts: what they take from whoever runs. Soft interrupts that a system call sets off itself, as
 * sending over the loopback does, are that call's own work.
 */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct interrupts);
} interrupts_of SEC(".maps");

#define NET_TX_SOFTIRQ 2
#define NET_RX_SOFTIRQ 3
/* ours: what a hard interrupt raises follows it within that time. */
#define FOLLOWS_NS 5000

/* THREAD_SIZE, from arch/{x86,arm64}/include, is 16 KiB, and twice that for debugging. */
#define STACK_BYTES 32768

/*
 * Whether an interrupt, hard or soft, is being handled rather than the current task. It has a stack of its own, as have
 * soft interrupts that a task sets off itself, unless it came while the task was in user space; then that task is in no
 * system call. What a tracepoint hands over lies on the stack in use.
 */
static __always_inline bool in_interrupt(void *ctx)
{
	u64 stack = (u64)bpf_get_current_task_btf()->stack, here = 0;

	bpf_probe_read_kernel(&here, sizeof(here), &ctx);
	return here - stack >= STACK_BYTES;
}

static __always_inline struct interrupts *interrupts_here(void)
{
	u32 zero = 0;
	struct interrupts *i = bpf_map_lookup_elem(&interrupts_of, &zero);

	/* One that was being handled when the last slice ended was not seen to end. */
	if (i && i->slice != attached_since[FREQUENT_INTERRUPTS]) {
		i->slice = attached_since[FREQUENT_INTERRUPTS];
		i->depth = 0;
	}
	return i;
}

static __always_inline void interrupt_begins(struct interrupts *i, u64 now, bool own)
{
	if (i->depth++)
		return;
	i->begin = now;
	i->own = own;
	i->seen++;
}

static __always_inline void interrupt_ends(struct interrupts *i, u64 now)
{
	struct task_struct *current;
	struct thread *t;

	if (!i->depth || --i->depth || i->own || !window_open() || i->begin < window_begin)
		return;
	current = bpf_get_current_task_btf();
	if (!current->pid || current->flags & PF_KTHREAD)
		return;
	t = bpf_task_storage_get(&threads, current, 0, 0);
	if (t)
		t->times.interrupted += since_until(i->begin, now);
}

SEC("tp_btf/irq_handler_entry")
int BPF_PROG(interrupt_irq_entry)
{
	struct interrupts *i = interrupts_here();

	if (i)
		interrupt_begins(i, bpf_ktime_get_ns(), false);
	return 0;
}

SEC("tp_btf/irq_handler_exit")
int BPF_PROG(interrupt_irq_exit)
{
	struct interrupts *i = interrupts_here();
	u64 now = bpf_ktime_get_ns();

	if (i) {
		interrupt_ends(i, now);
		i->hard_end = now;
	}
	return 0;
}

/* x86: the scheduler's tick and the high-resolution timers do not go through a handler. */
SEC("tp_btf/local_timer_entry")
int BPF_PROG(interrupt_timer_entry)
{
	struct interrupts *i = interrupts_here();

	if (i)
		interrupt_begins(i, bpf_ktime_get_ns(), false);
	return 0;
}

SEC("tp_btf/local_timer_exit")
int BPF_PROG(interrupt_timer_exit)
{
	struct interrupts *i = interrupts_here();
	u64 now = bpf_ktime_get_ns();

	if (i) {
		interrupt_ends(i, now);
		i->hard_end = now;
	}
	return 0;
}

/* Whether the current task is in a system call, not in its own code. */
static __always_inline bool in_system_call(void)
{
	struct task_struct *current = bpf_get_current_task_btf();

	if (current->flags & PF_KTHREAD || !bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return false;
	return REGS_SYSCALL((struct pt_regs *)bpf_task_pt_regs(current)) >= 0;
}

SEC("tp_btf/softirq_entry")
int BPF_PROG(interrupt_softirq_entry, unsigned int vector)
{
	struct interrupts *i = interrupts_here();
	u64 now = bpf_ktime_get_ns();
	bool own;

	if (!i)
		return 0;
	own = (vector == NET_RX_SOFTIRQ || vector == NET_TX_SOFTIRQ) && now - i->hard_end > FOLLOWS_NS && in_system_call();
	interrupt_begins(i, now, own);
	return 0;
}

SEC("tp_btf/softirq_exit")
int BPF_PROG(interrupt_softirq_exit)
{
	struct interrupts *i = interrupts_here();

	if (i)
		interrupt_ends(i, bpf_ktime_get_ns());
	return 0;
}
