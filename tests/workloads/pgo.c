/*
 * A function that is too large to be inlined, called from a hot loop and, now and then, from
 * elsewhere; what a compiler makes of it depends on whether it knows which is which.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

unsigned table[256];

static unsigned step(unsigned x, unsigned kind)
{
	switch (kind % 7) {
	case 0:
		x = x * 2654435761u ^ table[x >> 24];
		x ^= x >> 13;
		x += table[x & 255];
		x *= 0x85ebca6b;
		x ^= x >> 16;
		break;
	case 1:
		x = (x << 7 | x >> 25) + table[x >> 8 & 255];
		x ^= table[x >> 16 & 255];
		x *= 0xc2b2ae35;
		break;
	case 2:
		x -= table[x & 255] * 3;
		x = (x << 11 | x >> 21) ^ table[x >> 24];
		x += x << 3;
		x ^= x >> 5;
		break;
	case 3:
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		x += table[x >> 4 & 255];
		break;
	case 4:
		x = x / 3 + table[x % 251];
		x ^= x << 9;
		table[x & 255] = x;
		break;
	case 5:
		x += table[x >> 3 & 255] ^ table[x >> 19 & 255];
		x = (x << 17 | x >> 15) * 5 + 0xe6546b64;
		break;
	default:
		x ^= table[x & 255] + table[x >> 8 & 255] + table[x >> 16 & 255];
		x *= 0x1b873593;
		table[x >> 24] ^= x;
		break;
	}
	return x;
}

__attribute__((noinline)) static unsigned hot(unsigned x, long count)
{
	for (long i = 0; i < count; i++)
		x = step(x, x >> 5);
	return x;
}

__attribute__((noinline)) static unsigned cold(unsigned x)
{
	return step(x, x >> 9) + 1;
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 1;
	clock_t end = clock() + (clock_t)(seconds * CLOCKS_PER_SEC);
	unsigned x = 1;

	for (unsigned i = 0; i < 256; i++)
		table[i] = i * 2654435761u;
	while (clock() < end)
		x = cold(hot(x, 100000));
	printf("%u\n", x);
	return 0;
}
