/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A function for each kind of frame, for tests/unwind/steps.rs, which stops here at each
 * instruction. It links lazily, so the first call of each function of libc goes through the
 * resolver.
 */
#define _GNU_SOURCE
#include <alloca.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <time.h>
#include <unistd.h>

#define APART __attribute__((noinline, noclone))

volatile long sink;
char other_stack[64 << 10] __attribute__((aligned(64)));

APART long leaf(long x)
{
	return x * 3 + sink;
}

APART long recurse(long n)
{
	char pad[40];

	memset(pad, (int)n, sizeof(pad));
	return n ? recurse(n - 1) + pad[n] : leaf(n);
}

static int compare(const void *a, const void *b)
{
	return leaf(*(const int *)a) < leaf(*(const int *)b) ? -1 : 1;
}

APART void sort(void)
{
	int numbers[] = {7, 3, 9, 1, 8};

	qsort(numbers, 5, sizeof(*numbers), compare);
	sink += numbers[0];
}

APART long grows(long n)
{
	char *room = alloca(n * 16);

	memset(room, 1, n * 16);
	return leaf(room[n]);
}

APART long realigns(long n)
{
	_Alignas(64) char wide[128];
	char *room = alloca(n * 16);

	memset(wide, 2, sizeof(wide));
	memset(room, 1, n * 16);
	return leaf(room[n] + wide[n]);
}

APART long tail(long x)
{
	sink = x;
	return leaf(x + 1);
}

APART long many(long a, long b, long c, long d, long e, long f, long g, long h)
{
	return leaf(a + b + c + d) + leaf(e + f + g + h);
}

static void handler(int number)
{
	sink += recurse(number & 3);
}

APART void interrupted(int number, int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

	sigaction(number, &action, NULL);
	raise(number);
}

APART void on_another_stack(void)
{
	stack_t stack = {.ss_sp = other_stack, .ss_size = sizeof(other_stack)};

	sigaltstack(&stack, NULL);
	interrupted(SIGUSR2, SA_ONSTACK);
}

/* Where code goes that is made at run time: steps.rs knows it too. */
#define MADE 0x70000000UL

/* push rbp; mov rbp, rsp; sub rsp, 32; call rdi; leave; ret */
static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0x83,
				     0xec, 0x20, 0xff, 0xd7, 0xc9, 0xc3};

static void called_back(void)
{
	sink += recurse(2);
}

APART void made_at_run_time(void)
{
	((void (*)(void (*)(void)))MADE)(called_back);
	sink++;
}

APART void asks_the_time(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	sink += time.tv_nsec;
}

APART __attribute__((noreturn)) void dies(void)
{
	char pad[24];

	memset(pad, 1, sizeof(pad));
	sink += leaf(pad[3]);
	_exit(42);
}

int main(void)
{
	char *page = mmap((void *)MADE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	memcpy(page, code, sizeof(code));
	if (ptrace(PTRACE_TRACEME, 0, 0, 0))
		return 1;
	__asm__ volatile("int3");
	sink += recurse(4);
	sort();
	sink += grows(5) + realigns(6) + tail(7) + many(1, 2, 3, 4, 5, 6, 7, 8);
	interrupted(SIGUSR1, 0);
	on_another_stack();
	made_at_run_time();
	asks_the_time();
	dies();
}
