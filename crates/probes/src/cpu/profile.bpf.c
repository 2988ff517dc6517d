// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/* On-CPU stacks at a fixed rate. */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct sample_key);
	__type(value, u64);
} samples SEC(".maps");

/* Set before loading: the samples also go to whoever else reads the event. */
const volatile u32 pass_samples = 0;

SEC("perf_event")
int profile_sample(struct bpf_perf_event_data *ctx)
{
	u64 id = bpf_get_current_pid_tgid(), *count, first = 0;
	u32 scratch = SCRATCH_SAMPLE;
	struct stack_scratch *stacks;
	struct sample_key key = { .tid = (u32)id, .tgid = id >> 32 };

	if (!window_open() || !key.tid || key.tgid == self_tgid)
		return 0;
	stacks = bpf_map_lookup_elem(&scratches, &scratch);
	if (!stacks)
		return 0;
	key.kernel_stack = keep_kernel_stack(
		scratch, bpf_get_stack(ctx, stacks->kernel.ips, sizeof(stacks->kernel.ips), 0));
	key.user_stack = take_user_stack(ctx, scratch, key.tgid);
	count = bpf_map_lookup_elem(&samples, &key);
	if (!count) {
		bpf_map_update_elem(&samples, &key, &first, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&samples, &key);
		if (!count) {
			count_lost();
			return 0;
		}
	}
	__sync_fetch_and_add(count, 1);
	return pass_samples;
}
