/* reader SECONDS: nearly all of it in the kernel, in reads of /dev/zero that outer() asks for. */
#include "work.h"
#include <fcntl.h>

static char buffer[256 << 10];
static int zero;

NOINLINE void fetch(void)
{
	if (read(zero, buffer, sizeof(buffer)) < 0)
		exit(3);
	sink++;
}

NOINLINE void outer(void)
{
	fetch();
	sink++;
}

int main(int argc, char **argv)
{
	double limit = argc > 1 ? atof(argv[1]) : LIFE;

	zero = open("/dev/zero", O_RDONLY);
	if (zero < 0)
		return 2;
	begin();
	while (cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) < limit) {
		for (int i = 0; i < SLICES; i++)
			outer();
	}
	return 0;
}
