/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Arguments of system calls in a record: how each is read, which user space tells by a recipe for
 * each call, and what was read of it.
 */
#ifndef RPROF_CALLPARTS_BPF_H
#define RPROF_CALLPARTS_BPF_H

#include "kernel.h"
#include "path.bpf.h"
#include <bpf/bpf_helpers.h>

#define CALLS_MAX 512
#define ARGS 6
/* What is read of one text, of data, and of each string of a list; how many of those. */
#define TEXT_MAX 4096
#define DATA_MAX 256
#define STRING_MAX 256
#define STRINGS_MAX 16

enum part_kind {
	PART_NONE = 0,
	PART_TEXT = 1,     /* a string */
	PART_FILE = 2,     /* a descriptor: the names of what it is open on */
	PART_DATA_IN = 3,  /* bytes, as many as another argument says */
	PART_DATA_OUT = 4, /* bytes, as many as the result says */
	PART_FIXED = 5,    /* bytes, always the same number */
	PART_SIZED = 6,    /* bytes, as many as another argument points to */
	PART_STRINGS = 7,  /* a list of strings with NULL at its end */
};

/* What was read of an argument; the first three are its recipe. */
struct part {
	__u8 kind;
	__u8 size_in; /* number of the argument that tells how many bytes */
	__u16 size;
	__u16 bytes; /* in the record */
	__s16 status;
};

/* Which programs a call is read by. */
enum {
	READ_FILES = 1,
	READ_DATA = 2,
};

struct recipe {
	__u8 is_wanted;
	__u8 reads;    /* READ_*, or none */
	__u8 at_entry; /* the call replaces what it reads */
	__u8 is_final; /* it does not return */
	__u32 unused;
	struct part parts[ARGS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CALLS_MAX);
	__type(key, __u32);
	__type(value, struct recipe);
} recipes SEC(".maps");

/* What was read follows, in the order of the parts. */
struct call {
	struct event event;
	__u64 duration;
	__s64 result;
	__u64 args[ARGS];
	__u64 start; /* ns, CLOCK_MONOTONIC */
	__u32 number;
	__u16 is_final;
	__u16 has_stack; /* sent beside it */
	struct part parts[ARGS];
};

struct call unused_call SEC(".data.types");

/* The most bytes of the record of a call that is read at its entry. */
#define HELD_MAX 6144

/* Bytes of data that are read of a call. */
const volatile __u32 data_bytes = 32;

/* Bytes of user memory to the record; returns how many. */
static __always_inline __u32 read_bytes(struct place *place, __u64 at, const void *from, __u64 size)
{
	barrier_var(at);
	if (at > RECORD_MAX - TEXT_MAX)
		return 0;
	if (size > DATA_MAX)
		size = DATA_MAX;
	barrier_var(size);
	if (size > DATA_MAX || bpf_probe_read_user(place->record + at, size, from))
		return 0;
	return size;
}

static __always_inline __u32 read_text(struct place *place, __u64 at, const void *from)
{
	long length;

	barrier_var(at);
	if (at > RECORD_MAX - TEXT_MAX)
		return 0;
	length = bpf_probe_read_user_str(place->record + at, TEXT_MAX, from);
	return length > 0 && length <= TEXT_MAX ? length : 0;
}

/* What is in no tree has an inode to tell it by: it follows the name. */
static __always_inline __u32 add_inode(struct place *place, struct names *names, __u64 at)
{
	barrier_var(at);
	if (names->status != PATH_PSEUDO || at > RECORD_MAX - sizeof(names->inode))
		return 0;
	bpf_probe_read_kernel(place->record + at, sizeof(names->inode), &names->inode);
	return sizeof(names->inode);
}

/* Text and descriptors. The functions that read one argument are their own to the verifier. */
__noinline int read_file_part(__u32 number, __u32 size, __u32 which)
{
	struct place *place = bpf_map_lookup_elem(&places, &number);
	struct names names = {};
	struct call *call;
	struct part *part;
	__u64 i = which;

	/* Else clang checks one copy of it and uses another. */
	barrier_var(i);
	if (!place || i >= ARGS)
		return size;
	call = (void *)place->record;
	part = &call->parts[i];
	if (part->kind == PART_TEXT) {
		part->bytes = read_text(place, size, (void *)call->args[i]);
	} else if (part->kind == PART_FILE) {
		int fd = call->args[i];

		if (fd == AT_FDCWD || fd < 0)
			return size;
		part->bytes = walk_file(place, &names, size, fd) - size;
		part->status = names.status;
		part->bytes += add_inode(place, &names, size + part->bytes);
	}
	return size + part->bytes;
}

/* Data of which the size is known, or told by the call. */
__noinline int read_data_part(__u32 number, __u32 size, __u32 which)
{
	struct place *place = bpf_map_lookup_elem(&places, &number);
	struct call *call;
	struct part *part;
	__u64 bytes, size_in, i = which;
	__u32 told = 0;

	barrier_var(i);
	if (!place || i >= ARGS)
		return size;
	call = (void *)place->record;
	part = &call->parts[i];
	size_in = part->size_in;
	barrier_var(size_in);
	if (size_in >= ARGS)
		return size;
	bytes = call->args[size_in];
	switch (part->kind) {
	case PART_FIXED:
		bytes = part->size;
		break;
	case PART_DATA_OUT:
		bytes = call->result < 0 ? 0 : call->result;
		break;
	case PART_SIZED:
		bpf_probe_read_user(&told, sizeof(told), (void *)bytes);
		bytes = call->result < 0 ? 0 : told;
		break;
	case PART_DATA_IN:
		break;
	default:
		return size;
	}
	/* A socket's address and what has a fixed size is read whole. */
	if ((part->kind == PART_DATA_IN || part->kind == PART_DATA_OUT) && part->size == 0 &&
	    bytes > data_bytes)
		bytes = data_bytes;
	part->bytes = read_bytes(place, size, (void *)call->args[i], bytes);
	return size + part->bytes;
}

/* The strings of a list, as many as there is room for. */
__noinline int read_string(__u32 number, __u32 size, __u64 list, __u32 i)
{
	struct place *place = bpf_map_lookup_elem(&places, &number);
	__u64 at = size;
	const char *string = NULL;
	long length;

	if (!place || bpf_probe_read_user(&string, sizeof(string), (void *)(list + 8 * i)) ||
	    !string)
		return 0;
	barrier_var(at);
	if (at > HELD_MAX - STRING_MAX)
		return 0;
	length = bpf_probe_read_user_str(place->record + at, STRING_MAX, string);
	return length > 0 && length <= STRING_MAX ? length : 0;
}

/* A list of strings; returns where the record ends. */
__noinline int read_strings(__u32 number, __u32 size, __u64 list)
{
	for (int i = 0; i < STRINGS_MAX; i++) {
		int bytes = read_string(number, size, list, i);

		if (bytes <= 0)
			break;
		size += bytes;
	}
	return size;
}

#endif
