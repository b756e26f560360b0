/*
 * runqlat THREADS: on each line of input, a number of ms, all threads use the CPU for that long, and
 * wait again; then it says so.
 */
#include "work.h"
#include <pthread.h>
#include <semaphore.h>

static sem_t go, done;
static struct timespec until;

static int is_over(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > until.tv_sec ||
	       (now.tv_sec == until.tv_sec && now.tv_nsec >= until.tv_nsec);
}

static void *compete(void *unused)
{
	for (;;) {
		sem_wait(&go);
		while (!is_over())
			WORK(SLICE);
		sem_post(&done);
	}
	return unused;
}

int main(int argc, char **argv)
{
	int threads = argc > 1 ? atoi(argv[1]) : 1;
	pthread_t thread;
	long ms;

	alarm(LIFE);
	sem_init(&go, 0, 0);
	sem_init(&done, 0, 0);
	for (int i = 0; i < threads; i++) {
		if (pthread_create(&thread, NULL, compete, NULL))
			return 2;
	}
	while (scanf("%ld", &ms) == 1) {
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += ms / 1000;
		until.tv_nsec += ms % 1000 * 1000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000;
		}
		for (int i = 0; i < threads; i++)
			sem_post(&go);
		for (int i = 0; i < threads; i++)
			sem_wait(&done);
		puts("done");
		fflush(stdout);
	}
	return 0;
}
