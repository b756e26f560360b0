/*
 * sampler RATE SIZE NUMBER: draws that many times as the shim does. Prints the mean of the intervals
 * and of their squares, in units of the mean that it says; the mean weight of NUMBER allocations of
 * SIZE and the share of them that is sampled; the largest errors of its logarithm and of its mean.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "sampler.h"

int main(int argc, char **argv)
{
	struct countdown drawing = {0, 12345}, counting = {0};
	double sum = 0, squares = 0, weights = 0, error = 0, sampled = 0;
	long size, number;

	if (argc != 4)
		return 2;
	set_rate(strtoull(argv[1], NULL, 10));
	size = atol(argv[2]);
	number = atol(argv[3]);
	for (long i = 0; i < number; i++) {
		double bytes = (double)interval(&drawing) / mean;

		sum += bytes;
		squares += bytes * bytes;
		counting.left -= size;
		if (counting.left <= 0) {
			unsigned long count = crossings(&counting, (uint64_t)size);

			weights += (double)weight_of(&counting, count);
			sampled += count > 0;
		}
	}
	for (double d = 1e-12; d <= 0.5; d *= 1.001)
		error = fmax(error, fabs(minus_ln(d) / -log1p(-d) - 1));
	printf("%.9f %.9f %.9f %.9f %.3e %.3e\n", sum / number, squares / number, weights / number,
	       sampled / number, error, fabs(mean * -expm1(-1.0 / (double)rate) - 1));
	return 0;
}
