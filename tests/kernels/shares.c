/*
 * Spends 70, 20 and 10 % of its time in heavy(), medium() and light(): at the end of a recursion,
 * in a callback of qsort, and called straight. Which one comes next is drawn anew each time, so
 * samples are independent draws.
 */
#include <stdlib.h>

#define NOINLINE __attribute__((noinline, noclone))
#define ROUNDS 20000
#define DEPTH 30

static volatile unsigned long sink = 1;

static inline void work(void)
{
	unsigned long x = sink;

	for (int i = 0; i < ROUNDS; i++)
		x = x * 6364136223846793005UL + 1442695040888963407UL;
	sink = x | 1;
}

NOINLINE void heavy(void)
{
	work();
}

NOINLINE void medium(void)
{
	work();
}

NOINLINE void light(void)
{
	work();
}

NOINLINE void descend(int depth)
{
	if (depth)
		descend(depth - 1);
	else
		heavy();
	sink++; /* or the calls would be jumps */
}

NOINLINE int compare(const void *a, const void *b)
{
	medium();
	sink++;
	return *(const int *)a - *(const int *)b;
}

NOINLINE void sort(void)
{
	int pair[] = {2, 1};

	qsort(pair, 2, sizeof(*pair), compare); /* compares once */
	sink++;
}

int main(void)
{
	unsigned long random = 88172645463325252UL;

	for (;;) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		unsigned int draw = (random >> 32) % 10;

		if (draw < 7)
			descend(DEPTH);
		else if (draw < 9)
			sort();
		else
			light();
	}
}
