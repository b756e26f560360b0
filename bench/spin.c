/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Load for a profiler: keeps one CPU busy with 64 stacks of 12 to 28 frames, which it walks through
 * for 2 ms each; or, if told a depth, with stacks that are all that deep. Two of these with
 * different numbers have no stack in common.
 *
 *   spin CPU NUMBER [DEPTH]
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static volatile uint64_t sink;

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Reads the clock seldom, so that the time is spent here and not in the vdso. */
__attribute__((noinline)) static void work(uint64_t until)
{
	while (now() < until) {
		for (int i = 0; i < 20000; i++)
			sink += i ^ sink >> 3;
	}
}

/* Four functions that call each other as the bits of `way` say; the barrier keeps each a call. */
#define STEP(NAME)                                                                                 \
	__attribute__((noinline)) static void NAME(uint64_t way, int depth, uint64_t until)        \
	{                                                                                          \
		call(way, depth, until);                                                           \
		__asm__ volatile("" ::: "memory");                                                 \
	}

static inline void call(uint64_t way, int depth, uint64_t until);
STEP(parse)
STEP(visit)
STEP(apply)
STEP(reduce)

static inline __attribute__((always_inline)) void call(uint64_t way, int depth, uint64_t until)
{
	static void (*const steps[])(uint64_t, int, uint64_t) = {parse, visit, apply, reduce};

	if (depth == 0)
		work(until);
	else
		steps[way & 3](way >> 2, depth - 1, until);
}

int main(int argc, char **argv)
{
	cpu_set_t cpus;

	/* work, main, two of libc's and _start are in each. */
	int depth = argc > 3 ? atoi(argv[3]) - 5 : 0;

	if (argc < 3 || depth < 0) {
		fprintf(stderr, "usage: spin CPU NUMBER [DEPTH]\n");
		return 2;
	}
	CPU_ZERO(&cpus);
	CPU_SET(atoi(argv[1]), &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus)) {
		perror("spin: sched_setaffinity");
		return 1;
	}
	for (uint64_t round = 0;; round = (round + 1) % 64) {
		uint64_t way = (round + 64 * (uint64_t)atoi(argv[2]) + 1) * 0x9e3779b97f4a7c15ULL;

		call(way, depth ? depth : 8 + (int)(round % 17), now() + 2000000);
	}
}
