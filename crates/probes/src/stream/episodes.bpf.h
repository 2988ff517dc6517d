/* SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause) */
/* The event window: for a few seconds every time off a CPU is handed to user space as it ends, one by one. */
#ifndef FRIDAY_EPISODES_H
#define FRIDAY_EPISODES_H

struct episode_ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};

/* One for each CPU, made by user space when the event window opens. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_CPUS);
	__type(key, u32);
	__array(values, struct episode_ring);
} episodes SEC(".maps");

static __always_inline void *episode_ring(void)
{
	u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&episodes, &cpu);
}

/* Wakes the reader once the ring is half full; it comes by itself otherwise. */
static __always_inline u64 wake_at_half(void *ring)
{
	u64 waiting = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA);

	return waiting > bpf_ringbuf_query(ring, BPF_RB_RING_SIZE) / 2 ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* The episode that is being put together on this CPU, times yet to be filled in. */
static __always_inline struct episode *episode_of(struct thread *t, u32 scratch, u8 kind)
{
	struct stack_scratch *s = bpf_map_lookup_elem(&scratches, &scratch);
	struct episode *e;

	if (!s)
		return NULL;
	e = &s->seen.episode;
	e->off_at = e->woken_at = e->on_at = 0;
	e->throttled_us = e->pinned_us = 0;
	e->tid = t->times.tid;
	e->tgid = t->times.tgid;
	e->waker_tid = t->waker_tid;
	e->waker_tgid = t->waker_tgid;
	e->syscall = t->syscall;
	e->waker_syscall = t->waker_syscall;
	e->cpu = bpf_get_smp_processor_id();
	e->kind = kind;
	e->flags = t->flags;
	e->call = t->kind;
	return e;
}

/* Hands it out, with what was seen of its wait if it was looked at (see record_wait). */
static __noinline int stream_episode(u32 scratch, u32 looked_at)
{
	struct stack_scratch *s = bpf_map_lookup_elem(&scratches, &scratch);
	void *ring = episode_ring();
	long failed;

	if (!s || !ring)
		return 0;
	if (looked_at)
		failed = bpf_ringbuf_output(ring, &s->seen, sizeof(s->seen), wake_at_half(ring));
	else
		failed = bpf_ringbuf_output(ring, &s->seen.episode, sizeof(s->seen.episode), wake_at_half(ring));
	if (failed)
		count_lost_of(LOST_EPISODES);
	return 0;
}

#endif
