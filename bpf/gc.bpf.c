// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Source `gc`: collections of garbage, by the probes that runtimes carry. There are few enough of
 * them that each goes to user space.
 *
 * Java's hotspot has two pairs of probes. A pause (gc__begin, gc__end) may hold no collection that
 * has a name, one, or several one after the other. A collection is a pair of events for each pool
 * of memory that it is about (mem__pool__gc__begin, mem__pool__gc__end); it begins with the first
 * of them and ends with the last. Outside of a pause it is a cycle that runs beside the program.
 */
#include "kernel.h"
#include "task.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h>

#define NAME_LEN 32

enum event_kind {
	EVENT_PAUSE = 1,  /* the program stands still */
	EVENT_CYCLE = 2,  /* it goes on meanwhile */
	EVENT_EXEC = 3,   /* no collection: a process runs another program from now on */
	EVENT_PYTHON = 4, /* a pause, as are all that follow */
	EVENT_RUBY_MARK = 5,
	EVENT_RUBY_SWEEP = 6,
	EVENT_NODE = 7,
};

/* One collection. */
struct collection {
	__u64 start; /* ns, CLOCK_MONOTONIC */
	__u64 end;
	__u64 cgroup;
	__u32 pid;
	__u32 tid;
	__u32 kind;
	__u32 detail; /* Java: 1 if full; Python: generation; node: kind of collection */
	__u64 before; /* bytes in use in its pools */
	__u64 after;
	__u64 collected; /* objects */
	char name[NAME_LEN];
	char comm[TASK_COMM_LEN];   /* of the process */
	char thread[TASK_COMM_LEN]; /* of the thread */
};

struct collection unused_collection SEC(".data.types");

/* What a thread is at. */
struct thread {
	__u64 pause;      /* when the pause began */
	__u32 pauses;     /* begun and not ended: they nest */
	__u32 pools;      /* the same for pools */
	__u32 full;       /* what the pause was said to be */
	__u32 collected;  /* collections in this pause so far */
	__u64 start, end; /* of the last one */
	__u64 before, after;
	char name[NAME_LEN];
};

#define THREADS_MAX 1024

/* By thread id. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, THREADS_MAX);
	__type(key, __u32);
	__type(value, struct thread);
} threads SEC(".maps");

/* Runtimes without pools, by thread id and kind: when it began. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, THREADS_MAX);
	__type(key, __u64);
	__type(value, __u64[2]);
} started SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} collections SEC(".maps");

/* Collections that were lost: more threads at once than there is room for, or a full buffer. */
__u64 collections_lost = 0;

static __always_inline void lose(void)
{
	__sync_fetch_and_add(&collections_lost, 1);
}

/* A collection of the current thread, to be filled and sent; none if there is no room. */
static __always_inline struct collection *new_collection(__u32 kind)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct collection *event = bpf_ringbuf_reserve(&collections, sizeof(*event), 0);
	__u64 id = bpf_get_current_pid_tgid();

	if (!event) {
		lose();
		return NULL;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->kind = kind;
	event->pid = id >> 32;
	event->tid = id;
	event->cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(event->thread, sizeof(event->thread));
	BPF_CORE_READ_INTO(&event->comm, task, group_leader, comm);
	return event;
}

static __always_inline void send(const struct thread *thread, __u32 kind, __u64 start, __u64 end)
{
	struct collection *event = new_collection(kind);

	if (!event)
		return;
	event->start = start;
	event->end = end;
	event->detail = thread->full;
	event->before = thread->before;
	event->after = thread->after;
	__builtin_memcpy(event->name, thread->name, sizeof(event->name));
	bpf_ringbuf_submit(event, 0);
}

static __always_inline struct thread *this_thread(bool create)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct thread *thread = bpf_map_lookup_elem(&threads, &tid);
	struct thread empty = {};

	if (thread || !create || !target_matches(bpf_get_current_pid_tgid() >> 32))
		return thread;
	if (bpf_map_update_elem(&threads, &tid, &empty, BPF_NOEXIST))
		lose();
	return bpf_map_lookup_elem(&threads, &tid);
}

static __always_inline void forget_thread(void)
{
	__u32 tid = bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&threads, &tid);
}

SEC("usdt")
int BPF_USDT(gc_pause_begin, unsigned char full)
{
	struct thread *thread = this_thread(true);

	if (!thread || thread->pauses++)
		return 0;
	thread->pause = bpf_ktime_get_ns();
	thread->full = full;
	return 0;
}

SEC("usdt")
int BPF_USDT(gc_pause_end)
{
	struct thread *thread = this_thread(false);
	__u64 now = bpf_ktime_get_ns();

	if (!thread || !thread->pauses || --thread->pauses)
		return 0;
	/* The only or last collection in a pause ends with it, as the only or first begins with it.
	 */
	send(thread, EVENT_PAUSE, thread->collected ? thread->start : thread->pause, now);
	forget_thread();
	return 0;
}

SEC("usdt")
int BPF_USDT(gc_pool_begin, void *manager, __u64 manager_len, void *pool, __u64 pool_len,
	     __u64 initial, __u64 used)
{
	struct thread *thread = this_thread(true);
	__u64 now = bpf_ktime_get_ns();

	if (!thread)
		return 0;
	if (!thread->pools++) {
		if (thread->collected)
			send(thread, EVENT_PAUSE, thread->start, thread->end);
		/* The first of a pause begins with it. */
		thread->start = thread->pauses && !thread->collected ? thread->pause : now;
		thread->before = thread->after = 0;
		__builtin_memset(thread->name, 0, sizeof(thread->name));
		if (manager_len >= NAME_LEN)
			manager_len = NAME_LEN - 1;
		bpf_probe_read_user(thread->name, manager_len & (NAME_LEN - 1), manager);
	}
	thread->before += used;
	return 0;
}

SEC("usdt")
int BPF_USDT(gc_pool_end, void *manager, __u64 manager_len, void *pool, __u64 pool_len,
	     __u64 initial, __u64 used)
{
	struct thread *thread = this_thread(false);
	__u64 now = bpf_ktime_get_ns();

	if (!thread || !thread->pools)
		return 0;
	thread->after += used;
	if (--thread->pools)
		return 0;
	thread->end = now;
	if (thread->pauses) {
		thread->collected++;
		return 0;
	}
	send(thread, EVENT_CYCLE, thread->start, now);
	forget_thread();
	return 0;
}

static __always_inline __u64 started_key(__u32 kind)
{
	return (__u64)kind << 32 | (__u32)bpf_get_current_pid_tgid();
}

/* Runtimes whose collections have a beginning and an end. */
static __always_inline int begin(__u32 kind, __u32 detail)
{
	__u64 key = started_key(kind), start[2] = {bpf_ktime_get_ns(), detail};

	if (target_matches(bpf_get_current_pid_tgid() >> 32) &&
	    bpf_map_update_elem(&started, &key, start, BPF_ANY))
		lose();
	return 0;
}

static __always_inline int end(__u32 kind, __u64 collected)
{
	__u64 key = started_key(kind), now = bpf_ktime_get_ns();
	__u64 *start = bpf_map_lookup_elem(&started, &key);
	struct collection *event = start ? new_collection(kind) : NULL;

	if (event) {
		event->start = start[0];
		event->detail = start[1];
		event->end = now;
		event->collected = collected;
		bpf_ringbuf_submit(event, 0);
	}
	bpf_map_delete_elem(&started, &key);
	return 0;
}

SEC("usdt")
int BPF_USDT(gc_python_begin, int generation)
{
	return begin(EVENT_PYTHON, generation);
}

SEC("usdt")
int BPF_USDT(gc_python_end, long collected)
{
	return end(EVENT_PYTHON, collected < 0 ? 0 : collected);
}

SEC("usdt")
int BPF_USDT(gc_ruby_mark_begin)
{
	return begin(EVENT_RUBY_MARK, 0);
}

SEC("usdt")
int BPF_USDT(gc_ruby_mark_end)
{
	return end(EVENT_RUBY_MARK, 0);
}

SEC("usdt")
int BPF_USDT(gc_ruby_sweep_begin)
{
	return begin(EVENT_RUBY_SWEEP, 0);
}

SEC("usdt")
int BPF_USDT(gc_ruby_sweep_end)
{
	return end(EVENT_RUBY_SWEEP, 0);
}

SEC("usdt")
int BPF_USDT(gc_node_begin, int kind)
{
	return begin(EVENT_NODE, kind);
}

SEC("usdt")
int BPF_USDT(gc_node_end)
{
	return end(EVENT_NODE, 0);
}

/* A thread may be ended in the middle of it, and its id be another's later. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(gc_exit, struct task_struct *task)
{
	__u32 tid = task->pid;
	__u64 key = tid;

	bpf_map_delete_elem(&threads, &tid);
	for (__u64 kind = EVENT_PYTHON; kind <= EVENT_NODE; kind++) {
		key = kind << 32 | tid;
		bpf_map_delete_elem(&started, &key);
	}
	return 0;
}

/* A runtime may be among what is run from now on. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(gc_exec, struct task_struct *task)
{
	struct collection *event;

	if (!target_matches(task->tgid))
		return 0;
	event = new_collection(EVENT_EXEC);
	if (event)
		bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
