// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What all sources of a session share: the maps (targets, unwind tables, the ring buffers, the
 * stacks that were sent), which every other object takes from this one by their names, and the
 * programs that keep them up to date as processes come and go. No source itself.
 */
#include "forget.bpf.h"
#include "kernel.h"
#include "stacks.bpf.h"
#include "symbols.bpf.h"
#include "target.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* Target processes that could not be followed because the map of them was full. */
__u64 targets_lost = 0;

static __always_inline void target_add(__u32 pid)
{
	__u32 state = TARGET_ACTIVE;

	if (bpf_map_update_elem(&targets, &pid, &state, BPF_ANY))
		__sync_fetch_and_add(&targets_lost, 1);
}

/* Loaded only where pids are filtered and children are wanted. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(target_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 pid = child->tgid, parent_pid = parent->tgid;
	__u32 *state = bpf_map_lookup_elem(&targets, &parent_pid);

	/* A thread has its process's tgid, which is a target already. */
	if (filter_children && state && *state == TARGET_ACTIVE && pid != parent_pid)
		target_add(pid);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(target_exec, struct task_struct *task)
{
	__u32 pid = task->tgid;
	__u32 *state = bpf_map_lookup_elem(&targets, &pid);

	if (state && *state == TARGET_AT_EXEC)
		target_add(pid);
	return 0;
}

/*
 * Not at sched_process_exit: since 6.17 that comes before the exit gives the memory back, which is
 * time that belongs to the target.
 */
SEC("tp_btf/sched_process_free")
int BPF_PROG(target_free, struct task_struct *task)
{
	__u32 pid = task->tgid;

	if (task->pid == task->tgid)
		bpf_map_delete_elem(&targets, &pid);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
