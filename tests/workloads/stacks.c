/*
 * stacks SHAPE SECONDS [FILE]: spends that much CPU time at the end of a chain of calls of known
 * shape: main ... spin. Compiled in many ways, none of which keeps frame pointers.
 */
#define _GNU_SOURCE
#include <alloca.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Neither inlined, nor cloned, nor left by a jump. */
#define FRAME __attribute__((noipa))
#define RETURN() __asm__ volatile("")

#define DEPTH 20

extern char **environ;
static double seconds;
static const char *file = "";
static volatile unsigned long sink = 1;

static double used(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

FRAME void spin(void)
{
	unsigned long x = sink;

	for (long i = 0; i < 200000; i++)
		x = x * 6364136223846793005UL + 1442695040888963407UL;
	sink = x | 1;
}

FRAME void recurse(int depth)
{
	if (depth > 1)
		recurse(depth - 1);
	else
		spin();
	RETURN();
}

FRAME int compare(const void *a, const void *b)
{
	spin();
	return *(const int *)a - *(const int *)b;
}

FRAME void sort(void)
{
	int numbers[] = {3, 1, 2};

	qsort(numbers, 3, sizeof(int), compare);
	RETURN();
}

FRAME void grow(int depth)
{
	/* Far larger than a page, not all of it used, and of a size that no row knows. */
	volatile char *room = alloca(sink % 3000 + 5000);

	room[0] = 1;
	if (depth > 1)
		grow(depth - 1);
	else
		spin();
	sink += room[0];
}

FRAME void handler(int signal)
{
	(void)signal;
	/* Longer than the sampling period, which the timer may be in step with. */
	for (int i = 0; i < 10; i++)
		spin();
	RETURN();
}

FRAME void interrupted(int flags)
{
	struct itimerval often = {{0, 10000}, {0, 10000}};
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
	stack_t stack = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
	unsigned long x = sink;

	sigaltstack(&stack, NULL);
	sigaction(SIGPROF, &action, NULL);
	setitimer(ITIMER_PROF, &often, NULL);
	while (used(CLOCK_PROCESS_CPUTIME_ID) < seconds)
		for (int i = 0; i < 10000; i++)
			x = x * 31 + 7;
	sink = x | 1;
}

FRAME void *work(void *unused)
{
	(void)unused;
	while (used(CLOCK_THREAD_CPUTIME_ID) < seconds / 4)
		recurse(DEPTH);
	return NULL;
}

FRAME void threads(void)
{
	pthread_t thread[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, work, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
}

FRAME void plugged(void)
{
	void *plug = dlopen(file, RTLD_NOW);
	void (*turn)(void (*)(void)) = plug ? (void (*)(void (*)(void)))dlsym(plug, "turn") : NULL;

	if (!turn)
		exit(3);
	while (used(CLOCK_PROCESS_CPUTIME_ID) < seconds)
		turn(spin);
	RETURN();
}

/* Children of 50 ms, one after the other. */
FRAME void serve(void)
{
	for (double left = seconds; left > 0; left -= 0.05) {
		if (fork() == 0) {
			while (used(CLOCK_PROCESS_CPUTIME_ID) < 0.05)
				recurse(DEPTH);
			_exit(0);
		}
		wait(NULL);
	}
}

FRAME void start(const char *program, int (*how)(void))
{
	for (double left = seconds; left > 0; left -= 0.05) {
		int child = how();

		if (child == 0) {
			execl(program, "child", "recurse", "0.05", NULL);
			_exit(1);
		}
		waitpid(child, NULL, 0);
	}
}

FRAME void exec_memory(const char *program, char *time)
{
	char *args[] = {"memory", "recurse", time, NULL};
	int from = open(program, O_RDONLY), to = memfd_create("code", MFD_CLOEXEC);
	struct stat stat;

	fstat(from, &stat);
	sendfile(to, from, NULL, stat.st_size);
	fexecve(to, args, environ);
	exit(4);
}

int main(int argc, char **argv)
{
	const char *shape = argc > 2 ? argv[1] : "";

	seconds = argc > 2 ? atof(argv[2]) : 0;
	file = argc > 3 ? argv[3] : "";
	alarm(120);
	if (!strcmp(shape, "signal"))
		interrupted(0);
	else if (!strcmp(shape, "altstack"))
		interrupted(SA_ONSTACK);
	else if (!strcmp(shape, "threads"))
		threads();
	else if (!strcmp(shape, "plug"))
		plugged();
	else if (!strcmp(shape, "serve"))
		serve();
	else if (!strcmp(shape, "vfork"))
		start(argv[0], (int (*)(void))vfork);
	else if (!strcmp(shape, "memory"))
		exec_memory(argv[0], argv[2]);
	else if (!strcmp(shape, "deleted"))
		unlink(argv[0]);
	while (used(CLOCK_PROCESS_CPUTIME_ID) < seconds) {
		if (!strcmp(shape, "qsort"))
			sort();
		else if (!strcmp(shape, "alloca"))
			grow(DEPTH);
		else
			recurse(DEPTH);
	}
	if (!strcmp(shape, "exec"))
		execl(argv[0], "again", "recurse", argv[2], NULL);
	return 0;
}
