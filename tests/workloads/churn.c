/*
 * churn RATE SECONDS: starts RATE processes a second, each of which calls exec, works for 1 to 8 ms
 * and ends. What cannot be kept up with is not made up for.
 */
#include "work.h"
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

NOINLINE void churn_work(void)
{
	WORK(SLICE);
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "child")) {
		double limit = atof(argv[2]);

		while (cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) < limit)
			churn_work();
		return 0;
	}
	double rate = atof(argv[1]), limit = cpu_seconds(CLOCK_MONOTONIC) + atof(argv[2]);
	struct timespec pause = {0, (long)(1e9 / rate)};

	signal(SIGCHLD, SIG_IGN); /* nobody has to wait for them */
	for (unsigned number = 0; cpu_seconds(CLOCK_MONOTONIC) < limit; number++) {
		char seconds[16];

		snprintf(seconds, sizeof(seconds), "0.00%u", 1 + number % 8);
		if (!fork()) {
			execl("/proc/self/exe", "churn", "child", seconds, NULL);
			_exit(1);
		}
		nanosleep(&pause, NULL);
	}
	return 0;
}
