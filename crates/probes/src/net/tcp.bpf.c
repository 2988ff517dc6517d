// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * TCP: what is sent again, connections made, refused and given up, and packets that the kernel drops, by reason.
 *
 * Most of it runs in soft interrupts, where the current task has nothing to do with the socket: who opened a connection
 * is noted when it begins, and the socket's inode tells the rest.
 */

#define NET_IPPROTO_TCP 6
#define TCP_CA_RECOVERY 3
#define TCP_CA_LOSS 4
#define NET_AF_INET6 10
#define NET_EADDRNOTAVAIL 99

enum tcp_state_local { NET_ESTABLISHED = 1, NET_SYN_SENT = 2, NET_SYN_RECV = 3, NET_CLOSE = 7, NET_LISTEN = 10 };

/*
 * Connections that this machine opened, by the address of their socket: since when they are being made, and by whom. What
 * is still being made when the window ends is read from here; the others tell whose segments are sent again.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, struct connecting);
} net_connecting SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct resend_key);
	__type(value, struct resend_value);
} net_resends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct connect_key);
	__type(value, struct hist);
} net_connects SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, struct connect_key);
	__type(value, struct connect_failures);
} net_failures SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct accept_key);
	__type(value, u64);
} net_accepts SEC(".maps");

/* Bytes that came in over connections that were accepted and have ended, those before the window included. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct accept_key);
	__type(value, u64);
} net_ended SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DROP_REASONS);
	__type(key, u32);
	__type(value, u64);
} net_drops SEC(".maps");

static __always_inline void read_remote(const struct sock_common *common, u16 *family, u16 *port, u32 *address)
{
	*family = common->skc_family;
	*port = __builtin_bswap16(common->skc_dport);
	if (*family == NET_AF_INET6) {
		for (u64 i = 0; i < 4; i++)
			address[i] = common->skc_v6_daddr.in6_u.u6_addr32[i];
	} else {
		address[0] = common->skc_daddr;
	}
}

static __always_inline void count_resend(struct resend_key *key, u64 segments, u64 waited)
{
	struct resend_value *value = bpf_map_lookup_elem(&net_resends, key), first = {};

	if (!value) {
		bpf_map_update_elem(&net_resends, key, &first, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&net_resends, key);
	}
	if (!value) {
		count_lost();
		return;
	}
	__sync_fetch_and_add(&value->segments, segments);
	if (waited) {
		__sync_fetch_and_add(&value->timeouts, 1);
		__sync_fetch_and_add(&value->waited, waited);
	}
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(net_resend, const struct sock *sk, const struct sk_buff *skb)
{
	const struct inet_connection_sock *icsk = (const void *)sk;
	u64 address = (u64)sk, now = bpf_ktime_get_ns(), waited = 0;
	const struct tcp_skb_cb *cb = (const void *)skb->cb;
	struct resend_key key = {};
	struct connecting *opened;
	u32 state;
	u16 segments;

	if (bpf_map_update_elem(&retransmitting, &address, &now, BPF_ANY))
		count_lost();
	if (!window_open())
		return 0;
	read_remote(&sk->__sk_common, &key.family, &key.remote_port, key.address);
	key.local_port = sk->__sk_common.skc_num;
	key.netns = sk->__sk_common.skc_net.net->ns.inum;
	key.inode = BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino);
	opened = bpf_map_lookup_elem(&net_connecting, &address);
	if (opened)
		key.tgid = opened->key.tgid;
	state = sk->__sk_common.skc_state;
	if (state == NET_SYN_SENT || state == NET_SYN_RECV) {
		key.kind = RESEND_SYN;
	} else {
		u32 recovery = BPF_CORE_READ_BITFIELD_PROBED(icsk, icsk_ca_state);

		key.kind = recovery == TCP_CA_LOSS ? RESEND_TIMEOUT : recovery == TCP_CA_RECOVERY ? RESEND_FAST : RESEND_PROBE;
	}
	/* No timer is pending while the one that ran out is being served: the rest of the loss is sent again as
	 * acknowledgements come. */
	if ((key.kind == RESEND_TIMEOUT || key.kind == RESEND_SYN) && !BPF_CORE_READ(icsk, icsk_pending))
		waited = BPF_CORE_READ(icsk, icsk_rto);
	segments = BPF_CORE_READ(cb, tcp_gso_segs);
	count_resend(&key, segments ? segments : 1, waited);
	return 0;
}

SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(net_resend_synack, const struct sock *sk, const struct request_sock *req)
{
	struct resend_key key = { .kind = RESEND_SYNACK };

	if (!window_open())
		return 0;
	read_remote(&req->__req_common, &key.family, &key.remote_port, key.address);
	key.local_port = sk->__sk_common.skc_num;
	key.netns = sk->__sk_common.skc_net.net->ns.inum;
	key.inode = BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino);
	count_resend(&key, 1, 0);
	return 0;
}

static __always_inline void begin_connect(const struct sock *sk, u64 address, u64 now)
{
	struct connecting connecting = { .since = now };
	u32 tgid = bpf_get_current_pid_tgid() >> 32;

	if (tgid == self_tgid)
		return;
	connecting.key.tgid = tgid;
	read_remote(&sk->__sk_common, &connecting.key.family, &connecting.key.port, connecting.key.address);
	if (bpf_map_update_elem(&net_connecting, &address, &connecting, BPF_ANY))
		count_lost();
}

static __always_inline void end_connect(const struct sock *sk, u64 address, u64 now, bool established)
{
	struct connecting *connecting = bpf_map_lookup_elem(&net_connecting, &address);
	u64 ns;

	if (!connecting || !connecting->since)
		return;
	ns = now - connecting->since;
	connecting->since = 0;
	if (established) {
		struct hist *hist = bpf_map_lookup_elem(&net_connects, &connecting->key);

		if (!hist) {
			bpf_map_update_elem(&net_connects, &connecting->key, &no_hist, BPF_NOEXIST);
			hist = bpf_map_lookup_elem(&net_connects, &connecting->key);
		}
		if (hist)
			hist_add(hist, ns);
		else
			count_lost();
	} else {
		struct connect_failures *failures, first = {};
		struct connect_key key = connecting->key;

		key.error = sk->sk_err;
		/* No local port was left: nothing was numbered yet, as the port comes first. */
		if (!key.error && !BPF_CORE_READ((const struct tcp_sock *)sk, write_seq))
			key.error = NET_EADDRNOTAVAIL;
		failures = bpf_map_lookup_elem(&net_failures, &key);
		if (!failures) {
			bpf_map_update_elem(&net_failures, &key, &first, BPF_NOEXIST);
			failures = bpf_map_lookup_elem(&net_failures, &key);
		}
		if (failures) {
			__sync_fetch_and_add(&failures->count, 1);
			__sync_fetch_and_add(&failures->ns, ns);
		} else {
			count_lost();
		}
	}
}

static __always_inline void note_listening(const struct sock *sk)
{
	struct accept_key key = { .port = sk->__sk_common.skc_num };
	u8 one = 1;

	key.netns = sk->__sk_common.skc_net.net->ns.inum;
	if (key.port && bpf_map_update_elem(&net_listening, &key, &one, BPF_ANY))
		count_lost();
}

static __always_inline void add_to_port(void *map, const struct accept_key *key, u64 more)
{
	u64 *sum = bpf_map_lookup_elem(map, key);

	if (sum)
		__sync_fetch_and_add(sum, more);
	else if (bpf_map_update_elem(map, key, &more, BPF_NOEXIST))
		count_lost();
}

/* What came in over a connection that ends, if it was accepted. It has let go of its port, but still tells it. */
static __always_inline void end_connection(const struct sock *sk)
{
	struct accept_key key = { .netns = sk->__sk_common.skc_net.net->ns.inum };

	key.port = __builtin_bswap16(BPF_CORE_READ((const struct inet_sock *)sk, inet_sport));
	if (bpf_map_lookup_elem(&net_listening, &key))
		add_to_port(&net_ended, &key, BPF_CORE_READ((const struct tcp_sock *)sk, bytes_received));
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(net_state, const struct sock *sk, int before, int after)
{
	u64 address = (u64)sk;

	if (after == NET_LISTEN && sk->sk_protocol == NET_IPPROTO_TCP) {
		note_listening(sk);
		return 0;
	}

	if (after == NET_CLOSE && before != NET_SYN_SENT && before != NET_SYN_RECV && before != NET_LISTEN) {
		if (sk->sk_protocol == NET_IPPROTO_TCP && window_open())
			end_connection(sk);
		return 0;
	}
	if (before == NET_SYN_SENT ? after != NET_ESTABLISHED && after != NET_CLOSE :
	    after != NET_SYN_SENT && (before != NET_SYN_RECV || after != NET_ESTABLISHED))
		return 0;
	if (sk->sk_protocol != NET_IPPROTO_TCP || !window_open())
		return 0;
	if (after == NET_SYN_SENT) {
		begin_connect(sk, address, bpf_ktime_get_ns());
	} else if (before == NET_SYN_SENT) {
		end_connect(sk, address, bpf_ktime_get_ns(), after == NET_ESTABLISHED);
	} else {
		struct accept_key key = { .port = sk->__sk_common.skc_num };

		/* A connection that came in may be where one was that this machine had opened. */
		bpf_map_delete_elem(&net_connecting, &address);
		key.netns = sk->__sk_common.skc_net.net->ns.inum;
		add_to_port(&net_accepts, &key, 1);
	}
	return 0;
}

/* The reason is the third argument since Linux 5.17; without it there is nothing to count. */
SEC("tp_btf/kfree_skb")
int net_drop(u64 *ctx)
{
	u32 reason;
	u64 *count;

	if (!bpf_core_type_exists(enum skb_drop_reason) || !window_open())
		return 0;
	reason = ctx[2];
	if (reason >= DROP_REASONS)
		reason = DROP_REASONS - 1; /* a subsystem's own */
	count = bpf_map_lookup_elem(&net_drops, &reason);
	if (count)
		(*count)++;
	return 0;
}
