/* threads SECONDS: four threads that use that much CPU time each. Prints the id and name of each.
 */
#define _GNU_SOURCE
#include "work.h"
#include <pthread.h>
#include <sys/syscall.h>

#define THREADS 4

static const char *names[THREADS] = {"north", "east", "south", "west"};
static double limit = LIFE;

NOINLINE void thread_work(void)
{
	WORK(SLICE);
}

static void *run(void *name)
{
	pthread_setname_np(pthread_self(), name);
	printf("thread %d %s\n", (int)syscall(SYS_gettid), (char *)name);
	fflush(stdout);
	while (cpu_seconds(CLOCK_THREAD_CPUTIME_ID) < limit) {
		for (int i = 0; i < SLICES; i++)
			thread_work();
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];

	if (argc > 1)
		limit = atof(argv[1]);
	begin();
	for (int i = 0; i < THREADS; i++) {
		if (pthread_create(&threads[i], NULL, run, (void *)names[i]))
			return 2;
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
