// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Source `runqlat`: how long threads were runnable before they ran. That begins with a wake-up, or
 * where a thread loses its CPU though it could go on; it ends where it gets one.
 */
#include "kernel.h"
#include "latency.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* include/linux/sched.h */
#define TASK_RUNNING 0

/* A waiting thread that may be woken though it waits already: preempted on its way to sleep. */
#define WAKEABLE 1ULL

/*
 * Since when a thread waits, ns of CLOCK_MONOTONIC with WAKEABLE in place of the lowest bit; 0: it
 * does not.
 */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} runnable SEC(".maps");

static __always_inline __u64 *wait_of(struct task_struct *task)
{
	__u64 *since;

	if (!task->pid || !task_matches(task)) /* thread 0 is the idle task */
		return NULL;
	since = bpf_task_storage_get(&runnable, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!since)
		count_missed();
	return since;
}

/* A thread that waits since an earlier time has run meanwhile, which was not seen. */
static __always_inline void begin(__u64 *since, __u64 now)
{
	if (*since)
		count_unseen();
	*since = now;
}

static __always_inline void wake(struct task_struct *task)
{
	__u64 *since;

	/* Woken before it slept, it just goes on. */
	if (bpf_core_field_exists(task->on_cpu) && task->on_cpu)
		return;
	since = wait_of(task);
	if (since && !(*since & WAKEABLE))
		begin(since, bpf_ktime_get_ns() & ~WAKEABLE);
}

static __always_inline void end(struct task_struct *task, __u64 now)
{
	__u64 *since = task->pid ? bpf_task_storage_get(&runnable, task, NULL, 0) : NULL;
	__u64 start;

	if (!since || !*since) {
		/* It waited since before we looked, or was made runnable unseen. */
		if (task->pid && task_matches(task))
			count_unseen();
		return;
	}
	start = *since & ~WAKEABLE;
	*since = 0;
	/* The clocks of two CPUs may be apart by less than it takes to wake a thread. */
	count_task(task, now > start ? now - start : 0);
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(runqlat_wakeup, struct task_struct *task)
{
	wake(task);
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(runqlat_wakeup_new, struct task_struct *task)
{
	wake(task);
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(runqlat_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u64 now = bpf_ktime_get_ns();
	bool asleep = prev->__state != TASK_RUNNING;
	__u64 *since = NULL;

	/* A thread that is preempted on its way to sleep is not asleep yet. */
	if (preempt || !asleep)
		since = wait_of(prev);
	if (since)
		begin(since, (now & ~WAKEABLE) | (asleep ? WAKEABLE : 0));
	end(next, now);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
