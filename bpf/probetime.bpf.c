// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * How long any function takes, from its entry to its return: `latency -e`. A call within a call of
 * the same function counts by itself, and each thread has its own.
 */
#include "kernel.h"
#include "latency.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* It takes the context since 7.0; what follows the underscores is no part of its name. */
extern bool bpf_session_is_return(void) __ksym __weak;
extern bool bpf_session_is_return___7_0(void *ctx) __ksym __weak;
extern __u64 *bpf_session_cookie(void) __ksym __weak;
extern __u64 *bpf_session_cookie___7_0(void *ctx) __ksym __weak;

static __always_inline bool is_return(void *ctx)
{
	if (bpf_ksym_exists(bpf_session_is_return___7_0))
		return bpf_session_is_return___7_0(ctx);
	return bpf_session_is_return();
}

/* Eight bytes that go from the entry of a call to its return. */
static __always_inline __u64 *session_cookie(void *ctx)
{
	if (bpf_ksym_exists(bpf_session_cookie___7_0))
		return bpf_session_cookie___7_0(ctx);
	return bpf_session_cookie();
}

/* Of targets: calls that began, and those that were seen to return. */
__u64 begun = 0;
__u64 ended = 0;

static __always_inline bool is_wanted(void)
{
	return target_matches(bpf_get_current_pid_tgid() >> 32);
}

static __always_inline void count_call(__u64 start)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 now = bpf_ktime_get_ns();

	__sync_fetch_and_add(&ended, 1);
	count_task(task, now - start);
}

SEC("uprobe.session")
int time_session(struct pt_regs *ctx)
{
	__u64 *start = session_cookie(ctx);

	if (is_return(ctx)) {
		count_call(*start);
		return 0;
	}
	if (!is_wanted())
		return 1;
	__sync_fetch_and_add(&begun, 1);
	*start = bpf_ktime_get_ns();
	return 0;
}

/* A call by its thread, and by where its return address is on the stack. */
struct call_key {
	__u64 thread;
	__u64 sp;
};

/*
 * Calls that did not return yet. Of those that never do (a longjmp, a thread that ends) the oldest
 * give way.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct call_key);
	__type(value, __u64);
} started SEC(".maps");

static __always_inline int begin_call(__u64 sp)
{
	struct call_key key = {.thread = bpf_get_current_pid_tgid(), .sp = sp};
	__u64 now;

	if (!is_wanted())
		return 0;
	__sync_fetch_and_add(&begun, 1);
	now = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&started, &key, &now, BPF_ANY))
		count_missed();
	return 0;
}

static __always_inline int end_call(__u64 sp)
{
	struct call_key key = {.thread = bpf_get_current_pid_tgid(), .sp = sp};
	__u64 *start = bpf_map_lookup_elem(&started, &key);

	/* Begun before we were there, or no target's. */
	if (!start)
		return 0;
	count_call(*start);
	bpf_map_delete_elem(&started, &key);
	return 0;
}

/* Where there are no sessions (before 6.13), and in the kernel. */
SEC("uprobe")
int time_enter(struct pt_regs *ctx)
{
	return begin_call(PT_REGS_SP(ctx));
}

/* The return address is off the stack by then. */
SEC("uretprobe")
int time_leave(struct pt_regs *ctx)
{
	return end_call(PT_REGS_SP(ctx) - sizeof(__u64));
}

SEC("kprobe")
int time_kprobe(struct pt_regs *ctx)
{
	return begin_call(PT_REGS_SP(ctx));
}

SEC("kretprobe")
int time_kretprobe(struct pt_regs *ctx)
{
	return end_call(PT_REGS_SP(ctx) - sizeof(__u64));
}

/* Both are given the same frame: the trampoline's own, which the function is called from. */
SEC("fentry")
int time_fentry(void *ctx)
{
	return begin_call((__u64)ctx);
}

SEC("fexit")
int time_fexit(void *ctx)
{
	return end_call((__u64)ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
