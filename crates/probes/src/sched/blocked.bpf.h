/* SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause) */
/* What a task is blocked on: the system call in flight, the object behind its arguments, flags. */
#ifndef FRIDAY_BLOCKED_H
#define FRIDAY_BLOCKED_H

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct file_key);
	__type(value, struct file_name);
} file_names SEC(".maps");

/* When a socket last sent something again, by its address. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, u64);
} retransmitting SEC(".maps");

/* Ports that are listened on; port 0 marks a namespace of which nobody knows that. User space fills in those from before. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct accept_key);
	__type(value, u8);
} net_listening SEC(".maps");

static __always_inline u32 task_state(struct task_struct *task)
{
	if (bpf_core_field_exists(task->__state))
		return task->__state;
	return BPF_CORE_READ((struct task_struct___old_state *)task, state);
}

/* The file behind a descriptor. */
static __always_inline struct file *file_of(struct task_struct *task, u64 fd)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **slots = BPF_CORE_READ(table, fd), *file = NULL;

	if (slots && fd < BPF_CORE_READ(table, max_fds))
		bpf_probe_read_kernel(&file, sizeof(file), &slots[fd]);
	return file;
}

/* S_IFMT, shifted down to one digit. */
#define TYPE_PIPE 1
#define TYPE_CHARACTER 2
#define TYPE_REGULAR 8
#define TYPE_SOCKET 12

static __always_inline u32 file_type(struct file *file)
{
	return file ? BPF_CORE_READ(file, f_inode, i_mode) >> 12 : 0;
}

#define AF_UNIX 1
#define IPPROTO_TCP 6
#define STATE_SYN_SENT 2
#define STATE_LISTEN 10
#define TCP_CHRONO_RWND_LIMITED 2

/* Small data that Nagle's algorithm holds back while the current thread begins to wait for the answer to it. */
static __noinline int note_held(struct task_struct *task, struct thread *t)
{
	struct file *file = file_of(task, t->object_a);
	struct tcp_sock *tcp;
	struct socket *socket;
	u32 unsent;

	if (file_type(file) != TYPE_SOCKET)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	tcp = (struct tcp_sock *)BPF_CORE_READ(socket, sk);
	if (BPF_CORE_READ((struct sock *)tcp, sk_protocol) != IPPROTO_TCP)
		return 0;
	unsent = BPF_CORE_READ(tcp, write_seq) - BPF_CORE_READ(tcp, snd_nxt);
	if (unsent && unsent < BPF_CORE_READ(tcp, mss_cache) && BPF_CORE_READ(tcp, packets_out) &&
	    !BPF_CORE_READ_BITFIELD_PROBED(tcp, nonagle))
		t->reason = SOCKET_HELD;
	return 0;
}

/* What held up a wait on a TCP socket that is over now. */
static __always_inline void note_reason(struct thread *t, struct sock *sk)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;
	u64 key = (u64)sk, *sent_again = bpf_map_lookup_elem(&retransmitting, &key);

	if (sent_again && *sent_again >= t->blocked_since)
		t->reason = SOCKET_LOSS;
	else if (t->reason != SOCKET_HELD &&
		 BPF_CORE_READ_BITFIELD_PROBED(tcp, chrono_type) == TCP_CHRONO_RWND_LIMITED)
		t->reason = SOCKET_WINDOW;
}

/* A socket as the object of a wait. */
static __noinline int describe_socket(struct thread *t, struct sock *sk)
{
	u64 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	u64 local = BPF_CORE_READ(sk, __sk_common.skc_num);
	u64 remote = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
	u64 state = BPF_CORE_READ(sk, __sk_common.skc_state);

	if (!t)
		return 0;
	t->object = OBJECT_SOCKET;
	if (family == 10) {
		u64 high = 0;

		t->object_b = BPF_CORE_READ(sk, __sk_common.skc_v6_daddr.in6_u.u6_addr32[3]);
		high = BPF_CORE_READ(sk, __sk_common.skc_v6_daddr.in6_u.u6_addr32[0]);
		t->object_b |= high << 32;
	} else if (family == 2) {
		t->object_b = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	} else {
		struct pid *peer = BPF_CORE_READ(sk, sk_peer_pid);

		/* A path of its own: the end that was accepted, as a client's has none. */
		local = family == AF_UNIX && BPF_CORE_READ((struct unix_sock *)sk, addr);
		remote = 0;
		if (family == AF_UNIX && peer)
			t->holder = BPF_CORE_READ(peer, numbers[0].nr);
		else if (family == AF_UNIX) /* datagrams: nobody opened the other end for this one */
			t->object_b = BPF_CORE_READ((struct unix_sock *)sk, peer, sk_socket, file, f_inode, i_ino);
	}
	t->object_a = local | remote << 16 | family << 32 | state << 48;
	if (BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP)
		note_reason(t, sk);
	return 0;
}

/* The object behind the first argument of a call on a descriptor. */
static __noinline int describe_file(struct task_struct *task, struct thread *t, u64 fd)
{
	struct file *file = file_of(task, fd);
	struct inode *inode;
	u16 mode;

	if (!file)
		return 0;
	inode = BPF_CORE_READ(file, f_inode);
	mode = BPF_CORE_READ(inode, i_mode);
	switch (mode >> 12) {
	case TYPE_PIPE:
		t->object = OBJECT_PIPE;
		t->object_a = BPF_CORE_READ(inode, i_ino);
		break;
	case TYPE_CHARACTER:
		t->object = OBJECT_TTY;
		break;
	case TYPE_REGULAR: {
		struct file_key key = {};

		t->object = OBJECT_FILE;
		t->object_a = key.inode = BPF_CORE_READ(inode, i_ino);
		t->object_b = key.device = BPF_CORE_READ(inode, i_sb, s_dev);
		if (!bpf_map_lookup_elem(&file_names, &key)) {
			struct file_name name = {};
			const unsigned char *text = BPF_CORE_READ(file, f_path.dentry, d_name.name);

			bpf_probe_read_kernel_str(name.name, sizeof(name.name), text);
			bpf_map_update_elem(&file_names, &key, &name, BPF_NOEXIST);
		}
		break;
	}
	case TYPE_SOCKET: {
		struct socket *socket = BPF_CORE_READ(file, private_data);

		describe_socket(t, BPF_CORE_READ(socket, sk));
		break;
	}
	default:
		t->object = OBJECT_OTHER;
		t->object_a = mode;
	}
	return 0;
}

/* What is known of a poll; the numbers that matter are in the thread's object_a. */
enum polled {
	POLLED_MANY = 0,
	POLLED_ONE = 1,	   /* this descriptor */
	POLLED_LIST = 2,   /* the list at this address */
	POLLED_SOCKET = 3, /* of several descriptors, this one is the only connection that was opened */
	POLLED_EPOLL = 4,  /* this epoll */
};

/* Of a poll, the number of descriptors; above it the clock tick in which the thread began to wait. */
#define POLL_TICK_SHIFT 32
#define POLL_COUNT 0xffffffffULL

/* A poll of one descriptor is a wait on that descriptor; of none, a pause. Only the task itself can read its own
 * arguments, so a wait that began before the window stays a poll. */
static __always_inline void note_poll(struct thread *t, u8 how, struct pt_regs *regs)
{
	u64 descriptors = how == POLL_SELECT ? REGS_ARG0(regs) : REGS_ARG1(regs);
	u64 word = 0;
	s32 fd = -1;

	t->object_b = how == POLL_EPOLL ? POLL_MANY : descriptors & POLL_COUNT;
	if (how == POLL_EPOLL) {
		t->poll_one = POLLED_EPOLL;
		return;
	}
	t->object_a = 0;
	if (bpf_get_current_pid_tgid() != ((u64)t->times.tgid << 32 | t->times.tid))
		return;
	if (how == POLL_LIST && descriptors == 1) {
		bpf_probe_read_user(&fd, sizeof(fd), (void *)REGS_ARG0(regs));
	} else if (how == POLL_LIST) {
		t->object_a = REGS_ARG0(regs);
		t->poll_one = POLLED_LIST;
	} else if (descriptors && descriptors <= 64 && REGS_ARG1(regs)) {
		bpf_probe_read_user(&word, sizeof(word), (void *)REGS_ARG1(regs));
		if (word && !(word & (word - 1)))
			fd = log2_floor(word);
	}
	if (fd >= 0) {
		t->object_a = fd;
		t->poll_one = POLLED_ONE;
	}
}

/* The TCP socket behind a file, where this end opened the connection, to another address than the loopback's; else 0. */
static __noinline u64 opened_connection(struct file *file)
{
	struct accept_key key = {};
	u32 first = 0, last;
	struct socket *socket;
	struct sock *sk;
	u16 family;

	if (file_type(file) != TYPE_SOCKET)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if ((family != 2 && family != 10) || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP ||
	    BPF_CORE_READ(sk, __sk_common.skc_state) == STATE_LISTEN)
		return 0;
	if (family == 10) {
		first = BPF_CORE_READ(sk, __sk_common.skc_v6_daddr.in6_u.u6_addr32[0]);
		last = BPF_CORE_READ(sk, __sk_common.skc_v6_daddr.in6_u.u6_addr32[3]);
	} else {
		last = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	}
	if (!first && ((last & __builtin_bswap32(0xff000000)) == __builtin_bswap32(0x7f000000) || last == __builtin_bswap32(1)))
		return 0;
	key.port = BPF_CORE_READ(sk, __sk_common.skc_num);
	key.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (bpf_map_lookup_elem(&net_listening, &key))
		return 0;
	key.port = 0;
	return bpf_map_lookup_elem(&net_listening, &key) ? 0 : (u64)sk;
}

/* ours: who polls more at once serves others, or keeps many things going. */
#define MOST_POLLED 8

/* What only the thread itself can tell of its poll: the one connection among what else may wake it. */
static __noinline int note_polled(struct task_struct *task, struct thread *t)
{
	struct {
		s32 fd;
		u32 events;
	} polled;
	u64 list = t->object_a, descriptors = t->object_b;
	s32 found = -1;

	t->object_b |= bpf_jiffies64() << POLL_TICK_SHIFT;
	if (t->poll_one != POLLED_LIST)
		return 0;
	t->poll_one = POLLED_MANY;
	for (u32 i = 0; i < MOST_POLLED && descriptors <= MOST_POLLED; i++) {
		if (i >= descriptors)
			break;
		if (bpf_probe_read_user(&polled, sizeof(polled), (void *)(list + i * sizeof(polled))))
			return 0;
		/* Some list it once for reading and once for writing. */
		if (polled.fd < 0 || polled.fd == found || !opened_connection(file_of(task, polled.fd)))
			continue;
		if (found >= 0)
			return 0;
		found = polled.fd;
	}
	if (found >= 0) {
		t->object_a = found;
		t->poll_one = POLLED_SOCKET;
	}
	return 0;
}

/* Header options that each segment may carry (MAX_TCP_OPTION_SPACE). */
#define TCP_OPTIONS 40

/*
 * Whether a poll that is over was for the sake of a connection: it is being made; what came fills a segment, so that more
 * of the same is on its way; what was sent is still on its way; or something was sent just before, to which this is the
 * answer. Whoever was told something unasked had waited for work.
 */
static __always_inline bool is_awaited(struct thread *t, struct tcp_sock *tcp, u32 tick)
{
	u32 unread = BPF_CORE_READ(tcp, rcv_nxt) - BPF_CORE_READ(tcp, copied_seq);
	u32 unacknowledged = BPF_CORE_READ(tcp, write_seq) - BPF_CORE_READ(tcp, snd_una);

	if (BPF_CORE_READ((struct sock *)tcp, __sk_common.skc_state) == STATE_SYN_SENT)
		return true;
	if (unread + TCP_OPTIONS >= BPF_CORE_READ(tcp, advmss) || unacknowledged)
		return true;
	return tick && (s32)(BPF_CORE_READ(tcp, lsndtime) - tick) >= -1;
}

/* The file that an epoll has ready, the first of them; NULL: none. */
static __always_inline struct file *ready_file(struct file *epoll)
{
	struct eventpoll *ep = BPF_CORE_READ(epoll, private_data);
	struct epitem *item = NULL;
	u64 first, head;

	if (!bpf_core_field_exists(ep->rdllist) || !bpf_core_field_exists(item->rdllink) ||
	    !bpf_core_field_exists(item->ffd.file))
		return NULL;
	first = (u64)BPF_CORE_READ(ep, rdllist.next);
	head = (u64)ep + bpf_core_field_offset(struct eventpoll, rdllist);
	if (!first || first == head)
		return NULL;
	item = (struct epitem *)(first - bpf_core_field_offset(struct epitem, rdllink));
	return BPF_CORE_READ(item, ffd.file);
}

/* The connection that a poll of several descriptors was for, if one was. */
static __noinline int describe_polled(struct task_struct *task, struct thread *t, u64 fd)
{
	struct file *file = file_of(task, fd);
	struct tcp_sock *tcp;
	u32 tick = t->object_b >> POLL_TICK_SHIFT, unsent;

	if (t->poll_one == POLLED_EPOLL && file)
		file = ready_file(file);
	tcp = (struct tcp_sock *)opened_connection(file);
	if (!tcp || !is_awaited(t, tcp, tick))
		return 0;
	describe_socket(t, (struct sock *)tcp);
	/* One row for all connections to one end. */
	t->object_a &= ~0xffffULL;
	unsent = BPF_CORE_READ(tcp, write_seq) - BPF_CORE_READ(tcp, snd_una);
	if (!t->reason && unsent > 2 * BPF_CORE_READ(tcp, mss_cache))
		t->reason = SOCKET_BUFFER;
	return 1;
}

/* Futex operations (without flags). */
#define FUTEX_WAIT 0
#define FUTEX_LOCK_PI 6
#define FUTEX_WAIT_BITSET 9
#define FUTEX_LOCK_PI2 13
#define FUTEX_COMMAND 0x7f
#define FUTEX_TID_MASK 0x3fffffff

/* Who holds the futex that the current thread waits for, as the memory tells: priority-inheriting ones hold the
 * thread's id, and glibc's mutexes have it two words further on. User space checks that it is a thread of the process. */
static __noinline int note_futex_holder(struct thread *t)
{
	u32 operation = (t->object_b >> 32) & FUTEX_COMMAND, word = 0;
	u64 address = t->object_a;

	if (operation == FUTEX_LOCK_PI || operation == FUTEX_LOCK_PI2) {
		bpf_probe_read_user(&word, sizeof(word), (void *)address);
		word &= FUTEX_TID_MASK;
	} else if (operation == FUTEX_WAIT || operation == FUTEX_WAIT_BITSET) {
		bpf_probe_read_user(&word, sizeof(word), (void *)(address + 8));
	}
	t->holder = word;
	return 0;
}

/* ours: what was read and is not answered after so long may never be. */
#define UNANSWERED_NS 5000000000ULL

/* Whether the thread has read a request, and nobody has answered it yet. */
static __always_inline bool in_request(struct thread *t)
{
	return t->request && attached_since[FREQUENT_REQUESTS] && t->request_slice == attached_since[FREQUENT_REQUESTS] &&
	       t->since < t->request_begin + UNANSWERED_NS;
}

/* Notes what the task blocks on. Cheap: no stack, no descriptor lookup. */
static __always_inline void note_block(struct task_struct *task, struct thread *t, u32 state)
{
	const volatile struct call_info *call;

	t->flags = 0;
	t->poll_one = 0;
	t->reason = 0;
	t->holder = 0;
	t->object = OBJECT_NONE;
	t->object_a = t->object_b = 0;
	t->syscall = -1;
	t->kind = CALL_NONE;
	if (state & TASK_UNINTERRUPTIBLE && !(state & TASK_NOLOAD))
		t->flags |= WAIT_UNINTERRUPTIBLE;
	if (state & TASK_STOPPED_OR_TRACED)
		t->flags |= WAIT_STOPPED;
	if (BPF_CORE_READ_BITFIELD(task, in_iowait))
		t->flags |= WAIT_IOWAIT;
	if (t->failed_at && attached_since[FREQUENT_CALLS] && t->failed_at >= attached_since[FREQUENT_CALLS])
		t->flags |= WAIT_AFTER_FAILURE;
	if (task->flags & PF_KTHREAD)
		return;
	if (in_request(t))
		t->flags |= WAIT_IN_REQUEST;
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs)) {
		struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

		t->syscall = REGS_SYSCALL(regs);
		call = call_of(t->syscall);
		if (call) {
			t->kind = call->kind;
			t->object_a = REGS_ARG0(regs);
			if (t->kind == CALL_FUTEX)
				t->object_b = (REGS_ARG2(regs) & 0xffffffff) | (REGS_ARG1(regs) << 32);
			else if (t->kind == CALL_POLL)
				note_poll(t, call->poll, regs);
		}
	}
	if (t->flags & WAIT_IOWAIT)
		t->kind = CALL_IOWAIT;
}

/* Turns the first argument, noted when it blocked, into the object waited for. */
static __always_inline void describe_object(struct task_struct *task, struct thread *t)
{
	u64 argument = t->object_a;

	if (t->lock && !(t->lock_flags & LCB_F_SPIN)) {
		t->object = OBJECT_LOCK;
		t->object_a = t->lock;
		t->object_b = t->lock_flags;
		t->holder = t->lock_holder;
		return;
	}

	switch (t->kind) {
	case CALL_FUTEX:
		t->object = OBJECT_FUTEX;
		return;
	case CALL_CHILD:
		t->object = OBJECT_CHILD;
		return;
	case CALL_FD:
		t->object_a = t->object_b = 0;
		describe_file(task, t, argument);
		return;
	case CALL_IOWAIT: {
		const volatile struct call_info *call = call_of(t->syscall);

		t->object_a = t->object_b = 0;
		if (call && call->kind == CALL_FD)
			describe_file(task, t, argument);
		if (t->object != OBJECT_NONE)
			return;
		/* Not in a call on a file: what it asked for last. */
		t->object = t->file ? OBJECT_FILE : OBJECT_DISK;
		t->object_a = t->file ? t->file : t->device;
		t->object_b = t->file ? t->file_device : 0;
		return;
	}
	case CALL_POLL:
		if (t->poll_one == POLLED_ONE) {
			t->object_b = 0;
			describe_file(task, t, argument);
			if (t->object != OBJECT_NONE && t->object != OBJECT_OTHER)
				return;
			t->object_b = 1;
		} else if (t->poll_one >= POLLED_SOCKET && describe_polled(task, t, argument)) {
			return;
		}
		t->object = OBJECT_POLL;
		t->object_a = 0;
		t->object_b &= POLL_COUNT;
		return;
	default:
		t->object_a = t->object_b = 0;
	}
}

#endif
