// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Source `cpu`: where CPU time goes. Runs at each overflow of a perf event on each CPU. */
#include "kernel.h"
#include "stacks.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/*
 * The cookie of each event is the ns of CPU time that one sample of it stands for, its period:
 * so a sample has the right weight while the rate changes, from one event to the next. Events have
 * no cookies before 5.15: there it is that of the current rate.
 */
__u64 period = 0;

SEC("perf_event")
int cpu_sample(struct bpf_perf_event_data *ctx)
{
	struct sample sample = {.count = 1, .weight = period};

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_attach_cookie))
		sample.weight = bpf_get_attach_cookie(ctx);
	if (begin_sample(&sample))
		send_sample(ctx, &sample, 0, true);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
