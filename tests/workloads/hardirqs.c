/*
 * hardirqs FILE: on each line of input, a number, has the disk write that many blocks of the file,
 * one after the other, and says so. Each needs an interrupt.
 */
#define _GNU_SOURCE
#include "work.h"
#include <fcntl.h>

int main(int argc, char **argv)
{
	static char block[4096];
	int file = open(argc > 1 ? argv[1] : "", O_WRONLY | O_CREAT, 0600);
	long count;

	alarm(LIFE);
	if (file < 0)
		return 2;
	while (scanf("%ld", &count) == 1) {
		while (count--) {
			block[0]++;
			if (pwrite(file, block, sizeof(block), 0) < 0 || fdatasync(file))
				return 3;
		}
		puts("done");
		fflush(stdout);
	}
	return 0;
}
