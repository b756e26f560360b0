/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The addresses of one stack, as they are taken and as they are sent to user space. */
#ifndef RPROF_STACK_H
#define RPROF_STACK_H

#include "kernel.h"

/* kernel.perf_event_max_stack is 127 unless an administrator changed it. */
#define STACK_DEPTH_MAX 127

struct fingerprint {
	__u64 low;
	__u64 high;
};

/* Leaf first. Only `depth` addresses are sent. */
struct stack {
	__u32 kind; /* enum record_kind */
	__u32 depth;
	struct fingerprint fingerprint;
	__u64 addresses[STACK_DEPTH_MAX];
};

#define STACK_HEADER (sizeof(struct stack) - STACK_DEPTH_MAX * sizeof(__u64))

#endif
