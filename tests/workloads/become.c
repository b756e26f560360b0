/*
 * become SECONDS PROGRAM ARGS...: uses that much CPU time in before(), or until told, and then
 * becomes PROGRAM.
 */
#include "work.h"

NOINLINE void before(void)
{
	WORK(SLICE);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	begin();
	while (!told && cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) < atof(argv[1])) {
		for (int i = 0; i < SLICES; i++)
			before();
	}
	execv(argv[2], argv + 2);
	return 2;
}
