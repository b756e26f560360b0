// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Source `exec`: programs that are started. A successful exec is taken from the kernel's own copy
 * of the arguments, in the new program's memory; a failed one from the caller's, when it returns.
 */
#include "kernel.h"
#include "path.bpf.h"
#include <bpf/bpf_tracing.h>

/* arch/x86/entry/syscalls/syscall_64.tbl */
enum {
	NR_EXECVE = 59,
	NR_EXECVEAT = 322,
};

/* What of the arguments is sent, bytes; and how many of a failed exec's, one by one. */
#define ARGS_MAX 4096
#define ARG_MAX 512
#define ARGC_MAX 24

const volatile bool succeeded_too = true;

/* The path follows, then the arguments. */
struct exec {
	struct event event;
	__u32 parent;
	__s32 result;
	__u32 file_bytes; /* of the path, with its NUL */
	__u32 args_bytes; /* each argument has a NUL behind it */
	__u32 args_more;  /* how many bytes, or of a failed exec arguments, were left out */
	__s32 dirfd;
	char parent_comm[TASK_COMM_LEN];
};

struct exec unused_exec SEC(".data.types");

static __always_inline void describe_exec(struct exec *exec, __s32 result)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct *parent = BPF_CORE_READ(task, real_parent, group_leader);

	describe(&exec->event, 0);
	exec->result = result;
	exec->parent = BPF_CORE_READ(parent, tgid);
	BPF_CORE_READ_INTO(&exec->parent_comm, parent, comm);
	exec->args_bytes = 0;
	exec->args_more = 0;
	exec->file_bytes = 0;
	exec->dirfd = AT_FDCWD;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(exec_done, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	__u64 start = BPF_CORE_READ(task, mm, arg_start);
	__u64 bytes = BPF_CORE_READ(task, mm, arg_end) - start;
	__u64 at = sizeof(struct exec);
	struct place *place;
	struct exec *exec;
	__u64 got;
	long length;

	if (!succeeded_too || !current_is_target())
		return 0;
	place = take_place();
	if (!place)
		return 0;
	exec = (void *)place->record;
	describe_exec(exec, 0);
	length = bpf_probe_read_kernel_str(place->record + at, PATH_MAX,
					   BPF_CORE_READ(bprm, filename));
	got = length > 0 ? length : 0;
	/* Between barriers, or clang checks one copy of it and uses another. */
	barrier_var(got);
	if (got > PATH_MAX)
		got = 0;
	barrier_var(got);
	exec->file_bytes = got;
	at += got;
	if (bytes > ARGS_MAX) {
		exec->args_more = bytes - ARGS_MAX;
		bytes = ARGS_MAX;
	}
	barrier_var(bytes);
	if (bpf_probe_read_user(place->record + at, bytes, (void *)start)) {
		exec->args_more = bytes;
		bytes = 0;
	}
	exec->args_bytes = bytes;
	send_place(place, at + bytes);
	return 0;
}

/* Argument `i` of the call, to byte `at` of the record; returns where it ends. */
static __always_inline __u64 read_argument(struct place *place, __u64 at, const char *const *args,
					   int i)
{
	const char *arg = NULL;
	long length;

	if (bpf_probe_read_user(&arg, sizeof(arg), args + i) || !arg)
		return 0;
	if (at > RECORD_MAX - ARG_MAX)
		return 0;
	length = bpf_probe_read_user_str(place->record + at, ARG_MAX, arg);
	if (length <= 0 || length > ARG_MAX)
		return 0;
	return at + length;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(exec_failed, struct pt_regs *regs, long result)
{
	__u64 nr = regs->orig_ax, path = regs->di;
	const char *const *args = (void *)regs->si;
	struct place *place;
	struct exec *exec;
	__u64 at = sizeof(struct exec);
	__u64 first;

	if ((nr != NR_EXECVE && nr != NR_EXECVEAT) || result >= 0)
		return 0;
	if (!current_is_target() || !is_native())
		return 0;
	place = take_place();
	if (!place)
		return 0;
	exec = (void *)place->record;
	describe_exec(exec, result);
	if (nr == NR_EXECVEAT) {
		exec->dirfd = regs->di;
		path = regs->si;
		args = (void *)regs->dx;
	}
	first = read_path(place, (__s32 *)&exec->file_bytes, at, (void *)path);
	if (first == at)
		exec->file_bytes = 0;
	at = first;
	for (int i = 0; i < ARGC_MAX; i++) {
		__u64 next = read_argument(place, at, args, i);

		if (!next)
			break;
		at = next;
		if (i == ARGC_MAX - 1)
			exec->args_more = 1;
	}
	exec->args_bytes = at - first;
	send_place(place, at);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
