/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What every source of kind `events` shares: the head of a record, the ring buffer that records go
 * to, and what became of those that did not. A source fills a record and sends it.
 */
#ifndef RPROF_EVENTS_BPF_H
#define RPROF_EVENTS_BPF_H

#include "kernel.h"
#include "target.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/* The longest path that the kernel takes, its NUL included (include/uapi/linux/limits.h). */
#define PATH_MAX 4096

/* Every record begins with this. */
struct event {
	__u64 time; /* ns, CLOCK_MONOTONIC */
	__u32 pid;  /* of the process, in the initial pid namespace */
	__u32 tid;
	__u32 uid;
	__u32 kind;               /* which of the source's records it is */
	char comm[TASK_COMM_LEN]; /* of the thread */
};

/* What happened to events, read by user space while it runs. */
struct event_counters {
	__u64 sent;
	__u64 lost;     /* no room in the ring buffer */
	__u64 crowded;  /* no place left to build them in */
	__u64 compat;   /* 32-bit system calls, which have other numbers and are not decoded */
	__u64 left_out; /* beyond `per_second` */
};

/* A map of its own, so that user space reads it by the same name in each source. */
struct event_counters counters SEC(".data.counters") = {};

/* Bytes waiting in the ring buffer from which on user space is woken; until then it looks by
 * itself, every few ms. */
const volatile __u64 events_wakeup_bytes = 1 << 20;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 23);
} events SEC(".maps");

/*
 * Places to build a record in, which is too large for the stack. A program may be preempted or
 * interrupted by another on the same CPU, so each takes one for itself.
 */
#define RECORD_MAX 10240
#define PLACES 3

/* How far a path has been followed; see path.bpf.h. */
struct walk {
	struct vfsmount *mnt;
	struct dentry *dentry;
	struct dentry *top; /* of the mount */
	struct vfsmount *root_mnt;
	struct dentry *root;
	__u64 inode;
	__u32 status;
	__u32 at; /* byte of the record that the next name goes to */
};

struct place {
	__u64 holders;
	__u64 number;
	struct walk walk;
	char record[RECORD_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PLACES);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct place));
} places SEC(".maps");

/* A place, for leave() to give back; NULL if all are taken. */
static __always_inline struct place *take_place(void)
{
	for (__u32 i = 0; i < PLACES; i++) {
		__u32 key = i;
		struct place *place = bpf_map_lookup_elem(&places, &key);

		if (!place)
			return NULL;
		/* One that comes between these two sees more than one holder, and goes on. */
		__sync_fetch_and_add(&place->holders, 1);
		if (*(volatile __u64 *)&place->holders == 1) {
			place->number = i;
			return place;
		}
		__sync_fetch_and_add(&place->holders, -1);
	}
	__sync_fetch_and_add(&counters.crowded, 1);
	return NULL;
}

static __always_inline void leave(struct place *place)
{
	__sync_fetch_and_add(&place->holders, -1);
}

/* Fills the head of a record with the current task. */
static __always_inline void describe(struct event *event, __u32 kind)
{
	__u64 id = bpf_get_current_pid_tgid();

	event->time = bpf_ktime_get_ns();
	event->pid = id >> 32;
	event->tid = (__u32)id;
	event->uid = (__u32)bpf_get_current_uid_gid();
	event->kind = kind;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
}

/* Events that are sent in a second at most; 0: all. */
const volatile __u64 per_second = 0;

/* The second that events are counted in, and how many there were. */
__u64 budget_second = 0;
__u64 budget_used = 0;

/* Two CPUs that begin a second at once may let a few more through. */
static __always_inline bool is_within_budget(void)
{
	__u64 second;

	if (!per_second)
		return true;
	second = bpf_ktime_get_ns() / 1000000000;
	if (budget_second != second) {
		budget_second = second;
		budget_used = 0;
	}
	if (__sync_fetch_and_add(&budget_used, 1) < per_second)
		return true;
	__sync_fetch_and_add(&counters.left_out, 1);
	return false;
}

static __always_inline void send(void *record, __u64 size)
{
	__u64 waiting = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);
	__u64 wakeup = waiting >= events_wakeup_bytes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;

	if (!is_within_budget())
		return;
	if (bpf_ringbuf_output(&events, record, size, wakeup))
		__sync_fetch_and_add(&counters.lost, 1);
	else
		__sync_fetch_and_add(&counters.sent, 1);
}

/* Sends the first bytes of a place's record, and gives the place back. */
static __always_inline void send_place(struct place *place, __u64 size)
{
	/* Else clang checks one copy of it, and passes on another that the verifier knows less of.
	 */
	barrier_var(size);
	if (size <= RECORD_MAX) {
		barrier_var(size);
		send(place->record, size);
	}
	leave(place);
}

/* rprof itself: what it does to tell of events would be events in turn. */
const volatile __u32 own_pid = 0;

static __always_inline bool current_is_target(void)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;

	return pid != own_pid && target_matches(pid);
}

/* arch/x86/include/asm/thread_info.h: the system call came by a 32-bit entry. */
#define TS_COMPAT 0x0002

/* True for a system call of the 64-bit table; others are counted. Only for what is a target. */
static __always_inline bool is_native(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	if (!(BPF_CORE_READ(task, thread_info.status) & TS_COMPAT))
		return true;
	__sync_fetch_and_add(&counters.compat, 1);
	return false;
}

#endif
