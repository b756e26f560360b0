// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Source `signal`: who signals whom. Each signal that is made, by a call or by the kernel, and the
 * calls that made none: those that failed, and those that only asked whether they could.
 */
#include "kernel.h"
#include "events.bpf.h"
#include <bpf/bpf_tracing.h>

/* arch/x86/entry/syscalls/syscall_64.tbl */
enum {
	NR_KILL = 62,
	NR_RT_SIGQUEUEINFO = 129,
	NR_TKILL = 200,
	NR_TGKILL = 234,
	NR_RT_TGSIGQUEUEINFO = 297,
	NR_PIDFD_SEND_SIGNAL = 424,
};

enum signal_kind {
	SIGNAL_MADE = 0,   /* `result` is what became of it: enum in trace/events/signal.h */
	SIGNAL_CALLED = 1, /* `result` is that of the call */
	SIGNAL_OOM = 2,    /* the OOM killer chose a process */
};

/* include/linux/sched/signal.h: instead of a siginfo. */
#define SEND_SIG_NOINFO 0
#define SEND_SIG_PRIV 1
/* include/uapi/asm-generic/siginfo.h */
#define SI_KERNEL 0x80

const volatile bool failed_only = false;
/* A bit for each signal to show, the lowest for signal 1. */
const volatile __u64 wanted = ~0ULL;

struct signal {
	struct event event; /* the sender; for a signal of the kernel's, who ran then */
	__u32 to_pid;       /* of a call: its first argument */
	__u32 to_tid;
	__u32 signal;
	__s32 code; /* si_code */
	__s32 result;
	__u32 call; /* 0: none */
	char to_comm[TASK_COMM_LEN];
};

struct signal unused_signal SEC(".data.types");

static __always_inline bool is_wanted(__u32 signal)
{
	return !signal || wanted >> ((signal - 1) & 63) & 1;
}

/* By what the receiver is, where the sender is no target. */
static __always_inline bool receiver_is_target(struct task_struct *task)
{
	__u32 pid = BPF_CORE_READ(task, tgid);
	__u32 *state;

	if (!filter_pid || filter_comm || filter_uid || filter_cgroup)
		return false;
	state = bpf_map_lookup_elem(&targets, &pid);
	return state && *state == TARGET_ACTIVE;
}

static __always_inline void describe_receiver(struct signal *signal, struct task_struct *task)
{
	signal->to_pid = BPF_CORE_READ(task, tgid);
	signal->to_tid = BPF_CORE_READ(task, pid);
	BPF_CORE_READ_INTO(&signal->to_comm, task, comm);
}

static __always_inline bool is_call(__u64 nr)
{
	return nr == NR_KILL || nr == NR_TKILL || nr == NR_TGKILL || nr == NR_RT_SIGQUEUEINFO ||
	       nr == NR_RT_TGSIGQUEUEINFO || nr == NR_PIDFD_SEND_SIGNAL;
}

SEC("tp_btf/signal_generate")
int BPF_PROG(signal_made, int number, struct kernel_siginfo *info, struct task_struct *task,
	     int group, int result)
{
	struct signal signal = {};
	struct task_struct *current = bpf_get_current_task_btf();

	if (failed_only || !is_wanted(number) || !(current_is_target() || receiver_is_target(task)))
		return 0;
	describe(&signal.event, SIGNAL_MADE);
	describe_receiver(&signal, task);
	signal.signal = number;
	signal.result = result;
	if ((unsigned long)info == SEND_SIG_PRIV)
		signal.code = SI_KERNEL;
	else if ((unsigned long)info != SEND_SIG_NOINFO)
		signal.code = BPF_CORE_READ(info, si_code);
	/* SI_FROMUSER() */
	if (signal.code <= 0) {
		struct pt_regs *regs = (void *)bpf_task_pt_regs(current);

		signal.call = BPF_CORE_READ(regs, orig_ax);
	}
	send(&signal, sizeof(signal));
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(signal_called, struct pt_regs *regs, long result)
{
	__u64 nr = regs->orig_ax;
	struct signal signal = {};

	if (!is_call(nr))
		return 0;
	signal.signal = nr == NR_TGKILL || nr == NR_RT_TGSIGQUEUEINFO ? regs->dx : regs->si;
	if ((result >= 0 && (signal.signal || failed_only)) || !is_wanted(signal.signal))
		return 0;
	if (!current_is_target() || !is_native())
		return 0;
	describe(&signal.event, SIGNAL_CALLED);
	signal.to_pid = regs->di;
	signal.to_tid = nr == NR_TGKILL || nr == NR_RT_TGSIGQUEUEINFO ? regs->si : 0;
	signal.result = result;
	signal.call = nr;
	send(&signal, sizeof(signal));
	return 0;
}

/* A process id before Linux 6.8, a task since. */
SEC("raw_tp/mark_victim")
int signal_oom(__u64 *args)
{
	struct signal signal = {};
	struct task_struct *task = (void *)args[0];

	if (failed_only || !is_wanted(9))
		return 0;
	describe(&signal.event, SIGNAL_OOM);
	signal.signal = 9;
	signal.code = SI_KERNEL;
	if (args[0] <= 1 << 22) {
		signal.to_pid = signal.to_tid = args[0];
		if (filter_pid && !bpf_map_lookup_elem(&targets, &signal.to_pid))
			return 0;
	} else {
		describe_receiver(&signal, task);
		if (!current_is_target() && !receiver_is_target(task))
			return 0;
	}
	send(&signal, sizeof(signal));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
