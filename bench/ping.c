/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Two processes on one CPU that pass a byte to and fro: nothing but context switches.
 *
 *   ping CPU BATCHES    writes the CPU time of a round trip, ns, a line for each batch
 *
 * CPU time and not time: what else runs on the machine is not in it, and what a profiler does at a
 * switch is, since the kernel accounts that to one of the two.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 20000

static double cpu_ns(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e9 +
	       (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e3;
}

/* Passes the byte on, so many times. */
static void play(int in, int out, int first)
{
	char byte = 0;

	for (int i = 0; i < ROUNDS; i++) {
		if (first && write(out, &byte, 1) != 1)
			_exit(3);
		if (read(in, &byte, 1) != 1)
			_exit(3);
		if (!first && write(out, &byte, 1) != 1)
			_exit(3);
	}
}

int main(int argc, char **argv)
{
	cpu_set_t cpus;

	if (argc != 3)
		return 2;
	CPU_ZERO(&cpus);
	CPU_SET(atoi(argv[1]), &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		return 2;
	for (int batch = atoi(argv[2]); batch > 0; batch--) {
		double before = cpu_ns(RUSAGE_SELF) + cpu_ns(RUSAGE_CHILDREN);
		int to[2], fro[2];

		if (pipe(to) || pipe(fro))
			return 3;
		if (!fork()) {
			play(to[0], fro[1], 0);
			_exit(0);
		}
		play(fro[0], to[1], 1);
		wait(NULL);
		close(to[0]), close(to[1]), close(fro[0]), close(fro[1]);
		printf("%.0f\n", (cpu_ns(RUSAGE_SELF) + cpu_ns(RUSAGE_CHILDREN) - before) / ROUNDS);
		fflush(stdout);
	}
	return 0;
}
