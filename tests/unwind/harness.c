/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel half of the unwinder as an ordinary program: what the kernel gives it comes from
 * standard input, the stacks that it finds go to standard output. tests/unwind/harness.rs writes
 * the one and reads the other.
 *
 * The input is a sequence of commands, each a letter, a number of bytes (u32) and those bytes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "forget.bpf.h"
#include "unwind.bpf.h"

/* The process's memory: ranges, the newest of which counts. */
struct range {
	__u64 start;
	__u64 size;
	char *bytes;
};

#define RANGES_MAX 4096

static struct chunk *chunks[CHUNKS_MAX];
static struct file files[FILES_MAX];
static struct mapping mappings[MAPPINGS_MAX];
static struct process process_of_pid;
static __u32 pid_of_process; /* 0: the process is not loaded */
static struct unwind state;
static struct task_struct task;
static struct pt_regs user_regs;
static struct range ranges[RANGES_MAX];
static int range_count;

/* What the unwinder asked for beyond the end of a map: a bug, wherever the kernel would be. */
static void *element(void *array, __u32 index, __u32 count, size_t size)
{
	return index < count ? (char *)array + index * size : NULL;
}

void *bpf_map_lookup_elem(void *map, const void *key)
{
	__u32 index = *(const __u32 *)key;

	if (map == &unwind_chunks)
		return index < CHUNKS_MAX ? chunks[index] : NULL;
	if (map == &unwind_files)
		return element(files, index, FILES_MAX, sizeof(*files));
	if (map == &unwind_mappings)
		return element(mappings, index, MAPPINGS_MAX, sizeof(*mappings));
	if (map == &unwind_processes)
		return pid_of_process && index == pid_of_process ? &process_of_pid : NULL;
	if (map == &unwind_state)
		return &state;
	/* An inner map of unwind_chunks: an array of one. */
	return index ? NULL : map;
}

long bpf_map_delete_elem(void *map, const void *key)
{
	if (map != &unwind_processes || *(const __u32 *)key != pid_of_process)
		return -1;
	pid_of_process = 0;
	return 0;
}

long bpf_probe_read_user(void *to, unsigned int bytes, const void *from)
{
	for (int i = range_count - 1; i >= 0; i--) {
		__u64 at = (__u64)from - ranges[i].start;

		if (at < ranges[i].size && bytes <= ranges[i].size - at) {
			memcpy(to, ranges[i].bytes + at, bytes);
			return 0;
		}
	}
	memset(to, 0, bytes); /* as the kernel does */
	return -EFAULT;
}

long bpf_probe_read_kernel(void *to, unsigned int bytes, const void *from)
{
	memcpy(to, from, bytes);
	return 0;
}

unsigned long bpf_get_current_task(void)
{
	return (unsigned long)&task;
}

struct task_struct *bpf_get_current_task_btf(void)
{
	return &task;
}

long bpf_task_pt_regs(struct task_struct *of)
{
	return of == &task ? (long)&user_regs : 0;
}

static void fail(const char *why)
{
	fprintf(stderr, "harness: %s\n", why);
	exit(1);
}

static void take(void *to, size_t bytes, const char **from, __u32 *left)
{
	if (bytes > *left)
		fail("a command is too short");
	memcpy(to, *from, bytes);
	*from += bytes;
	*left -= bytes;
}

static void add_range(const char *body, __u32 left)
{
	struct range *range = &ranges[range_count];

	if (range_count++ == RANGES_MAX)
		fail("too many ranges");
	take(&range->start, sizeof(range->start), &body, &left);
	range->size = left;
	range->bytes = malloc(left + 1);
	if (!range->bytes)
		fail("out of memory");
	memcpy(range->bytes, body, left);
}

static void forget_ranges(void)
{
	while (range_count)
		free(ranges[--range_count].bytes);
}

static void write_chunk(const char *body, __u32 left)
{
	__u32 head[2]; /* number of the chunk, first word */

	take(head, sizeof(head), &body, &left);
	if (head[0] >= CHUNKS_MAX || head[1] > CHUNK_WORDS || left > 4 * (CHUNK_WORDS - head[1]))
		fail("beyond a chunk");
	if (!chunks[head[0]])
		chunks[head[0]] = calloc(1, sizeof(struct chunk));
	if (!chunks[head[0]])
		fail("out of memory");
	memcpy(chunks[head[0]]->words + head[1], body, left);
}

static void write_element(void *array, size_t size, __u32 count, const char *body, __u32 left)
{
	void *to;
	__u32 index;

	take(&index, sizeof(index), &body, &left);
	to = element(array, index, count, size);
	if (!to)
		fail("beyond a map");
	take(to, size, &body, &left);
}

/* pid, flags of the task, registers; prints status, and addresses from the leaf on. */
static void follow(const char *body, __u32 left)
{
	struct unwind *unwind;
	__u32 head[2];

	take(head, sizeof(head), &body, &left);
	take(&user_regs, sizeof(user_regs), &body, &left);
	task.pid = task.tgid = head[0];
	task.flags = head[1];
	memset(&state, 0xa5,
	       sizeof(state)); /* what the sample before left there is not relied on */
	unwind = user_stack(head[0], 0);
	printf("%u", unwind->status);
	for (__u32 i = 0; i < unwind->stack.depth; i++)
		printf(" %llx", unwind->stack.addresses[i]);
	printf("\n");
}

/* Number of a file, addresses; prints the rule at each. */
static void look_up(const char *body, __u32 left)
{
	__u64 address;
	__u32 number;

	take(&number, sizeof(number), &body, &left);
	while (left) {
		take(&address, sizeof(address), &body, &left);
		printf("%llx ", find_rule(number, address));
	}
	printf("\n");
}

static void command(char what, const char *body, __u32 left)
{
	switch (what) {
	case 'c':
		return write_chunk(body, left);
	case 'f':
		return write_element(files, sizeof(*files), FILES_MAX, body, left);
	case 'm':
		return write_element(mappings, sizeof(*mappings), MAPPINGS_MAX, body, left);
	case 'p':
		take(&pid_of_process, sizeof(pid_of_process), &body, &left);
		return take(&process_of_pid, sizeof(process_of_pid), &body, &left);
	case 'x': /* as the kernel runs them: a thread that ends, a process that ends or execs */
		take(&task.pid, sizeof(task.pid), &body, &left);
		take(&task.tgid, sizeof(task.tgid), &body, &left);
		unwind_free(&task);
		return;
	case 'r':
		return add_range(body, left);
	case 'n':
		return forget_ranges();
	case 'u':
		return follow(body, left);
	case 'l':
		return look_up(body, left);
	}
	fail("an unknown command");
}

int main(void)
{
	static char buffer[1 << 20];
	__u32 bytes;
	int what;

	while ((what = getchar()) != EOF) {
		if (fread(&bytes, sizeof(bytes), 1, stdin) != 1 || bytes > sizeof(buffer))
			fail("a command without its size");
		if (fread(buffer, 1, bytes, stdin) != bytes)
			fail("a command was cut short");
		command(what, buffer, bytes);
	}
	return 0;
}
