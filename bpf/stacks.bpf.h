/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kind `stacks`: weighted stacks, each with its time, process and thread.
 *
 * A stack is identified by a 128-bit fingerprint of its addresses, under a key that is random for
 * each run. Its addresses go to user space once, ahead of the first sample that refers to them;
 * from then on a sample is 112 bytes whatever its depth. What was announced is remembered in a
 * table that is only a cache: where two stacks share a slot, the loser is announced again, so none
 * is ever lost to another or taken for another (a BPF_MAP_TYPE_STACK_TRACE does both), and the
 * table has no lock that a perf event could interrupt.
 */
#ifndef RPROF_STACKS_BPF_H
#define RPROF_STACKS_BPF_H

#include "kernel.h"
#include "stack.h"
#include "target.bpf.h"
#include "unwind.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

enum record_kind {
	RECORD_SAMPLE = 1,
	RECORD_STACK = 2,
	RECORD_FREE = 3,
};

/* One sample; a fingerprint of zero means that there is no such stack. */
struct sample {
	__u32 kind;
	__u32 cpu;
	__u64 time;   /* ns, CLOCK_MONOTONIC */
	__u64 weight; /* in the unit of the source */
	__u64 cgroup; /* id in the cgroup2 hierarchy */
	__u32 pid;    /* of the process, in the initial pid namespace */
	__u32 tid;
	struct fingerprint kernel_stack;
	struct fingerprint user_stack;
	__u64 waker;      /* of a wait: when it was woken, by the record of that; 0: not known */
	__u8 user_status; /* enum unwind_status */
	__u8 state;       /* of a wait: enum wait_state */
	__u16 source;
	__u32 count;                /* how many of what is counted: samples, allocations, ... */
	char comm[TASK_COMM_LEN];   /* of the process */
	char thread[TASK_COMM_LEN]; /* of the thread */
};

/*
 * 252 KiB: nearly all stacks are smaller, and those that are not are only cut for these samples.
 * Most are far smaller: three sizes, since room in the ring buffer is what snapshots are short of.
 */
#define SNAPSHOT_PAGES 63
#define SNAPSHOT_PAGES_MIDDLE 15
#define SNAPSHOT_PAGES_SMALL 4
/* Buffers on the stack that nobody used yet leave holes in it; a longer one is its end. */
#define SNAPSHOT_HOLE 8
/* User space allows twice as many or more each time it reads. */
#define SNAPSHOTS_FEW 32
/* What a function may use below rsp (System V ABI, AMD64 supplement, 3.2.2). */
#define RED_ZONE 128

/*
 * A sample whose user stack could not be followed because the tables of its process, or of code
 * that it mapped just now, are not loaded yet: user space does it, from the top of the stack.
 */
struct snapshot {
	struct sample sample;
	__u64 ip;
	__u64 registers[REGISTERS]; /* by DWARF's numbers */
	__u64 start;                /* of what is sent of the stack, which are whole pages */
	__u64 bytes;
	__u64 missing; /* a bit for each page that is not there */
	__u8 stack[];  /* up to SNAPSHOT_PAGES */
};

/* What follows is of memory that is held; see held.bpf.h. */

/* An address in a process; pid 0 for the kernel's own. */
struct held_key {
	__u64 address;
	__u64 pid;
};

/* A sampled allocation, by what its free is charged to. */
struct held {
	struct fingerprint user_stack;
	struct fingerprint kernel_stack;
	__u64 born; /* ns, CLOCK_MONOTONIC */
	__u64 size;
	__u32 pid;
	__u32 tid;
};

/* Tells user space that a sampled allocation is held no longer. */
struct free_record {
	__u32 kind; /* RECORD_FREE */
	__u32 source;
	__u64 time;
	struct held held;
};

/* These let BTF carry the structs to Rust. */
struct stack unused_stack SEC(".data.types");
struct snapshot unused_snapshot SEC(".data.types");
struct free_record unused_free SEC(".data.types");
struct held_key unused_held_key SEC(".data.types");

/* What happened to samples, read by user space while it runs. */
struct counters {
	__u64 samples;      /* taken, lost ones included */
	__u64 samples_lost; /* no room in the ring buffer */
	__u64 stacks_lost;  /* the same, for addresses of a stack: its samples are lost too */
	__u64 stacks_sent;
	__u64 kernel_truncated; /* deeper than STACK_DEPTH_MAX */
	__u64 kernel_failed;    /* in the kernel, but it gave no stack */
	__u64 snapshots;        /* user stacks left to user space */
	__u64 run_ns;           /* time for all of it, as far as it is ours to know */
};

#define SOURCES_MAX 16

/* By source. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SOURCES_MAX);
	__type(key, __u32);
	__type(value, struct counters);
} source_counters SEC(".maps");

/* Which of a recording's sources this object is. */
const volatile __u32 source = 0;

/* Key of the fingerprints, so that no program can aim at a collision. */
const volatile __u64 fingerprint_key[2] = {1, 2};

/* Entries of `waking`. */
enum {
	SNAPSHOTS_LEFT, /* how many may still be sent; user space sets it anew whenever it has read
			 */
	WOKEN,          /* ns, CLOCK_MONOTONIC: when user space was last woken for a process */
	WAKING,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WAKING);
	__type(key, __u32);
	__type(value, __u64);
} waking SEC(".maps");

/* Bytes waiting in the ring buffer from which on user space is woken. */
const volatile __u64 wakeup_bytes = 1 << 19;

/* ns between two wake-ups for new processes, at least. */
const volatile __u64 wakeup_pause = 0;

#define SEEN_SLOTS 65536
#define PROCESS_SLOTS 4096

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SEEN_SLOTS);
	__type(key, __u32);
	__type(value, struct fingerprint);
} seen SEC(".maps");

/* Processes that user space was woken for, by pid modulo PROCESS_SLOTS; also only a cache. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PROCESS_SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STACK_SLOTS);
	__type(key, __u32);
	__type(value, struct stack);
} scratch SEC(".maps");

/* Apart from the records, so that a storm of new processes costs no samples of others. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
} snapshots SEC(".maps");

static __always_inline struct counters *source_state(void)
{
	__u32 key = source;

	return bpf_map_lookup_elem(&source_counters, &key);
}

/* Mixing step of MurmurHash3's 64-bit finalizer (public domain, Austin Appleby). */
static __always_inline __u64 mix(__u64 x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	return x;
}

static __always_inline void take_fingerprint(struct stack *stack)
{
	__u64 low = fingerprint_key[0] ^ stack->depth;
	__u64 high = fingerprint_key[1];

	for (__u32 i = 0; i < STACK_DEPTH_MAX && i < stack->depth; i++) {
		low = mix(low ^ stack->addresses[i]);
		high = (high ^ stack->addresses[i]) * 0xc4ceb9fe1a85ec53ULL;
		high ^= high >> 29;
	}
	stack->fingerprint.low = low | 1; /* never the zero of "no stack" */
	stack->fingerprint.high = high;
}

static __always_inline __u64 wakeup(void)
{
	return bpf_ringbuf_query(&records, BPF_RB_AVAIL_DATA) >= wakeup_bytes ? BPF_RB_FORCE_WAKEUP
									      : BPF_RB_NO_WAKEUP;
}

/* Makes sure that user space has the stack. False if it could not be sent. */
static __always_inline bool announce(struct stack *stack, struct counters *counters)
{
	__u32 slot = stack->fingerprint.low >> 32 & (SEEN_SLOTS - 1);
	struct fingerprint *known = bpf_map_lookup_elem(&seen, &slot);
	__u64 bytes = STACK_HEADER + stack->depth * sizeof(__u64);

	if (!known)
		return false;
	if (known->low == stack->fingerprint.low && known->high == stack->fingerprint.high)
		return true;
	stack->kind = RECORD_STACK;
	/* Between barriers, or clang checks one copy of it and uses another. */
	barrier_var(bytes);
	if (bytes > sizeof(*stack))
		return false;
	barrier_var(bytes);
	if (bpf_ringbuf_output(&records, stack, bytes, wakeup())) {
		__sync_fetch_and_add(&counters->stacks_lost, 1);
		return false;
	}
	__sync_fetch_and_add(&counters->stacks_sent, 1);
	/* Sent before it is marked, so a torn or racing write can only cause another sending. */
	known->low = stack->fingerprint.low;
	known->high = stack->fingerprint.high;
	return true;
}

static __always_inline bool keep_stack(struct stack *stack, struct fingerprint *fingerprint,
				       struct counters *counters)
{
	if (!stack->depth)
		return true;
	take_fingerprint(stack);
	*fingerprint = stack->fingerprint;
	return announce(stack, counters);
}

/* Frames at the leaf that are ours: at a tracepoint, the program and who ran it. */
#ifndef KERNEL_SKIP
#define KERNEL_SKIP 0
#endif

static __always_inline bool kernel_stack(void *ctx, struct stack *stack, struct fingerprint *out,
					 struct counters *counters)
{
	long bytes = bpf_get_stack(ctx, stack->addresses, sizeof(stack->addresses), KERNEL_SKIP);

	/* -EFAULT: the sample hit user mode, so there is none. */
	if (bytes < 0 && bytes != -EFAULT)
		__sync_fetch_and_add(&counters->kernel_failed, 1);
	stack->depth = bytes > 0 ? bytes / sizeof(__u64) : 0;
	if (stack->depth == STACK_DEPTH_MAX)
		__sync_fetch_and_add(&counters->kernel_truncated, 1);
	return keep_stack(stack, out, counters);
}

/*
 * Wakes user space, unless that was done a moment ago: it then comes by itself before the moment is
 * over. A machine that starts processes all the time would have it do nothing else.
 */
static __always_inline __u64 wakeup_soon(void)
{
	__u32 key = WOKEN;
	__u64 *woken = bpf_map_lookup_elem(&waking, &key), now = bpf_ktime_get_ns();

	if (!woken || now - *woken < wakeup_pause)
		return wakeup();
	*woken = now;
	return BPF_RB_FORCE_WAKEUP;
}

/* A process that was not seen before wakes user space, which reads its mappings while it lives. */
static __always_inline __u64 wakeup_for(__u32 pid)
{
	__u32 slot = pid & (PROCESS_SLOTS - 1);
	__u32 *known = bpf_map_lookup_elem(&processes, &slot);

	if (!known || *known == pid)
		return wakeup();
	*known = pid;
	return wakeup_soon();
}

/*
 * Pages of the user stack, from `start` to the last that is there. A global function, so that what
 * follows is verified once and not for each number of pages.
 */
__attribute__((noinline)) int stack_pages(__u64 start)
{
	__u64 pages = 0, word;

	for (__u32 i = 0; i < SNAPSHOT_PAGES; i++) {
		__s64 failed = bpf_probe_read_user(&word, sizeof(word), (void *)(start + i * 4096));

		/* By its sign, not by a branch: the verifier would follow each number of pages. */
		failed >>= 63;
		asm volatile("" : "+r"(failed)); /* or clang makes a branch of it */
		pages = (pages & failed) | ((i + 1) & ~failed);
		if (i - pages >= SNAPSHOT_HOLE && i >= pages)
			break;
	}
	return pages;
}

/* `pages` is a constant, as the ring buffer wants its sizes. */
static __always_inline bool send_pages(const struct unwind *unwind, const struct sample *sample,
				       __u64 start, __u32 used, const __u32 pages, __u64 wakeup)
{
	const __u64 bytes = __builtin_offsetof(struct snapshot, stack) + pages * 4096;
	struct snapshot *snapshot = bpf_ringbuf_reserve(&snapshots, bytes, 0);
	__u64 missing = 0;

	if (!snapshot)
		return false;
	snapshot->sample = *sample;
	snapshot->ip = unwind->stack.addresses[0];
	__builtin_memcpy(snapshot->registers, unwind->registers, sizeof(snapshot->registers));
	for (__u32 i = 0; i < pages; i++) {
		long failed = bpf_probe_read_user(snapshot->stack + i * 4096, 4096,
						  (const void *)(start + i * 4096));

		/* Its sign, not a branch, which the verifier would follow both ways each time. */
		missing |= ((__u64)failed >> 63) << i;
	}
	snapshot->start = start;
	snapshot->bytes = (used < pages ? used : pages) * 4096;
	snapshot->missing = missing;
	bpf_ringbuf_submit(snapshot, wakeup);
	return true;
}

/*
 * Leaves a user stack to user space; from the red zone on, since tables say of an epilogue that rbp
 * is where it was just taken from. False if it may not or cannot.
 */
static __always_inline bool send_snapshot(const struct unwind *unwind, const struct sample *sample)
{
	__u64 start = (unwind->registers[REGISTER_SP] - RED_ZONE) & ~4095ULL, wakeup;
	__u32 key = SNAPSHOTS_LEFT, pages;
	__s64 *left = bpf_map_lookup_elem(&waking, &key);

	/* Less than none where several CPUs sent the last one at once. */
	if (!left || *left <= 0)
		return false;
	/* As a sample of a new process does, but in time for there to be room for the next. */
	wakeup = *left < SNAPSHOTS_FEW ? BPF_RB_FORCE_WAKEUP : wakeup_soon();
	pages = stack_pages(start);
	if ((pages > SNAPSHOT_PAGES_MIDDLE &&
	     send_pages(unwind, sample, start, pages, SNAPSHOT_PAGES, wakeup)) ||
	    (pages > SNAPSHOT_PAGES_SMALL &&
	     send_pages(unwind, sample, start, pages, SNAPSHOT_PAGES_MIDDLE, wakeup)) ||
	    send_pages(unwind, sample, start, pages, SNAPSHOT_PAGES_SMALL, wakeup)) {
		(*left)--;
		return true;
	}
	return false;
}

static __always_inline bool needs_snapshot(__u32 status)
{
	return (status == UNWIND_NOT_LOADED || status == UNWIND_NO_MAPPING) && !is_exiting();
}

/*
 * Who walks a stack in each slot of a CPU. Only one program at a time runs there, but it may be
 * preempted, and there is no compare-and-swap before 5.12: so whoever lost his slot meanwhile,
 * which takes two programs that are preempted within a few ns, finds out when he gives it back.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STACK_SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} slots SEC(".maps");

/*
 * STACK_SLOTS if all are taken. A global function, so that what follows is verified once and not
 * for each slot.
 */
__attribute__((noinline)) int take_slot(void)
{
	for (int i = 0; i < STACK_SLOTS; i++) {
		__u32 slot = i, *owner = bpf_map_lookup_elem(&slots, &slot);

		if (owner && !*owner) {
			*owner = bpf_get_current_pid_tgid();
			return i;
		}
	}
	return STACK_SLOTS;
}

/* False if another took it meanwhile. */
static __always_inline bool give_slot(__u32 slot)
{
	__u32 *owner = bpf_map_lookup_elem(&slots, &slot);

	if (!owner || *owner != (__u32)bpf_get_current_pid_tgid())
		return false;
	*owner = 0;
	return true;
}

/* Says when and where the current task was sampled. False if it is no target. */
static __always_inline bool begin_sample(struct sample *sample)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 id = bpf_get_current_pid_tgid();

	sample->kind = RECORD_SAMPLE;
	sample->source = source;
	sample->pid = id >> 32;
	sample->tid = id;
	if (!sample->tid || !target_matches(sample->pid)) /* thread 0 is the idle task */
		return false;
	sample->time = bpf_ktime_get_ns();
	sample->cpu = bpf_get_smp_processor_id();
	sample->cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(sample->thread, sizeof(sample->thread));
	BPF_CORE_READ_INTO(&sample->comm, task, group_leader, comm);
	return true;
}

/* Sends a sample, its stacks before it. `slot` is the caller's own; false if it is lost. */
static __always_inline bool send_stacks(void *ctx, struct sample *sample, __u32 slot,
					const bool kernel, struct counters *counters)
{
	struct stack *stack = bpf_map_lookup_elem(&scratch, &slot);
	struct unwind *unwind;

	if (!stack)
		return false;
	if (kernel && !kernel_stack(ctx, stack, &sample->kernel_stack, counters))
		return false;
	unwind = user_stack(sample->pid, slot);
	if (!unwind)
		return false;
	sample->user_status = unwind->status;
	if (needs_snapshot(unwind->status) && send_snapshot(unwind, sample)) {
		__sync_fetch_and_add(&counters->snapshots, 1);
		return true;
	}
	return keep_stack(&unwind->stack, &sample->user_stack, counters) &&
	       !bpf_ringbuf_output(&records, sample, sizeof(*sample), wakeup_for(sample->pid));
}

/*
 * Sends a sample that begin_sample() began, with the user stack and, with `kernel`, that of the
 * kernel; false if it is lost.
 *
 * Where nobody may turn on the kernel's own accounting of our time (CAP_SYS_ADMIN), what is counted
 * here is all there is. The time is that of the sample, since there is no room for another on a BPF
 * stack.
 */
static __always_inline bool send_sample(void *ctx, struct sample *sample, __u32 slot,
					const bool kernel)
{
	struct counters *counters = source_state();

	if (!counters)
		return false;
	__sync_fetch_and_add(&counters->samples, 1);
	if (!send_stacks(ctx, sample, slot, kernel, counters)) {
		__sync_fetch_and_add(&counters->samples_lost, 1);
		return false;
	}
	__sync_fetch_and_add(&counters->run_ns, bpf_ktime_get_ns() - sample->time);
	return true;
}

#endif
