/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What target.bpf.h asks of the current task, asked of another: at a wake-up or a switch it is not
 * the current task that is measured.
 */
#ifndef RPROF_TASK_BPF_H
#define RPROF_TASK_BPF_H

#include "kernel.h"
#include "target.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/* True if the cgroup is the target or below it. */
static __always_inline bool cgroup_matches(struct cgroup *cgroup)
{
	struct cgroup___ids *old = (void *)cgroup;
	struct cgroup *ancestor = NULL;
	__u64 id = 0;

	/* What is above its own level is not there to be read. */
	if (bpf_core_field_exists(cgroup->ancestors)) {
		bpf_core_read(&ancestor, sizeof(ancestor), &cgroup->ancestors[target_cgroup_level]);
		id = BPF_CORE_READ(ancestor, kn, id);
	} else {
		bpf_core_read(&id, sizeof(id), &old->ancestor_ids[target_cgroup_level]);
	}
	return id == target_cgroup;
}

static __always_inline bool task_comm_matches(struct task_struct *task)
{
	char comm[TASK_COMM_LEN] = {};

	BPF_CORE_READ_INTO(&comm, task, comm);
	if (comm_is_target(comm))
		return true;
	BPF_CORE_READ_INTO(&comm, task, group_leader, comm);
	return comm_is_target(comm);
}

static __always_inline bool task_matches(struct task_struct *task)
{
	if (filter_pid) {
		__u32 pid = task->tgid;
		__u32 *state = bpf_map_lookup_elem(&targets, &pid);

		if (!state || *state != TARGET_ACTIVE)
			return false;
	}
	if (filter_uid && BPF_CORE_READ(task, cred, uid.val) != target_uid)
		return false;
	if (filter_cgroup && !cgroup_matches(BPF_CORE_READ(task, cgroups, dfl_cgrp)))
		return false;
	return !filter_comm || task_comm_matches(task);
}

/* Number of the innermost pid namespace that the task has an id in. */
static __always_inline __u32 task_pid_namespace(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);
	struct upid innermost = {};

	bpf_core_read(&innermost, sizeof(innermost), &pid->numbers[level]);
	return BPF_CORE_READ(innermost.ns, ns.inum);
}

#endif
