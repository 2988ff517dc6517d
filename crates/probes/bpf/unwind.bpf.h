/* SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause) */
/*
 * User stacks by unwinding tables: the same walk for samples, for those that block and for those that wake. User space
 * builds the tables from .eh_frame and fills the maps while the programs run; until a process has its own, and wherever
 * this kernel cannot do it (before 5.15, or not x86-64), the kernel follows frame pointers as it always could.
 *
 * A step is a global function, which the verifier checks once and by itself, so the loop over frames costs it nothing
 * and bpf_loop is not needed.
 */
#ifndef FRIDAY_UNWIND_H
#define FRIDAY_UNWIND_H

/* Set before loading. */
const volatile u32 unwind_by_tables = 0;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, UNWIND_PROCESSES);
	__type(key, u32);
	__type(value, struct unwind_process);
} unwind_processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, UNWIND_RANGES);
	__type(key, u32);
	__type(value, struct unwind_range);
} unwind_ranges SEC(".maps");

struct unwind_chunk_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(struct unwind_chunk));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, UNWIND_CHUNKS);
	__type(key, u32);
	__array(values, struct unwind_chunk_map);
} unwind_chunks SEC(".maps");

/* The pc of each chunk's first row. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, UNWIND_CHUNKS);
	__type(key, u32);
	__type(value, u32);
} unwind_chunk_firsts SEC(".maps");

/* Processes that were met without a table, and how often: user space takes them from here. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u32);
	__type(value, u64);
} unwind_wanted SEC(".maps");

#if defined(__TARGET_ARCH_x86)
#define UNWIND_SERVED 1
#define REGS_IP(regs) ((regs)->ip)
#define REGS_SP(regs) ((regs)->sp)
#define REGS_BP(regs) ((regs)->bp)
#else
#define UNWIND_SERVED 0
#define REGS_IP(regs) 0
#define REGS_SP(regs) 0
#define REGS_BP(regs) 0
#endif

/* End of user space: 56 bits with five-level page tables. */
#define UNWIND_HIGHEST (1ULL << 56)
/* A frame pointer that far above the stack pointer is some other number; the usual limit of a stack is 8 MiB. */
#define UNWIND_FARTHEST (8ULL << 20)
/* Runtimes with stacks of their own (Go) go on from one to another with the frame pointer leading back; ours: so often. */
#define UNWIND_CROSSINGS 4
/* An impossible frame pointer, for one that is lost. */
#define UNWIND_LOST_FP 1

/* All ones if a is less than b, else 0; both below 2^63. Searches go without branches: the verifier follows every one. */
static __always_inline u64 if_less(u64 a, u64 b)
{
	s64 mask = (s64)(a - b) >> 63;

	asm volatile("" : "+r"(mask)); /* keeps the compiler from turning it into a branch */
	return mask;
}

/* Finds the range that holds pc, unless it is the one of the last frame. */
static __always_inline bool unwind_find_range(struct walk *w, u64 pc)
{
	u64 at = w->first, end = at + w->ranges;
	struct unwind_range *r;
	u32 key;

	if (pc >= w->range.start && pc < w->range.end)
		return true;
	/* The last range that begins at pc or before, if any does. */
	for (u64 step = UNWIND_PROCESS_RANGES / 2; step; step >>= 1) {
		key = (at + step) & (UNWIND_RANGES - 1);
		r = bpf_map_lookup_elem(&unwind_ranges, &key);
		if (!r)
			return false;
		at += step & if_less(at + step, end) & if_less(r->start, pc + 1);
	}
	key = at;
	r = bpf_map_lookup_elem(&unwind_ranges, &key);
	if (at >= end || !r || pc < r->start || pc >= r->end)
		return false;
	w->range = *r;
	return true;
}

/* Finds the rule for pc in the range at hand. */
static __always_inline u32 unwind_find_rule(struct walk *w, u64 pc)
{
	u64 first = w->range.first, end = first + w->range.rows, at;
	u64 target = pc - w->range.bias;
	u64 chunk = first / UNWIND_CHUNK_ROWS, last = (end - 1) / UNWIND_CHUNK_ROWS;
	struct unwind_row *row;
	struct unwind_chunk *rows;
	u32 key, zero = 0, *first_pc;
	void *map;

	if (first == end || target >> 32)
		return UNWIND_UNKNOWN;
	if (chunk != last) {
		for (u64 step = UNWIND_CHUNKS / 2; step; step >>= 1) {
			key = (chunk + step) & (UNWIND_CHUNKS - 1);
			first_pc = bpf_map_lookup_elem(&unwind_chunk_firsts, &key);
			if (!first_pc)
				return UNWIND_UNKNOWN;
			chunk += step & if_less(chunk + step, last + 1) & if_less(*first_pc, target + 1);
		}
	}
	key = chunk;
	map = bpf_map_lookup_elem(&unwind_chunks, &key);
	if (!map)
		return UNWIND_UNKNOWN;
	rows = bpf_map_lookup_elem(map, &zero);
	if (!rows)
		return UNWIND_UNKNOWN;
	/* From here on within the chunk. */
	at = chunk * UNWIND_CHUNK_ROWS;
	end = end < at + UNWIND_CHUNK_ROWS ? end - at : UNWIND_CHUNK_ROWS;
	at = first > at ? first - at : 0;
	for (u64 step = UNWIND_CHUNK_ROWS / 2; step; step >>= 1) {
		row = &rows->rows[(at + step) & (UNWIND_CHUNK_ROWS - 1)];
		at += step & if_less(at + step, end) & if_less(row->pc, target + 1);
	}
	row = &rows->rows[at & (UNWIND_CHUNK_ROWS - 1)];
	return row->pc <= target ? row->rule : UNWIND_UNKNOWN;
}

/* mov $15, %rax; syscall: where signal handlers return to when the C library says no more about it. */
static __always_inline bool unwind_is_sigreturn(u64 ip)
{
	u8 code[16] = {};
	u64 words[2];

	if (bpf_probe_read_user(code, 9, (void *)ip))
		return false;
	__builtin_memcpy(words, code, 16);
	return words[0] == 0x0f0000000fc0c748ULL && words[1] == 0x05;
}

static __always_inline int unwind_stop(struct walk *w, u64 why)
{
	w->end = why;
	return 1;
}

/* The caller by frame pointer. */
static __always_inline int unwind_by_fp(struct walk *w, u64 *ip, u64 *sp)
{
	u64 pair[2];

	w->guessed = 1;
	if (!w->bp) /* thread starts and JIT entry points clear it */
		return unwind_stop(w, UNWIND_ROOT);
	w->crossed = w->bp < w->sp || w->bp - w->sp > UNWIND_FARTHEST;
	w->crossings += w->crossed;
	if (w->bp & 7 || w->crossings > UNWIND_CROSSINGS)
		return unwind_stop(w, UNWIND_NO_TABLE);
	if (bpf_probe_read_user(pair, sizeof(pair), (void *)w->bp))
		return unwind_stop(w, w->crossed ? UNWIND_NO_TABLE : UNWIND_FAULT);
	*sp = w->bp + 16;
	w->bp = pair[0];
	*ip = pair[1];
	return 0;
}

/* The interrupted registers: the kernel's struct ucontext lies on top of the stack. */
static __always_inline int unwind_signal(struct walk *w)
{
	u64 saved[7]; /* rbp, rbx, rdx, rax, rcx, rsp, rip */

	if (bpf_probe_read_user(saved, sizeof(saved), (void *)(w->sp + 120)))
		return unwind_stop(w, UNWIND_FAULT);
	if (!saved[6] || saved[6] >= UNWIND_HIGHEST)
		return unwind_stop(w, UNWIND_BAD_FRAME);
	w->bp = saved[0];
	w->sp = saved[5];
	w->ip = saved[6];
	w->exact = 1;
	return 0;
}

/* Notes the frame at hand and goes to its caller; not 0 when there is none. */
__noinline int unwind_step(u32 scratch)
{
	struct stack_scratch *s = bpf_map_lookup_elem(&scratches, &scratch);
	u64 depth, pc, sp = 0, ip = 0, cfa, a, b, word = 0;
	u32 rule = UNWIND_UNKNOWN;
	struct walk *w;

	if (!UNWIND_SERVED || !unwind_by_tables || !s)
		return 1;
	w = &s->walk;
	depth = s->user.depth;
	if (depth >= USER_DEPTH)
		return unwind_stop(w, UNWIND_DEEP);
	asm volatile("" : "+r"(depth)); /* keeps the compiler from dropping the mask that the verifier needs */
	pc = w->exact ? w->ip : w->ip - 1;
	if (unwind_find_range(w, pc))
		rule = unwind_find_rule(w, pc);
	else if (w->crossed) /* it was no frame pointer */
		return unwind_stop(w, UNWIND_NO_TABLE);
	else
		w->missed = 1;
	w->crossed = 0;
	s->user.ips[depth & USER_DEPTH] = w->ip;
	s->user.depth = depth + 1;
	if (rule == UNWIND_UNKNOWN && !w->exact && unwind_is_sigreturn(w->ip))
		rule = UNWIND_SIGNAL;

	a = rule >> UNWIND_A_SHIFT & 0xffff;
	b = rule >> UNWIND_B_SHIFT;
	switch (rule & 15) {
	case UNWIND_SP:
		cfa = w->sp + a * 8;
		break;
	case UNWIND_FP:
		cfa = w->bp + (s64)(s16)a * 8;
		break;
	case UNWIND_LINKAGE:
		cfa = w->sp + ((w->ip & 15) >= a ? 16 : 8);
		break;
	case UNWIND_AT_FP:
		if (bpf_probe_read_user(&cfa, sizeof(cfa), (void *)(w->bp + (s64)(s16)a * 8)))
			return unwind_stop(w, UNWIND_FAULT);
		break;
	case UNWIND_AT_SP:
		if (bpf_probe_read_user(&cfa, sizeof(cfa), (void *)(w->sp + (a & 0xff) * 8)))
			return unwind_stop(w, UNWIND_FAULT);
		cfa += (a >> 8) * 8;
		break;
	case UNWIND_UNKNOWN:
		if (unwind_by_fp(w, &ip, &sp))
			return 1;
		goto found;
	case UNWIND_SIGNAL:
		return unwind_signal(w);
	case UNWIND_OUTERMOST:
		return unwind_stop(w, UNWIND_ROOT);
	default:
		return unwind_stop(w, UNWIND_UNSUPPORTED);
	}
	/* Stacks grow down, but for the alternative stacks of signal handlers, which were dealt with. */
	if (cfa <= w->sp || cfa & 7)
		return unwind_stop(w, UNWIND_BAD_FRAME);
	if (b == 2) { /* the commonest: frame pointer and return address side by side */
		u64 pair[2];

		if (bpf_probe_read_user(pair, sizeof(pair), (void *)(cfa - 16)))
			return unwind_stop(w, UNWIND_FAULT);
		w->bp = pair[0];
		ip = pair[1];
	} else {
		if (b == UNWIND_SAVED_NOWHERE) {
			w->bp = UNWIND_LOST_FP;
		} else if (b) {
			if (bpf_probe_read_user(&word, sizeof(word),
						(void *)(b == UNWIND_SAVED_AT_FP ? w->bp : cfa - b * 8)))
				return unwind_stop(w, UNWIND_FAULT);
			w->bp = word;
		}
		if (bpf_probe_read_user(&ip, sizeof(ip), (void *)(cfa - 8)))
			return unwind_stop(w, UNWIND_FAULT);
	}
	sp = cfa;
found:
	if (!ip) /* some runtimes end their stacks so */
		return unwind_stop(w, UNWIND_ROOT);
	if (ip >= UNWIND_HIGHEST)
		return unwind_stop(w, UNWIND_BAD_FRAME);
	w->ip = ip;
	w->sp = sp;
	w->exact = 0;
	return 0;
}

/* Walks the current task's user stack into scratch; false when that is left to the kernel. */
static __always_inline bool walk_user_stack(struct stack_scratch *s, u32 scratch, u32 tgid)
{
	struct unwind_process *process;
	struct task_struct *task;
	struct pt_regs *regs;

	if (!UNWIND_SERVED || !unwind_by_tables ||
	    !bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return false;
	process = bpf_map_lookup_elem(&unwind_processes, &tgid);
	if (!process) {
		u64 *times = bpf_map_lookup_elem(&unwind_wanted, &tgid), once = 1;

		if (times)
			__sync_fetch_and_add(times, 1);
		else
			bpf_map_update_elem(&unwind_wanted, &tgid, &once, BPF_NOEXIST);
		return false;
	}
	if (process->flags & UNWIND_LEAVE)
		return false;
	task = bpf_get_current_task_btf();
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	__builtin_memset(&s->walk, 0, sizeof(s->walk));
	s->walk.ip = REGS_IP(regs);
	s->walk.sp = REGS_SP(regs);
	s->walk.bp = REGS_BP(regs);
	s->walk.first = process->first;
	s->walk.ranges = process->ranges;
	s->walk.exact = 1;
	s->walk.end = UNWIND_NO_REGISTERS;
	s->user.depth = 0;
	if (s->walk.ip && s->walk.ip < UNWIND_HIGHEST) {
		for (int i = 0; i <= USER_DEPTH; i++)
			if (unwind_step(scratch))
				break;
	}
	if (s->walk.missed)
		process->missed = 1;
	s->user.end = s->walk.end | (s->walk.guessed ? UNWIND_GUESSED : 0);
	return true;
}

/* Takes the current task's user stack and returns its id, 0 when there is none. */
static __noinline u64 take_user_stack(void *ctx, u32 scratch, u32 tgid)
{
	struct stack_scratch *s = bpf_map_lookup_elem(&scratches, &scratch);
	long bytes;

	if (!s)
		return 0;
	if (walk_user_stack(s, scratch, tgid)) {
		bytes = s->user.depth * 8;
	} else {
		bytes = bpf_get_stack(ctx, s->user.ips, sizeof(s->user.ips), BPF_F_USER_STACK);
		s->user.end = UNWIND_BY_KERNEL;
	}
	return keep_user_stack(scratch, bytes, tgid);
}

/* A child has its parent's code, until it executes another program. */
static __always_inline void unwind_fork(u32 parent, u32 child)
{
	struct unwind_process *process;

	if (!unwind_by_tables)
		return;
	process = bpf_map_lookup_elem(&unwind_processes, &parent);
	if (process)
		bpf_map_update_elem(&unwind_processes, &child, process, BPF_ANY);
}

static __always_inline void unwind_forget(u32 tgid)
{
	if (unwind_by_tables)
		bpf_map_delete_elem(&unwind_processes, &tgid);
}

#endif
