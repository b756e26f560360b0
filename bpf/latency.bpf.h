/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kind `latency`: histograms of times, one for each key.
 *
 * Each power of two is cut into 16 buckets, so that a time is known to a 32nd part either way
 * whatever its size, from 16 ns to 18 minutes; sum and maximum are exact. A histogram belongs to
 * an epoch: user space begins the next one, and takes those of the last away when no program can
 * be counting in them any more, so that nothing is counted twice or lost between two intervals.
 */
#ifndef RPROF_LATENCY_BPF_H
#define RPROF_LATENCY_BPF_H

#include "buckets.bpf.h"
#include "kernel.h"
#include "task.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/* What a source may keep its histograms apart by; what it does not is zero. */
struct latency_key {
	__u64 cgroup;
	__u32 pid;
	__u32 tid;
	__u32 pid_namespace;
	__u32 cpu;
	__u16 local_port;
	__u16 remote_port;
	__u16 number; /* softirq vector, errno of a connection */
	__u16 epoch;
	/* Handler of an interrupt; or the local and the remote address, IPv4 as ::ffff:a.b.c.d. */
	__u8 name[32];
};

struct histogram {
	__u64 sum;
	__u64 max;
	char comm[TASK_COMM_LEN];   /* of the process that the key names */
	char thread[TASK_COMM_LEN]; /* of the thread */
	__u32 counts[BUCKETS];      /* read more often than one could run over */
};

struct uncounted {
	__u64 turned_away; /* times of keys that the map had no room for */
	__u64 missed;      /* beginnings that could not be remembered */
	__u64 unseen;      /* whose beginning or end the kernel did not show */
	__u64 untold;      /* those that were to be told each, without room to */
};

/* What to keep apart. */
const volatile bool by_process = false;
const volatile bool by_thread = false;
const volatile bool by_cgroup = false;
const volatile bool by_pid_namespace = false;
/* By CPU too; also where there are few histograms, so that no two CPUs share one. */
const volatile bool by_cpu = false;

/* Only times of at least this, ns. */
const volatile __u64 least = 0;

/* Only this CPU. */
const volatile bool filter_cpu = false;
const volatile __u32 only_cpu = 0;

/* What user space alone writes, and what programs do. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} epoch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct uncounted);
} uncounted SEC(".maps");

/* Preallocated: interrupts and the scheduler may not allocate. User space sets its size. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct latency_key);
	__type(value, struct histogram);
} histograms SEC(".maps");

/* All zero: what a new histogram is a copy of, too large for a BPF stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct histogram);
} no_histogram SEC(".maps");

static __always_inline struct uncounted *uncounted_counts(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&uncounted, &zero);
}

static __always_inline void count_turned_away(void)
{
	struct uncounted *counts = uncounted_counts();

	if (counts)
		__sync_fetch_and_add(&counts->turned_away, 1);
}

static __always_inline void count_missed(void)
{
	struct uncounted *counts = uncounted_counts();

	if (counts)
		__sync_fetch_and_add(&counts->missed, 1);
}

static __always_inline void count_unseen(void)
{
	struct uncounted *counts = uncounted_counts();

	if (counts)
		__sync_fetch_and_add(&counts->unseen, 1);
}

static __always_inline void count_untold(void)
{
	struct uncounted *counts = uncounted_counts();

	if (counts)
		__sync_fetch_and_add(&counts->untold, 1);
}

static __always_inline void count(struct histogram *histogram, __u64 ns)
{
	__u64 bucket = bucket_of(ns), seen = histogram->max;

	/* For the verifier; between barriers, or clang checks one copy of it and uses another. */
	barrier_var(bucket);
	if (bucket >= BUCKETS)
		return;
	barrier_var(bucket);
	__sync_fetch_and_add(&histogram->counts[bucket], 1);
	__sync_fetch_and_add(&histogram->sum, ns);
	/* Other CPUs may count the same key: as many tries as there may be of them in practice. */
	for (int i = 0; i < 8 && seen < ns; i++) {
		__u64 before = __sync_val_compare_and_swap(&histogram->max, seen, ns);

		if (before == seen)
			break;
		seen = before;
	}
}

/* Adds a histogram. None if there is no room. */
static __always_inline struct histogram *add_histogram(const struct latency_key *key)
{
	__u32 zero = 0;
	struct histogram *empty = bpf_map_lookup_elem(&no_histogram, &zero);
	struct histogram *histogram;

	if (!empty)
		return NULL;
	/* Another CPU may be first. */
	bpf_map_update_elem(&histograms, key, empty, BPF_NOEXIST);
	histogram = bpf_map_lookup_elem(&histograms, key);
	if (!histogram)
		count_turned_away();
	return histogram;
}

/*
 * The histogram of a key; its epoch is set here. The names of the process and of the thread are
 * read only when it is new.
 */
static __always_inline struct histogram *find_histogram(struct latency_key *key, const char *comm,
							const char *thread)
{
	__u32 zero = 0;
	__u64 *now = bpf_map_lookup_elem(&epoch, &zero);
	struct histogram *histogram;

	if (!now)
		return NULL;
	key->epoch = *now;
	histogram = bpf_map_lookup_elem(&histograms, key);
	if (histogram)
		return histogram;
	histogram = add_histogram(key);
	if (histogram && key->pid) {
		bpf_probe_read_kernel(histogram->comm, sizeof(histogram->comm), comm);
		bpf_probe_read_kernel(histogram->thread, sizeof(histogram->thread), thread);
	}
	return histogram;
}

/* What of a key is the task's. */
static __always_inline void task_key(struct latency_key *key, struct task_struct *task)
{
	if (by_process || by_thread)
		key->pid = task->tgid;
	if (by_thread)
		key->tid = task->pid;
	if (by_cgroup)
		key->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	if (by_pid_namespace)
		key->pid_namespace = task_pid_namespace(task);
}

static __always_inline struct histogram *find_task_histogram(struct latency_key *key,
							     struct task_struct *task)
{
	struct task_struct *leader = by_process ? BPF_CORE_READ(task, group_leader) : task;

	return find_histogram(key, leader->comm, task->comm);
}

static __always_inline bool cpu_matches(void)
{
	return !filter_cpu || bpf_get_smp_processor_id() == only_cpu;
}

static __always_inline void cpu_key(struct latency_key *key)
{
	if (by_cpu)
		key->cpu = bpf_get_smp_processor_id();
}

/* Counts a time of a task. */
static __always_inline void count_task(struct task_struct *task, __u64 ns)
{
	struct latency_key key = {};
	struct histogram *histogram;

	if (ns < least || !cpu_matches())
		return;
	task_key(&key, task);
	cpu_key(&key);
	histogram = find_task_histogram(&key, task);
	if (histogram)
		count(histogram, ns);
}

#endif
