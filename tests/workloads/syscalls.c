/*
 * Without arguments, a known number of calls in a known order, with a thread and a child; with
 * `getppid COUNT` or `open COUNT FILE [RATE]`, that many in a loop, at most RATE a second, and says
 * how many ns each took in the median of rounds that are too short to be interrupted often, and how
 * many ns of CPU time each took of all.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUND 200

static double now(int clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static void *other(void *file)
{
	for (int i = 0; i < 30; i++)
		syscall(SYS_pwrite64, *(int *)file, "thread", 6, 0);
	return NULL;
}

static void known(void)
{
	char text[] = "quote\" back\\ esc\x1b[31m \xff";
	int ends[2], file = memfd_create("name", 0);
	struct timespec moment = {0, 1000000};
	pthread_t thread;

	pthread_create(&thread, NULL, other, &file);
	pthread_join(thread, NULL);
	for (int i = 0; i < 100; i++)
		syscall(SYS_getppid);
	for (int i = 0; i < 50; i++)
		syscall(SYS_close, -1);
	for (int i = 0; i < 20; i++) {
		syscall(SYS_pipe2, ends, O_CLOEXEC);
		syscall(SYS_write, ends[1], text, sizeof(text) - 1);
		syscall(SYS_read, ends[0], text, sizeof(text) - 1);
		syscall(SYS_close, ends[0]);
		syscall(SYS_close, ends[1]);
	}
	for (int i = 0; i < 10; i++) {
		syscall(SYS_nanosleep, &moment, NULL);
		syscall(SYS_renameat2, AT_FDCWD, "not/there", file, "nor this", 1);
		syscall(SYS_read, ends[0], (void *)8, 100);
		syscall(SYS_openat, file, (void *)16, O_RDWR | O_CREAT, 0604);
	}
	if (!fork())
		syscall(SYS_exit_group, 3);
	wait(NULL);
}

/* Waits until it is time for call number `i`, a hundred times a second. */
static void pace(double start, int i, int rate)
{
	struct timespec until;
	double at = start + i * 1e9 / rate;

	if (i % (rate / 100))
		return;
	until.tv_sec = at / 1e9;
	until.tv_nsec = at - until.tv_sec * 1e9;
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static int in_order(const void *a, const void *b)
{
	double difference = *(const double *)a - *(const double *)b;

	return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv)
{
	int count = argc > 2 ? atoi(argv[2]) : 0, rate = argc > 4 ? atoi(argv[4]) : 0;
	double start = now(CLOCK_MONOTONIC), used = now(CLOCK_PROCESS_CPUTIME_ID), last = start;
	double *rounds = calloc(count / ROUND + 1, sizeof(*rounds));

	if (argc == 1) {
		known();
		return 0;
	}
	for (int i = 0; i < count; i++) {
		if (rate)
			pace(start, i, rate);
		if (argc == 3)
			syscall(SYS_getppid);
		else
			close(open(argv[3], O_RDONLY));
		if (i % ROUND == ROUND - 1) {
			rounds[i / ROUND] = now(CLOCK_MONOTONIC) - last;
			last = now(CLOCK_MONOTONIC);
		}
	}
	qsort(rounds, count / ROUND, sizeof(*rounds), in_order);
	printf("%.1f %.1f\n", rounds[count / ROUND / 2] / ROUND,
	       (now(CLOCK_PROCESS_CPUTIME_ID) - used) / count);
	return 0;
}
