/*
 * A shared library. Only plug_run() is exported, so without its symbol table nothing has a name
 * where the work is done.
 */
#include "work.h"

static NOINLINE void plug_work(void)
{
	WORK(SLICE);
}

/* Works until the process has used `limit` seconds of CPU time. */
void plug_run(double limit)
{
	while (cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) < limit) {
		for (int i = 0; i < SLICES; i++)
			plug_work();
	}
}
