/*
 * Has the kernel hold memory, and use other memory for a moment:
 *
 *   kmem PIPES     waits for a line on standard input, opens so many pipes and keeps them, opens and
 *                  closes as many, says "done", waits for another line, and ends
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

__attribute__((noinline)) void keep_pipe(void)
{
	int ends[2];

	if (pipe(ends))
		exit(1);
}

__attribute__((noinline)) void use_pipe(void)
{
	int ends[2];

	if (pipe(ends))
		exit(1);
	close(ends[0]);
	close(ends[1]);
}

int main(int argc, char **argv)
{
	int pipes = argc > 1 ? atoi(argv[1]) : 1000;
	struct rlimit limit = {1 << 20, 1 << 20};

	if (setrlimit(RLIMIT_NOFILE, &limit)) {
		getrlimit(RLIMIT_NOFILE, &limit);
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	getchar();
	for (int i = 0; i < pipes; i++)
		keep_pipe();
	for (int i = 0; i < pipes; i++)
		use_pipe();
	puts("done");
	fflush(stdout);
	getchar();
	return 0;
}
