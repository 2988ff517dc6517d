// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/* Block requests: latency per device and direction, whose they are, and behind whose they queue. */

struct request_state {
	u64 issued;
	u32 tgid;
	u32 tid;
	u32 device;
	u32 operation;
	u32 bytes;
	u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, struct request_state);
} requests SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct block_key);
	__type(value, struct hist);
} block_latency SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct block_key);
	__type(value, struct block_value);
} block_issuers SEC(".maps");

/*
 * A device's queue: which processes have requests in it. Each completion says whom the device served since the one
 * before; for that time every other process with a request in the queue waited behind the one served. The times behind
 * all others never sum to more than the time itself. Processes beyond the slots are not counted.
 */
#define QUEUE_SLOTS 8

struct queue_slot {
	u64 since; /* it has requests pending without a break */
	u32 tgid;
	u32 pending;
};

struct device_queue {
	u64 last_complete;
	struct queue_slot slots[QUEUE_SLOTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, u32);
	__type(value, struct device_queue);
} device_queues SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct behind_key);
	__type(value, u64);
} queued_behind SEC(".maps");

static const struct device_queue no_queue = {};

/* A process has one request more in a device's queue. */
static __noinline int queue_enter(u32 device, u32 tgid, u64 now)
{
	struct device_queue *queue = bpf_map_lookup_elem(&device_queues, &device);

	if (!queue) {
		bpf_map_update_elem(&device_queues, &device, &no_queue, BPF_NOEXIST);
		queue = bpf_map_lookup_elem(&device_queues, &device);
		if (!queue)
			return 0;
	}
	for (u64 i = 0; i < QUEUE_SLOTS; i++) {
		struct queue_slot *slot = &queue->slots[i];

		if (slot->tgid == tgid || !slot->pending) {
			/* Two CPUs may take an empty slot at once: then one of the two processes is not counted. */
			slot->tgid = tgid;
			if (!__sync_fetch_and_add(&slot->pending, 1))
				slot->since = now;
			return 0;
		}
	}
	return 0;
}

/* One of its requests was served, which began then. */
static __noinline int queue_leave(u32 device, u32 tgid, u64 issued, u64 now)
{
	struct device_queue *queue = bpf_map_lookup_elem(&device_queues, &device);
	u64 since;

	if (!queue)
		return 0;
	since = queue->last_complete > issued ? queue->last_complete : issued;
	queue->last_complete = now;
	for (u64 i = 0; i < QUEUE_SLOTS; i++) {
		struct queue_slot *slot = &queue->slots[i];

		if (slot->tgid == tgid) {
			if (slot->pending)
				__sync_fetch_and_add(&slot->pending, -1);
		} else if (slot->pending && now > since && now > slot->since) {
			struct behind_key key = { .device = device, .tgid = slot->tgid, .ahead = tgid };
			u64 *sum = bpf_map_lookup_elem(&queued_behind, &key), first = 0;
			u64 ns = now - (since > slot->since ? since : slot->since);

			if (!sum) {
				bpf_map_update_elem(&queued_behind, &key, &first, BPF_NOEXIST);
				sum = bpf_map_lookup_elem(&queued_behind, &key);
			}
			if (sum)
				__sync_fetch_and_add(sum, ns);
			else
				count_lost();
		}
	}
	return 0;
}

static __always_inline u32 device_of(struct request *rq)
{
	struct gendisk *disk;

	if (bpf_core_field_exists(rq->q->disk))
		disk = BPF_CORE_READ(rq, q, disk);
	else
		disk = BPF_CORE_READ((struct request___with_disk *)rq, rq_disk);
	return BPF_CORE_READ(disk, major) << 20 | BPF_CORE_READ(disk, first_minor);
}

/* Bits of a page's mapping that say that it is nobody's file's (PAGE_MAPPING_FLAGS). */
#define NO_FILE 3

/* The file whose pages a request is for: that of the first, if it is in the page cache. */
static __noinline int note_file(struct thread *t, struct request *rq)
{
	struct page *page = BPF_CORE_READ(rq, bio, bi_io_vec, bv_page);
	struct inode *inode;
	u64 mapping;

	t->file = 0;
	if (!bpf_core_field_exists(page->mapping))
		return 0;
	/* All but the first page of a large one know only that. */
	if (bpf_core_field_exists(page->compound_head) && BPF_CORE_READ(page, compound_head) & 1)
		page = (struct page *)(BPF_CORE_READ(page, compound_head) - 1);
	mapping = (u64)BPF_CORE_READ(page, mapping);
	if (!mapping || mapping & NO_FILE)
		return 0;
	inode = BPF_CORE_READ((struct address_space *)mapping, host);
	if (BPF_CORE_READ(inode, i_mode) >> 12 != TYPE_REGULAR)
		return 0;
	t->file = BPF_CORE_READ(inode, i_ino);
	t->file_device = BPF_CORE_READ(inode, i_sb, s_dev);
	return 0;
}

/* Notes who asked: at issue, a worker of the block layer may be running. */
static __always_inline int note_submitter(struct request *rq)
{
	u64 key = (u64)rq, id = bpf_get_current_pid_tgid();
	struct request_state state = { .tgid = id >> 32, .tid = (u32)id };
	struct task_struct *current = bpf_get_current_task_btf();
	struct thread *t;

	if (!window_open())
		return 0;
	state.device = device_of(rq);
	t = bpf_task_storage_get(&threads, current, 0, 0);
	if (t) {
		t->device = state.device;
		note_file(t, rq);
	}
	if (!bpf_map_update_elem(&requests, &key, &state, BPF_NOEXIST))
		queue_enter(state.device, state.tgid, bpf_ktime_get_ns());
	else if (bpf_map_update_elem(&requests, &key, &state, BPF_EXIST)) /* is it there from before? */
		count_lost();
	return 0;
}

/* Kernel 6.5 and later. */
SEC("tp_btf/block_io_start")
int BPF_PROG(block_start, struct request *rq)
{
	return note_submitter(rq);
}

SEC("tp_btf/block_rq_insert")
int BPF_PROG(block_insert, struct request *rq)
{
	return note_submitter(rq);
}

SEC("tp_btf/block_rq_issue")
int BPF_PROG(block_issue, struct request *rq)
{
	u64 key = (u64)rq, id = bpf_get_current_pid_tgid();
	struct request_state *state, first = { .tgid = id >> 32, .tid = (u32)id };

	if (!window_open())
		return 0;
	state = bpf_map_lookup_elem(&requests, &key);
	if (!state) {
		if (bpf_map_update_elem(&requests, &key, &first, BPF_ANY)) {
			count_lost();
			return 0;
		}
		state = bpf_map_lookup_elem(&requests, &key);
		if (!state)
			return 0;
		state->device = device_of(rq);
		queue_enter(state->device, state->tgid, bpf_ktime_get_ns());
	}
	state->issued = bpf_ktime_get_ns();
	state->operation = BPF_CORE_READ(rq, cmd_flags) & 0xff;
	state->bytes = BPF_CORE_READ(rq, __data_len);
	return 0;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(block_complete, struct request *rq, int error, unsigned int bytes)
{
	u64 key = (u64)rq, now, ns;
	struct request_state *state = bpf_map_lookup_elem(&requests, &key);
	struct block_key where = {};
	struct block_value *value, first = {};
	struct hist *hist;

	if (!state)
		return 0;
	queue_leave(state->device, state->tgid, state->issued, bpf_ktime_get_ns());
	if (!state->issued || !window_open()) {
		bpf_map_delete_elem(&requests, &key);
		return 0;
	}
	now = bpf_ktime_get_ns();
	ns = now - state->issued;
	where.device = state->device;
	where.operation = state->operation;
	hist = bpf_map_lookup_elem(&block_latency, &where);
	if (!hist) {
		bpf_map_update_elem(&block_latency, &where, &no_hist, BPF_NOEXIST);
		hist = bpf_map_lookup_elem(&block_latency, &where);
	}
	if (hist)
		hist_add(hist, ns);
	else
		count_lost();
	where.tgid = state->tgid;
	value = bpf_map_lookup_elem(&block_issuers, &where);
	if (!value) {
		bpf_map_update_elem(&block_issuers, &where, &first, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&block_issuers, &where);
	}
	if (value) {
		__sync_fetch_and_add(&value->count, 1);
		__sync_fetch_and_add(&value->bytes, state->bytes);
		__sync_fetch_and_add(&value->ns, ns);
	} else {
		count_lost();
	}
	if (ns >= slow_block_ns) {
		struct event *event = reserve_event(EVENT_SLOW_BLOCK, now);

		if (event) {
			event->duration = ns;
			event->tgid = state->tgid;
			event->tid = state->tid;
			event->other = state->device;
			event->detail = state->operation;
			bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
		}
	}
	bpf_map_delete_elem(&requests, &key);
	return 0;
}
