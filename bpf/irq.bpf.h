/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Interrupts: who is interrupted, and since when. Neither hardware interrupts nor software
 * interrupts nest in their own kind on a CPU, so each has one beginning at a time.
 */
#ifndef RPROF_IRQ_BPF_H
#define RPROF_IRQ_BPF_H

#include "kernel.h"
#include "latency.bpf.h"
#include <bpf/bpf_helpers.h>

/* ns of CLOCK_MONOTONIC; 0: none that is measured. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} entered SEC(".maps");

/* The target is who is interrupted. */
static __always_inline void enter(void)
{
	__u32 zero = 0;
	__u64 *since = bpf_map_lookup_elem(&entered, &zero);

	if (since && cpu_matches() && target_matches(bpf_get_current_pid_tgid() >> 32))
		*since = bpf_ktime_get_ns();
}

/* How long it took; 0 if that is not known or not wanted. */
static __always_inline __u64 leave(void)
{
	__u32 zero = 0;
	__u64 *since = bpf_map_lookup_elem(&entered, &zero);
	__u64 ns;

	if (!since || !*since)
		return 0;
	ns = bpf_ktime_get_ns() - *since;
	*since = 0;
	return ns < least ? 0 : ns;
}

/* Counts it under a key that names the interrupt. */
static __always_inline void count_interrupt(struct latency_key *key, __u64 ns)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct histogram *histogram;

	task_key(key, task);
	cpu_key(key);
	histogram = find_task_histogram(key, task);
	if (histogram)
		count(histogram, ns);
}

#endif
