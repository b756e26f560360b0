/* hog SECONDS [CPU]: uses that much CPU time in hog_work(), on that CPU only if one is named. */
#define _GNU_SOURCE
#include "work.h"
#include <sched.h>

NOINLINE void hog_work(void)
{
	WORK(SLICE);
}

int main(int argc, char **argv)
{
	double limit = argc > 1 ? atof(argv[1]) : LIFE;

	if (argc > 2) {
		cpu_set_t cpus;

		CPU_ZERO(&cpus);
		CPU_SET(atoi(argv[2]), &cpus);
		if (sched_setaffinity(0, sizeof(cpus), &cpus))
			return 2;
	}
	begin();
	/* It may have been another program before. */
	limit += cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
	while (cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) < limit) {
		for (int i = 0; i < SLICES; i++)
			hog_work();
	}
	return 0;
}
