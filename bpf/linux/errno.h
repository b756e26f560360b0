/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * In place of the system's, which leads to headers of one architecture: what <bpf/usdt.bpf.h> needs
 * of it (asm-generic/errno-base.h).
 */
#ifndef RPROF_LINUX_ERRNO_H
#define RPROF_LINUX_ERRNO_H

#define ENOENT 2
#define ESRCH 3
#define E2BIG 7
#define EINVAL 22

#endif
