// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Source `softirqs`: time in software interrupts, by vector. Hardware interrupts that come
 * meanwhile are part of it.
 */
#include "kernel.h"
#include "irq.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* Whether to keep vectors apart. */
const volatile bool by_vector = false;

SEC("tp_btf/softirq_entry")
int BPF_PROG(softirqs_entry)
{
	enter();
	return 0;
}

SEC("tp_btf/softirq_exit")
int BPF_PROG(softirqs_exit, unsigned int vector)
{
	struct latency_key key = {};
	__u64 ns = leave();

	if (!ns)
		return 0;
	if (by_vector)
		key.number = vector;
	count_interrupt(&key, ns);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
