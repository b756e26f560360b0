/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Names of kernel addresses, asked of the kernel itself: bpf_snprintf() prints "%ps" as symbol and
 * module. Reading /proc/kallsyms instead costs 60 ms of CPU for a few hundred names, and shows
 * nothing while kernel.kptr_restrict is set: that is for kernels before 5.14, which have no
 * SEC("syscall") programs.
 */
#ifndef RPROF_SYMBOLS_BPF_H
#define RPROF_SYMBOLS_BPF_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>

#define SYMBOLS_MAX 64
#define SYMBOL_BYTES 192

/* A question and its answer; names are cut at SYMBOL_BYTES. */
struct symbols {
	__u64 count;
	__u64 addresses[SYMBOLS_MAX];
	char names[SYMBOLS_MAX][SYMBOL_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct symbols);
} kernel_symbols SEC(".maps");

SEC("syscall")
int name_symbols(void *ctx)
{
	static const char format[] = "%ps";
	__u32 zero = 0;
	struct symbols *symbols = bpf_map_lookup_elem(&kernel_symbols, &zero);

	if (!symbols)
		return 0;
	for (__u32 i = 0; i < SYMBOLS_MAX && i < symbols->count; i++)
		bpf_snprintf(symbols->names[i], SYMBOL_BYTES, format, &symbols->addresses[i],
			     sizeof(__u64));
	return 0;
}

#endif
