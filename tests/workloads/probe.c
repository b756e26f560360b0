/* Calls functions a known number of times, with known arguments, for probes at them. */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* One place of a USDT probe, as <sys/sdt.h> makes it: 0 sizes and operands follow in `text`. */
#define MARK(name, text, ...)                                                                      \
	__asm__ volatile("990: nop\n"                                                              \
			 ".pushsection .note.stapsdt,\"\",\"note\"\n"                              \
			 ".balign 4\n"                                                             \
			 ".4byte 992f-991f, 994f-993f, 3\n"                                        \
			 "991: .asciz \"stapsdt\"\n"                                               \
			 "992: .balign 4\n"                                                        \
			 "993: .8byte 990b, 0, 0\n"                                                \
			 ".asciz \"probe\"\n"                                                      \
			 ".asciz \"" name "\"\n"                                                   \
			 ".asciz \"" text "\"\n"                                                   \
			 "994: .balign 4\n"                                                        \
			 ".popsection\n" ::__VA_ARGS__)

struct point {
	long x, y, z;
};

/* Results are used, and calls are not made inline. */
#define KEPT __attribute__((noinline, noclone))

int counter = 0;

KEPT int take_all(int8_t small, uint16_t medium, const char *text, bool yes, long negative,
		  void *address, double real, int seventh, uint64_t eighth)
{
	counter += small + medium + (int)strlen(text) + yes + (int)negative + (address != NULL) +
		   (int)real + seventh + (int)eighth;
	__asm__ volatile("" ::: "memory");
	return -counter;
}

KEPT const char *give_text(int number)
{
	static char text[32];

	snprintf(text, sizeof(text), "text %d", number);
	return text;
}

KEPT struct point give_large(int number)
{
	struct point point = {number, 2 * number, 3 * number};

	__asm__ volatile("" : "+m"(point));
	return point;
}

KEPT void give_nothing(int number)
{
	__asm__ volatile("" ::"r"(number) : "memory");
}

/* It begins with a push, which the kernel emulates. */
KEPT void begin_with_push(long number)
{
	__asm__ volatile("" ::"r"(number) : "rbx", "memory");
}

static uint64_t now(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

/* Sleeps, and tells how long it took, measured from outside. */
KEPT void sleep_ms(long ms)
{
	struct timespec time = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&time, NULL);
	__asm__ volatile("" ::: "memory");
}

KEPT int recurse(int depth)
{
	int below = depth > 1 ? recurse(depth - 1) : 0;

	__asm__ volatile("" : "+r"(below)::"memory");
	return below + 1;
}

static void *in_thread(void *times)
{
	for (long i = 0; i < (long)times; i++)
		recurse(5);
	return NULL;
}

static int chosen(int number)
{
	return number + 1;
}

static void *choose(void)
{
	return chosen;
}

int choice(int number) __attribute__((ifunc("choose")));

static void calls(long times)
{
	static const char *const texts[] = {"one", "a\\b\"c", "", "gr\xc3\xbc\xc3\x9f\x1b[31m"};

	for (long i = 0; i < times; i++) {
		give_nothing(take_all(-3, 60000, texts[i % 4], i & 1, -1L << 40, (void *)0x1234,
				      1.5, (int)i, UINT64_MAX - i));
		counter += *give_text((int)i) + (int)give_large((int)i).y;
	}
}

static void marks(long times)
{
	const char *text = "marked";

	for (long i = 0; i < times; i++) {
		int small = -(int)i;
		long kept[2] = {7 * i, 9 * i};

		__asm__ volatile("" : "+m"(kept));
		MARK("plain", "-4@%%eax 8@%%rdx 8@$-5 -8@8(%%rcx) 8f@%%xmm0 2@%%si", "a"(small),
		     "d"(text), "c"(kept), "S"(i + 65536));
		if (i % 2)
			MARK("twice", "4@%%ebx", "b"((int)i));
		else
			MARK("twice", "4@%%edi", "D"((int)i));
		MARK("with__dash", "");
		__asm__ volatile("" ::"m"(kept));
	}
}

static int compare(const void *a, const void *b)
{
	double difference = *(const double *)a - *(const double *)b;

	return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv)
{
	long times = argc > 2 ? atol(argv[2]) : 1;

	if (argc < 2)
		return 2;
	if (!strcmp(argv[1], "calls"))
		calls(times);
	if (!strcmp(argv[1], "marks"))
		marks(times);
	if (!strcmp(argv[1], "sleep")) {
		for (long i = 0; i < times; i++) {
			uint64_t start = now(CLOCK_MONOTONIC);

			sleep_ms(20);
			printf("%llu\n", (unsigned long long)(now(CLOCK_MONOTONIC) - start));
		}
	}
	if (!strcmp(argv[1], "threads")) {
		pthread_t threads[4];

		for (int i = 0; i < 4; i++)
			pthread_create(&threads[i], NULL, in_thread, (void *)times);
		for (int i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
	}
	if (!strcmp(argv[1], "deep"))
		counter += recurse((int)times);
	/* The CPU time that a call takes, ns: the median of stretches, for bench/probe.py. */
	if (!strcmp(argv[1], "spin")) {
		double took[101];

		for (int i = 0; i < 101; i++) {
			uint64_t start = now(CLOCK_PROCESS_CPUTIME_ID);

			for (long j = 0; j < times; j++)
				begin_with_push(j);
			took[i] = (double)(now(CLOCK_PROCESS_CPUTIME_ID) - start) / times;
		}
		qsort(took, 101, sizeof(*took), compare);
		printf("%.1f\n", took[50]);
	}
	return choice(counter) == INT32_MIN;
}
