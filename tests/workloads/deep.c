/*
 * deep SECONDS DEPTH: works at the end of DEPTH calls, each from one of two places drawn by lot, so
 * that hardly any two stacks are alike: what a profiler can keep least of.
 */
#include "work.h"

NOINLINE void dive(int depth)
{
	if (!depth)
		WORK(SLICE);
	else if (random_number() & 1)
		dive(depth - 1);
	else
		dive(depth - 1);
	/* Something is left to do, so the calls are no jumps; and they differ, so they stay two. */
	sink += depth;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	begin();
	while (cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) < atof(argv[1])) {
		for (int i = 0; i < SLICES; i++)
			dive(atoi(argv[2]));
	}
	return 0;
}
