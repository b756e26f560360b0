/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Processes that have ended, or become another program, are not unwound by what they were. */
#ifndef RPROF_FORGET_BPF_H
#define RPROF_FORGET_BPF_H

#include "kernel.h"
#include "tables.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* What a process had mapped is gone with an exec, and its pid may be another's after its end. */
static __always_inline int forget_process(struct task_struct *task)
{
	__u32 pid = task->tgid;

	bpf_map_delete_elem(&unwind_processes, &pid);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(unwind_exec, struct task_struct *task)
{
	return forget_process(task);
}

SEC("tp_btf/sched_process_free")
int BPF_PROG(unwind_free, struct task_struct *task)
{
	return task->pid == task->tgid ? forget_process(task) : 0;
}

#endif
