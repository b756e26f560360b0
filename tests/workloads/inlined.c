/* inlined SECONDS: all of it in innermost(), inlined into middle(), inlined into outermost(). */
#include "work.h"

static inline __attribute__((always_inline)) void innermost(void)
{
	WORK(SLICE); /* line of innermost */
}

static inline __attribute__((always_inline)) void middle(void)
{
	innermost(); /* line of middle */
	sink++;
}

NOINLINE void outermost(void)
{
	middle(); /* line of outermost */
	sink++;
}

int main(int argc, char **argv)
{
	double limit = argc > 1 ? atof(argv[1]) : LIFE;

	begin();
	while (cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) < limit) {
		for (int i = 0; i < SLICES; i++)
			outermost();
	}
	return 0;
}
