/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Unwind tables in maps: from a process and an address to the rule that steps to its caller.
 * profiler/unwind/ makes them and describes their layout; nothing here writes them.
 */
#ifndef RPROF_TABLES_BPF_H
#define RPROF_TABLES_BPF_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>

/* 256 KiB: a page of code has at most as many rows as a chunk has words, so it lies in one. */
#define CHUNK_WORDS 65536
#define CHUNKS_MAX 1024
#define FILES_MAX 16384
#define MAPPINGS_MAX (128 * 1024)
#define PROCESSES_MAX 16384

/* 2 to the power of the rounds: the most mappings of one process, and rows of one page. */
#define MAPPING_ROUNDS 12
#define ROW_ROUNDS 16

/* `file` of a mapping that holds code without a table. */
#define NO_FILE 0xffffffff

/* Rows, rules and pages of any files. */
struct chunk {
	__u32 words[CHUNK_WORDS];
};

struct one_chunk {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	/* Not __type: clang 14 leaves only a forward declaration of the value in BTF. */
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct chunk));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, CHUNKS_MAX);
	__type(key, __u32);
	__array(values, struct one_chunk);
} unwind_chunks SEC(".maps");

/* Where the index of a file is: its rules and then its pages, two words each, in one chunk. */
struct file {
	__u64 first_page; /* of 64 KiB of the file's addresses */
	__u32 pages;
	__u32 chunk;
	__u32 rules_at; /* word of the chunk */
	__u32 pages_at;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FILES_MAX);
	__type(key, __u32);
	__type(value, struct file);
} unwind_files SEC(".maps");

/* Executable memory of a process. */
struct mapping {
	__u64 start;
	__u64 bias;  /* what to subtract from an address to get the file's */
	__u32 pages; /* of 4 KiB */
	__u32 file;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAPPINGS_MAX);
	__type(key, __u32);
	__type(value, struct mapping);
} unwind_mappings SEC(".maps");

/* A process's run of mappings, in order of address. */
struct process {
	__u32 first;
	__u32 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PROCESSES_MAX);
	__type(key, __u32);
	__type(value, struct process);
} unwind_processes SEC(".maps");

/* These let BTF carry the structs to Rust. */
struct file unused_file SEC(".data.types");
struct mapping unused_mapping SEC(".data.types");
struct process unused_process SEC(".data.types");

static __always_inline bool mapping_holds(const struct mapping *mapping, __u64 address)
{
	return address - mapping->start < (__u64)mapping->pages << 12;
}

/*
 * `by` if a <= b, else 0, for numbers below 2^63: without a branch. A search with a branch in each
 * round has 2^rounds paths, and the verifier follows them all.
 */
static __always_inline __u32 forward(__u64 a, __u64 b, __u32 by)
{
	__u64 behind = (b - a) >> 63;

	asm volatile("" : "+r"(behind)); /* or clang makes a branch of it */
	return by & (__u32)(behind - 1);
}

/* The mapping of `process` that holds `address`; NULL if there is none. */
static __always_inline struct mapping *find_mapping(const struct process *process, __u64 address)
{
	__u32 at = process->first, left = process->count;
	struct mapping *mapping;

	if (!left)
		return NULL;
	for (int i = 0; i < MAPPING_ROUNDS; i++) {
		__u32 half = left >> 1, middle = at + half;

		mapping = bpf_map_lookup_elem(&unwind_mappings, &middle);
		if (!mapping)
			return NULL;
		/* In pages: the vsyscall page, where there is one, lies above 2^63. */
		at += forward(mapping->start >> 12, address >> 12, half);
		left -= half;
	}
	mapping = bpf_map_lookup_elem(&unwind_mappings, &at);
	return mapping && mapping_holds(mapping, address) ? mapping : NULL;
}

static __always_inline struct chunk *find_chunk(__u32 number)
{
	void *inner = bpf_map_lookup_elem(&unwind_chunks, &number);
	__u32 zero = 0;

	return inner ? bpf_map_lookup_elem(inner, &zero) : NULL;
}

static __always_inline __u32 word(const struct chunk *chunk, __u32 at)
{
	return chunk->words[at & (CHUNK_WORDS - 1)];
}

/*
 * The rule at an address of a file, packed as by Rule::pack; 0, which is "none", where nothing is
 * known. Step for step what Table::lookup does.
 */
static __always_inline __u64 find_rule(__u32 number, __u64 address)
{
	struct file *file = bpf_map_lookup_elem(&unwind_files, &number);
	__u32 page, count, at, left, id;
	struct chunk *index, *rows;

	if (!file || (address >> 16) - file->first_page >= file->pages)
		return 0;
	index = find_chunk(file->chunk);
	if (!index)
		return 0;
	page = file->pages_at + 2 * (__u32)((address >> 16) - file->first_page);
	at = word(index, page) >> 16;
	count = word(index, page + 1);
	if (!(count >> 16)) /* no function lies in the page */
		return 0;
	rows = find_chunk(word(index, page) & 0xffff);
	if (!rows)
		return 0;
	left = (count & 0xffff) + 1;
	for (int i = 0; i < ROW_ROUNDS; i++) {
		__u32 half = left >> 1;

		/* A row is behind if its address is, whatever its rule. */
		at += forward(word(rows, at + half) >> 16, address & 0xffff, half);
		left -= half;
	}
	id = word(rows, at) & 0xffff;
	return word(index, file->rules_at + 2 * id) |
	       (__u64)word(index, file->rules_at + 2 * id + 1) << 32;
}

#endif
