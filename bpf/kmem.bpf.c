// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Source `kmem`: who holds kernel memory. Runs at the tracepoints of the slab, page and per-CPU
 * allocators; each allocation is known by its address, that of a page by its struct page.
 *
 * Raw tracepoints, whose arguments have no types: they moved over the years, and user space says
 * where they are.
 */
#define STACK_SLOTS 4
#define KERNEL_SKIP 2
#include "held.bpf.h"
#include "kernel.h"
#include "stacks.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define PAGE_BYTES 4096ULL

/* (call site, address, cache, ...) in some versions, (call site, address, sizes, ...) in others. */
const volatile bool kmalloc_has_cache = false;
const volatile bool cache_alloc_has_cache = true;
/* percpu_alloc_percpu() begins with the call site since 5.19. */
const volatile bool percpu_has_call_site = true;

struct bpf_raw_tracepoint_args {
	__u64 args[0];
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct kmem_cache {
	unsigned int object_size;
};
#pragma clang attribute pop

/* Samples an allocation of the current task, or in an interrupt of it. */
static __always_inline int allocate(void *ctx, __u64 address, __u64 size)
{
	struct sample sample = {.count = 1, .weight = size};
	struct held held = {.size = size};
	bool sent, ours;
	__u32 slot;

	if (!address || !target_matches(bpf_get_current_pid_tgid() >> 32))
		return 0;
	count_hit();
	if (!is_sampled(size) || !begin_sample(&sample))
		return 0;
	slot = take_slot();
	if (slot >= STACK_SLOTS)
		return 0;
	sent = send_sample(ctx, &sample, slot, true);
	ours = give_slot(slot);
	if (sent && ours) {
		held.user_stack = sample.user_stack;
		held.kernel_stack = sample.kernel_stack;
		held.born = sample.time;
		held.pid = sample.pid;
		held.tid = sample.tid;
		hold(0, address, &held);
	}
	return 0;
}

static __always_inline int give_back(__u64 address)
{
	count_hit();
	release(0, address);
	return 0;
}

/*
 * One of two arguments, both of which are read: the verifier wants the offset of each access to the
 * context to be a constant, and clang makes a variable of it where branches differ in that.
 */
static __always_inline __u64 choose(bool second, __u64 a, __u64 b)
{
	asm volatile("" : "+r"(a), "+r"(b));
	return second ? b : a;
}

SEC("raw_tp/kmalloc")
int kmem_kmalloc(struct bpf_raw_tracepoint_args *ctx)
{
	return allocate(ctx, ctx->args[1], choose(kmalloc_has_cache, ctx->args[3], ctx->args[4]));
}

/* Until 6.0. */
SEC("raw_tp/kmalloc_node")
int kmem_kmalloc_node(struct bpf_raw_tracepoint_args *ctx)
{
	return allocate(ctx, ctx->args[1], ctx->args[3]);
}

SEC("raw_tp/kfree")
int kmem_kfree(struct bpf_raw_tracepoint_args *ctx)
{
	return give_back(ctx->args[1]);
}

SEC("raw_tp/kmem_cache_alloc")
int kmem_cache_alloc(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 cache = ctx->args[2], size = ctx->args[3];

	if (cache_alloc_has_cache)
		size = BPF_CORE_READ((struct kmem_cache *)cache, object_size);
	return allocate(ctx, ctx->args[1], size);
}

/* Until 6.0. */
SEC("raw_tp/kmem_cache_alloc_node")
int kmem_cache_alloc_node(struct bpf_raw_tracepoint_args *ctx)
{
	return allocate(ctx, ctx->args[1], ctx->args[3]);
}

SEC("raw_tp/kmem_cache_free")
int kmem_cache_free(struct bpf_raw_tracepoint_args *ctx)
{
	return give_back(ctx->args[1]);
}

SEC("raw_tp/mm_page_alloc")
int kmem_page_alloc(struct bpf_raw_tracepoint_args *ctx)
{
	return allocate(ctx, ctx->args[0], PAGE_BYTES << (ctx->args[1] & 15));
}

SEC("raw_tp/mm_page_free")
int kmem_page_free(struct bpf_raw_tracepoint_args *ctx)
{
	return give_back(ctx->args[0]);
}

SEC("raw_tp/mm_page_free_batched")
int kmem_page_free_batched(struct bpf_raw_tracepoint_args *ctx)
{
	return give_back(ctx->args[0]);
}

SEC("raw_tp/percpu_alloc_percpu")
int kmem_percpu_alloc(struct bpf_raw_tracepoint_args *ctx)
{
	return allocate(ctx, choose(percpu_has_call_site, ctx->args[6], ctx->args[7]),
			choose(percpu_has_call_site, ctx->args[2], ctx->args[8]));
}

SEC("raw_tp/percpu_free_percpu")
int kmem_percpu_free(struct bpf_raw_tracepoint_args *ctx)
{
	return give_back(ctx->args[2]);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
