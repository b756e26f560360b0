/*
 * cpu SECONDS: 70, 20 and 10 % of the CPU time in heavy(), medium() and light(), all called by
 * outer(). Which one comes next is drawn anew for each slice, so samples are independent draws.
 */
#include "work.h"

NOINLINE void heavy(void)
{
	WORK(SLICE); /* line of heavy */
}

NOINLINE void medium(void)
{
	WORK(SLICE); /* line of medium */
}

NOINLINE void light(void)
{
	WORK(SLICE); /* line of light */
}

NOINLINE void outer(void)
{
	unsigned int draw = random_number() % 10;

	if (draw < 7)
		heavy(); /* call of heavy */
	else if (draw < 9)
		medium(); /* call of medium */
	else
		light(); /* call of light */
	sink++;
}

int main(int argc, char **argv)
{
	double limit = argc > 1 ? atof(argv[1]) : LIFE;

	begin();
	while (cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) < limit) {
		for (int i = 0; i < SLICES; i++)
			outer(); /* call of outer */
	}
	return 0;
}
