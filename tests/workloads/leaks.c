/*
 * Leaks known amounts from three functions, among allocations that are freed at once:
 *
 *   leaks [MS]    waits for a line on standard input, works for about MS milliseconds, says "done",
 *                 waits for another line, and ends
 *
 * Built with -fno-builtin, or the compiler leaves all of it out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS 100
#define SMALL 4194 /* of 40 bytes, each round: 16 MiB in all */
#define MIDDLE 84  /* of 4,000 bytes: 32 MiB */
#define LARGE 5    /* rounds to one of 1 MiB: 20 MiB */
#define CHURN 2000 /* 200,000 in all */

void *kept[ROUNDS * (SMALL + MIDDLE + 1)];
static int count;

__attribute__((noinline)) void leak_small(void)
{
	kept[count++] = memset(malloc(40), 1, 40);
}

__attribute__((noinline)) void leak_middle(void)
{
	kept[count++] = calloc(4, 1000);
}

__attribute__((noinline)) void leak_large(void)
{
	kept[count++] = memset(malloc(1 << 20), 1, 1);
}

__attribute__((noinline)) void churn(int i)
{
	free(memset(malloc(100 + i % 1000), 1, 1));
}

/* Grows where it is, moves, and shrinks: 1 MiB is left. */
__attribute__((noinline)) void resize(void)
{
	char *block = realloc(NULL, 1000);

	for (size_t size = 1000; size < 8 << 20; size *= 2)
		block = realloc(block, size);
	kept[count++] = realloc(block, 1 << 20);
}

int main(int argc, char **argv)
{
	int ms = argc > 1 ? atoi(argv[1]) : 1000;

	getchar();
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < SMALL; i++)
			leak_small();
		for (int i = 0; i < MIDDLE; i++)
			leak_middle();
		if (round % LARGE == 0)
			leak_large();
		for (int i = 0; i < CHURN; i++)
			churn(i);
		usleep(ms * 1000 / ROUNDS);
	}
	resize();
	puts("done");
	fflush(stdout);
	getchar();
	return 0;
}
