/*
 * heap leak [ROUNDS]: leaks 16 MB in blocks of 40 bytes, 32 MB in blocks of 4000 and 20 MB in blocks
 * of 1 MB, from a function each, among 200,000 blocks of 100 bytes that are freed at once; so many
 * times. heap threads: blocks of 200 bytes that one thread allocates and another frees, none left.
 * heap fork: a child frees what its parent allocated, and allocates itself.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define MB 1000000

#define CHURN 200000

static void *volatile keep;

NOINLINE static void leak_small(void)
{
	keep = malloc(40);
}

NOINLINE static void leak_middle(void)
{
	keep = malloc(4000);
}

NOINLINE static void leak_large(void)
{
	keep = malloc(MB);
}

NOINLINE static void churn(void)
{
	free(keep = malloc(100));
}

static void leak(void)
{
	for (int i = 0; i < 16 * MB / 40; i++) {
		leak_small();
		if (i % 50 == 0)
			leak_middle();
		if (i % 20000 == 0)
			leak_large();
		if (i % 2 == 0)
			churn();
	}
}

#define THREADS 4
#define BLOCKS 100000
#define QUEUE 64

/* Each thread hands its blocks to the next one, which frees them. */
static _Atomic(void *) queues[THREADS][QUEUE];

static void *pass_on(void *argument)
{
	long self = (long)argument;
	int given = 0, freed = 0;

	while (given < BLOCKS || freed < BLOCKS) {
		_Atomic(void *) *out = &queues[self][given % QUEUE];
		_Atomic(void *) *in = &queues[(self + 1) % THREADS][freed % QUEUE];
		void *block;

		if (given < BLOCKS && !atomic_load(out)) {
			atomic_store(out, malloc(200));
			given++;
		}
		block = atomic_load(in);
		if (block) {
			atomic_store(in, NULL);
			free(block);
			freed++;
		} else if (given == BLOCKS) {
			usleep(10);
		}
	}
	return NULL;
}

static void threads(void)
{
	pthread_t others[THREADS];

	for (long i = 0; i < THREADS; i++)
		pthread_create(&others[i], NULL, pass_on, (void *)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(others[i], NULL);
}

#define SHARED 1000

static int family(void)
{
	void *blocks[SHARED];
	int status = 1;

	for (int i = 0; i < SHARED; i++)
		blocks[i] = malloc(300);
	if (fork() == 0) {
		for (int i = 0; i < SHARED; i++)
			free(blocks[i]);
		for (int i = 0; i < SHARED; i++)
			keep = malloc(500);
		_exit(0);
	}
	wait(&status);
	return status;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "leak") == 0) {
		for (int round = argc > 2 ? atoi(argv[2]) : 1; round > 0; round--)
			leak();
	} else if (strcmp(what, "threads") == 0) {
		threads();
	} else if (strcmp(what, "fork") == 0) {
		return family() != 0;
	} else {
		fprintf(stderr, "usage: heap leak|threads|fork\n");
		return 2;
	}
	return 0;
}
