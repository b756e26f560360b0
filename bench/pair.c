/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a malloc and the free of it cost, in ns of CPU time: the least of many rounds.
 *
 *   pair SIZE ROUNDS PAIRS
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double used(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

int main(int argc, char **argv)
{
	double least = 1e18, start, time;
	size_t size = argc > 1 ? strtoul(argv[1], NULL, 10) : 64;
	long rounds = argc > 2 ? atol(argv[2]) : 40;
	long pairs = argc > 3 ? atol(argv[3]) : 100000;

	for (long round = 0; round < rounds; round++) {
		start = used();
		for (long i = 0; i < pairs; i++) {
			/* Volatile, or the compiler leaves both out. */
			void *volatile block = malloc(size);

			free(block);
		}
		time = (used() - start) / pairs;
		least = time < least ? time : least;
	}
	printf("%.2f\n", least);
	return 0;
}
