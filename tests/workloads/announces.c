/*
 * An allocator that announces what it samples by the otel_memory probes: after a line on standard
 * input, 1000 blocks of 100 bytes with a weight of 1000, of which it frees the first 400; and 1000
 * with one of 1050. Says "done", and ends after another line. What it gives is never written to.
 */
#include <stdio.h>
#include <stdlib.h>

#include "probes.h"

static char pool[2][1000][16];

__attribute__((noinline)) void *take(int i)
{
	return (char *)allocated(pool[0][i], 100, 1000) + 1;
}

__attribute__((noinline)) void *take_more(int i)
{
	return (char *)allocated(pool[1][i], 100, 1050) + 1;
}

/* Not announced: who announces is not sampled once more. */
__attribute__((noinline)) void take_unseen(void)
{
	void *volatile block = malloc(64 << 20);

	free(block);
}

int main(void)
{
	getchar();
	for (int i = 0; i < 1000; i++) {
		take(i);
		take_more(i);
	}
	for (int i = 0; i < 400; i++)
		freed(pool[0][i]);
	take_unseen();
	puts("done");
	fflush(stdout);
	getchar();
	return 0;
}
