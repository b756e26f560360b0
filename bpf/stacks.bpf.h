/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kind `stacks`: weighted stacks, each with its time, process and thread.
 *
 * A stack is identified by a 128-bit fingerprint of its addresses, under a key that is random for
 * each run. Its addresses go to user space once, ahead of the first sample that refers to them;
 * from then on a sample is 104 bytes whatever its depth. What was announced is remembered in a
 * table that is only a cache: where two stacks share a slot, the loser is announced again, so none
 * is ever lost to another or taken for another (a BPF_MAP_TYPE_STACK_TRACE does both), and the
 * table has no lock that a perf event could interrupt.
 */
#ifndef RPROF_STACKS_BPF_H
#define RPROF_STACKS_BPF_H

#include "kernel.h"
#include "symbols.bpf.h"
#include "target.bpf.h"
#include "unwind.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

enum record_kind {
	RECORD_SAMPLE = 1,
	RECORD_STACK = 2,
};

struct fingerprint {
	__u64 low;
	__u64 high;
};

/* One sample; a fingerprint of zero means that there is no such stack. */
struct sample {
	__u32 kind;
	__u32 cpu;
	__u64 time;   /* ns, CLOCK_MONOTONIC */
	__u64 weight; /* in the unit of the source */
	__u64 cgroup; /* id in the cgroup2 hierarchy */
	__u32 pid;    /* of the process, in the initial pid namespace */
	__u32 tid;
	struct fingerprint kernel_stack;
	struct fingerprint user_stack;
	char comm[TASK_COMM_LEN];   /* of the process */
	char thread[TASK_COMM_LEN]; /* of the thread */
};

/* The addresses of one stack, leaf first. Only `depth` of them are sent. */
struct stack {
	__u32 kind;
	__u32 depth;
	struct fingerprint fingerprint;
	__u64 addresses[STACK_DEPTH_MAX];
};

#define STACK_HEADER (sizeof(struct stack) - STACK_DEPTH_MAX * sizeof(__u64))

/* These let BTF carry the two structs to Rust. */
struct sample unused_sample SEC(".data.types");
struct stack unused_stack SEC(".data.types");

/* What happened to samples, read by user space while it runs. */
struct counters {
	__u64 samples;      /* taken, lost ones included */
	__u64 samples_lost; /* no room in the ring buffer */
	__u64 stacks_lost;  /* the same, for addresses of a stack: its samples are lost too */
	__u64 stacks_sent;
	__u64 kernel_truncated; /* deeper than STACK_DEPTH_MAX */
	__u64 user_truncated;
	__u64 kernel_failed; /* in the kernel, but it gave no stack */
};

struct counters counters = {};

/* Key of the fingerprints, so that no program can aim at a collision. */
const volatile __u64 fingerprint_key[2] = {1, 2};

/* Bytes waiting in the ring buffer from which on user space is woken. */
const volatile __u64 wakeup_bytes = 1 << 19;

#define SEEN_SLOTS 65536
#define PROCESS_SLOTS 4096

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SEEN_SLOTS);
	__type(key, __u32);
	__type(value, struct fingerprint);
} seen SEC(".maps");

/* Processes that user space was woken for, by pid modulo PROCESS_SLOTS; also only a cache. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PROCESS_SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} processes SEC(".maps");

/* One for each CPU: a perf event does not interrupt a perf event. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stack);
} scratch SEC(".maps");

/* Mixing step of MurmurHash3's 64-bit finalizer (public domain, Austin Appleby). */
static __always_inline __u64 mix(__u64 x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	return x;
}

static __always_inline void take_fingerprint(struct stack *stack)
{
	__u64 low = fingerprint_key[0] ^ stack->depth;
	__u64 high = fingerprint_key[1];

	for (__u32 i = 0; i < STACK_DEPTH_MAX && i < stack->depth; i++) {
		low = mix(low ^ stack->addresses[i]);
		high = (high ^ stack->addresses[i]) * 0xc4ceb9fe1a85ec53ULL;
		high ^= high >> 29;
	}
	stack->fingerprint.low = low | 1; /* never the zero of "no stack" */
	stack->fingerprint.high = high;
}

static __always_inline __u64 wakeup(void)
{
	return bpf_ringbuf_query(&records, BPF_RB_AVAIL_DATA) >= wakeup_bytes ? BPF_RB_FORCE_WAKEUP
									      : BPF_RB_NO_WAKEUP;
}

/* Makes sure that user space has the stack. False if it could not be sent. */
static __always_inline bool announce(struct stack *stack)
{
	__u32 slot = stack->fingerprint.low >> 32 & (SEEN_SLOTS - 1);
	struct fingerprint *known = bpf_map_lookup_elem(&seen, &slot);
	__u32 bytes = STACK_HEADER + stack->depth * sizeof(__u64);

	if (!known || bytes > sizeof(*stack))
		return false;
	if (known->low == stack->fingerprint.low && known->high == stack->fingerprint.high)
		return true;
	stack->kind = RECORD_STACK;
	if (bpf_ringbuf_output(&records, stack, bytes, wakeup())) {
		__sync_fetch_and_add(&counters.stacks_lost, 1);
		return false;
	}
	__sync_fetch_and_add(&counters.stacks_sent, 1);
	/* Sent before it is marked, so a torn or racing write can only cause another sending. */
	known->low = stack->fingerprint.low;
	known->high = stack->fingerprint.high;
	return true;
}

static __always_inline bool keep_stack(struct stack *stack, struct fingerprint *fingerprint)
{
	if (!stack->depth)
		return true;
	take_fingerprint(stack);
	*fingerprint = stack->fingerprint;
	return announce(stack);
}

static __always_inline bool kernel_stack(void *ctx, struct stack *stack, struct fingerprint *out)
{
	long bytes = bpf_get_stack(ctx, stack->addresses, sizeof(stack->addresses), 0);

	/* -EFAULT: the sample hit user mode, so there is none. */
	if (bytes < 0 && bytes != -EFAULT)
		__sync_fetch_and_add(&counters.kernel_failed, 1);
	stack->depth = bytes > 0 ? bytes / sizeof(__u64) : 0;
	if (stack->depth == STACK_DEPTH_MAX)
		__sync_fetch_and_add(&counters.kernel_truncated, 1);
	return keep_stack(stack, out);
}

/* A process that was not seen before wakes user space, which reads its mappings while it lives. */
static __always_inline __u64 wakeup_for(__u32 pid)
{
	__u32 slot = pid & (PROCESS_SLOTS - 1);
	__u32 *known = bpf_map_lookup_elem(&processes, &slot);

	if (!known || *known == pid)
		return wakeup();
	*known = pid;
	return BPF_RB_FORCE_WAKEUP;
}

static __always_inline int lose_sample(void)
{
	__sync_fetch_and_add(&counters.samples_lost, 1);
	return 0;
}

/* Takes one sample of the current task, if it is a target. */
static __always_inline int take_sample(void *ctx, __u64 weight)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 id = bpf_get_current_pid_tgid();
	struct sample sample = {.kind = RECORD_SAMPLE, .weight = weight};
	struct stack *stack;
	__u32 zero = 0;

	sample.pid = id >> 32;
	sample.tid = id;
	if (!sample.tid || !target_matches(sample.pid)) /* thread 0 is the idle task */
		return 0;
	stack = bpf_map_lookup_elem(&scratch, &zero);
	if (!stack)
		return 0;
	sample.time = bpf_ktime_get_ns();
	sample.cpu = bpf_get_smp_processor_id();
	__sync_fetch_and_add(&counters.samples, 1);
	if (!kernel_stack(ctx, stack, &sample.kernel_stack))
		return lose_sample();
	stack->depth = user_stack(ctx, stack->addresses);
	if (stack->depth == STACK_DEPTH_MAX)
		__sync_fetch_and_add(&counters.user_truncated, 1);
	if (!keep_stack(stack, &sample.user_stack))
		return lose_sample();
	sample.cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(sample.thread, sizeof(sample.thread));
	BPF_CORE_READ_INTO(&sample.comm, task, group_leader, comm);
	if (bpf_ringbuf_output(&records, &sample, sizeof(sample), wakeup_for(sample.pid)))
		return lose_sample();
	return 0;
}

#endif
