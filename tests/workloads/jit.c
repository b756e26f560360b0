/*
 * jit SECONDS [NAME]: makes a function at run time, as a JIT compiler does, and uses that much CPU
 * time in it. With NAME it says so in /tmp/perf-PID.map, which is left for the profiler to read.
 */
#include "work.h"
#include <string.h>
#include <sys/mman.h>

#ifndef __x86_64__
#error "the machine code below is for x86_64"
#endif

/* void spin(long rounds), with a frame pointer. */
static const unsigned char code[] = {
	0x55,             /* push %rbp */
	0x48, 0x89, 0xe5, /* mov %rsp, %rbp */
	0x48, 0xff, 0xcf, /* 1: dec %rdi */
	0x75, 0xfb,       /* jnz 1b */
	0x5d,             /* pop %rbp */
	0xc3,             /* ret */
};

NOINLINE void run(void (*function)(long))
{
	function(SLICE);
	sink++;
}

int main(int argc, char **argv)
{
	double limit = argc > 1 ? atof(argv[1]) : LIFE;
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return 2;
	memcpy(page, code, sizeof(code));
	if (mprotect(page, 4096, PROT_READ | PROT_EXEC))
		return 3;
	if (argc > 2) {
		char path[64];
		FILE *map;

		snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)getpid());
		map = fopen(path, "wx");
		if (!map)
			return 4;
		fprintf(map, "%lx %zx %s\n", (unsigned long)page, sizeof(code), argv[2]);
		fclose(map);
	}
	begin();
	while (cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) < limit) {
		for (int i = 0; i < SLICES; i++)
			run((void (*)(long))page);
	}
	return 0;
}
