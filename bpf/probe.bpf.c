// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Stacks at any probe, or at every so many hits of it: `record -e`. An object is loaded for each
 * probe, with the one program that it needs.
 */
/* A uprobe may be preempted in the middle of a walk, for another. */
#define STACK_SLOTS 4
/* How many frames at the leaf of a kernel stack are ours: it depends on the program. */
#define KERNEL_SKIP kernel_skip
#include "kernel.h"

const volatile __u32 kernel_skip = 0;

#include "stacks.bpf.h"
#include <bpf/bpf_helpers.h>

/* Hits from one sample to the next; perf events count that far by themselves. */
const volatile __u32 every = 1;

/* rprof itself, where each hit is sampled: what it does to keep one may be the next. */
const volatile __u32 left_out = 0;

/* Of targets. */
__u64 hits = 0;

/* Hits that found all places to walk a stack taken. */
__u64 crowded = 0;

static __always_inline int sample_hit(void *ctx, const bool kernel, const bool counted)
{
	struct sample sample = {.count = 1, .weight = every};
	__u32 pid = bpf_get_current_pid_tgid() >> 32, slot;

	if (pid == left_out || !target_matches(pid))
		return 0;
	if (!counted && every > 1 && __sync_fetch_and_add(&hits, 1) % every != every - 1)
		return 0;
	if (!begin_sample(&sample))
		return 0;
	slot = take_slot();
	if (slot >= STACK_SLOTS) {
		__sync_fetch_and_add(&crowded, 1);
		return 0;
	}
	send_sample(ctx, &sample, slot, kernel);
	if (!give_slot(slot))
		__sync_fetch_and_add(&crowded, 1);
	return 0;
}

/* What the kernel does at a uprobe is the trap alone. */
SEC("uprobe")
int sample_uprobe(void *ctx)
{
	return sample_hit(ctx, false, false);
}

SEC("uretprobe")
int sample_uretprobe(void *ctx)
{
	return sample_hit(ctx, false, false);
}

SEC("uprobe.multi")
int sample_uprobe_multi(void *ctx)
{
	return sample_hit(ctx, false, false);
}

SEC("uretprobe.multi")
int sample_uretprobe_multi(void *ctx)
{
	return sample_hit(ctx, false, false);
}

SEC("tracepoint")
int sample_tracepoint(void *ctx)
{
	return sample_hit(ctx, true, false);
}

SEC("perf_event")
int sample_perf_event(void *ctx)
{
	return sample_hit(ctx, true, true);
}

SEC("kprobe")
int sample_kprobe(void *ctx)
{
	return sample_hit(ctx, true, false);
}

SEC("kretprobe")
int sample_kretprobe(void *ctx)
{
	return sample_hit(ctx, true, false);
}

SEC("fentry")
int sample_fentry(void *ctx)
{
	return sample_hit(ctx, true, false);
}

SEC("fexit")
int sample_fexit(void *ctx)
{
	return sample_hit(ctx, true, false);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
