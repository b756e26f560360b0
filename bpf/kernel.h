/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel types and fields that rprof reads, by hand. CO-RE relocates each field against the
 * running kernel's BTF, so a handful of lines stand in for a vmlinux.h that fits one kernel only.
 */
#ifndef RPROF_KERNEL_H
#define RPROF_KERNEL_H

/* bpf_tracing.h then takes the kernel's register names in struct pt_regs. */
#define __VMLINUX_H__

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s64 s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

#define TASK_COMM_LEN 16

/* include/uapi/linux/bpf.h */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
};

enum {
	BPF_F_NO_PREALLOC = 1U << 0,
	BPF_LOCAL_STORAGE_GET_F_CREATE = 1ULL << 0,
	BPF_F_CLONE = 1U << 9,
	BPF_F_USER_STACK = 1ULL << 8,
	BPF_F_MMAPABLE = 1U << 10,
	BPF_RB_NO_WAKEUP = 1ULL << 0,
	BPF_RB_FORCE_WAKEUP = 1ULL << 1,
	BPF_RB_AVAIL_DATA = 0,
};

/* Helpers that not every kernel has: bpf_core_enum_value_exists() tells, at load time. */
enum bpf_func_id {
	BPF_FUNC_get_attach_cookie = 174, /* 5.15 */
	BPF_FUNC_task_pt_regs = 175,      /* 5.15 */
};

/* arch/x86/include/asm/page_64_types.h, without KASAN */
#define THREAD_SIZE (16 << 10)

/* Errors that a helper returns (asm-generic/errno-base.h). */
#define EFAULT 14

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax;
	unsigned long ip, cs, flags, sp, ss;
};

struct bpf_perf_event_data_kern;

typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live;
	int group_exit_code;
	unsigned int flags;
	unsigned long long sum_sched_runtime;
};

struct thread_info {
	u32 status;
};

/* With CONFIG_SCHED_INFO: what /proc/PID/schedstat tells. */
struct sched_info {
	u64 run_delay;
	u64 last_arrival;
	u64 last_queued;
};

struct rq {
	u64 clock;
};

struct bpf_map {
	u32 id;
};

struct bpf_iter__task {
	struct task_struct *task;
};

/* With CONFIG_FAIR_GROUP_SCHED: of any thread, whatever schedules it. */
struct cfs_rq {
	struct rq *rq;
};

struct sched_entity {
	struct cfs_rq *cfs_rq;
	u64 sum_exec_runtime;
};

struct qstr {
	union {
		struct {
			u32 hash;
			u32 len;
		};
		u64 hash_len;
	};
	const unsigned char *name;
};

struct inode {
	unsigned long i_ino;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

/* The unwind tables have a `file` of their own; libbpf takes no account of ___ and what follows. */
struct file___kernel {
	void *private_data;
	struct path f_path;
};

struct fdtable {
	unsigned int max_fds;
	struct file___kernel **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct fs_struct {
	struct path root;
	struct path pwd;
};

struct mm_struct {
	unsigned long arg_start, arg_end;
};

struct linux_binprm {
	const char *filename;
};

struct kernel_siginfo {
	struct {
		int si_signo;
		int si_errno;
		int si_code;
	};
};

struct in6_addr {
	union {
		u8 u6_addr8[16];
	} in6_u;
};

struct sock_common {
	union {
		struct {
			__be32 skc_daddr;
			__be32 skc_rcv_saddr;
		};
	};
	union {
		struct {
			__be16 skc_dport;
			__u16 skc_num;
		};
	};
	unsigned short skc_family;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
	struct cgroup *ancestors[]; /* since 6.1 */
};

/* Before 6.1 (commit 7f203bc89eb6). */
struct cgroup___ids {
	int level;
	__u64 ancestor_ids[];
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

typedef struct {
	unsigned int val;
} kuid_t;

struct cred {
	kuid_t uid;
};

struct ns_common {
	unsigned int inum;
};

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[];
};

struct sock_cgroup_data {
	struct cgroup *cgroup; /* since 5.15 (commit 8520e224f547) */
};

struct sock {
	struct sock_common __sk_common;
	struct sock_cgroup_data sk_cgrp_data;
	kuid_t sk_uid;
	u16 sk_protocol;
	int sk_err;
};

struct list_head {
	struct list_head *next;
};

struct trace_event_class {
	const char *system;
};

struct trace_event_call {
	struct list_head list;
	struct trace_event_class *class;
	void *data;
};

struct perf_event {
	struct trace_event_call *tp_event;
};

struct syscall_metadata {
	const char *name;
	int syscall_nr;
	int nb_args;
	const char **types;
	const char **args;
};

struct task_struct {
	struct thread_info thread_info;
	int pid;
	int tgid;
	unsigned int __state;
	unsigned int on_cpu; /* int, a u8 on 7.3: only unsigned ones are read in another size */
	unsigned int flags;
	void *stack;
	unsigned in_execve : 1;
	int exit_code;
	u64 start_time;
	struct sched_info sched_info;
	struct sched_entity se;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct files_struct *files;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct signal_struct *signal;
	struct css_set *cgroups;
	struct cred *cred;
	struct pid *thread_pid;
	char comm[TASK_COMM_LEN];
};

#pragma clang attribute pop

/* In a map: work that a thread is to do; only the kernel knows what is in it. */
struct bpf_task_work {
	__u64 opaque;
} __attribute__((aligned(8)));

/* What a perf_event program is given (include/uapi/linux/bpf_perf_event.h, x86_64 registers). */
struct bpf_user_pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax;
	unsigned long ip, cs, flags, sp, ss;
};

struct bpf_perf_event_data {
	struct bpf_user_pt_regs regs;
	__u64 sample_period;
	__u64 addr;
};

#endif
