/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * libbpf's header of this name, for the unwinder as an ordinary program. A map is only its own
 * address here; tests/unwind/harness.c has what is in it.
 */
#ifndef STUB_BPF_HELPERS_H
#define STUB_BPF_HELPERS_H

#define SEC(name)
#define __uint(name, value) int(*name)[value]
#define __type(name, value) __typeof__(value) *name
#define __array(name, value) __typeof__(value) *name[]

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

struct task_struct;

void *bpf_map_lookup_elem(void *map, const void *key);
long bpf_map_delete_elem(void *map, const void *key);
long bpf_probe_read_user(void *to, unsigned int bytes, const void *from);
long bpf_probe_read_kernel(void *to, unsigned int bytes, const void *from);
unsigned long long bpf_get_current_task(void);
struct task_struct *bpf_get_current_task_btf(void);
long bpf_task_pt_regs(struct task_struct *task);

#endif
