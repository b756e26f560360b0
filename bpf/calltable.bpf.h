/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The kernel's own table of its system calls, for user space to ask. */
#ifndef RPROF_CALLTABLE_BPF_H
#define RPROF_CALLTABLE_BPF_H

#include "callparts.bpf.h"
#include "kernel.h"
#include "path.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/*
 * One of the kernel's own descriptions of its system calls (kernel/trace/trace_syscalls.c). They
 * hang on its list of all trace events, which any perf event of a tracepoint leads to.
 */
struct table_entry {
	__u64 node; /* of the list */
	__u64 next;
	__u32 is_call;
	__u32 number;
	__u32 args;
	char name[64];
	char types[ARGS][64];
	char names[ARGS][32];
};

struct table_entry unused_table_entry SEC(".data.types");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct table_entry));
} table_entries SEC(".maps");

/* Which node to read; 0: that of the perf event which is open on `fd`. */
struct table_question {
	__u64 node;
	__u64 fd;
};

struct table_question unused_table_question SEC(".data.types");

static __always_inline struct list_head *first_node(__u32 fd)
{
	struct file___kernel *file = file_of(fd);
	struct perf_event *perf = BPF_CORE_READ(file, private_data);
	struct trace_event_call *event = BPF_CORE_READ(perf, tp_event);

	return event ? (void *)event + bpf_core_field_offset(struct trace_event_call, list) : NULL;
}

static __always_inline void read_call(struct table_entry *to, struct syscall_metadata *call)
{
	to->is_call = 1;
	to->number = BPF_CORE_READ(call, syscall_nr);
	to->args = BPF_CORE_READ(call, nb_args);
	bpf_probe_read_kernel_str(to->name, sizeof(to->name), BPF_CORE_READ(call, name));
	for (int i = 0; i < ARGS; i++) {
		const char *text = NULL;

		if (i >= to->args)
			break;
		bpf_probe_read_kernel(&text, sizeof(text), BPF_CORE_READ(call, types) + i);
		bpf_probe_read_kernel_str(to->types[i], sizeof(to->types[i]), text);
		bpf_probe_read_kernel(&text, sizeof(text), BPF_CORE_READ(call, args) + i);
		bpf_probe_read_kernel_str(to->names[i], sizeof(to->names[i]), text);
	}
}

/* Asked by user space, which goes from node to node. */
SEC("syscall")
int read_table(struct table_question *question)
{
	struct list_head *node = (void *)question->node;
	struct trace_event_call *event;
	struct table_entry *to;
	__u32 zero = 0;
	char system[9] = {};

	to = bpf_map_lookup_elem(&table_entries, &zero);
	if (!node)
		node = first_node(question->fd);
	if (!to || !node)
		return 1;
	event = (void *)node - bpf_core_field_offset(struct trace_event_call, list);
	to->node = (unsigned long)node;
	to->next = (unsigned long)BPF_CORE_READ(node, next);
	to->is_call = 0;
	bpf_probe_read_kernel_str(system, sizeof(system), BPF_CORE_READ(event, class, system));
	/* The head of the list is no event, and has no such name where an event has it. */
	if (*(__u64 *)system == *(__u64 *)"syscalls")
		read_call(to, BPF_CORE_READ((struct trace_event_call *)event, data));
	return 0;
}

#endif
