/* family SECONDS: that much CPU time in parent_work(), and in child_work() of a child. */
#include "work.h"
#include <sys/wait.h>

NOINLINE void parent_work(void)
{
	WORK(SLICE);
}

NOINLINE void child_work(void)
{
	WORK(SLICE);
}

int main(int argc, char **argv)
{
	double limit = argc > 1 ? atof(argv[1]) : LIFE;
	pid_t child;

	begin();
	child = fork();
	if (child < 0)
		return 2;
	if (!child)
		alarm(LIFE); /* an alarm is not inherited */
	while (cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) < limit) {
		for (int i = 0; i < SLICES; i++) {
			if (child)
				parent_work();
			else
				child_work();
		}
	}
	if (child)
		waitpid(child, NULL, 0);
	return 0;
}
