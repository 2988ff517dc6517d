// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * The ledger: where 100 % of each thread's wall time goes, aggregated in the kernel. Totals are exact for every thread;
 * a kernel stack, the waker and the object waited for are taken at switch-in, of long waits and of
 * some of the others, which then stand for the rest.
 */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, struct wait_key);
	__type(value, struct wait_value);
} waits SEC(".maps");

/* Waits that find that table full, without what makes rows many: user stacks, and which thread of a process it was. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct wait_key);
	__type(value, struct wait_value);
} coarse_waits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, struct blame_key);
	__type(value, struct blame_value);
} blames SEC(".maps");

/* What finds that table full: by the runners' processes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct blame_key);
	__type(value, struct blame_value);
} coarse_blames SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, struct hist);
} run_queue_waits SEC(".maps");

/* Threads that ended inside the window: user space takes them as they come. A table would have to allocate under run-queue
 * locks, or be as large as the worst storm. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} ended SEC(".maps");

/* What ran lately on each CPU. */
#define SLICES 16

struct slice {
	u64 begin;
	u64 end;
	u32 tgid;
	u32 tid;
	u32 rank; /* how the scheduler prefers it: the lower the more */
	u32 pad;
};

/* Which waits are looked at on a CPU, so that there are not too many. */
struct pace {
	u64 long_ns; /* those of this length or more always are; never under stack_threshold_ns */
	u64 period;  /* the one that looked_at is of */
	u64 looked_at;
	u64 turn;
};

/* How far the scheduler's clock of a CPU is behind ours. */
struct clock {
	u64 set_at; /* by the scheduler's; 0: never */
	u64 behind;
};

struct cpu_history {
	struct clock clock;
	u64 head; /* slices written */
	struct slice slices[SLICES];
	struct pace blocked;
	struct pace runnable;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct cpu_history);
} history SEC(".maps");

/* The latest idle period of each CPU; end 0: idle now. One cache line each. */
struct idle_period {
	u64 begin;
	u64 end;
	u64 pad[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_CPUS);
	__type(key, u32);
	__type(value, struct idle_period);
} idle SEC(".maps");

/* The latest time each CPU's part of a cgroup was throttled; until 0: still is. */
struct throttle {
	u64 since;
	u64 until;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct throttle);
} throttles SEC(".maps");

/* Whether the task's cgroup has used up its quota here. */
static __always_inline bool is_throttled(struct task_struct *task)
{
	if (bpf_core_field_exists(task->throttled) && task->throttled)
		return true;
	if (bpf_core_field_exists(task->se.cfs_rq)) {
		struct cfs_rq *queue = task->se.cfs_rq;

		if (queue && bpf_core_field_exists(queue->throttle_count))
			return queue->throttle_count > 0;
	}
	return false;
}

static __always_inline u64 queue_of(struct task_struct *task)
{
	if (bpf_core_field_exists(task->se.cfs_rq))
		return (u64)task->se.cfs_rq;
	return 0;
}

/*
 * For how long a queue has kept tasks of its own waiting for quota, without the time since it began to the last time.
 * Whole waits are taken for throttled where the kernel does not count that (before 6.6).
 */
static __always_inline u64 throttled_time_of(u64 queue)
{
	struct cfs_rq *cfs_rq = (struct cfs_rq *)queue;

	if (!bpf_core_field_exists(cfs_rq->throttled_clock_self_time))
		return 0;
	return BPF_CORE_READ(cfs_rq, throttled_clock_self_time);
}

/* Notes whether a task that begins to wait for a CPU does so for want of quota. */
static __always_inline void note_throttle(struct task_struct *task, struct thread *t)
{
	t->throttled = is_throttled(task);
	t->throttle_queue = 0;
	if (t->throttled && bpf_core_field_exists(((struct cfs_rq *)0)->throttled_clock_self_time)) {
		t->throttle_queue = queue_of(task);
		if (t->throttle_queue)
			t->throttle_self = throttled_time_of(t->throttle_queue);
	}
}

#define PERIOD_SHIFT 26 /* 67 ms */

/* How long a wait has to be now to be looked at in any case. Every period with little to look at halves that. */
static __always_inline u64 long_now(struct pace *pace, u64 now, u64 most)
{
	if (pace->period != now >> PERIOD_SHIFT) {
		pace->period = now >> PERIOD_SHIFT;
		if (pace->looked_at < most / 4)
			pace->long_ns /= 2;
		pace->looked_at = 0;
	}
	if (pace->long_ns < stack_threshold_ns)
		pace->long_ns = stack_threshold_ns;
	return pace->long_ns;
}

/* Counts one that is looked at. Too many within a period double the length that makes it certain. */
static __always_inline void count_look(struct pace *pace, u64 most)
{
	if (++pace->looked_at > most) {
		pace->long_ns *= 2;
		pace->looked_at = 0;
	}
}

/* What a task that no event has shown yet is doing. */
static __always_inline u8 state_now(struct task_struct *task)
{
	if (task->on_cpu)
		return RUNNING;
	return task_state(task) ? BLOCKED : RUNNABLE;
}

/* The thread's record, with its clock started if this is the first event that shows it. */
static __always_inline struct thread *start_clock(struct task_struct *task, u8 state_until_now, u64 now)
{
	struct thread *t = thread_of(task);

	if (t && t->state == UNSEEN) {
		t->times.begin = window_begin;
		t->times.tid = task->pid;
		t->times.tgid = task->tgid;
		t->since = window_begin;
		t->blocked_since = window_begin;
		t->syscall = -1;
		t->kind = CALL_NONE;
		t->state = t->before ? t->before : state_until_now;
	}
	return t;
}

/* Where in user space a task in the kernel came from: its instruction and stack pointers. 0: not known. */
static __always_inline u64 place_of(struct task_struct *task)
{
	struct pt_regs *regs;

	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return 0;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	return REGS_IP(regs) ? mix(REGS_IP(regs), REGS_SP(regs)) : 0;
}

/*
 * A wait that nobody chose may turn out to be long, and then it is too late for its user stack. A thread that is at the
 * same instruction, with its stack as deep as before, is taken to have got there as before.
 */
static __always_inline void keep_place(struct task_struct *task, struct thread *t)
{
	u64 place = place_of(task);
	struct known_place *known = &t->places[place & (PLACES - 1)];

	known->place = place;
	known->user_stack = t->user_stack;
}

static __always_inline void recall_stack(struct task_struct *task, struct thread *t)
{
	u64 place = t->user_stack ? 0 : place_of(task);
	struct known_place *known = &t->places[place & (PLACES - 1)];

	if (place && known->place == place)
		t->user_stack = known->user_stack;
}

/* Adds a finished (or cut off) wait of the task to the table. */
static __noinline int record_wait(struct task_struct *task, struct thread *t, u64 ns, u32 scratch)
{
	struct wait_key key = {};
	struct wait_value *value, first = {};
	struct stack_scratch *stacks = bpf_map_lookup_elem(&scratches, &scratch);
	long bytes;

	if (!stacks)
		return 0;
	describe_object(task, t);
	/* Whoever runs has left its wait behind, and with it where that was. */
	if (task != bpf_get_current_task_btf()) {
		if (take_stacks) {
			bytes = bpf_get_task_stack(task, stacks->kernel.ips, sizeof(stacks->kernel.ips), 0);
			key.kernel_stack = keep_kernel_stack(scratch, bytes);
		}
		recall_stack(task, t);
	}
	key.user_stack = t->user_stack;
	key.waker_stack = t->waker_stack;
	key.object = t->object;
	key.object_a = t->object_a;
	key.object_b = t->object_b;
	key.tid = t->times.tid;
	key.tgid = t->times.tgid;
	key.waker_tid = t->waker_tid;
	key.waker_tgid = t->waker_tgid;
	key.syscall = t->syscall;
	key.waker_syscall = t->waker_syscall;
	key.flags = t->flags;
	key.reason = t->reason;
	key.kind = t->kind;
	key.holder = t->holder;
	if (streaming)
		stacks->seen.key = key;
	value = bpf_map_lookup_elem(&waits, &key);
	if (!value) {
		bpf_map_update_elem(&waits, &key, &first, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&waits, &key);
	}
	if (!value) {
		count_lost_of(LOST_STACKS);
		key.user_stack = key.waker_stack = 0;
		key.waker_tid = key.waker_tgid;
		key.holder = 0;
		value = bpf_map_lookup_elem(&coarse_waits, &key);
	}
	if (!value) {
		bpf_map_update_elem(&coarse_waits, &key, &first, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&coarse_waits, &key);
	}
	if (!value) {
		count_lost();
		return 0;
	}
	value->ns += ns;
	value->count++;
	if (ns > value->max)
		value->max = ns;
	if (t->chosen == SAMPLED) {
		value->sampled_ns += ns;
		value->sampled++;
	}
	return 0;
}

/* What is handed over besides nanoseconds: enum blame_how, and whether it stands for others. */
enum blame_flags {
	BLAME_HOW = 3,
	STANDS_FOR_OTHERS = 4,
	BLAME_SHIFT = 3, /* what comes above are nanoseconds */
};

/* ours: the deepest idle states take some 0.1 to 1 ms to leave, a virtual CPU's wake-up as long where the host is not busy.
 * A CPU that idled for longer was not being woken: the thread was taken over from another's queue. */
#define LONGEST_WAKING (1ULL * 1000 * 1000)

/* ours: handing out a wait takes up to 3 us. A CPU does so 3000 times a second and all is well, or for long waits and one
 * in so many of the others. */
#define BLAMES_A_PERIOD 200
#define ONE_BLAME_IN 8

static __noinline int blame(u32 victim_tid, u32 victim_tgid, u32 tid, u32 tgid, u64 ns_and_flags)
{
	u64 ns = ns_and_flags >> BLAME_SHIFT;
	struct blame_key key = {
		.victim_tid = victim_tid, .victim_tgid = victim_tgid, .runner_tgid = tgid, .runner_tid = tid,
		.how = ns_and_flags & BLAME_HOW,
	};
	u64 weight = ns_and_flags & STANDS_FOR_OTHERS ? ONE_BLAME_IN : 1;
	struct blame_value *value = bpf_map_lookup_elem(&blames, &key), first = {};

	if (!value) {
		bpf_map_update_elem(&blames, &key, &first, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&blames, &key);
	}
	if (!value) {
		key.runner_tid = key.runner_tgid;
		value = bpf_map_lookup_elem(&coarse_blames, &key);
	}
	if (!value) {
		bpf_map_update_elem(&coarse_blames, &key, &first, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&coarse_blames, &key);
	}
	if (!value) {
		count_lost();
		return 0;
	}
	value->ns += ns * weight;
	value->count += weight;
	if (ns > value->max)
		value->max = ns;
	return 0;
}

/* Real-time classes come first, then niceness, then the idle policy. */
#define SCHED_IDLE 5
#define RANK_NORMAL 100
#define RANK_IDLE 140

static __always_inline u32 rank_of(struct task_struct *task)
{
	return task->policy == SCHED_IDLE ? RANK_IDLE : task->prio;
}

/* ours: five steps of niceness are three times the weight (1.25 a step), so the victim gets a quarter of the CPU. */
#define FAR_IN_NICENESS 5

/* Whether the scheduler prefers the runner by so much that the victim's wait is its doing. */
static __always_inline bool outranks(u32 runner, u32 victim)
{
	if (runner < RANK_NORMAL || victim == RANK_IDLE)
		return runner < victim;
	return runner + FAR_IN_NICENESS <= victim;
}

/* Hands out a wait for this CPU to those who ran on it meanwhile; returns the one who ran most of it last. */
__noinline u32 blame_runners(u32 victim_tid, u32 victim_tgid, u32 rank, u64 since, u64 now)
{
	u32 zero = 0, last = 0;
	struct cpu_history *h = bpf_map_lookup_elem(&history, &zero);
	u64 rest = now - since, flags = 0;

	if (!h)
		return 0;
	if (rest < long_now(&h->runnable, now, BLAMES_A_PERIOD)) {
		if (h->runnable.turn++ & (ONE_BLAME_IN - 1))
			return 0;
		flags = STANDS_FOR_OTHERS;
	}
	count_look(&h->runnable, BLAMES_A_PERIOD);
	for (u64 back = 0; back < SLICES; back++) {
		struct slice *s = &h->slices[(h->head - 1 - back) & (SLICES - 1)];
		u64 begin = s->begin > since ? s->begin : since;

		if (!s->end || s->end <= since)
			break;
		if (s->end > begin) {
			u64 ns = s->end - begin;
			u64 how = flags;

			if (s->tid)
				how |= outranks(s->rank, rank) ? OUTRANKED : BEHIND;
			else if (ns <= LONGEST_WAKING)
				how |= WAKING;
			if (!last)
				last = s->tgid;
			blame(victim_tid, victim_tgid, s->tid, s->tgid, ns << BLAME_SHIFT | how);
			rest = rest > ns ? rest - ns : 0;
		}
	}
	if (rest >= stack_threshold_ns)
		blame(victim_tid, victim_tgid, 0, 0, rest << BLAME_SHIFT | flags);
	return last;
}

/* How much of since..now a CPU that is not among those allowed in scratch was idle. */
__noinline u64 idle_elsewhere(u32 scratch, u64 since, u64 now)
{
	struct stack_scratch *s = bpf_map_lookup_elem(&scratches, &scratch);
	u64 most = 0;

	if (!s)
		return 0;
	for (u64 cpu = 0; cpu < 256; cpu++) {
		struct idle_period *period;
		u32 key = cpu;
		u64 begin, end;

		if (cpu >= cpus)
			break;
		if (s->allowed[(cpu / 64) & 3] & (1ULL << (cpu & 63)))
			continue;
		period = bpf_map_lookup_elem(&idle, &key);
		if (!period || !period->begin)
			continue;
		begin = period->begin > since ? period->begin : since;
		end = period->end ? period->end : now;
		if (end > now)
			end = now;
		if (end > begin && end - begin > most)
			most = end - begin;
	}
	return most;
}

static __always_inline void add_run_queue_wait(u32 tgid, u64 ns)
{
	struct hist *hist = bpf_map_lookup_elem(&run_queue_waits, &tgid);

	if (!hist) {
		bpf_map_update_elem(&run_queue_waits, &tgid, &no_hist, BPF_NOEXIST);
		hist = bpf_map_lookup_elem(&run_queue_waits, &tgid);
		if (!hist) {
			count_lost();
			return;
		}
	}
	hist_add(hist, ns);
}

/* Books whom and what a longer wait for a CPU, which ends now, was for. */
static __noinline int explain_runnable(struct task_struct *task, struct thread *t, u64 now)
{
	u64 since = t->since, ns = since_until(since, now), throttled = 0, pinned = 0;
	u64 queue = throttling ? queue_of(task) : 0;
	struct throttle *throttle;
	u32 scratch = SCRATCH_SWITCH, last;

	add_run_queue_wait(account_of(task, t, now), ns);
	if (t->throttled) {
		throttled = ns;
		if (t->throttle_queue) { /* once it is let go, it can wait on behind others */
			u64 counted = throttled_time_of(t->throttle_queue) - t->throttle_self;

			if (counted < ns)
				throttled = counted;
		}
	} else if (queue && (throttle = bpf_map_lookup_elem(&throttles, &queue))) {
		u64 begin = throttle->since > since ? throttle->since : since;
		u64 end = throttle->until ? throttle->until : now;

		if (end > begin)
			throttled = end - begin;
	}
	t->throttled = 0;
	t->times.throttled += throttled;
	since += throttled;
	ns = since_until(since, now);
	if (!ns || t->times.tgid == self_tgid)
		return 0;
	if (task->nr_cpus_allowed < cpus) {
		struct stack_scratch *s = bpf_map_lookup_elem(&scratches, &scratch);

		if (s)
			bpf_probe_read_kernel(s->allowed, sizeof(s->allowed), &task->cpus_mask);
		pinned = idle_elsewhere(scratch, since, now);
		t->times.pinned += pinned;
	}
	last = blame_runners(t->times.tid, t->times.tgid, rank_of(task), since, now);
	if (ns >= slow_run_queue_ns) {
		struct event *event = reserve_event(EVENT_SLOW_RUN_QUEUE, now);

		if (event) {
			event->duration = ns;
			event->tgid = t->times.tgid;
			event->tid = t->times.tid;
			event->other = last;
			__builtin_memcpy(event->comm, task->comm, COMM_LEN);
			bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
		}
	}
	return 0;
}

/* Books a wait for a CPU that ends now; most are short. */
static __always_inline void end_runnable(struct task_struct *task, struct thread *t, u64 now)
{
	u64 ns = since_until(t->since, now), slot;

	t->times.runnable += ns;
	t->off_cpu += ns;
	if (ns >= stack_threshold_ns || ns >= 1 << 16) {
		explain_runnable(task, t, now);
		return;
	}
	slot = hist_slot(ns);
	if (slot < SHORT_SLOTS)
		t->times.short_run_queue[slot]++;
	t->times.short_run_queue_ns += ns;
	if (ns > t->times.short_run_queue_max)
		t->times.short_run_queue_max = ns;
	t->throttled = 0;
}

/* Writes the totals out under the thread's id. */
static __always_inline void finish_times(struct task_struct *task, struct thread *t, u64 now)
{
	t->times.end = now;
	if (t->faults_known) {
		t->times.minor_faults = task->min_flt - t->minor_before;
		t->times.major_faults = task->maj_flt - t->major_before;
	}
	t->times.kernel = !!(task->flags & PF_KTHREAD);
	t->times.parent = BPF_CORE_READ(task, real_parent, tgid);
	__builtin_memcpy(t->times.comm, task->comm, COMM_LEN);
}

/*
 * ours: looking at a wait takes 5 to 10 us for its three stacks. A CPU looks at 1000 a second (four times that in the event
 * window) and all is well, or doubles the length from which on waits are long. A thread's other waits are looked at until
 * that many in a row were not long, then one in so many; short ones, of which there may be many more, fewer.
 */
#define LOOKS_A_PERIOD (streaming ? 268 : 67)
#define CALM 4
#define ONE_IN 16
#define ONE_SHORT_IN 256
/* ours: a thread with so many short ones in a row has enough of them. */
#define STORM 16384
#define ONE_IN_STORM 1024

/* Chooses whether the wait that begins will be looked at, should it not be long. */
static __always_inline u8 choose(struct thread *t)
{
	u32 one_in = ONE_SHORT_IN;

	if (t->calm < CALM)
		return ALWAYS;
	if (t->calm_short < CALM)
		one_in = ONE_IN;
	else if (t->calm_short >= STORM)
		one_in = ONE_IN_STORM;
	return t->calm & (one_in - 1) ? SKIPPED : SAMPLED;
}

/* Nobody waits for the kernel's own threads and ours: only the sums of their waits are kept. */
static __always_inline bool has_books(struct task_struct *task, struct thread *t)
{
	return !(task->flags & PF_KTHREAD) && t->times.tgid != self_tgid;
}

/* Decides whether the wait that ends now is looked at. */
static __always_inline void look_at(struct task_struct *task, struct thread *t, u64 now)
{
	u32 zero = 0;
	struct cpu_history *h;

	t->calm++;
	if (t->blocked_ns < stack_threshold_ns) {
		t->calm_short++;
		if (t->chosen == ALWAYS)
			t->chosen = SKIPPED;
		return;
	}
	t->calm_short = 0;
	if (!has_books(task, t))
		return;
	h = bpf_map_lookup_elem(&history, &zero);
	if (!h)
		return;
	if (t->blocked_ns >= long_now(&h->blocked, now, LOOKS_A_PERIOD)) {
		t->calm = 0;
		t->chosen = ALWAYS;
	}
	if (t->chosen != SKIPPED)
		count_look(&h->blocked, LOOKS_A_PERIOD);
}

/* Books a wait that is over, or cut off. */
static __always_inline void book_wait(struct task_struct *task, struct thread *t, u32 scratch)
{
	if (t->chosen == SKIPPED || !has_books(task, t))
		t->times.skipped_ns[t->kind & (CALL_KINDS - 1)] += t->blocked_ns;
	else
		record_wait(task, t, t->blocked_ns, scratch);
	t->blocked_ns = 0;
}

/* Hands out a time off the CPU that is over. */
static __always_inline void stream_return(struct thread *t, u8 kind, u64 off_at, u64 woken_at, u64 on_at, bool looked_at,
					  u64 throttled, u64 pinned)
{
	struct episode *e;

	if (!streaming || t->times.tgid == self_tgid)
		return;
	e = episode_of(t, SCRATCH_SWITCH, kind);
	if (!e)
		return;
	e->off_at = off_at;
	e->woken_at = kind == EPISODE_BLOCKED ? woken_at : 0;
	e->on_at = on_at;
	e->throttled_us = throttled / 1000;
	e->pinned_us = pinned / 1000;
	stream_episode(SCRATCH_SWITCH, looked_at);
}

/*
 * Books what led to a switch-in that was not seen: the scheduler knows for how long the thread has run since. Some kernels
 * keep programs from running on behalf of some tasks, and with them the event that ends such a task's turn.
 */
static __noinline int book_before_unseen(struct task_struct *task, struct thread *t, u64 now)
{
	u64 ran = task->se.sum_exec_runtime - t->executed_at, wall = since_until(t->since, now), off;
	u64 off_at = t->since, woken_at = t->since;
	u8 kind = EPISODE_PREEMPTED;
	bool looked_at = false;

	if (ran > wall)
		ran = wall;
	off = wall - ran;
	t->off_cpu += off;
	t->since += off;
	if (t->state == BLOCKED) { /* nor was its wake-up seen */
		t->times.blocked += off;
		t->blocked_ns = off;
		woken_at = t->since;
		look_at(task, t, now);
	} else {
		t->times.runnable += off;
	}
	t->state = RUNNING;
	if (t->blocked_ns) {
		kind = EPISODE_BLOCKED;
		off_at = t->blocked_since;
		looked_at = t->chosen != SKIPPED && has_books(task, t);
		book_wait(task, t, SCRATCH_SWITCH);
	}
	stream_return(t, kind, off_at, woken_at, t->since, looked_at, 0, 0);
	return 0;
}

static __always_inline void switch_out(void *ctx, struct task_struct *prev, bool preempt, u64 now)
{
	struct thread *t = start_clock(prev, RUNNING, now);
	u32 state = task_state(prev);
	u64 key;

	if (!t)
		return;
	if (t->state != RUNNING)
		book_before_unseen(prev, t, now);
	t->times.running += since_until(t->since, now);
	if (t->executed_at)
		t->times.executed += prev->se.sum_exec_runtime - t->executed_at;
	else /* it ran when the window began */
		t->times.executed += since_until(t->since, now);
	t->executed_at = prev->se.sum_exec_runtime;
	t->since = now;
	if (state & TASK_DEAD) {
		finish_times(prev, t, now);
		if (streaming && t->times.tgid != self_tgid) {
			struct episode *e = episode_of(t, SCRATCH_SWITCH, EPISODE_ENDED);

			if (e) {
				e->off_at = now;
				stream_episode(SCRATCH_SWITCH, false);
			}
		}
		if (bpf_ringbuf_output(&ended, &t->times, sizeof(t->times), BPF_RB_NO_WAKEUP))
			count_lost();
		return;
	}
	if (preempt || !state || (state & TASK_WAKING && t->early_wake)) {
		t->state = RUNNABLE;
		note_throttle(prev, t);
		key = queue_of(prev);
		if (t->throttled && key) {
			struct throttle entry = { .since = now };

			bpf_map_update_elem(&throttles, &key, &entry, BPF_ANY);
			throttling = 1;
		}
		return;
	}
	t->state = BLOCKED;
	t->blocked_since = now;
	t->waker_tid = t->waker_tgid = 0;
	t->waker_syscall = -1;
	t->waker_stack = 0;
	t->user_stack = 0;
	note_block(prev, t, state);
	if (!has_books(prev, t))
		return;
	/* What only the thread itself can tell can only be had now. */
	t->chosen = choose(t);
	if (t->chosen == SKIPPED)
		return;
	if (t->kind == CALL_FUTEX)
		note_futex_holder(t);
	else if (t->kind == CALL_FD || t->poll_one == POLLED_ONE)
		note_held(prev, t);
	else if (t->kind == CALL_POLL)
		note_polled(prev, t);
	if (take_stacks) {
		t->user_stack = take_user_stack(ctx, SCRATCH_SWITCH, t->times.tgid);
		keep_place(prev, t);
	}
}

/* Whether a task is about to handle a signal. While it is being woken that may not be noted yet: whoever waits for a
 * descriptor that signals can be read from is woken first. */
static __always_inline bool has_signal(struct task_struct *task)
{
	u64 pending = task->pending.signal.sig[0] | task->signal->shared_pending.signal.sig[0];

	return pending & ~task->blocked.sig[0];
}

/* Whether a task runs only to end: its process is killed, or another thread of it has ended it. */
static __always_inline bool is_killed(struct task_struct *task)
{
	return task->pending.signal.sig[0] & (1 << (SIGKILL - 1));
}

static __always_inline void switch_in(struct task_struct *next, u64 now)
{
	struct thread *t = start_clock(next, RUNNABLE, now);
	u64 queue, throttled, pinned, off_at, woken_at;
	bool looked_at;
	u8 kind;

	if (!t)
		return;
	throttled = t->times.throttled;
	pinned = t->times.pinned;
	woken_at = now;
	if (t->state == BLOCKED) { /* its wake-up was not seen */
		t->blocked_ns = since_until(t->blocked_since, now);
		t->times.blocked += t->blocked_ns;
		t->off_cpu += t->blocked_ns;
		look_at(next, t, now);
	} else if (t->state == RUNNABLE) {
		woken_at = t->since;
		end_runnable(next, t, now);
	}
	kind = EPISODE_PREEMPTED;
	off_at = t->since;
	looked_at = false;
	if (t->blocked_ns) {
		kind = EPISODE_BLOCKED;
		off_at = t->blocked_since;
		looked_at = t->chosen != SKIPPED && has_books(next, t);
		if (looked_at && (is_killed(next) || (t->flags & WAIT_TIMED && has_signal(next))))
			t->flags = (t->flags & ~WAIT_TIMED) | WAIT_SIGNALLED;
		book_wait(next, t, SCRATCH_SWITCH);
	} else if (!t->times.switches && t->times.begin != window_begin) {
		kind = EPISODE_BORN;
	}
	stream_return(t, kind, off_at, woken_at, now, looked_at, t->times.throttled - throttled, t->times.pinned - pinned);
	queue = throttling ? queue_of(next) : 0;
	if (queue) {
		struct throttle *throttle = bpf_map_lookup_elem(&throttles, &queue);

		if (throttle && !throttle->until)
			throttle->until = now;
	}
	t->state = RUNNING;
	t->since = now;
	t->executed_at = next->se.sum_exec_runtime;
	t->early_wake = 0;
	t->times.switches++;
}

/* ours: for how long what is known of the scheduler's clock holds. */
#define CLOCK_TRUSTED_NS 1000000
/* ours: what the two clocks may drift apart by, a part in so many powers of two: 0.1 %. Time servers slew by half of that. */
#define CLOCK_DRIFT_SHIFT 10

/*
 * The time of a switch. The scheduler has just read its clock and reading another takes a third of what a switch costs
 * here, so ours is read once a millisecond only. It is read somewhat after the scheduler's; the least that was seen counts.
 * On the way to idleness a CPU may have looked for work for long, so that is dated exactly, as is every switch in the event
 * window, where the order of what happens matters.
 */
static __always_inline u64 switch_time(struct cpu_history *h, struct task_struct *next)
{
	struct cfs_rq *queue = NULL;
	u64 clock, now, behind, age;

	if (!bpf_core_field_exists(queue->rq) || streaming || !next->pid)
		return bpf_ktime_get_ns();
	queue = next->se.cfs_rq;
	clock = queue->rq->clock;
	age = clock - h->clock.set_at;
	if (age < CLOCK_TRUSTED_NS)
		return clock + h->clock.behind;
	now = bpf_ktime_get_ns();
	behind = now - clock;
	if (h->clock.set_at && behind > h->clock.behind + (age >> CLOCK_DRIFT_SHIFT))
		behind = h->clock.behind + (age >> CLOCK_DRIFT_SHIFT);
	h->clock.set_at = clock;
	h->clock.behind = behind;
	return now;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(ledger_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	u32 cpu = bpf_get_smp_processor_id(), zero = 0;
	struct cpu_history *h = bpf_map_lookup_elem(&history, &zero);
	struct idle_period *period;
	struct slice *s, *before;
	u64 now;

	if (!h || !window_open())
		return 0;
	now = switch_time(h, next);
	if (now < window_begin)
		return 0;
	s = &h->slices[h->head & (SLICES - 1)];
	before = &h->slices[(h->head - 1) & (SLICES - 1)];
	s->begin = before->end ? before->end : window_begin;
	s->end = now;
	s->tgid = prev->pid ? prev->tgid : 0;
	s->tid = prev->pid;
	s->rank = rank_of(prev);
	h->head++;
	if ((!prev->pid || !next->pid) && (period = bpf_map_lookup_elem(&idle, &cpu))) {
		if (!prev->pid) {
			if (!period->begin)
				period->begin = window_begin;
			period->end = now;
		} else {
			period->begin = now;
			period->end = 0;
		}
	}
	if (prev->pid)
		switch_out(ctx, prev, preempt, now);
	if (next->pid)
		switch_in(next, now);
	return 0;
}

/* ours: what a timer's function wakes, it wakes at once: 3 to 8 us after it ran out, seen with an interval timer's signal.
 * A tick is 1 ms or more from the next. */
#define TIMER_WAKES_NS 10000

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} timer_expired SEC(".maps");

static __always_inline bool timer_expired_at(u64 now)
{
	u32 zero = 0;
	u64 *at = bpf_map_lookup_elem(&timer_expired, &zero);

	return at && now - *at < TIMER_WAKES_NS;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(ledger_waking, struct task_struct *task)
{
	u64 now = bpf_ktime_get_ns();
	struct task_struct *current;
	bool in_user = false;
	struct thread *t;

	if (!window_open() || now < window_begin)
		return 0;
	t = start_clock(task, state_now(task), now);
	if (!t)
		return 0;
	if (t->state == BLOCKED && t->blocked_since == window_begin) { /* it blocked before anybody looked */
		note_block(task, t, task_state(task));
		t->flags |= WAIT_BEFORE;
		t->chosen = ALWAYS;
	}
	if (t->state == RUNNING) {
		t->early_wake = 1;
		return 0;
	}
	if (t->state != BLOCKED)
		return 0;
	t->blocked_ns = since_until(t->blocked_since, now);
	t->times.blocked += t->blocked_ns;
	t->off_cpu += t->blocked_ns;
	t->state = RUNNABLE;
	t->since = now;
	note_throttle(task, t);
	look_at(task, t, now);
	if (t->chosen == SKIPPED && !streaming)
		return 0; /* counted without a waker */
	t->flags &= ~(WAIT_WOKEN_IN_INTERRUPT | WAIT_TIMED | WAIT_SIGNALLED);
	current = bpf_get_current_task_btf();
	t->waker_syscall = -1;
	if (!(current->flags & PF_KTHREAD) &&
	    bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs)) {
		struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(current);

		t->waker_syscall = REGS_SYSCALL(regs);
		in_user = t->waker_syscall < 0;
	}
	/* An interrupt that met user code runs on the task's own stack; nobody was in a system call then. */
	if (in_user || in_interrupt(ctx)) {
		t->flags |= WAIT_WOKEN_IN_INTERRUPT;
		if (timer_expired_at(now))
			t->flags |= WAIT_TIMED;
	}
	t->waker_tid = current->pid;
	t->waker_tgid = current->tgid;
	if (t->chosen == SKIPPED || !has_books(task, t) || current->flags & PF_KTHREAD || !current->pid ||
	    t->waker_tgid == self_tgid || !take_stacks)
		return 0;
	t->waker_stack = take_user_stack(ctx, SCRATCH_WAKE, t->waker_tgid);
	return 0;
}

/* A high-resolution timer has run out on this CPU; its function is called next. */
SEC("tp_btf/hrtimer_expire_entry")
int BPF_PROG(ledger_timer)
{
	u32 zero = 0;
	u64 *at = bpf_map_lookup_elem(&timer_expired, &zero);

	if (at)
		*at = bpf_ktime_get_ns();
	return 0;
}

/* Makes room for a new task's clock. */
SEC("tp_btf/task_newtask")
int BPF_PROG(ledger_fork, struct task_struct *task)
{
	if (!bpf_task_storage_get(&threads, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE))
		count_lost_of(LOST_CLOCKS);
	return 0;
}

/* Run once before the window opens: makes room for the clocks of the tasks that are there. */
SEC("iter/task")
int ledger_open(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	u8 again = 1;

	/* The allocator's stock runs short for a moment on many tasks at once: user space walks them again. */
	if (task && task->pid && !(task_state(task) & TASK_DEAD) &&
	    !bpf_task_storage_get(&threads, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE))
		bpf_seq_write(ctx->meta->seq, &again, sizeof(again));
	return 0;
}

/* Run once as the window opens: what has been counted of threads before. A thread that is made later has none of it. */
SEC("iter/task")
int ledger_before(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct thread *t;

	if (!task || !task->pid)
		return 0;
	t = bpf_task_storage_get(&threads, task, 0, 0);
	if (t) {
		t->minor_before = task->min_flt;
		t->major_before = task->maj_flt;
		t->faults_known = 1;
		if (t->state == UNSEEN) {
			t->executed_at = task->se.sum_exec_runtime;
			t->before = state_now(task);
			if (t->before == RUNNABLE)
				note_throttle(task, t);
		}
	}
	return 0;
}

/* Run once as the window opens: where blocked threads are in user space. */
SEC("iter/task")
int ledger_places(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct place place = {};
	struct pt_regs *regs;

	if (!task || task->flags & PF_KTHREAD || task->on_cpu || !task_state(task) || task->tgid == self_tgid ||
	    !bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return 0;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	place.tid = task->pid;
	place.tgid = task->tgid;
	place.ip = REGS_IP(regs);
	place.sp = REGS_SP(regs);
	place.bp = REGS_BP(regs);
	place.context_switches = task->nvcsw + task->nivcsw;
	bpf_seq_write(ctx->meta->seq, &place, sizeof(place));
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(ledger_new, struct task_struct *task)
{
	u64 now = bpf_ktime_get_ns();
	struct thread *t;

	if (!window_open() || now < window_begin)
		return 0;
	t = thread_of(task);
	if (!t)
		return 0;
	__builtin_memset(t, 0, sizeof(*t));
	t->faults_known = 1;
	t->times.tid = task->pid;
	t->times.tgid = task->tgid;
	t->times.begin = now;
	t->since = now;
	t->state = RUNNABLE;
	t->syscall = -1;
	t->kind = CALL_NONE;
	t->waker_tid = bpf_get_current_pid_tgid();
	t->waker_tgid = bpf_get_current_pid_tgid() >> 32;
	note_throttle(task, t);
	return 0;
}

/* Run as the event window closes: what every thread is doing that has done anything in the whole window. */
SEC("iter/task")
int ledger_moment(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct thread *t;
	struct episode *e;

	if (!task || !task->pid)
		return 0;
	t = bpf_task_storage_get(&threads, task, 0, 0);
	if (!t || t->state == UNSEEN || t->times.tgid == self_tgid)
		return 0;
	e = episode_of(t, SCRATCH_ITER, t->state == RUNNING ? EPISODE_RUNNING : EPISODE_PREEMPTED);
	if (!e)
		return 0;
	if (t->state == RUNNING) {
		e->on_at = t->since;
		if (bpf_core_field_exists(task->thread_info.cpu))
			e->cpu = BPF_CORE_READ(task, thread_info.cpu);
	} else if (t->state == RUNNABLE) {
		e->off_at = t->since;
		if (t->blocked_ns) {
			e->kind = EPISODE_BLOCKED;
			e->off_at = t->blocked_since;
			e->woken_at = t->since;
		}
	} else {
		e->kind = EPISODE_BLOCKED;
		e->off_at = t->blocked_since;
	}
	stream_episode(SCRATCH_ITER, false);
	return 0;
}

/* Run once after the window has closed: closes every thread's books and writes them out. */
SEC("iter/task")
int ledger_close(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct seq_file *seq = ctx->meta->seq;
	struct thread *t;
	u64 end = window_end, since;
	u32 state;

	if (!task || !task->pid || !end || task->start_time >= end)
		return 0;
	state = task_state(task);
	if (state & TASK_DEAD)
		return 0;
	t = bpf_task_storage_get(&threads, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!t) {
		count_lost_of(LOST_CLOCKS);
		return 0;
	}
	/* Where there is no more room for what it writes, an iterator runs its program again for the same task. */
	if (t->closed) {
		bpf_seq_write(seq, &t->times, sizeof(t->times));
		return 0;
	}
	t->closed = 1;
	if (t->state == UNSEEN) { /* no event in the whole window */
		start_clock(task, state_now(task), end);
		if (t->state == BLOCKED) {
			note_block(task, t, state);
			t->flags |= WAIT_BEFORE;
		}
	}
	since = t->since < end ? t->since : end;
	if (t->call_begin && attached_since[FREQUENT_CALLS] && t->call_begin >= attached_since[FREQUENT_CALLS] && t->call_begin < end) {
		u64 off = t->off_cpu - t->call_off_cpu, wall = end - t->call_begin;

		if (t->state != RUNNING)
			off += end - since;
		if (wall > off)
			t->times.in_syscall += wall - off;
	}
	if (t->state == RUNNING) {
		t->times.running += end - since;
		/* Whatever it has executed since then is not accounted for yet. */
		t->times.executed += end - since;
	} else if (t->state == RUNNABLE) {
		t->times.runnable += end - since;
		if (t->throttled)
			t->times.throttled += end - since;
		else
			blame(t->times.tid, t->times.tgid, 0, 0, (end - since) << BLAME_SHIFT);
	} else {
		t->times.blocked += end - since;
		t->blocked_ns = end - since;
		t->flags |= WAIT_OPEN;
		t->chosen = ALWAYS;
	}
	if (t->blocked_ns)
		book_wait(task, t, SCRATCH_ITER);
	finish_times(task, t, end);
	bpf_seq_write(seq, &t->times, sizeof(t->times));
	return 0;
}
