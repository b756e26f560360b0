// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Source `hardirqs`: time in the handlers of hardware interrupts. */
#include "kernel.h"
#include "irq.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct irqaction {
	const char *name;
} __attribute__((preserve_access_index));

/* Whether to keep handlers apart. */
const volatile bool by_handler = false;

SEC("tp_btf/irq_handler_entry")
int BPF_PROG(hardirqs_entry)
{
	enter();
	return 0;
}

SEC("tp_btf/irq_handler_exit")
int BPF_PROG(hardirqs_exit, int irq, struct irqaction *action)
{
	struct latency_key key = {};
	__u64 ns = leave();

	if (!ns)
		return 0;
	if (by_handler)
		bpf_probe_read_kernel_str(key.name, sizeof(key.name), BPF_CORE_READ(action, name));
	count_interrupt(&key, ns);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
