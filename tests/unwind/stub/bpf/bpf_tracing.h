/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* libbpf's header of this name, for the unwinder as an ordinary program. */
#define BPF_PROG(name, args...) name(args)
