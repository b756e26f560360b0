/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Time off the CPU: what a thread waited between the switch that took the CPU from it and the one
 * that gave it one back, as weighted stacks.
 *
 * A wait at least as long as the period is a sample of just its length. Shorter ones are added up
 * for each thread: the one in which the sum reaches the next period is a sample of a whole period.
 * So each ns of waiting is sampled with the same chance, sums are unbiased, and a million switches
 * a second cost no more stacks than there are periods in what was waited.
 *
 * It is the end of a wait that tells whether it is sampled. The kernel stack is there to be taken
 * then, since the thread does not run yet. The user stack is not, as another process's memory is
 * mapped: it is taken when the thread is about to return to user mode, where it has not changed.
 * Kernels before 6.18 have nothing that runs at that moment for one thread alone. There it is taken
 * at the end of the system call, which costs every system call of the machine a little; of what
 * waited outside of one (preempted, in a page fault) there is no user stack.
 */
#ifndef RPROF_WAITS_BPF_H
#define RPROF_WAITS_BPF_H

/* A walk may be preempted for the switch that it is sampled at. */
#define STACK_SLOTS 8
/* Of who wakes: as in kmem.bpf.c. */
#define KERNEL_SKIP 3
#include "kernel.h"
#include "stacks.bpf.h"
#include "task.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* include/linux/sched.h */
#define TASK_RUNNING 0
#define TASK_UNINTERRUPTIBLE 0x2
#define TASK_DEAD 0x80
#define PF_IO_WORKER 0x10
#define PF_USER_WORKER 0x4000

/* What a thread waits for; profiler/model/state.rs has the words. 0: not a wait. */
enum wait_state {
	WAIT_NONE,
	WAIT_SLEEP,     /* for something to happen */
	WAIT_DISK,      /* where no signal ends it: for a device, mostly */
	WAIT_LOCK,      /* in a system call that locks are made of */
	WAIT_PREEMPTED, /* it could go on, but lost its CPU */
	WAIT_RUNNABLE,  /* what it waited for is there, but no CPU */
};

/* System calls that locks of user space are made of (arch/x86/entry/syscalls/syscall_64.tbl). */
#define NR_SEMOP 65
#define NR_FCNTL 72
#define NR_FLOCK 73
#define NR_FUTEX 202
#define NR_SEMTIMEDOP 220
#define NR_FUTEX_WAITV 449
#define NR_FUTEX_WAIT 455
/* Commands of fcntl() that wait for a lock (include/uapi/asm-generic/fcntl.h). */
#define F_SETLKW 7
#define F_OFD_SETLKW 38

/* ns of waiting from one sample to the next; 0: each wait is a sample. */
__u64 period = 0;

/* Bits of the states that are looked at, and how long a wait may be, ns. */
const volatile __u32 wait_states = ~0U;
const volatile __u64 wait_min = 0;
const volatile __u64 wait_max = ~0ULL;

/* Whether threads without user mode are looked at. */
const volatile bool with_kernel_threads = false;

/* Whether user stacks are taken at the ends of system calls. */
const volatile bool at_call_ends = false;

/* Waits that could not be looked at, for want of memory. */
__u64 waits_missed = 0;

/* Switches to a thread that the kernel did not show: see end_unseen(). */
__u64 ends_unseen = 0;

/* Samples whose thread went on elsewhere before its user stack was taken. */
__u64 without_user_stack = 0;

/* A sample that lacks its user stack; those of a thread that wait for it all have the same. */
struct pending {
	__u64 time;
	__u64 weight;
	struct fingerprint kernel_stack;
	__u64 waker;
	__u32 count;
	__u16 state;
	__u16 bare; /* it has no stacks */
};

/* From so many on, the user stack is taken where the thread waits next, still in the kernel. */
#define PENDING_MANY 4
/* A wait is two samples at most: for what it waited, and then for a CPU. */
#define PENDING_MAX 8

struct wait {
	__u64 since;     /* ns, CLOCK_MONOTONIC; 0: it runs */
	__u64 told;      /* the same: until when the wait was sampled while it lasted */
	__u64 run_delay; /* ns that it was runnable in its life, when the wait began */
	__u64 rest;      /* ns of short waits since the last sample */
	__u64 ip, sp;    /* of user mode, where it waited */
	__u64 waker;     /* time of the record of who woke it */
	__u32 state;
	__u16 known;     /* `rest` began somewhere in a period */
	__u16 scheduled; /* it will send its samples when it returns to user mode */
	/*
	 * Entries that were added and sent in its life. Whoever sends may be switched away from,
	 * and then more are added: each of the two is written in one place only.
	 */
	__u32 added, sent;
	__u32 sending;
	struct pending pending[PENDING_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct wait);
} waits SEC(".maps");

/* Work for a thread to do before it returns to user mode. */
#define WORKS 4096
#define WORK_TRIES 4

struct work {
	struct bpf_task_work work;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WORKS);
	__type(key, __u32);
	__type(value, struct work);
} works SEC(".maps");

typedef int (*work_callback)(struct bpf_map *map, void *key, void *value);

extern int bpf_task_work_schedule_resume_impl(struct task_struct *task, struct bpf_task_work *work,
					      void *map, work_callback callback,
					      void *aux) __ksym __weak;
/* Its name and arguments since 7.0; what follows the underscores is no part of a name. */
extern int bpf_task_work_schedule_resume___7_0(struct task_struct *task, struct bpf_task_work *work,
					       void *map, work_callback callback) __ksym __weak;

static __always_inline __u32 pending_count(const struct wait *wait)
{
	return *(volatile const __u32 *)&wait->added - *(volatile const __u32 *)&wait->sent;
}

/* True for a thread without user mode: one of the kernel, of io_uring, of a virtual machine. */
static __always_inline bool is_kernel_only(struct task_struct *task)
{
	return task->flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER);
}

/* Thread 0 is the idle task. */
static __always_inline bool is_left_out(struct task_struct *task)
{
	return !task->pid || (!with_kernel_threads && is_kernel_only(task)) || !task_matches(task);
}

/* A sample that is put together, in each slot: there is not room on the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STACK_SLOTS);
	__type(key, __u32);
	__type(value, struct sample);
} samples SEC(".maps");

static __always_inline bool send_one(struct unwind *unwind, struct sample *sample,
				     const struct pending *pending, struct counters *counters)
{
	sample->time = pending->time;
	sample->weight = pending->weight;
	sample->count = pending->count;
	sample->kernel_stack = pending->kernel_stack;
	sample->state = pending->state;
	sample->waker = pending->waker;
	if (pending->bare) {
		sample->user_status = UNWIND_NO_STACK;
		sample->user_stack = (struct fingerprint){};
		return !bpf_ringbuf_output(&records, sample, sizeof(*sample), wakeup());
	}
	sample->user_status = unwind->status;
	if (needs_snapshot(unwind->status) && send_snapshot(unwind, sample)) {
		__sync_fetch_and_add(&counters->snapshots, 1);
		return true;
	}
	/* Each time, though it is known by then: who cleared what was seen wants it anew. */
	return keep_stack(&unwind->stack, &sample->user_stack, counters) &&
	       !bpf_ringbuf_output(&records, sample, sizeof(*sample), wakeup_for(sample->pid));
}

/* Sends the samples of the current thread that lack its user stack, if it is where it was then. */
__attribute__((noinline)) int send_pending(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct wait *wait = bpf_task_storage_get(&waits, task, NULL, 0);
	struct counters *counters = source_state();
	struct unwind *unwind = NULL;
	struct sample *sample;
	__u64 before;
	__u32 slot;

	if (!wait || !counters || wait->sending)
		return 0;
	wait->sending = true;
	wait->scheduled = false;
	slot = take_slot();
	sample = bpf_map_lookup_elem(&samples, &slot);
	if (!sample)
		goto lost;
	__builtin_memset(sample, 0, sizeof(*sample));
	if (!begin_sample(sample)) {
		/* It is no target any more, by its new name or user. */
		__sync_fetch_and_add(&counters->samples, -(__u64)pending_count(wait));
		wait->sent = wait->added;
		goto out;
	}
	before = sample->time;
	unwind = user_stack(sample->pid, slot);
	if (!unwind)
		goto lost;
	/* Another program by now, or in a signal's handler. */
	if (unwind->status != UNWIND_NO_STACK &&
	    (unwind->saved.sp != wait->sp || unwind->saved.ip != wait->ip)) {
		unwind->status = UNWIND_NO_STACK;
		unwind->stack.depth = 0;
		__sync_fetch_and_add(&without_user_stack, pending_count(wait));
	}
	for (__u32 i = 0; i < PENDING_MAX && pending_count(wait); i++) {
		__u32 at = wait->sent & (PENDING_MAX - 1);

		if (!send_one(unwind, sample, &wait->pending[at], counters))
			__sync_fetch_and_add(&counters->samples_lost, 1);
		wait->sent++;
	}
	__sync_fetch_and_add(&counters->run_ns, bpf_ktime_get_ns() - before);
	goto out;
lost:
	__sync_fetch_and_add(&counters->samples_lost, pending_count(wait));
	wait->sent = wait->added;
out:
	give_slot(slot);
	wait->sending = false;
	return 0;
}

static int at_return_to_user(struct bpf_map *map, void *key, void *value)
{
	send_pending();
	return 0;
}

/* What of a wait is a sample; of no weight: nothing. */
struct part {
	__u64 weight;
	__u32 count;
	__u32 state;
};

/* A thread begins somewhere in a period, or those that begin at once would be sampled at once. */
static __always_inline void begin_period(struct wait *wait)
{
	if (!wait->known) {
		wait->known = true;
		wait->rest = period * bpf_get_prandom_u32() >> 32;
	}
}

/*
 * Decides whether a wait of `length` ns is a sample; the first `told` of it were sent while it
 * lasted.
 */
static __always_inline void weigh(struct wait *wait, struct part *part, __u32 state, __u64 length,
				  __u64 told)
{
	__u64 ns = length > told ? length - told : 0;

	if (!ns || !(wait_states >> state & 1) || length < wait_min || length > wait_max)
		return;
	part->state = state;
	if (ns >= period) {
		part->weight = ns;
		part->count = !told;
		return;
	}
	begin_period(wait);
	wait->rest += ns;
	if (wait->rest < period)
		return;
	wait->rest -= period;
	part->weight = period;
	/* Waits of this length, of which one in period / ns is sampled; what is over, at random. */
	part->count = told ? 0 : (period + bpf_get_prandom_u32() % ns) / ns;
}

/* True if the thread waits in a system call that locks are made of. */
static __always_inline bool is_in_lock(struct task_struct *task)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);

	if (is_kernel_only(task))
		return false;
	switch (regs->orig_ax) {
	case NR_FUTEX:
	case NR_FUTEX_WAIT:
	case NR_FUTEX_WAITV:
	case NR_SEMOP:
	case NR_SEMTIMEDOP:
	case NR_FLOCK:
		return true;
	case NR_FCNTL:
		return regs->si == F_SETLKW || regs->si == F_OFD_SETLKW;
	default:
		return false;
	}
}

#define SLEEP_OR_LOCK (1U << WAIT_SLEEP | 1U << WAIT_LOCK)

/* The same, of what a thread waited for that is woken; asks what that is only where it matters. */
static __always_inline void weigh_sleep(struct task_struct *task, struct wait *wait,
					struct part *part, __u64 length, __u64 told)
{
	bool sleeps = wait->state == WAIT_SLEEP;
	__u32 chosen = wait_states & SLEEP_OR_LOCK;

	if (sleeps && chosen != SLEEP_OR_LOCK) {
		weigh(wait, part, is_in_lock(task) ? WAIT_LOCK : WAIT_SLEEP, length, told);
		return;
	}
	weigh(wait, part, wait->state, length, told);
	if (sleeps && part->weight && is_in_lock(task))
		part->state = WAIT_LOCK;
}

/* The kernel stack of a thread that does not run. False if it cannot be sent. */
static __always_inline bool task_kernel_stack(struct task_struct *task, struct stack *stack,
					      struct fingerprint *out, struct counters *counters)
{
	long bytes = bpf_get_task_stack(task, stack->addresses, sizeof(stack->addresses), 0);

	if (bytes <= 0)
		__sync_fetch_and_add(&counters->kernel_failed, 1);
	stack->depth = bytes > 0 ? bytes / sizeof(__u64) : 0;
	if (stack->depth == STACK_DEPTH_MAX)
		__sync_fetch_and_add(&counters->kernel_truncated, 1);
	return keep_stack(stack, out, counters);
}

static __always_inline void add_pending(struct wait *wait, const struct pending *entry,
					const struct part *part, struct counters *counters)
{
	struct pending *pending;

	if (!part->weight)
		return;
	if (pending_count(wait) >= PENDING_MAX) {
		__sync_fetch_and_add(&counters->samples_lost, 1);
		return;
	}
	pending = &wait->pending[wait->added & (PENDING_MAX - 1)];
	*pending = *entry;
	pending->weight = part->weight;
	pending->count = part->count;
	pending->state = part->state;
	barrier();
	wait->added++;
}

/* Has a thread send its samples before it returns to user mode. */
static __always_inline bool send_later(struct task_struct *task)
{
	for (__u32 i = 0; i < WORK_TRIES; i++) {
		__u32 slot = (task->pid + i) & (WORKS - 1);
		struct work *work = bpf_map_lookup_elem(&works, &slot);
		int failed = -1;

		if (!work)
			return false;
		if (bpf_ksym_exists(bpf_task_work_schedule_resume___7_0))
			failed = bpf_task_work_schedule_resume___7_0(task, &work->work, &works,
								     at_return_to_user);
		else if (bpf_ksym_exists(bpf_task_work_schedule_resume_impl))
			failed = bpf_task_work_schedule_resume_impl(task, &work->work, &works,
								    at_return_to_user, NULL);
		if (!failed)
			return true;
	}
	return false;
}

#endif
