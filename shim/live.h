/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which pointers were sampled and not freed yet. Every free asks, so the answer "no" has to come
 * from one byte: how many of the pointers that share it are here. Only then are the pointers
 * themselves looked at. No lock, so threads, forks and signal handlers find nothing held.
 *
 * When there is no room for a pointer, its byte is STUCK for good, and every free that shares it is
 * announced: whoever listens knows what was sampled, and nothing is lost but a little time.
 */
#ifndef RPROF_LIVE_H
#define RPROF_LIVE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILTER_BITS 16
#define STUCK 255
/* A bucket is one cache line. 131,072 pointers: 64 GB of live memory, if one is sampled in 512 KiB.
 */
#define BUCKET_BITS 14
#define SLOTS 8

static _Atomic uint8_t filter[1 << FILTER_BITS];
static _Alignas(64) _Atomic uintptr_t buckets[1 << BUCKET_BITS][SLOTS];

/* Neighbours in memory are neighbours here: freeing them in a row stays in the cache. */
static inline _Atomic uint8_t *filter_of(uintptr_t p)
{
	return &filter[((p >> 4) ^ (p >> (4 + FILTER_BITS))) & ((1 << FILTER_BITS) - 1)];
}

static inline bool may_be_live(void *p)
{
	return atomic_load_explicit(filter_of((uintptr_t)p), memory_order_relaxed) != 0;
}

/* One of the two buckets that may hold p. */
static _Atomic uintptr_t *bucket_of(uintptr_t p, int choice)
{
	uint64_t hash = (p >> 3) * (choice ? 0xc2b2ae3d27d4eb4f : 0x9e3779b97f4a7c15);

	return buckets[hash >> (64 - BUCKET_BITS)];
}

/* Puts `to` in place of `from` in a bucket of p. */
static bool exchange(uintptr_t p, uintptr_t from, uintptr_t to)
{
	for (int i = 0; i < 2 * SLOTS; i++) {
		_Atomic uintptr_t *slot = &bucket_of(p, i / SLOTS)[i % SLOTS];
		uintptr_t expected = from;

		if (atomic_load_explicit(slot, memory_order_relaxed) == from &&
		    atomic_compare_exchange_strong(slot, &expected, to))
			return true;
	}
	return false;
}

static void count_in_filter(uintptr_t p, int change)
{
	_Atomic uint8_t *counter = filter_of(p);
	uint8_t old = atomic_load(counter);

	while (old != STUCK &&
	       !atomic_compare_exchange_weak(counter, &old, (uint8_t)(old + change)))
		;
}

static void live_insert(void *pointer)
{
	uintptr_t p = (uintptr_t)pointer;

	/* Still there from an earlier time, if that was freed behind our back. */
	if (may_be_live(pointer) && exchange(p, p, p))
		return;
	if (exchange(p, 0, p))
		count_in_filter(p, 1);
	else
		atomic_store(filter_of(p), STUCK);
}

/* True if p was sampled, or if that is not known any more. p is forgotten. */
static bool live_remove(void *pointer)
{
	uintptr_t p = (uintptr_t)pointer;

	if (!p)
		return false;
	if (exchange(p, p, 0)) {
		count_in_filter(p, -1);
		return true;
	}
	return atomic_load(filter_of(p)) == STUCK;
}

/* From now on, every free is announced. */
static void live_all(void)
{
	for (size_t i = 0; i < 1 << FILTER_BITS; i++)
		atomic_store_explicit(&filter[i], STUCK, memory_order_relaxed);
}

#endif
