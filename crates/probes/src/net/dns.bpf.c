// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * Name lookups: who asks which server, how often.
 *
 * A resolver opens a socket for each question, or sends on one that is not connected: both look the route up, in the
 * context of the process that asks. Connections that exist never do, so this costs them nothing. When the answer comes
 * is not seen: the tracepoints that would show it fire for each message of every socket.
 */

#define NET_IPPROTO_UDP 17
#define NET_DNS_PORT 0x3500 /* 53 in network byte order */
#define NET_AF_INET 2
#define LOOPBACK_IFINDEX 1
/* Connecting looks the route up twice; nobody asks twice in that time from one port. */
#define SAME_LOOKUP_NS 1000000

struct lookup {
	u32 tgid;
	u32 port;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct lookup);
	__type(value, u64);
} net_lookups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct connect_key);
	__type(value, u64);
} net_questions SEC(".maps");

/* Routes of packets that leave, so that the current process is the one that sends. */
static __always_inline bool asks(const struct flowi_common *flow, __be16 port)
{
	return port == NET_DNS_PORT && flow->flowic_proto == NET_IPPROTO_UDP && flow->flowic_iif == LOOPBACK_IFINDEX;
}

static __always_inline void count_lookup(struct connect_key *server, u16 from)
{
	struct lookup lookup = { .port = from };
	u64 now = bpf_ktime_get_ns(), *last, *count, one = 1;

	server->tgid = lookup.tgid = bpf_get_current_pid_tgid() >> 32;
	server->port = 53;
	if (server->tgid == self_tgid || !window_open())
		return;
	last = bpf_map_lookup_elem(&net_lookups, &lookup);
	if (last && now - *last < SAME_LOOKUP_NS)
		return;
	bpf_map_update_elem(&net_lookups, &lookup, &now, BPF_ANY);
	count = bpf_map_lookup_elem(&net_questions, server);
	if (count)
		__sync_fetch_and_add(count, 1);
	else if (bpf_map_update_elem(&net_questions, server, &one, BPF_NOEXIST))
		count_lost();
}

SEC("tp_btf/fib_table_lookup")
int BPF_PROG(net_dns_route, u32 table, const struct flowi4 *flow, const void *hop, int error)
{
	struct connect_key server = { .family = NET_AF_INET };

	if (!asks(&flow->__fl_common, flow->uli.ports.dport) || error)
		return 0;
	server.address[0] = flow->daddr;
	count_lookup(&server, flow->uli.ports.sport);
	return 0;
}

SEC("tp_btf/fib6_table_lookup")
int BPF_PROG(net_dns_route6, const void *net, const void *result, const void *table, const struct flowi6 *flow)
{
	struct connect_key server = { .family = NET_AF_INET6 };

	if (!asks(&flow->__fl_common, flow->uli.ports.dport))
		return 0;
	BPF_CORE_READ_INTO((struct in6_addr *)server.address, flow, daddr);
	count_lookup(&server, flow->uli.ports.sport);
	return 0;
}
