// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Source `faults`: who grows resident memory. Runs at each overflow of a perf event that counts
 * page faults, one in so many.
 */
#include "kernel.h"
#include "stacks.bpf.h"
#include <bpf/bpf_helpers.h>

/* Faults from one sample to the next. */
const volatile __u32 period = 1;

/*
 * Left out: rprof itself, where each fault is sampled. What it keeps of one has it fault again, and
 * on a slow machine there would be no end to that.
 */
const volatile __u32 left_out = 0;

#define PAGE_BYTES 4096ULL

SEC("perf_event")
int fault_sample(struct bpf_perf_event_data *ctx)
{
	struct sample sample = {.count = period, .weight = period * PAGE_BYTES};

	if (begin_sample(&sample) && sample.pid != left_out)
		send_sample(ctx, &sample, 0, true);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
