/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which allocations are sampled: those that hold a byte of a random set, to which each byte that
 * the program allocates belongs with the same small chance. The distance from one byte of the set
 * to the next is then geometric, and all that an allocation has to do is to count down.
 *
 * The chance is 1 - exp(-1 / rate), so an allocation is sampled with 1 - exp(-size / rate), as it
 * is by probes that draw from an exponential distribution. The weight of a sample is that of each
 * byte, 1 / chance, times the bytes of the set in it: this makes sums of weights unbiased.
 */
#ifndef RPROF_SAMPLER_H
#define RPROF_SAMPLER_H

#include <stdint.h>

/* Bytes, if the environment does not say, and at most (1 TiB: sums stay far from 2^63). */
#define RATE_DEFAULT (512ULL << 10)
#define RATE_MAX (1ULL << 40)
/* Beyond so many times the rate, a part of an allocation is counted instead of drawn. */
#define DRAWN 1024

/* Bytes between samples; 0: every allocation is one. */
static uint64_t rate;
/* The mean of intervals: 1 / (1 - exp(-1 / rate)), bytes. */
static double mean;

struct countdown {
	/* Bytes until the next sample. */
	int64_t left;
	/* State of the random numbers; 0 in a new thread. */
	uint64_t random;
};

/* -ln(1 - d) for d from 0 to 1/2, to 1e-9: 2 artanh(d / (2 - d)) as a series. */
static double minus_ln(double d)
{
	double s = d / (2 - d), square = s * s, sum = 0;

	for (int i = 17; i > 0; i -= 2)
		sum = sum * square + 1.0 / i;
	return 2 * s * sum;
}

/* By the series of x / (1 - exp(-x)) at 1 / rate, whose next term is below 4e-5 of it. */
static void set_rate(uint64_t bytes)
{
	double x;

	rate = bytes < RATE_MAX ? bytes : RATE_MAX;
	x = rate ? 1.0 / (double)rate : 0;
	mean = (double)rate + 0.5 + x / 12 - x * x * x / 720;
}

/* splitmix64. The time stamp counter makes the children of a fork part ways. */
static uint64_t next_random(struct countdown *countdown)
{
	uint64_t z = countdown->random += 0x9e3779b97f4a7c15 ^ (__builtin_ia32_rdtsc() << 1);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* What a sample with so many bytes of the set stands for, bytes. Rounded up as often as it is over.
 */
static uint64_t weight_of(struct countdown *countdown, uint64_t count)
{
	double part = (double)(next_random(countdown) >> 11) * 0x1p-53;

	return (uint64_t)((double)count * mean + part);
}

/* Bytes from one sampled byte to the next. */
static int64_t interval(struct countdown *countdown)
{
	uint64_t u = next_random(countdown) | 1;
	int zeros = __builtin_clzll(u);
	double m = (double)(u << zeros >> 11) * 0x1p-53;

	return 1 + (int64_t)((double)rate * (zeros * 0x1.62e42fefa39efp-1 + minus_ln(1 - m)));
}

/* How many sampled bytes the last `-left` bytes hold, the one at 0 included. Starts a new thread.
 */
static uint64_t crossings(struct countdown *countdown, uint64_t size)
{
	uint64_t count = 0, behind;

	if (!countdown->random) {
		countdown->random = (uintptr_t)countdown | 1;
		countdown->left = interval(countdown) - (int64_t)size;
	}
	while (countdown->left <= 0) {
		behind = -(uint64_t)countdown->left;
		count++;
		/* What lies behind has its mean number of samples; the rest is drawn. */
		if (behind >= DRAWN * rate) {
			uint64_t sure = (uint64_t)((double)behind / mean);

			count += sure;
			countdown->left += (int64_t)((double)sure * mean);
		}
		countdown->left += interval(countdown);
	}
	return count;
}

#endif
