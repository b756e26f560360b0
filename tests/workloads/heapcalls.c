/*
 * Calls everything that allocates or frees, and prints what must be found in the end: "live POINTER
 * SIZE" for what is held, "gone POINTER" for what was freed. Compiled as C++, with its operators.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* dprintf allocates nothing. Volatile, or the compiler does away with what nobody reads. */
static void live(void *volatile p, size_t size)
{
	dprintf(1, "live %lx %zu\n", (unsigned long)p, size);
}

static void *gone(void *volatile p)
{
	dprintf(1, "gone %lx\n", (unsigned long)p);
	return p;
}

static void calls(void)
{
	void *p = NULL;

	live(malloc(1001), 1001);
	live(calloc(7, 143), 1001);
	live(aligned_alloc(64, 1088), 1088);
	live(memalign(128, 1003), 1003);
	live(valloc(1004), 1004);
#ifdef __GLIBC__
	live(pvalloc(1005), 1005);
#endif
	if (posix_memalign(&p, 256, 1006) == 0)
		live(p, 1006);
	live(reallocarray(NULL, 19, 53), 1007);
	live(realloc(NULL, 1008), 1008);
	free(gone(malloc(1009)));
	free(gone(calloc(1, 1010)));
	free(gone(aligned_alloc(64, 1088)));
	free(NULL);
}

static void reallocs(void)
{
	volatile size_t huge = SIZE_MAX / 2 + 1000, quarter = SIZE_MAX / 4;
	char *grown = NULL;
	void *small, *last, *kept, *volatile none;

	/* Moves: what is behind it is taken. */
	small = malloc(2001);
	live(malloc(2002), 2002);
	live(realloc(gone(small), 200003), 200003);
	/* Grows and shrinks, mapped. */
	last = realloc(gone(malloc(300004)), 300104);
	live(realloc(gone(last), 2005), 2005);
	/* Grows at the end of the heap, in place. */
	last = realloc(NULL, 2006);
	live(realloc(gone(last), 2007), 2007);
	/* Fails, and stays. */
	kept = malloc(2008);
	none = realloc(kept, huge);
	if (none || reallocarray(kept, quarter, 5))
		abort();
	live(kept, 2008);
	/* Steps of all sizes. */
	for (size_t size = 1; size < 100000; size += size / 3 + 1)
		grown = (char *)realloc(grown, size);
	live(realloc(gone(grown), 2009), 2009);
}

static void *map(size_t size, int protection, int file)
{
	int flags = MAP_PRIVATE | (file < 0 ? MAP_ANONYMOUS : 0);
	void *p = mmap(NULL, size, protection, flags, file, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static void maps(void)
{
	const int both = PROT_READ | PROT_WRITE;
	void *p;

	live(map(20480, both, -1), 20480);
	munmap(gone(map(24576, both, -1)), 24576);
	live(mremap(gone(map(28672, both, -1)), 28672, 36864, MREMAP_MAYMOVE), 36864);
	/* To a place of its choice, which the fifth argument says. */
	p = map(40960, PROT_NONE, -1);
	live(mremap(gone(map(45056, both, -1)), 45056, 40960, MREMAP_MAYMOVE | MREMAP_FIXED, p),
	     40960);
	/* No memory: address space, and a file. */
	gone(map(1 << 30, PROT_NONE, -1));
	gone(map(4096, PROT_READ, open("/proc/self/exe", O_RDONLY)));
}

#ifdef __cplusplus
#include <new>

static void operators(void)
{
	std::align_val_t align{128};
	volatile size_t huge = SIZE_MAX / 4;

	live(operator new(3001), 3001);
	live(operator new[](3002), 3002);
	live(operator new(3003, std::nothrow), 3003);
	live(operator new[](3004, std::nothrow), 3004);
	live(operator new(3072, align), 3072);
	live(operator new[](3200, align), 3200);
	live(operator new(3328, align, std::nothrow), 3328);
	live(operator new[](3456, align, std::nothrow), 3456);
	operator delete(gone(operator new(3009)));
	operator delete[](gone(operator new[](3010)));
	operator delete(gone(operator new(3011)), size_t{3011});
	operator delete[](gone(operator new[](3012)), size_t{3012});
	operator delete(gone(operator new(3013)), std::nothrow);
	operator delete[](gone(operator new[](3014)), std::nothrow);
	operator delete(gone(operator new(3584, align)), align);
	operator delete[](gone(operator new[](3712, align)), align);
	operator delete(gone(operator new(3840, align)), size_t{3840}, align);
	operator delete[](gone(operator new[](3968, align)), size_t{3968}, align);
	operator delete(gone(operator new(4096, align)), align, std::nothrow);
	operator delete[](gone(operator new[](4224, align)), align, std::nothrow);
	/* Thrown through the shim, which counts on behind it. */
	try {
		live(operator new(huge), huge);
		abort();
	} catch (const std::bad_alloc &) {
	}
	live(operator new(3021), 3021);
}
#endif

int main(void)
{
	calls();
	reallocs();
	maps();
#ifdef __cplusplus
	operators();
#endif
	return 0;
}
