/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * User stacks. One function, user_stack(), is all that a source knows of them; what is inside may
 * change without any source noticing.
 */
#ifndef RPROF_UNWIND_BPF_H
#define RPROF_UNWIND_BPF_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>

/* kernel.perf_event_max_stack is 127 unless an administrator changed it. */
#define STACK_DEPTH_MAX 127

/*
 * Writes the addresses of the current task's user stack to `addresses`, leaf first, and returns
 * how many there are. Follows frame pointers.
 */
static __always_inline __u32 user_stack(void *ctx, __u64 *addresses)
{
	long bytes =
		bpf_get_stack(ctx, addresses, STACK_DEPTH_MAX * sizeof(__u64), BPF_F_USER_STACK);

	return bytes > 0 ? bytes / sizeof(__u64) : 0;
}

#endif
