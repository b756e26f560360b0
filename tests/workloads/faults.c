/*
 * Touches new memory from two functions, three pages to one:
 *
 *   faults PAGES     waits for a line on standard input, touches four times as many pages, ends
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE 4096

__attribute__((noinline)) void grow_fast(volatile char *memory, long pages)
{
	for (long i = 0; i < 3 * pages; i++)
		memory[i * PAGE] = 1;
}

__attribute__((noinline)) void grow_slowly(volatile char *memory, long pages)
{
	for (long i = 0; i < pages; i++)
		memory[(3 * pages + i) * PAGE] = 1;
}

int main(int argc, char **argv)
{
	long pages = argc > 1 ? atol(argv[1]) : 1000;
	char *memory = mmap(NULL, 4 * pages * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return 1;
	/* A huge page is one fault. */
	madvise(memory, 4 * pages * PAGE, MADV_NOHUGEPAGE);
	getchar();
	grow_fast(memory, pages);
	grow_slowly(memory, pages);
	return 0;
}
