/*
 * loader SECONDS LIBRARY MORE: uses SECONDS of CPU time in before(), or until told; then loads
 * LIBRARY and uses MORE seconds in its plug_run().
 */
#include "work.h"
#include <dlfcn.h>

NOINLINE void before(void)
{
	WORK(SLICE);
}

int main(int argc, char **argv)
{
	double more = argc > 3 ? atof(argv[3]) : 0;
	void (*run)(double);
	void *library;

	if (argc < 4)
		return 2;
	begin();
	while (!told && cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) < atof(argv[1])) {
		for (int i = 0; i < SLICES; i++)
			before();
	}
	library = dlopen(argv[2], RTLD_NOW);
	if (!library)
		return 3;
	run = (void (*)(double))dlsym(library, "plug_run");
	if (!run)
		return 4;
	run(cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) + more);
	return 0;
}
