/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Runs a command, passes SIGINT on to it, and writes what it cost, with all children that it waited
 * for. The kernel counts peak memory from the fork on, the forking program's own included; so this
 * has to be a small one, and not Python.
 *
 *   cost FILE COMMAND ARGS...    writes {"cpu_seconds", "peak_rss_bytes"}
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile pid_t child;

static void pass_on(int number)
{
	if (child > 0)
		kill(child, number);
}

static double seconds(struct timeval time)
{
	return time.tv_sec + time.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = pass_on};
	struct rusage usage;
	int status;
	FILE *out;

	if (argc < 3) {
		fprintf(stderr, "usage: cost FILE COMMAND ARGS...\n");
		return 2;
	}
	child = fork();
	if (child < 0) {
		perror("cost: fork");
		return 1;
	}
	if (child == 0) {
		execvp(argv[2], argv + 2);
		perror(argv[2]);
		_exit(127);
	}
	sigaction(SIGINT, &action, NULL);
	while (wait4(child, &status, 0, &usage) < 0) {
		if (errno != EINTR) {
			perror("cost: wait4");
			return 1;
		}
	}
	out = fopen(argv[1], "w");
	if (!out) {
		perror(argv[1]);
		return 1;
	}
	fprintf(out, "{\"cpu_seconds\": %.6f, \"peak_rss_bytes\": %ld}\n",
		seconds(usage.ru_utime) + seconds(usage.ru_stime), usage.ru_maxrss * 1024);
	fclose(out);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
