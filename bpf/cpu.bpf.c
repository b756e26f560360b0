// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Source `cpu`: where CPU time goes. Runs at each overflow of a perf event on each CPU. */
#include "kernel.h"
#include "stacks.bpf.h"
#include <bpf/bpf_helpers.h>

/* ns of CPU time that one sample stands for: 1e9 / frequency */
const volatile __u64 period = 0;

SEC("perf_event")
int cpu_sample(struct bpf_perf_event_data *ctx)
{
	return take_sample(ctx, period);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
