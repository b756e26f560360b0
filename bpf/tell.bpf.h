/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Waits that do not end: user space has us go through all threads now and then, and samples are
 * sent of what they have waited so far. So a thread that hangs is seen, and one that sleeps since
 * before the recording.
 */
#ifndef RPROF_TELL_BPF_H
#define RPROF_TELL_BPF_H

#include "kernel.h"
#include "waits.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

enum tell_mode {
	TELL_BEGIN, /* nothing is told: notes who waits already */
	TELL_LONG,  /* of those who waited for long since they were last told of */
	TELL_ALL,
};

__u32 tell_mode = TELL_BEGIN;

/* With TELL_ALL: ns, CLOCK_MONOTONIC, up to which all is to be told. */
__u64 tell_until = 0;

/* Set where there was no room for all: what was sent is to be read first. */
__u32 tell_again = 0;

/* A wait is told of when it has lasted this long, and whenever it is twice as long then. */
#define TELL_FIRST 1000000000ULL
#define TELL_LAST (60 * TELL_FIRST)

/* In the middle of a switch a thread has no CPU to be found at; see state_of() for the states. */
static __always_inline void note_waiting(struct task_struct *task, __u64 now)
{
	__u32 state = task->__state;
	struct wait *wait;

	if ((bpf_core_field_exists(task->on_cpu) && task->on_cpu) || state & TASK_DEAD)
		return;
	wait = bpf_task_storage_get(&waits, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!wait) {
		__sync_fetch_and_add(&waits_missed, 1);
		return;
	}
	if (wait->since)
		return;
	wait->state = state == TASK_RUNNING          ? WAIT_PREEMPTED
		      : state & TASK_UNINTERRUPTIBLE ? WAIT_DISK
						     : WAIT_SLEEP;
	if (bpf_core_field_exists(task->sched_info.last_queued))
		wait->run_delay = task->sched_info.run_delay;
	wait->since = now;
}

/* Says of which thread and when a sample is. */
static __always_inline void describe(struct task_struct *task, struct sample *sample, __u64 now)
{
	sample->kind = RECORD_SAMPLE;
	sample->source = source;
	sample->pid = task->tgid;
	sample->tid = task->pid;
	sample->time = now;
	sample->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	BPF_CORE_READ_INTO(&sample->thread, task, comm);
	BPF_CORE_READ_INTO(&sample->comm, task, group_leader, comm);
}

/* As send_pages(), of another thread. */
static __always_inline bool tell_pages(struct task_struct *task, const struct pt_regs *regs,
				       const struct sample *sample, __u64 start, const __u32 pages)
{
	const __u64 bytes = __builtin_offsetof(struct snapshot, stack) + pages * 4096;
	struct snapshot *snapshot = bpf_ringbuf_reserve(&snapshots, bytes, 0);
	__u64 missing = 0, used = 0;

	if (!snapshot)
		return false;
	snapshot->sample = *sample;
	snapshot->ip = regs->ip;
	take_registers(snapshot->registers, regs);
	for (__u32 i = 0; i < pages; i++) {
		__s64 failed = bpf_copy_from_user_task(snapshot->stack + i * 4096, 4096,
						       (void *)(start + i * 4096), task, 0);

		/* Their signs, not branches, which the verifier would follow both ways each time.
		 */
		failed >>= 63;
		asm volatile("" : "+r"(failed));
		missing |= (failed & 1) << i;
		used = (used & failed) | ((i + 1) & ~failed);
	}
	snapshot->start = start;
	snapshot->bytes = (used < pages ? used : pages) * 4096;
	snapshot->missing = missing;
	bpf_ringbuf_submit(snapshot, BPF_RB_NO_WAKEUP);
	return true;
}

static __always_inline bool is_there(struct task_struct *task, __u64 address)
{
	__u8 byte;

	return !bpf_copy_from_user_task(&byte, sizeof(byte), (void *)address, task, 0);
}

/* Sends a sample of a thread that waits; its user stack is followed in user space. */
static __always_inline bool tell_user_stack(struct task_struct *task, struct unwind *unwind,
					    const struct sample *sample)
{
	const struct pt_regs *regs = &unwind->saved;
	__u64 start = (regs->sp - RED_ZONE) & ~4095ULL;

	if (is_there(task, start + SNAPSHOT_PAGES_MIDDLE * 4096) &&
	    tell_pages(task, regs, sample, start, SNAPSHOT_PAGES))
		return true;
	if (is_there(task, start + SNAPSHOT_PAGES_SMALL * 4096))
		return tell_pages(task, regs, sample, start, SNAPSHOT_PAGES_MIDDLE);
	return tell_pages(task, regs, sample, start, SNAPSHOT_PAGES_SMALL);
}

/* False if there is no room for it. */
static __always_inline bool tell_of(struct task_struct *task, struct sample *sample,
				    struct counters *counters, const bool sleepable)
{
	__u32 slot = take_slot();
	struct stack *stack = bpf_map_lookup_elem(&scratch, &slot);
	struct unwind *unwind = bpf_map_lookup_elem(&unwind_state, &slot);
	bool sent = false;

	if (!stack || !unwind)
		return false;
	if (!task_kernel_stack(task, stack, &sample->kernel_stack, counters))
		goto out;
	sample->user_status = UNWIND_NO_STACK;
	if (sleepable && !is_kernel_only(task) &&
	    !bpf_probe_read_kernel(&unwind->saved, sizeof(unwind->saved),
				   (void *)bpf_task_pt_regs(task)) &&
	    (unwind->saved.cs & 3) == 3 && unwind->saved.cs != USER32_CS) {
		sample->user_status = UNWIND_NOT_LOADED;
		sent = tell_user_stack(task, unwind, sample);
		goto out;
	}
	sent = !bpf_ringbuf_output(&records, sample, sizeof(*sample), BPF_RB_NO_WAKEUP);
out:
	give_slot(slot);
	return sent;
}

static __always_inline void tell(struct task_struct *task, __u64 now, const bool sleepable)
{
	struct wait *wait = bpf_task_storage_get(&waits, task, NULL, 0);
	struct counters *counters = source_state();
	struct sample sample = {};
	struct part part = {};
	__u64 since, told, rest, pause;

	if (!wait || !counters || (bpf_core_field_exists(task->on_cpu) && task->on_cpu))
		return;
	since = wait->since;
	if (!since || now <= since || now - since > wait_max)
		return;
	told = wait->told > since ? wait->told - since : 0;
	pause = told < TELL_FIRST ? TELL_FIRST : told;
	pause = pause > TELL_LAST ? TELL_LAST : pause;
	if (tell_mode == TELL_LONG && now - since - told < pause)
		return;
	if (tell_mode == TELL_ALL && (since >= tell_until || wait->told >= tell_until))
		return;
	/* Woken by now, so that it ends by itself soon. */
	if (tell_mode == TELL_LONG && wait->state != WAIT_PREEMPTED &&
	    task->__state == TASK_RUNNING)
		return;
	rest = wait->rest;
	if (wait->state == WAIT_PREEMPTED)
		weigh(wait, &part, WAIT_PREEMPTED, now - since, told);
	else
		weigh_sleep(task, wait, &part, now - since, told);
	if (part.weight) {
		describe(task, &sample, now);
		sample.weight = part.weight;
		sample.count = part.count;
		sample.state = part.state;
		if (!tell_of(task, &sample, counters, sleepable)) {
			wait->rest = rest;
			tell_again = 1;
			return;
		}
		__sync_fetch_and_add(&counters->samples, 1);
	}
	/* It has run meanwhile: what it was sampled for is part of that wait, which it sent. */
	wait->told = now;
}

static __always_inline int look_at(struct task_struct *task, const bool sleepable)
{
	__u64 now;

	if (!task || is_left_out(task))
		return 0;
	now = bpf_ktime_get_ns();
	if (tell_mode == TELL_BEGIN)
		note_waiting(task, now);
	else
		tell(task, now, sleepable);
	return 0;
}

SEC("iter.s/task")
int offcpu_tell(struct bpf_iter__task *ctx)
{
	return look_at(ctx->task, true);
}

/* Where another's memory cannot be read, before 5.18: without user stacks. */
SEC("iter/task")
int offcpu_tell_kernel(struct bpf_iter__task *ctx)
{
	return look_at(ctx->task, false);
}

#endif
