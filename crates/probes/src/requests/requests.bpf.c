// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * Requests, as sockets show them: on a connection that was accepted, from the first data that comes in to the last that
 * goes out before more comes in; on one that was opened, the other way round.
 *
 * A request is booked with the first data of its answer and moved on with each further one, so nothing is left to do when
 * a connection closes or a slice of tracing ends. What began in an earlier slice is never booked in a later one.
 */

#define REQUEST_AF_UNIX 1
#define REQUEST_AF_INET 2
#define REQUEST_AF_INET6 10
#define REQUEST_STREAM 1
#define REQUEST_RCV_SHUTDOWN 1
/* Data that stays where it is, is no part of the stream, or is no data. */
#define REQUEST_PASSED_OVER (0x1 /* MSG_OOB */ | 0x2 /* MSG_PEEK */ | 0x2000 /* MSG_ERRQUEUE */)

/* ours: what follows an answer after such a pause is a message of its own, as of who subscribed to something. */
#define ANSWER_PAUSE_NS 1000000000ULL

enum conversation_state { TALK_NONE = 0, TALK_ASKED = 1, TALK_ANSWERED = 2 };

/* What is remembered of a socket. */
struct conversation {
	u64 end;
	u64 connection;
	u64 slice;	  /* the one that the rest is of */
	u64 arrived;	  /* since when there is data that nobody has read; 0: there is none */
	u64 arrived_last; /* when data came last */
	u64 begin;
	u64 asked;	  /* when the last data of the question came */
	u64 answered;	  /* last data of the answer */
	u64 accounted;	  /* up to here it is known how the time went */
	u64 running;	  /* the thread's totals at that moment */
	u64 runnable;
	u64 within;
	u64 within_connection;
	u64 within_begin;
	u64 queued;
	u64 bytes_in;	  /* not booked yet */
	u64 bytes_out;
	u64 holder;	  /* pid << 32 | descriptor by which it was found when the window had closed */
	u32 tid;
	u32 tgid;
	u8 side;  /* enum request_side */
	u8 state; /* enum conversation_state */
	u8 known; /* how much unread data there was when the slice began no longer matters */
	u8 seen;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct conversation);
} request_talks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct request_key);
	__type(value, struct request_value);
} request_rows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, u64);
	__type(value, struct request_end);
} request_ends SEC(".maps");

/* Events seen since the window began, by which user space bounds the cost of following them. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} requests_seen SEC(".maps");

/* The data that arrived last on this CPU. */
struct arrival {
	u64 connection;
	u64 at;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct arrival);
} request_arrivals SEC(".maps");

u64 requests_aside = 0; /* this slice is the event window's alone: requests are slower in it, and are booked aside */
u64 requests_listed = 0; /* the slice in which all sockets that were there have a record */

static const struct request_value no_request = {};

static __always_inline bool count_request_event(void)
{
	u32 zero = 0;
	u64 *seen = bpf_map_lookup_elem(&requests_seen, &zero);

	if (seen)
		(*seen)++;
	return window_open() && attached_since[FREQUENT_REQUESTS];
}

static __always_inline u64 request_slot(u64 value)
{
	u64 shift, slot = value;

	if (value >= 32) {
		shift = log2_floor(value) - 4;
		slot = (shift + 1) * 16 + ((value >> shift) & 15);
	}
	return slot < REQUEST_SLOTS ? slot : REQUEST_SLOTS - 1;
}

/* The length of a unix socket's path, which is copied; 0: it has none. */
static __always_inline u64 read_path(const struct sock *sk, char *path)
{
	struct unix_address *address = BPF_CORE_READ((const struct unix_sock *)sk, addr);
	u64 length;

	if (!address)
		return 0;
	length = (u32)BPF_CORE_READ(address, len);
	if (length <= sizeof(u16) || length > sizeof(u16) + 108)
		return 0;
	length -= sizeof(u16);
	if (length > PATH_LEN)
		length = PATH_LEN;
	if (bpf_probe_read_kernel(path, length, address->name[0].sun_path))
		return 0;
	return length;
}

/* An end of a connection as both ends see it: an IPv4 address that a socket for IPv6 shows is that address. */
static __always_inline u64 hash_of_end(u32 *address, u32 port)
{
	u64 hash = port;

	if (!address[0] && !address[1] && address[2] == __builtin_bswap32(0xffff))
		address[2] = 0;
	for (int i = 0; i < 4; i++)
		hash = mix(hash, address[i]);
	return hash;
}

static __always_inline u64 peers_peer(const struct sock *sk)
{
	const struct unix_sock *peer = (const struct unix_sock *)BPF_CORE_READ((const struct unix_sock *)sk, peer);

	return peer ? (u64)BPF_CORE_READ(peer, peer) : 0;
}

/* The same number at both ends of a connection on this machine. */
static __noinline u64 connection_of(struct sock *sk)
{
	u32 here[4] = {}, there[4] = {};
	u64 sum;

	if (!sk)
		return 0;
	switch (BPF_CORE_READ(sk, __sk_common.skc_family)) {
	case REQUEST_AF_UNIX:
		/* Each is the other's peer; the verifier lets nobody count with a pointer that was not read. */
		sum = mix(0, (u64)BPF_CORE_READ((const struct unix_sock *)sk, peer)) +
		      mix(0, (u64)peers_peer(sk));
		return sum ? sum : 1;
	case REQUEST_AF_INET6:
		BPF_CORE_READ_INTO((struct in6_addr *)here, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)there, sk, __sk_common.skc_v6_daddr);
		break;
	default:
		here[3] = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		there[3] = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	}
	sum = hash_of_end(here, BPF_CORE_READ(sk, __sk_common.skc_num)) +
	      hash_of_end(there, __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport)));
	return sum ? sum : 1;
}

/* Tells which end of a connection the socket is, and whose. */
static __noinline int place_socket(struct sock *sk, struct conversation *talk)
{
	struct request_end end = { .family = BPF_CORE_READ(sk, __sk_common.skc_family) };
	u64 hash = 0x656e64ULL, *words = (u64 *)&end;
	u8 side = SIDE_CLIENT;

	if (end.family == REQUEST_AF_UNIX) {
		const struct sock *peer = BPF_CORE_READ((const struct unix_sock *)sk, peer);
		bool here = read_path(sk, end.path);

		/* The accepted end carries the listener's address, the other one rarely has any. */
		if (here)
			side = peer && BPF_CORE_READ((const struct unix_sock *)peer, addr) ? SIDE_UNKNOWN : SIDE_SERVER;
		else if (!peer || !read_path(peer, end.path))
			side = SIDE_UNKNOWN;
	} else {
		struct accept_key key = { .port = BPF_CORE_READ(sk, __sk_common.skc_num) };

		key.netns = end.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
		if (bpf_map_lookup_elem(&net_listening, &key)) {
			side = SIDE_SERVER;
			end.family = REQUEST_AF_INET;
			end.port = key.port;
		} else {
			end.port = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
			if (end.family == REQUEST_AF_INET6)
				BPF_CORE_READ_INTO((struct in6_addr *)end.address, sk, __sk_common.skc_v6_daddr);
			else
				end.address[0] = BPF_CORE_READ(sk, __sk_common.skc_daddr);
			key.port = 0;
			if (bpf_map_lookup_elem(&net_listening, &key))
				side = SIDE_UNKNOWN;
		}
	}
	talk->side = side;
	if (side == SIDE_UNKNOWN)
		return 0;
	for (u64 i = 0; i < sizeof(end) / sizeof(u64); i++)
		hash = mix(hash, words[i]);
	talk->end = hash ? hash : 1;
	talk->connection = connection_of(sk);
	if (!bpf_map_lookup_elem(&request_ends, &talk->end) &&
	    bpf_map_update_elem(&request_ends, &talk->end, &end, BPF_ANY))
		count_lost();
	return 0;
}

/* What is known of a stream socket in this slice; NULL: nothing is to be known of it. */
static __always_inline struct conversation *talk_of(struct sock *sk)
{
	u16 family = sk->__sk_common.skc_family;
	struct conversation *talk;

	if (family == REQUEST_AF_UNIX ? sk->sk_type != REQUEST_STREAM :
	    (family != REQUEST_AF_INET && family != REQUEST_AF_INET6) || sk->sk_protocol != NET_IPPROTO_TCP)
		return NULL;
	if (sk->__sk_common.skc_state == NET_LISTEN)
		return NULL;
	talk = bpf_sk_storage_get(&request_talks, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!talk) {
		count_lost();
		return NULL;
	}
	if (!talk->seen)
		place_socket(sk, talk);
	if (talk->side == SIDE_UNKNOWN) {
		talk->seen = 1;
		return NULL;
	}
	if (talk->slice != attached_since[FREQUENT_REQUESTS]) {
		talk->slice = attached_since[FREQUENT_REQUESTS];
		talk->arrived = talk->arrived_last = 0;
		talk->state = TALK_NONE;
		/* A new one has nothing from before. */
		talk->known = !talk->seen && talk->slice == requests_listed;
	}
	talk->seen = 1;
	return talk;
}

/* Whether there is data that nobody has read; the end of the stream counts as some. */
static __always_inline bool has_unread(struct sock *sk)
{
	const struct tcp_sock *tcp = (const void *)sk;

	if (sk->__sk_common.skc_family == REQUEST_AF_UNIX)
		return sk->sk_receive_queue.qlen;
	return BPF_CORE_READ(tcp, rcv_nxt) != BPF_CORE_READ(tcp, copied_seq);
}

static __always_inline u64 running_until(struct thread *t, u64 now)
{
	return t->times.running + (t->state == RUNNING ? since_until(t->since, now) : 0);
}

static __always_inline struct request_value *row_of(struct conversation *talk)
{
	struct request_key key = { .end = talk->end, .within = talk->within, .tgid = talk->tgid, .side = talk->side };
	struct request_value *row;

	if (requests_aside)
		key.side |= SIDE_ASIDE;
	row = bpf_map_lookup_elem(&request_rows, &key);
	if (!row) {
		bpf_map_update_elem(&request_rows, &key, &no_request, BPF_NOEXIST);
		row = bpf_map_lookup_elem(&request_rows, &key);
		if (!row)
			count_lost();
	}
	return row;
}

/* Books the answer so far, which came at that time. */
static __always_inline void book_answer(struct conversation *talk, struct request_value *row, u64 at)
{
	u64 ns = since_until(talk->begin, at);

	if (talk->state == TALK_ASKED) {
		__sync_fetch_and_add(&row->time.slots[request_slot(ns)], 1);
		__sync_fetch_and_add(&row->time.sum, ns);
		__sync_fetch_and_add(&row->queued, talk->queued);
	} else if (at > talk->answered) {
		u64 before = since_until(talk->begin, talk->answered);
		u64 from = request_slot(before), to = request_slot(ns);

		if (from != to) {
			__sync_fetch_and_add(&row->time.slots[from], -1);
			__sync_fetch_and_add(&row->time.slots[to], 1);
		}
		__sync_fetch_and_add(&row->time.sum, ns - before);
	}
	if (ns > row->time.max)
		row->time.max = ns;
	__sync_fetch_and_add(&row->bytes_in, talk->bytes_in);
	__sync_fetch_and_add(&row->bytes_out, talk->bytes_out);
	talk->bytes_in = talk->bytes_out = 0;
	if (at > talk->answered || talk->state == TALK_ASKED)
		talk->answered = at;
	talk->state = TALK_ANSWERED;
}

/* Tells the event window of what has been answered so far. */
static __noinline int stream_request(struct conversation *talk, u32 tid)
{
	struct request_span span = {};
	void *ring = episode_ring();

	if (!talk || !ring)
		return 0;
	span.connection = talk->connection;
	span.end = talk->end;
	span.begin = talk->begin;
	span.read_at = talk->begin + talk->queued;
	span.answered_at = talk->answered;
	span.within = talk->within_connection;
	span.within_begin = talk->within_begin;
	span.tid = tid;
	span.tgid = talk->tgid;
	span.side = talk->side;
	if (bpf_ringbuf_output(ring, &span, sizeof(span), wake_at_half(ring)))
		count_lost_of(LOST_EPISODES);
	return 0;
}

/* From now on, how this thread's time goes is how the request's goes. */
static __always_inline void take_in_hand(struct conversation *talk, struct thread *t, u64 now)
{
	talk->tid = t->times.tid;
	talk->accounted = now;
	talk->running = running_until(t, now);
	talk->runnable = t->times.runnable;
}

/* Adds how the time went since it was taken in hand. */
static __always_inline void account(struct conversation *talk, struct request_value *row, struct thread *t, u64 now)
{
	u64 wall = since_until(talk->accounted, now), running, runnable;

	if (talk->tid != t->times.tid) {
		__sync_fetch_and_add(&row->elsewhere, wall);
		return;
	}
	running = running_until(t, now) - talk->running;
	runnable = t->times.runnable - talk->runnable;
	if (running > wall)
		running = wall;
	if (runnable > wall - running)
		runnable = wall - running;
	__sync_fetch_and_add(&row->running, running);
	__sync_fetch_and_add(&row->runnable, runnable);
	__sync_fetch_and_add(&row->blocked, wall - running - runnable);
}

#define REQUEST_FORKED_NO_EXEC 0x40 /* PF_FORKNOEXEC */

/*
 * The process in whose name a thread talks: its own, or, of one that was forked lately and runs the same program, its
 * parent. A server that forks for each connection would fill the table.
 */
static __noinline u32 talker_of(struct task_struct *task, struct thread *t, u64 now)
{
	u32 tgid = t->times.tgid;

	if (t->times.begin == window_begin)
		return tgid;
	for (int i = 0; i < GENERATIONS; i++) {
		struct task_struct *leader = BPF_CORE_READ(task, group_leader);

		tgid = BPF_CORE_READ(leader, tgid);
		if (!(BPF_CORE_READ(leader, flags) & REQUEST_FORKED_NO_EXEC) ||
		    BPF_CORE_READ(leader, start_time) + YOUNG_NS < now)
			break;
		task = BPF_CORE_READ(leader, real_parent);
	}
	return tgid;
}

/* Begins a question that this thread has read or sent. */
static __always_inline void begin_question(struct conversation *talk, struct thread *t, u64 at, u64 now)
{
	talk->state = TALK_ASKED;
	talk->begin = talk->asked = at;
	talk->queued = since_until(at, now);
	talk->tgid = talker_of(bpf_get_current_task_btf(), t, now);
	talk->bytes_in = talk->bytes_out = 0;
}

static __always_inline struct thread *current_thread(void)
{
	return start_clock(bpf_get_current_task_btf(), RUNNING, window_begin);
}

/*
 * What is sent to this machine arrives before the call that sends it returns, which goes on to wake up who reads it: when it
 * arrived, if that was seen.
 */
static __always_inline u64 arrived_there(struct conversation *talk, u64 now)
{
	u32 zero = 0;
	struct arrival *last = bpf_map_lookup_elem(&request_arrivals, &zero);
	u64 at = now;

	if (last && last->connection == talk->connection) {
		if (last->at > talk->arrived_last && last->at > talk->answered)
			at = last->at;
		last->connection = 0;
	}
	return at;
}

static __always_inline int data_ready(struct sock *sk)
{
	struct conversation *talk;
	struct arrival *last;
	u32 zero = 0;
	u64 now;

	if (!count_request_event())
		return 0;
	talk = talk_of(sk);
	if (!talk || !has_unread(sk)) /* a reader was faster than this call */
		return 0;
	now = bpf_ktime_get_ns();
	if (!talk->arrived)
		talk->arrived = now;
	talk->arrived_last = now;
	talk->known = 1;
	last = bpf_map_lookup_elem(&request_arrivals, &zero);
	if (last) {
		last->connection = talk->connection;
		last->at = now;
	}
	return 0;
}

static __always_inline int received(struct sock *sk, int result, int flags)
{
	struct conversation *talk;
	struct request_value *row;
	struct thread *t;
	u64 now, arrived;
	bool unread;

	if (!count_request_event() || result < 0 || flags & REQUEST_PASSED_OVER ||
	    bpf_get_current_pid_tgid() >> 32 == self_tgid)
		return 0;
	talk = talk_of(sk);
	if (!talk)
		return 0;
	unread = has_unread(sk);
	arrived = talk->side == SIDE_CLIENT ? talk->arrived_last : talk->arrived;
	/* What is left came last, as far as anybody knows. */
	talk->arrived = unread ? talk->arrived_last : 0;
	if (!talk->known) { /* data from before the slice: nobody knows since when it was there */
		talk->known = !unread;
		talk->state = TALK_NONE;
		return 0;
	}
	if (!result) {
		t = current_thread();
		if (t && t->request == talk->connection) /* nobody is there any more to be answered */
			t->request = 0;
		return 0;
	}
	now = bpf_ktime_get_ns();
	if (!arrived)
		arrived = now;
	if (talk->side == SIDE_CLIENT) {
		if (talk->state == TALK_NONE ||
		    (talk->state == TALK_ANSWERED && arrived > talk->answered + ANSWER_PAUSE_NS))
			return 0;
		row = row_of(talk);
		if (!row)
			return 0;
		talk->bytes_in += result;
		book_answer(talk, row, arrived);
		if (streaming)
			stream_request(talk, talk->tid);
		t = talk->within_connection ? current_thread() : NULL;
		if (t) { /* what it does now, it does for the request within which it had asked */
			t->request = talk->within_connection;
			t->request_begin = talk->within_begin;
			t->request_end = talk->within;
			t->request_slice = talk->slice;
		}
		return 0;
	}
	if (talk->state == TALK_ASKED) {
		talk->asked = arrived;
		talk->bytes_in += result;
		return 0;
	}
	t = current_thread();
	if (!t)
		return 0;
	begin_question(talk, t, arrived, now);
	talk->bytes_in = result;
	take_in_hand(talk, t, now);
	t->request = talk->connection;
	t->request_begin = talk->begin;
	t->request_end = talk->end;
	t->request_slice = talk->slice;
	return 0;
}

static __always_inline int sent(struct sock *sk, int result)
{
	struct conversation *talk;
	struct request_value *row;
	struct thread *t;
	u64 now, at;

	if (!count_request_event() || result <= 0 || bpf_get_current_pid_tgid() >> 32 == self_tgid)
		return 0;
	talk = talk_of(sk);
	if (!talk || (talk->side == SIDE_SERVER && talk->state == TALK_NONE)) /* it talks first */
		return 0;
	if (talk->side == SIDE_CLIENT && talk->state == TALK_ASKED) {
		talk->bytes_out += result;
		return 0;
	}
	now = bpf_ktime_get_ns();
	if (talk->side == SIDE_SERVER && talk->state == TALK_ANSWERED && now > talk->answered + ANSWER_PAUSE_NS)
		return 0;
	t = current_thread();
	if (!t)
		return 0;
	at = arrived_there(talk, now);
	if (talk->side == SIDE_CLIENT) {
		begin_question(talk, t, at, at);
		talk->tid = t->times.tid;
		talk->bytes_out = result;
		talk->within = talk->within_connection = talk->within_begin = 0;
		if (t->request && t->request_slice == talk->slice) {
			talk->within = t->request_end;
			talk->within_connection = t->request;
			talk->within_begin = t->request_begin;
		}
		return 0;
	}
	row = row_of(talk);
	if (!row)
		return 0;
	talk->bytes_out += result;
	account(talk, row, t, now);
	take_in_hand(talk, t, now);
	book_answer(talk, row, at);
	if (streaming)
		stream_request(talk, t->times.tid);
	if (t->request == talk->connection)
		t->request = 0;
	return 0;
}

SEC("tp_btf/sk_data_ready")
int BPF_PROG(request_arrives, struct sock *sk)
{
	return data_ready(sk);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(request_received, struct sock *sk, int result, int flags)
{
	return received(sk, result, flags);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(request_sent, struct sock *sk, int result, int flags)
{
	return sent(sk, result);
}

/* Before 6.3. What is called through a table of a protocol's functions cannot have been inlined away. */
SEC("fentry/sock_def_readable")
int BPF_PROG(request_readable, struct sock *sk)
{
	return data_ready(sk);
}

#define RECEIVES(program, function)                                                                               \
	SEC("fexit/" function)                                                                                        \
	int BPF_PROG(program, struct socket *socket, void *message, u64 size, int flags, int result)                  \
	{                                                                                                             \
		return received(socket->sk, result, flags);                                                               \
	}

#define SENDS(program, function)                                                                                  \
	SEC("fexit/" function)                                                                                        \
	int BPF_PROG(program, struct socket *socket, void *message, u64 size, int result)                             \
	{                                                                                                             \
		return sent(socket->sk, result);                                                                          \
	}

RECEIVES(request_inet_received, "inet_recvmsg")
RECEIVES(request_inet6_received, "inet6_recvmsg")
RECEIVES(request_unix_received, "unix_stream_recvmsg")
SENDS(request_inet_sent, "inet_sendmsg")
SENDS(request_inet6_sent, "inet6_sendmsg")
SENDS(request_unix_sent, "unix_stream_sendmsg")

/* The stream socket behind a descriptor, if it is one. */
static __always_inline struct sock *socket_of(struct file *file)
{
	struct socket *socket = file ? bpf_sock_from_file(file) : NULL;

	return socket ? socket->sk : NULL;
}

/* Run once as the window opens: what has come in and was not read, nobody knows since when. */
SEC("iter/task_file")
int request_before(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct conversation *talk;
	struct sock *sk;

	if (!task || task->tgid == self_tgid)
		return 0;
	sk = socket_of(ctx->file);
	talk = sk ? talk_of(sk) : NULL;
	if (!talk || talk->known || talk->arrived)
		return 0;
	if (has_unread(sk))
		talk->arrived = talk->arrived_last = talk->slice;
	else
		talk->known = 1;
	return 0;
}

/* Run once after the window has closed: what has come in, or was asked, and is not answered. */
SEC("iter/task_file")
int request_left(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct request_open open = {};
	struct conversation *talk;
	struct sock *sk;
	u64 holder, since;

	sk = socket_of(ctx->file);
	if (!task || !sk)
		return 0;
	talk = bpf_sk_storage_get(&request_talks, sk, 0, 0);
	if (!talk || !talk->slice || talk->slice != attached_since[FREQUENT_REQUESTS])
		return 0;
	/* Processes may share a socket; and where there is no more room for what it writes, the program is run again. */
	holder = (u64)task->pid << 32 | ctx->fd;
	if (talk->holder && talk->holder != holder)
		return 0;
	talk->holder = holder;
	open.key.end = talk->end;
	open.key.side = talk->side;
	open.key.tgid = talk->tgid;
	if (talk->state == TALK_ASKED) {
		since = talk->asked;
		open.key.within = talk->within;
	} else if (talk->side == SIDE_SERVER && talk->arrived && has_unread(sk) && !(sk->sk_shutdown & REQUEST_RCV_SHUTDOWN)) {
		since = talk->arrived;
		open.key.tgid = task->tgid;
	} else {
		return 0;
	}
	open.age = since_until(since, window_end);
	bpf_seq_write(ctx->meta->seq, &open, sizeof(open));
	return 0;
}
