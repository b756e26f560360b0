/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How much of a CPU a program loses to everything else: reads the time stamp counter in a tight
 * loop, pinned to one CPU, and adds up the steps that took longer than 400 ns. An interrupt is such
 * a step; so is another task, but those last longer, and are told apart at 200 us.
 *
 *   gaps CPU SECONDS    prints {"seconds", "lost", "interrupts", "count"}
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <x86intrin.h>

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/* Ticks of the counter in a second, against the clock for 50 ms. */
static double ticks_a_second(void)
{
	double start = now(), end;
	uint64_t first = __rdtsc();

	do
		end = now();
	while (end < start + 0.05);
	return (__rdtsc() - first) / (end - start);
}

int main(int argc, char **argv)
{
	cpu_set_t cpus;

	if (argc != 3) {
		fprintf(stderr, "usage: gaps CPU SECONDS\n");
		return 2;
	}
	CPU_ZERO(&cpus);
	CPU_SET(atoi(argv[1]), &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus)) {
		perror("gaps: sched_setaffinity");
		return 1;
	}

	double rate = ticks_a_second();
	uint64_t shortest = 400e-9 * rate, task = 200e-6 * rate;
	uint64_t lost = 0, interrupts = 0, count = 0;
	uint64_t start = __rdtsc(), last = start, end = start + atof(argv[2]) * rate;

	while (last < end) {
		uint64_t ticks = __rdtsc(), gap = ticks - last;

		last = ticks;
		if (gap <= shortest)
			continue;
		lost += gap;
		interrupts += gap < task ? gap : 0;
		count++;
	}
	printf("{\"seconds\": %.6f, \"lost\": %.6f, \"interrupts\": %.6f, \"count\": %lu}\n",
	       (last - start) / rate, lost / rate, interrupts / rate, count);
	return 0;
}
