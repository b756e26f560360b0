/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who wakes a thread: its stacks are taken where it does, and only for waits that will be a sample
 * by how long they have lasted. They are a record of their own, of the thread that wakes, which the
 * sample of the wait names by its time.
 */
#ifndef RPROF_WAKER_BPF_H
#define RPROF_WAKER_BPF_H

#include "kernel.h"
#include "tell.bpf.h"
#include "waits.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* In place of a state of waits; profiler/resolve/wakers.rs knows it, too. */
#define STATE_WAKER 0x80

/* Wake-ups whose stacks were lost. */
__u64 wakers_lost = 0;

/*
 * True if the current thread is what the kernel works for here. Where it was interrupted in user
 * mode, whoever wakes is the interrupt. One that was interrupted in a system call cannot be told
 * from it, short as the kernel's way is.
 */
static __always_inline bool is_called(struct task_struct *task)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);

	return !is_kernel_only(task) && task->pid && (long)regs->orig_ax >= 0;
}

/* Sends the stacks of the current thread; the time that they are named by, or 0 if they are lost.
 */
static __noinline __u64 send_waker(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct counters *counters = source_state();
	struct unwind *unwind;
	struct sample *sample;
	struct stack *stack;
	__u64 now = bpf_ktime_get_ns(), sent = 0;
	__u32 slot = take_slot();

	sample = bpf_map_lookup_elem(&samples, &slot);
	if (!sample || !counters)
		return 0;
	__builtin_memset(sample, 0, sizeof(*sample));
	describe(task, sample, now);
	sample->weight = 1;
	sample->state = STATE_WAKER;
	sample->user_status = UNWIND_NO_STACK;
	stack = bpf_map_lookup_elem(&scratch, &slot);
	if (!stack || !kernel_stack(ctx, stack, &sample->kernel_stack, counters))
		goto out;
	if (is_called(task)) {
		unwind = user_stack(sample->pid, slot);
		if (!unwind)
			goto out;
		sample->user_status = unwind->status;
		if (needs_snapshot(unwind->status) && send_snapshot(unwind, sample)) {
			sent = now;
			goto out;
		}
		if (!keep_stack(&unwind->stack, &sample->user_stack, counters))
			goto out;
	} else if (!task->pid || !is_kernel_only(task)) {
		/* Whoever was interrupted has no part in it. */
		__builtin_memcpy(sample->thread, "interrupt", sizeof("interrupt"));
	}
	if (!bpf_ringbuf_output(&records, sample, sizeof(*sample), BPF_RB_NO_WAKEUP))
		sent = now;
out:
	give_slot(slot);
	return sent;
}

/* Loaded only where it is asked for. */
SEC("tp_btf/sched_waking")
int BPF_PROG(offcpu_waking, struct task_struct *task)
{
	struct wait *wait;
	__u64 now, ns;

	if (is_left_out(task))
		return 0;
	wait = bpf_task_storage_get(&waits, task, NULL, 0);
	if (!wait || !wait->since || wait->waker || wait->state == WAIT_PREEMPTED)
		return 0;
	now = bpf_ktime_get_ns();
	ns = now > wait->since ? now - wait->since : 0;
	if (ns < wait_min || ns > wait_max)
		return 0;
	begin_period(wait);
	if (ns < period && wait->rest + ns < period)
		return 0;
	wait->waker = send_waker(ctx);
	if (!wait->waker)
		__sync_fetch_and_add(&wakers_lost, 1);
	return 0;
}

#endif
