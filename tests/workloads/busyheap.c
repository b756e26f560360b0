/*
 * Allocates and frees every few us, in two functions, three times to one:
 *
 *   busyheap S     waits for a line on standard input, takes S seconds of CPU time, prints the CPU
 *                  time of a pair of calls in ns and the bytes that it allocated, waits for another
 *                  line, and ends
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void *kept[64];
static double bytes;
static long pairs;

static void replace(long i, size_t size)
{
	void *block = malloc(size);

	free(kept[i & 63]);
	kept[i & 63] = block;
	bytes += size;
	pairs++;
	for (volatile int spin = 0; spin < 4000; spin++)
		;
}

__attribute__((noinline)) void often(long i)
{
	for (int n = 0; n < 3; n++)
		replace(i + n, 64 + i % 512);
}

__attribute__((noinline)) void rarely(long i)
{
	replace(i, 64 + i % 512);
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	double start, limit = argc > 1 ? atof(argv[1]) : 1;

	getchar();
	start = seconds();
	for (long i = 0; i % 256 || seconds() - start < limit; i++) {
		often(i);
		rarely(i);
	}
	printf("%.1f %.0f\n", (seconds() - start) / pairs * 1e9, bytes);
	fflush(stdout);
	getchar();
	return 0;
}
