// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Source `offcpu`: where threads wait, and for how long; and `runqlat`, which is the same of those
 * that wait for nothing but a CPU. Runs at each switch from one thread to another.
 */
#include "kernel.h"
#include "tell.bpf.h"
#include "waker.bpf.h"
#include "waits.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* The states of a switch from a thread that goes on later, or none. */
static __always_inline __u32 state_of(struct task_struct *task, bool preempt)
{
	__u32 state = task->__state;

	if (state & TASK_DEAD)
		return WAIT_NONE;
	/* One that is preempted on its way to sleep is not asleep yet. */
	if (preempt || state == TASK_RUNNING)
		return WAIT_PREEMPTED;
	return state & TASK_UNINTERRUPTIBLE ? WAIT_DISK : WAIT_SLEEP;
}

/*
 * How long a thread was ready to run since its wait began, ns. `clock` is that of the CPU that
 * switches; it was set a moment ago.
 */
static __always_inline __u64 delay_of(struct task_struct *task, const struct wait *wait,
				      __u64 clock)
{
	__u64 delay, queued;

	if (!bpf_core_field_exists(task->sched_info.last_queued))
		return 0;
	queued = task->sched_info.last_queued;
	/* What it was queued on other CPUs meanwhile. */
	delay = task->sched_info.run_delay - wait->run_delay;
	if (queued && clock > queued)
		delay += clock - queued;
	return delay;
}

static __always_inline __u64 clock_of(struct task_struct *task)
{
	if (!bpf_core_field_exists(task->se.cfs_rq->rq))
		return 0;
	return task->se.cfs_rq->rq->clock;
}

/* Keeps what is due of a thread, with its kernel stack, until its user stack is there. */
static __always_inline void keep(struct task_struct *task, struct wait *wait, __u64 now,
				 const struct part *slept, const struct part *ready, bool seen)
{
	struct counters *counters = source_state();
	struct pending entry = {.time = now, .bare = !seen, .waker = wait->waker};
	__u32 count = !!slept->weight + !!ready->weight;
	struct stack *stack;
	struct pt_regs *regs;
	__u32 slot;
	bool kept;

	if (!counters)
		return;
	__sync_fetch_and_add(&counters->samples, count);
	if (seen) {
		slot = take_slot();
		stack = slot < STACK_SLOTS ? bpf_map_lookup_elem(&scratch, &slot) : NULL;
		kept = stack && task_kernel_stack(task, stack, &entry.kernel_stack, counters);
		if (stack)
			give_slot(slot);
		if (!kept) {
			__sync_fetch_and_add(&counters->samples_lost, count);
			return;
		}
	}
	if (!pending_count(wait) && !is_kernel_only(task)) {
		regs = (void *)bpf_task_pt_regs(task);
		wait->ip = regs->ip;
		wait->sp = regs->sp;
	}
	add_pending(wait, &entry, slept, counters);
	add_pending(wait, &entry, ready, counters);
}

/*
 * A wait ends `now`. Not inline: before 6.13 the BPF stacks of functions that call each other, or
 * hand over each other's address, come to 512 bytes at most, and send_pending() needs 448 of them.
 * For the same reason it is enter() that has it called later.
 */
static __noinline int end(struct task_struct *task, struct wait *wait, __u64 now, __u64 clock,
			  bool seen)
{
	struct part slept = {}, ready = {};
	__u64 since = wait->since, delay, length, told;

	wait->since = 0;
	/* The clocks of two CPUs may be apart by less than it takes to wake a thread. */
	length = now > since ? now - since : 0;
	told = wait->told > since ? wait->told - since : 0;
	if (wait->state == WAIT_PREEMPTED) {
		weigh(wait, &ready, WAIT_PREEMPTED, length, told);
	} else {
		delay = delay_of(task, wait, clock);
		delay = delay < length ? delay : length;
		length -= delay;
		/* What it waits for next says nothing of this wait. */
		if (seen)
			weigh_sleep(task, wait, &slept, length, told);
		else
			weigh(wait, &slept, wait->state, length, told);
		weigh(wait, &ready, WAIT_RUNNABLE, delay, told > length ? told - length : 0);
	}
	if (slept.weight || ready.weight)
		keep(task, wait, now, &slept, &ready, seen);
	return 0;
}

/*
 * A wait of a thread that leaves the CPU did not end, as far as we know: while another program
 * comes to the tracepoint or goes, some kernels (6.18) do not show it all switches. The scheduler
 * knows when the thread came to the CPU; its stacks are gone.
 */
static __always_inline void end_unseen(struct task_struct *task, struct wait *wait, __u64 now)
{
	__u64 clock = clock_of(task), ran;

	__sync_fetch_and_add(&ends_unseen, 1);
	if (!clock || !bpf_core_field_exists(task->sched_info.last_arrival))
		return;
	ran = clock - task->sched_info.last_arrival;
	if (ran < now - wait->since)
		end(task, wait, now - ran, 0, false);
}

static __always_inline void leave(struct task_struct *task, bool preempt, __u64 now)
{
	__u32 state = state_of(task, preempt);
	struct wait *wait;

	if (is_left_out(task))
		return;
	wait = bpf_task_storage_get(&waits, task, NULL, state ? BPF_LOCAL_STORAGE_GET_F_CREATE : 0);
	if (!wait) {
		if (state)
			__sync_fetch_and_add(&waits_missed, 1);
		return;
	}
	if (wait->since)
		end_unseen(task, wait, now);
	wait->state = state;
	if (bpf_core_field_exists(task->sched_info.last_queued))
		wait->run_delay = task->sched_info.run_delay;
	wait->since = state ? now : 0;
	/* Also where the end of the last wait was not seen. */
	wait->waker = 0;
	/* One that ends, or has no user mode, has no better moment. */
	if (pending_count(wait) >= PENDING_MANY ||
	    (pending_count(wait) && (!state || is_kernel_only(task))))
		send_pending();
}

static __always_inline void enter(struct task_struct *task, __u64 now)
{
	struct wait *wait = task->pid ? bpf_task_storage_get(&waits, task, NULL, 0) : NULL;

	if (!wait || !wait->since)
		return;
	end(task, wait, now, clock_of(task), true);
	if (!at_call_ends && pending_count(wait) && !wait->scheduled && !is_kernel_only(task))
		wait->scheduled = send_later(task);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(offcpu_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u64 now = bpf_ktime_get_ns();

	leave(prev, preempt, now);
	enter(next, now);
	return 0;
}

/* Loaded only where the kernel runs nothing of ours before a thread returns to user mode. */
SEC("tp_btf/sys_exit")
int BPF_PROG(offcpu_call_end, struct pt_regs *regs, long result)
{
	struct wait *wait = bpf_task_storage_get(&waits, bpf_get_current_task_btf(), NULL, 0);

	if (wait && pending_count(wait))
		send_pending();
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
