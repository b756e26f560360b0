/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who is watched. Every source asks target_matches() before it does anything else, so a process
 * that is not a target costs one short program run and nothing in user space.
 */
#ifndef RPROF_TARGET_BPF_H
#define RPROF_TARGET_BPF_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

/* Each filter that is on has to match; none on means the whole machine. */
const volatile bool filter_pid = false;
const volatile bool filter_children = false;
const volatile bool filter_comm = false;
const volatile bool filter_uid = false;
const volatile bool filter_cgroup = false;
const volatile char target_comm[TASK_COMM_LEN] = {};
const volatile __u32 target_uid = 0;
const volatile __u64 target_cgroup = 0;
/* Depth of the cgroup below the root of the hierarchy, so that its descendants match too. */
const volatile __u32 target_cgroup_level = 0;

/* Target processes that could not be followed because the map below was full. */
__u64 targets_lost = 0;

#define TARGETS_MAX 16384

enum target_state {
	TARGET_ACTIVE = 1,
	/* A command that rprof starts: a target from its exec on, not while it is still rprof. */
	TARGET_AT_EXEC = 2,
};

/* Process id to target_state. Preallocated: perf events may interrupt an update. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TARGETS_MAX);
	__type(key, __u32);
	__type(value, __u32);
} targets SEC(".maps");

static __always_inline bool comm_is_target(const char *comm)
{
	for (int i = 0; i < TASK_COMM_LEN; i++) {
		if (comm[i] != target_comm[i])
			return false;
		if (!comm[i])
			return true;
	}
	return true;
}

/* True for the thread's own name and for its process's: `--comm java` means all of java. */
static __always_inline bool comm_matches(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	char comm[TASK_COMM_LEN] = {};

	bpf_get_current_comm(comm, sizeof(comm));
	if (comm_is_target(comm))
		return true;
	BPF_CORE_READ_INTO(&comm, task, group_leader, comm);
	return comm_is_target(comm);
}

static __always_inline bool target_matches(__u32 pid)
{
	if (filter_pid) {
		__u32 *state = bpf_map_lookup_elem(&targets, &pid);

		if (!state || *state != TARGET_ACTIVE)
			return false;
	}
	if (filter_uid && (__u32)bpf_get_current_uid_gid() != target_uid)
		return false;
	if (filter_cgroup &&
	    bpf_get_current_ancestor_cgroup_id(target_cgroup_level) != target_cgroup)
		return false;
	return !filter_comm || comm_matches();
}

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

#endif
