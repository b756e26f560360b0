// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Source `exit`: processes that end, as their last thread does. */
#include "kernel.h"
#include "events.bpf.h"
#include <bpf/bpf_tracing.h>

/* include/linux/sched/signal.h: the process ends as a whole, with a code of its own. */
#define SIGNAL_GROUP_EXIT 0x00000004

/* Processes that lived for less are left out, ns. */
const volatile __u64 least_age = 0;
const volatile bool failed_only = false;

struct exit {
	struct event event;
	__u64 age;      /* ns since it was started */
	__u64 cpu_time; /* ns, of all its threads, up to the last tick or switch */
	__u32 parent;
	__u32 code; /* as wait() has it: the signal, 128 for a core, and the exit code above */
};

struct exit unused_exit SEC(".data.types");

/* Of threads that are gone, of this one, and of a leader that ended before it. */
static __always_inline __u64 cpu_time_of(struct task_struct *task, struct task_struct *leader)
{
	__u64 time = BPF_CORE_READ(task, signal, sum_sched_runtime) +
		     BPF_CORE_READ(task, se.sum_exec_runtime);

	if (task != leader)
		time += BPF_CORE_READ(leader, se.sum_exec_runtime);
	return time;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exit_done, struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct exit exit = {};

	if (BPF_CORE_READ(signal, live.counter) || !current_is_target())
		return 0;
	describe(&exit.event, 0);
	BPF_CORE_READ_INTO(&exit.event.comm, leader, comm);
	exit.age = exit.event.time - BPF_CORE_READ(leader, start_time);
	exit.cpu_time = cpu_time_of(task, leader);
	exit.parent = BPF_CORE_READ(leader, real_parent, tgid);
	exit.code = BPF_CORE_READ(task, exit_code);
	if (BPF_CORE_READ(signal, flags) & SIGNAL_GROUP_EXIT)
		exit.code = BPF_CORE_READ(signal, group_exit_code);
	if (exit.age >= least_age && (!failed_only || exit.code))
		send(&exit, sizeof(exit));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
