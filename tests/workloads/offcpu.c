/*
 * offcpu waits SECONDS: one thread sleeps for 100 ms at a time, one waits 50 ms for a mutex, one
 * 20 ms for a pipe. offcpu storm SECONDS: two threads pass a byte to and fro on one CPU. offcpu
 * hang SECONDS: a thread waits for what never comes. At the end, for each function that waits: its
 * name, the ns that calls of it took, and how many there were; for each thread: `thread`, its name,
 * the ns that it lived, those of CPU time, and those that it was ready without a CPU.
 */
#define _GNU_SOURCE
#include "work.h"
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>

static atomic_int over;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static sem_t held, wanted;
static int ends[2], back[2];
static double seconds = 3;

static long long now(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void nap(long ms)
{
	struct timespec time = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&time, NULL);
}

NOINLINE void sleep_here(void)
{
	nap(100);
	WORK(1);
}

NOINLINE void lock_here(void)
{
	pthread_mutex_lock(&mutex);
	WORK(1);
}

NOINLINE void read_here(void)
{
	char byte;

	if (read(ends[0], &byte, 1) != 1)
		over = 1;
	WORK(1);
}

NOINLINE void ping_here(void)
{
	char byte = 0;

	if (write(ends[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
		over = 1;
	WORK(1);
}

NOINLINE void hang_here(void)
{
	pause();
	WORK(1);
}

struct waiter {
	const char *name;
	void (*wait)(void);
	void (*after)(void);
	long long ns, count, start, wall, cpu, ready;
	pthread_t thread;
};

static void give_back(void)
{
	pthread_mutex_unlock(&mutex);
	sem_post(&wanted);
	sem_wait(&held);
}

/* As the scheduler has it. */
static long long ready(void)
{
	FILE *file = fopen("/proc/thread-self/schedstat", "r");
	long long ran, waited;

	if (!file || fscanf(file, "%lld %lld", &ran, &waited) != 2)
		exit(2);
	fclose(file);
	return waited;
}

static void *run(void *argument)
{
	struct waiter *waiter = argument;

	waiter->start = now(CLOCK_MONOTONIC);
	pthread_setname_np(pthread_self(), waiter->name);
	while (!over) {
		long long before = now(CLOCK_MONOTONIC);

		waiter->wait();
		waiter->ns += now(CLOCK_MONOTONIC) - before;
		waiter->count++;
		if (waiter->after)
			waiter->after();
	}
	waiter->cpu = now(CLOCK_THREAD_CPUTIME_ID);
	waiter->ready = ready();
	waiter->wall = now(CLOCK_MONOTONIC) - waiter->start;
	return NULL;
}

static void *hold(void *unused)
{
	for (;;) {
		pthread_mutex_lock(&mutex);
		sem_post(&held);
		nap(50);
		pthread_mutex_unlock(&mutex);
		sem_wait(&wanted);
	}
	return unused;
}

static void *write_now_and_then(void *unused)
{
	char byte = 0;

	do
		nap(20);
	while (write(ends[1], &byte, 1) == 1);
	return unused;
}

static void *answer(void *unused)
{
	char byte;

	while (read(ends[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1)
		;
	return unused;
}

static void helper(void *(*function)(void *))
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, function, NULL))
		exit(2);
}

static void stay_on_one_cpu(void)
{
	cpu_set_t all, one;

	sched_getaffinity(0, sizeof(all), &all);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &all)) {
			CPU_SET(cpu, &one);
			break;
		}
	}
	sched_setaffinity(0, sizeof(one), &one);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "waits";
	struct waiter waits[] = {{"sleep_here", sleep_here, NULL},
				 {"lock_here", lock_here, give_back},
				 {"read_here", read_here, NULL}};
	struct waiter storm[] = {{"ping_here", ping_here, NULL}};
	struct waiter hang[] = {{"hang_here", hang_here, NULL}};
	struct waiter *waiters = waits;
	int count = 3;

	seconds = argc > 2 ? atof(argv[2]) : 3;
	alarm(LIFE);
	if (pipe(ends) || pipe(back))
		return 2;
	sem_init(&held, 0, 0);
	sem_init(&wanted, 0, 0);
	if (!strcmp(mode, "storm")) {
		waiters = storm;
		count = 1;
		stay_on_one_cpu();
		helper(answer);
	} else if (!strcmp(mode, "hang")) {
		waiters = hang;
		count = 1;
	} else {
		helper(hold);
		sem_wait(&held);
		helper(write_now_and_then);
	}
	for (int i = 0; i < count; i++) {
		if (pthread_create(&waiters[i].thread, NULL, run, &waiters[i]))
			return 2;
	}
	nap(seconds * 1000);
	over = 1;
	if (waiters == hang)
		return 0;
	for (int i = 0; i < count; i++) {
		pthread_join(waiters[i].thread, NULL);
		printf("%s %lld %lld\n", waiters[i].name, waiters[i].ns, waiters[i].count);
		printf("thread %s %lld %lld %lld\n", waiters[i].name, waiters[i].wall,
		       waiters[i].cpu, waiters[i].ready);
	}
	return 0;
}
