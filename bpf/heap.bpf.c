// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Source `heap`: who allocates user memory, and who still holds it. Runs at the functions of
 * allocators, which are probed at their first instruction that the kernel emulates.
 *
 * The trap is what costs, not what runs in it: so a call that is not sampled has no second trap at
 * its return, and its address is never learned.
 */
#define STACK_SLOTS 4
#include "held.bpf.h"
#include "kernel.h"
#include "stacks.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* What a probe is at, in the low byte of its cookie: enum Function of profiler/heap/functions.rs.
 */
enum function {
	FUNCTION_MALLOC = 1,     /* (size), and what has its shape: valloc, operator new */
	FUNCTION_CALLOC,         /* (count, size) */
	FUNCTION_REALLOC,        /* (address, size) */
	FUNCTION_REALLOCARRAY,   /* (address, count, size) */
	FUNCTION_MEMALIGN,       /* (alignment, size), aligned_alloc */
	FUNCTION_POSIX_MEMALIGN, /* (address *, alignment, size) */
	FUNCTION_MMAP,           /* (address, size, protection, flags, ...) */
	FUNCTION_MREMAP,         /* (address, old size, size, flags, ...) */
	FUNCTION_FREE,           /* (address) */
	FUNCTION_MUNMAP,         /* (address, size) */
};

/* Set in a cookie where a realloc of nothing calls a malloc that is probed itself. */
#define COOKIE_CALLS_MALLOC 0x100

#define PROT_NONE 0
#define MAP_ANONYMOUS 0x20

/* A call that matters and has not returned yet. */
struct call {
	struct held held;
	__u64 sp; /* at its entry: what is called deeper down is part of it */
	__u32 generation;
	__u64 out;    /* where posix_memalign() leaves the address */
	__u64 old;    /* a sampled allocation that realloc() frees if it succeeds */
	bool sampled; /* else only `old` matters */
	bool active;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct call);
} calls SEC(".maps");

extern bool bpf_session_is_return(void) __ksym __weak;
/* It takes the context since 7.0; what follows the underscores is no part of its name. */
extern bool bpf_session_is_return___7_0(void *ctx) __ksym __weak;

/* True at the return of a function, in a program that runs at both its ends. */
static __always_inline bool is_return(void *ctx)
{
	if (bpf_ksym_exists(bpf_session_is_return___7_0))
		return bpf_session_is_return___7_0(ctx);
	return bpf_session_is_return();
}

#define ALLOCATORS_MAX 4

/* Where the code of a process's allocators is: what they map is what they hand out. */
struct allocator_code {
	__u64 start[ALLOCATORS_MAX];
	__u64 end[ALLOCATORS_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct allocator_code);
} allocators SEC(".maps");

/* This lets BTF carry the struct to Rust. */
struct allocator_code unused_code SEC(".data.types");

/* True if an allocator calls, of which the return address tells. */
static __always_inline bool is_called_by_allocator(struct pt_regs *ctx, __u32 pid)
{
	struct allocator_code *code = bpf_map_lookup_elem(&allocators, &pid);
	__u64 from = 0;

	if (!code || bpf_probe_read_user(&from, sizeof(from), (const void *)PT_REGS_SP(ctx)))
		return false;
	for (int i = 0; i < ALLOCATORS_MAX; i++) {
		if (from >= code->start[i] && from < code->end[i])
			return true;
	}
	return false;
}

/*
 * The first arguments of a call, all read in one place: the verifier wants the offset of each
 * access to the context to be a constant, and clang makes a variable of it where branches differ in
 * that.
 */
struct arguments {
	__u64 first, second, third, fourth;
};

static __always_inline struct arguments arguments_of_call(struct pt_regs *ctx)
{
	struct arguments arguments = {PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx),
				      PT_REGS_PARM4(ctx)};

	asm volatile(""
		     : "+r"(arguments.first), "+r"(arguments.second), "+r"(arguments.third),
		       "+r"(arguments.fourth));
	return arguments;
}

/* Raised when probes are set anew: returns of calls from before were not seen. */
__u32 generation = 0;

/* In a size: announced, so that no probe that comes and goes decides whether it is seen. */
#define ANNOUNCED (1ULL << 63)

/* And weighed by who announced it: objects and bytes stand in for the size. */
#define WEIGHED (1ULL << 62)
#define WEIGHT_BITS 40
#define OBJECTS_MAX ((1ULL << (62 - WEIGHT_BITS)) - 1)
#define WEIGHT_MAX ((1ULL << WEIGHT_BITS) - 1)

/* Processes whose allocator announces what it samples itself: it is not sampled once more. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u8);
} announcing SEC(".maps");

static __always_inline bool announces(__u32 pid)
{
	return bpf_map_lookup_elem(&announcing, &pid);
}

/* The bytes that a call asks for. */
static __always_inline __u64 size_of_call(struct arguments call, __u32 function)
{
	switch (function) {
	case FUNCTION_MALLOC:
		return call.first;
	case FUNCTION_CALLOC:
		return call.first * call.second;
	case FUNCTION_REALLOC:
	case FUNCTION_MEMALIGN:
		return call.second;
	case FUNCTION_REALLOCARRAY:
		return call.second * call.third;
	case FUNCTION_POSIX_MEMALIGN:
	case FUNCTION_MREMAP:
		return call.third;
	case FUNCTION_MMAP:
		/* Address space that is only reserved, or backed by a file, is no memory. */
		if ((__u32)call.third == PROT_NONE || !(call.fourth & MAP_ANONYMOUS))
			return 0;
		return call.second;
	}
	return 0;
}

/* The sampled allocation that a call frees if it succeeds; 0: none. */
static __always_inline __u64 freed_by_call(struct arguments call, __u32 function, __u64 pid)
{
	struct held_key key = {.address = call.first, .pid = pid};

	if (function != FUNCTION_REALLOC && function != FUNCTION_REALLOCARRAY &&
	    function != FUNCTION_MREMAP)
		return 0;
	return bpf_map_lookup_elem(&held, &key) ? key.address : 0;
}

/* Samples a call that is about to allocate `size` bytes. False if the sample was lost. */
static __always_inline bool sample_call(struct pt_regs *ctx, struct held *held, __u64 size)
{
	struct sample sample = {.count = 1, .weight = size};
	__u32 slot;
	bool sent;

	if (!begin_sample(&sample))
		return false;
	slot = take_slot();
	if (slot >= STACK_SLOTS)
		return false;
	sent = send_sample(ctx, &sample, slot, false);
	if (!give_slot(slot))
		return false;
	held->user_stack = sample.user_stack;
	held->born = sample.time;
	held->size = size;
	held->pid = sample.pid;
	held->tid = sample.tid;
	return sent;
}

/* True if the call's return matters. */
static __always_inline bool enter(struct pt_regs *ctx, __u64 cookie)
{
	__u64 pid = bpf_get_current_pid_tgid() >> 32, size, old;
	__u32 function = cookie & 0xff;
	struct arguments arguments = arguments_of_call(ctx);
	struct call *call;
	bool sampled;

	if (!target_matches(pid))
		return false;
	count_hit();
	if (cookie & COOKIE_CALLS_MALLOC && !arguments.first)
		return false;
	if (function == FUNCTION_MMAP && is_called_by_allocator(ctx, pid))
		return false;
	size = size_of_call(arguments, function);
	old = freed_by_call(arguments, function, pid);
	sampled = is_sampled(size) && (function >= FUNCTION_MMAP || !announces(pid));
	if (!sampled && !old)
		return false;
	call = bpf_task_storage_get(&calls, bpf_get_current_task_btf(), NULL,
				    BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!call) {
		__sync_fetch_and_add(&not_followed, 1);
		return false;
	}
	/* An allocator that calls itself allocates once. */
	if (call->active && call->generation == generation && PT_REGS_SP(ctx) < call->sp)
		return false;
	call->sampled = sampled && sample_call(ctx, &call->held, size);
	call->sp = PT_REGS_SP(ctx);
	call->generation = generation;
	call->old = old;
	call->out = function == FUNCTION_POSIX_MEMALIGN ? arguments.first : 0;
	call->active = call->sampled || old;
	return call->active;
}

static __always_inline int leave(struct pt_regs *ctx)
{
	__u64 pid = bpf_get_current_pid_tgid() >> 32, address = PT_REGS_RC(ctx);
	struct call *call = bpf_task_storage_get(&calls, bpf_get_current_task_btf(), NULL, 0);

	if (!call || !call->active)
		return 0;
	call->active = false;
	if (call->out && ((__u32)address ||
			  bpf_probe_read_user(&address, sizeof(address), (const void *)call->out)))
		address = 0;
	if (address == ~0ULL) /* MAP_FAILED */
		address = 0;
	if (call->old && address)
		release(pid, call->old);
	if (call->sampled)
		hold(pid, address, &call->held);
	return 0;
}

SEC("uprobe.session")
int heap_call(struct pt_regs *ctx)
{
	if (is_return(ctx))
		return leave(ctx);
	return enter(ctx, bpf_get_attach_cookie(ctx)) ? 0 : 1;
}

/* For kernels that have no sessions (before 6.13). */
SEC("uprobe")
int heap_enter(struct pt_regs *ctx)
{
	enter(ctx, bpf_get_attach_cookie(ctx));
	return 0;
}

SEC("uretprobe")
int heap_leave(struct pt_regs *ctx)
{
	return leave(ctx);
}

static __always_inline int free_call(struct pt_regs *ctx)
{
	count_hit();
	release(bpf_get_current_pid_tgid() >> 32, PT_REGS_PARM1(ctx));
	return 0;
}

SEC("uprobe.multi")
int heap_free(struct pt_regs *ctx)
{
	return free_call(ctx);
}

SEC("uprobe")
int heap_free_alone(struct pt_regs *ctx)
{
	return free_call(ctx);
}

/*
 * otel_memory:alloc(address, size, weight) of our preload shim, which has sampled the allocation at
 * the same rate: user space knows the weight from that and the size, as of all others.
 */
static __always_inline int take_announced(struct pt_regs *ctx, __u64 address, __u64 size)
{
	struct call *call = bpf_task_storage_get(&calls, bpf_get_current_task_btf(), NULL,
						 BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!call) {
		__sync_fetch_and_add(&not_followed, 1);
		return 0;
	}
	/* The call that this is a part of was sampled, and is going to return. */
	if (call->active && call->sampled && call->generation == generation &&
	    PT_REGS_SP(ctx) < call->sp)
		return 0;
	if (sample_call(ctx, &call->held, size | ANNOUNCED))
		hold(bpf_get_current_pid_tgid() >> 32, address, &call->held);
	return 0;
}

SEC("uprobe")
int heap_announced(struct pt_regs *ctx)
{
	struct arguments arguments = arguments_of_call(ctx);

	if (!target_matches(bpf_get_current_pid_tgid() >> 32) || arguments.second >> 48)
		return 0;
	if (arguments.second < min_size || arguments.second > max_size)
		return 0;
	return take_announced(ctx, arguments.first, arguments.second);
}

/* The same of somebody else, whose rate is not known: its weight is what counts. */
SEC("uprobe")
int heap_announced_by_others(struct pt_regs *ctx)
{
	struct arguments arguments = arguments_of_call(ctx);
	__u64 size = arguments.second, weight = arguments.third, objects, random;
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	__u8 yes = 1;

	if (!target_matches(pid) || !size || size < min_size || size > max_size)
		return 0;
	bpf_map_update_elem(&announcing, &pid, &yes, BPF_ANY);
	/* Whole objects: rounded up as often as there is a part over. */
	random = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32();
	objects = weight / size + (random % size < weight % size);
	if (objects > OBJECTS_MAX)
		objects = OBJECTS_MAX;
	if (weight > WEIGHT_MAX)
		weight = WEIGHT_MAX;
	return take_announced(ctx, arguments.first, WEIGHED | objects << WEIGHT_BITS | weight);
}

/* otel_memory:free(address), of what was sampled alone. */
SEC("uprobe")
int heap_announced_free(struct pt_regs *ctx)
{
	release(bpf_get_current_pid_tgid() >> 32, PT_REGS_PARM1(ctx));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
