/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * libbpf's header of this name, for the unwinder as an ordinary program: its structs are those of
 * bpf/kernel.h, so nothing has to be relocated, and the kernel is one that has everything.
 */
#ifndef STUB_BPF_CORE_READ_H
#define STUB_BPF_CORE_READ_H

#define BPF_CORE_READ(from, field) ((from)->field)
#define BPF_CORE_READ_BITFIELD_PROBED(from, field) ((from)->field)
#define bpf_core_field_exists(field) 1
#define bpf_core_enum_value_exists(type, value) 1

#endif
