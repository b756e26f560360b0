/* Processes that end in each way: with a code, by a signal, by exit_group() of a thread that is not
 * the first, after the first thread, and after CPU time. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void burn(double seconds)
{
	struct timespec time;

	do {
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	} while (time.tv_sec + time.tv_nsec / 1e9 < seconds);
}

static void *exits(void *code)
{
	exit((long)code);
}

static void *goes_on(void *seconds)
{
	usleep(50000);
	burn(*(double *)seconds);
	return NULL;
}

static void become(int how)
{
	static double seconds = 0.1;
	pthread_t thread;

	switch (how) {
	case 0:
		_exit(0);
	case 1:
		_exit(3);
	case 2:
		raise(SIGKILL);
		break;
	case 3:
		pthread_create(&thread, NULL, exits, (void *)5L);
		pause();
		break;
	case 4:
		burn(seconds);
		pthread_create(&thread, NULL, goes_on, &seconds);
		pthread_exit(NULL);
	}
}

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 1;

	for (int i = 0; i < count; i++) {
		for (int how = 0; how < 5; how++) {
			int pid = fork();

			if (!pid) {
				become(how);
				_exit(99);
			}
			waitpid(pid, NULL, 0);
		}
	}
	return 0;
}
