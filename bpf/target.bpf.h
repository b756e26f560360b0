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

#endif
