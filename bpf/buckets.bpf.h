/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which bucket of a histogram a time is counted in: each power of two is cut into 16, so that a
 * time is known to a 32nd part either way whatever its size.
 */
#ifndef RPROF_BUCKETS_BPF_H
#define RPROF_BUCKETS_BPF_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>

/* log2 of the buckets of a power of two. */
#define STEP_BITS 4
#define STEPS (1 << STEP_BITS)
/* 2^40 ns: 18 minutes. What is longer is in the last bucket. */
#define RANGE_BITS 40
#define BUCKETS (STEPS + (RANGE_BITS - STEP_BITS) * STEPS)

/* Number of the highest bit that is set, by halves: the instruction set has none for it. */
static __always_inline __u32 highest_bit(__u64 value)
{
	__u32 bit = (value > 0xffffffff) << 5, step;

	value >>= bit;
	step = (value > 0xffff) << 4;
	value >>= step;
	bit |= step;
	step = (value > 0xff) << 3;
	value >>= step;
	bit |= step;
	step = (value > 0xf) << 2;
	value >>= step;
	bit |= step;
	step = (value > 0x3) << 1;
	value >>= step;
	return bit | step | value >> 1;
}

static __always_inline __u32 bucket_of(__u64 ns)
{
	__u32 bit, bucket;

	if (ns < STEPS)
		return ns;
	bit = highest_bit(ns);
	bucket = (bit - STEP_BITS + 1) * STEPS + (ns >> (bit - STEP_BITS) & (STEPS - 1));
	return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

#endif
