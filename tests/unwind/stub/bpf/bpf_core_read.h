/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* libbpf's header of this name, for the unwinder as an ordinary program: every field is there. */
#define BPF_CORE_READ(from, field) ((from)->field)
#define BPF_CORE_READ_BITFIELD_PROBED(from, field) ((from)->field)
#define bpf_core_field_exists(field) 1
#define bpf_core_enum_value_exists(type, value) 1
