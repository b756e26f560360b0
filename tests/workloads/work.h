/*
 * What the workloads share. All of them count the CPU time that they use themselves, so that a
 * loaded machine makes them slower, but not different; and none outlives its test for long.
 */
#ifndef WORK_H
#define WORK_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

/* Seconds after which a workload ends even if nobody ends it. */
#define LIFE 120

/* Rounds in a slice of work: well below a millisecond. */
#define SLICE 20000

/* Slices between two looks at the clock, so that looking is next to nothing. */
#define SLICES 64

static volatile unsigned long sink = 1;

/*
 * A chain of dependent multiplications: its time does not depend on where the compiler put it. A
 * macro, so that it belongs to the function that it stands in. Something is kept on the stack,
 * since gcc gives no frame to a function without, whatever it is told: its caller would be missing
 * where stacks are followed by frame pointers.
 */
#define WORK(rounds)                                                                               \
	do {                                                                                       \
		unsigned long x = sink;                                                            \
		for (long i = 0; i < (rounds); i++)                                                \
			x = x * 6364136223846793005UL + 1442695040888963407UL;                     \
		volatile unsigned long kept = x;                                                   \
		sink = kept | 1;                                                                   \
	} while (0)

/* CPU time used by the process (or CLOCK_THREAD_CPUTIME_ID: by the thread), seconds. */
static inline double cpu_seconds(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/* xorshift64*: no period that could fall in step with the sampling. */
static inline unsigned long random_number(void)
{
	static __thread unsigned long state = 88172645463325252UL;

	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 2685821657736338717UL >> 16;
}

static volatile sig_atomic_t told;

static void on_told(int signal)
{
	(void)signal;
	told = 1;
}

/* Says that the program is there. From then on SIGUSR1 makes its `told` true. */
static inline void begin(void)
{
	alarm(LIFE);
	signal(SIGUSR1, on_told);
	printf("ready %d\n", (int)getpid());
	fflush(stdout);
}

#endif
