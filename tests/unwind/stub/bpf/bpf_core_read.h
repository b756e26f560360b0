/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Nothing of libbpf's header of this name is needed without a kernel. */
