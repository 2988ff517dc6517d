// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * Page faults: which code takes them, and of which kind. How many there are the kernel counts itself, for every task;
 * the ledger reads that. Here one fault in some is looked at, fewer the more there are; it stands for itself and for
 * those that follow on its CPU up to the next. Where the same thread takes that one, each stands for half of them.
 *
 * Measured on a virtual machine, touching warm memory: 110 ns a fault, next to 2 µs for the fault itself; all but 10 ns
 * of that is what it costs to run any program there (a perf event costs more). That is 5 %, so user space attaches these
 * for part of the time when there are many. By its account that leaves about 1 % of a storm's time; the medians of six
 * storms with and without differed by 0.1 %, single ones by several per cent either way.
 */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct fault_key);
	__type(value, u64);
} faults SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct fault_clock);
} fault_clocks SEC(".maps");

/* ours: as many stacks a second and CPU as the CPU profile takes, at most. */
#define FAULT_SOON_NS 10000000ULL
/* ours: from then on, those before are another story. In ticks, 25 to 250 ms, since the tick is cheap to read. */
#define FAULT_LONG_TICKS 25
/* ours: ten milliseconds of the fastest storm that a CPU is capable of are some 20000 faults. */
#define FAULT_MOST 16384

/* Bits of the error code, from arch/x86/include/asm/trap_pf.h. */
#define PF_PROT 1
#define PF_WRITE 2
#define PF_INSTR 16

static __always_inline u32 fault_kind(u64 error)
{
	if (error & PF_INSTR)
		return FAULT_EXECUTE;
	if (error & PF_PROT)
		return FAULT_PROTECTED;
	return error & PF_WRITE ? FAULT_WRITE : FAULT_READ;
}

static __noinline int sample_fault(void *ctx, struct fault_clock *clock, u64 error, bool late)
{
	u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns(), period = clock->period, *count, first = 0, half = 0;

	if (clock->last.tgid) {
		if (clock->last.tid == (u32)id)
			half = clock->passed / 2;
		count = bpf_map_lookup_elem(&faults, &clock->last);
		if (!count) {
			bpf_map_update_elem(&faults, &clock->last, &first, BPF_NOEXIST);
			count = bpf_map_lookup_elem(&faults, &clock->last);
		}
		if (count)
			__sync_fetch_and_add(count, clock->before + clock->passed - half);
		else
			count_lost();
	}
	if (late)
		period = 1;
	else if (now - clock->since < FAULT_SOON_NS)
		period = period < FAULT_MOST ? period * 2 : FAULT_MOST;
	else if (now - clock->since >= FAULT_SOON_NS * 2 && period > 1)
		period /= 2;
	clock->period = period;
	clock->since = now;
	clock->passed = 1;
	clock->before = half;
	clock->last.tid = (u32)id;
	clock->last.tgid = id >> 32;
	clock->last.kind = fault_kind(error);
	clock->last.user_stack = 0;
	if (clock->last.tgid == self_tgid)
		clock->last.tgid = 0;
	else if (take_stacks)
		clock->last.user_stack = take_user_stack(ctx, SCRATCH_FAULT, clock->last.tgid);
	return 0;
}

static __always_inline int count_fault(void *ctx, u64 error)
{
	struct fault_clock *clock;
	u32 zero = 0;
	bool late;
	u64 tick;

	if (!window_open())
		return 0;
	clock = bpf_map_lookup_elem(&fault_clocks, &zero);
	if (!clock)
		return 0;
	clock->seen++;
	tick = bpf_jiffies64();
	late = tick - clock->since_tick >= FAULT_LONG_TICKS;
	if (clock->passed < clock->period && !late) {
		clock->passed++;
		return 0;
	}
	clock->since_tick = tick;
	return sample_fault(ctx, clock, error, late);
}

/* x86 has these tracepoints, and few others. */
SEC("tp_btf/page_fault_user")
int BPF_PROG(memory_fault_user, unsigned long address, struct pt_regs *regs, unsigned long error)
{
	return count_fault(ctx, error);
}

/* A system call that touches the memory it was given. */
SEC("tp_btf/page_fault_kernel")
int BPF_PROG(memory_fault_kernel, unsigned long address, struct pt_regs *regs, unsigned long error)
{
	struct task_struct *task = bpf_get_current_task_btf();

	/* Not the kernel's own memory, nor somebody (such as friday) who peeks and takes no for an answer. */
	if (address >> 63 || task->pagefault_disabled)
		return 0;
	return count_fault(ctx, error);
}
