/*
 * Without arguments, a known number of calls in a known order, with a thread and a child; with
 * `getppid COUNT` or `open COUNT FILE`, that many in a loop, and says how many ns each took.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
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

int main(int argc, char **argv)
{
	int count = argc > 2 ? atoi(argv[2]) : 0;
	double start = now();

	if (argc == 1) {
		known();
		return 0;
	}
	for (int i = 0; i < count; i++) {
		if (argc == 3)
			syscall(SYS_getppid);
		else
			close(open(argv[3], O_RDONLY));
	}
	printf("%.1f\n", (now() - start) / count);
	return 0;
}
