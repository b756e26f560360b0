/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Memory that is allocated and freed: which allocations are sampled, and which of those are still
 * held. Allocations are sampled by their bytes, as a Poisson process of one sample in
 * `sample_bytes` on average: user space knows from an allocation's size how many it stands for.
 */
#ifndef RPROF_HELD_BPF_H
#define RPROF_HELD_BPF_H

#include "kernel.h"
#include "stacks.bpf.h"
#include <bpf/bpf_helpers.h>

/* Bytes from one sample to the next, on average; 0: every allocation is kept. */
const volatile __u64 sample_bytes = 512 << 10;

/* Sizes that are looked at. */
const volatile __u64 min_size = 0;
const volatile __u64 max_size = ~0ULL;

/*
 * -ln(x) in 1/65536, for x = (64 + i) / 128: what is left of an exponential once its power of two
 * is taken out. Without it, the mean would be 4 % off.
 */
const volatile __u32 minus_ln[65] = {
	45426, 44410, 43409, 42424, 41453, 40496, 39553, 38624, 37707, 36803, 35911, 35032, 34164,
	33307, 32461, 31627, 30802, 29988, 29184, 28390, 27605, 26829, 26063, 25305, 24556, 23815,
	23083, 22359, 21643, 20934, 20233, 19540, 18854, 18174, 17502, 16837, 16178, 15526, 14880,
	14241, 13608, 12981, 12360, 11744, 11135, 10530, 9932,  9339,  8751,  8169,  7591,  7019,
	6451,  5889,  5331,  4778,  4230,  3686,  3146,  2611,  2081,  1554,  1032,  514,   0};
#define LN_2 45426

/* Of one CPU. */
struct sampling {
	__s64 left;  /* bytes until the next sample */
	__u64 drawn; /* whether that was drawn yet */
	__u64 hits;  /* calls that were seen, sampled or not */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sampling);
} sampling SEC(".maps");

/* Its size is set before it is loaded. Not preallocated: mostly there are few. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 20);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct held_key);
	__type(value, struct held);
} held SEC(".maps");

/* This lets BTF carry the struct to Rust. */
struct sampling unused_sampling SEC(".data.types");

/* Sampled allocations that could not be followed for want of room, and frees that were lost. */
__u64 not_followed = 0;
__u64 frees_lost = 0;

/* A draw from the exponential distribution with the mean `sample_bytes`, by inversion. */
static __always_inline __u64 draw(void)
{
	__u32 random = bpf_get_prandom_u32() | 1, zeros = 0;
	__u64 ln, low, high, part;

	/* random / 2^32 = 2^-(zeros + 1) * mantissa, which is from 1 to 2 */
	for (__u32 bit = 16; bit; bit >>= 1) {
		__u32 none = (random >> (32 - bit)) == 0;

		asm volatile("" : "+r"(none));
		zeros += none ? bit : 0;
		random <<= none ? bit : 0;
	}
	part = random >> 25 & 63;
	low = minus_ln[part];
	high = minus_ln[part + 1];
	ln = low - ((low - high) * (random >> 9 & 0xffff) >> 16) + (__u64)zeros * LN_2;
	return ln * sample_bytes >> 16;
}

/* True if an allocation of `size` is to be sampled. */
static __always_inline bool is_sampled(__u64 size)
{
	__u32 zero = 0;
	struct sampling *state = bpf_map_lookup_elem(&sampling, &zero);

	if (!state || !size || size < min_size || size > max_size || size >> 48)
		return false;
	if (!sample_bytes)
		return true;
	if (!state->drawn) {
		state->drawn = 1;
		state->left = draw();
	}
	state->left -= size;
	if (state->left > 0)
		return false;
	/* What is over is no part of the next draw: an exponential has no memory. */
	state->left = draw();
	return true;
}

static __always_inline void count_hit(void)
{
	__u32 zero = 0;
	struct sampling *state = bpf_map_lookup_elem(&sampling, &zero);

	if (state)
		state->hits++;
}

static __always_inline void send_free(const struct held *held)
{
	struct free_record *record = bpf_ringbuf_reserve(&records, sizeof(*record), 0);

	if (!record) {
		__sync_fetch_and_add(&frees_lost, 1);
		return;
	}
	record->kind = RECORD_FREE;
	record->source = source;
	record->time = bpf_ktime_get_ns();
	record->held = *held;
	bpf_ringbuf_submit(record, wakeup());
}

/* What was at an address is held no longer. */
static __always_inline void release(__u64 pid, __u64 address)
{
	struct held_key key = {.address = address, .pid = pid};
	struct held *known = bpf_map_lookup_elem(&held, &key);

	if (!known)
		return;
	send_free(known);
	bpf_map_delete_elem(&held, &key);
}

/*
 * A sampled allocation is at an address now. One that was there before was freed without our seeing
 * it: before a probe was set, or by a way that has none.
 */
static __always_inline void hold(__u64 pid, __u64 address, const struct held *allocation)
{
	struct held_key key = {.address = address, .pid = pid};

	release(pid, address);
	if (!address || bpf_map_update_elem(&held, &key, allocation, BPF_ANY)) {
		if (address)
			__sync_fetch_and_add(&not_followed, 1);
		send_free(allocation);
	}
}

#endif
