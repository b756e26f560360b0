// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Source `syscalls`: system calls with their arguments and results. A call is timed from its entry,
 * and read as it returns, when what it reads and what it writes are both there. How to read the
 * arguments of a call is its recipe, which user space makes from the kernel's own table of them;
 * those that need more than numbers are read by programs that the recipe leads to, by tail call.
 */
#define STACK_SLOTS 4
#include "kernel.h"
#include "buckets.bpf.h"
#include "callparts.bpf.h"
#include "calltable.bpf.h"
#include "stacks.bpf.h"
#include <bpf/bpf_tracing.h>

/* A call that has not returned. */
struct flight {
	__u64 start;
	__u32 number;
	__u32 place;
	__u32 size;     /* of its record so far */
	__u32 is_start; /* the exec that makes a command of us: told if it succeeds */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct flight);
} flights SEC(".maps");

/* The record of a call that was read at its entry. */
struct kept {
	__u64 size;
	char record[HELD_MAX];
};

/* Else clang 14 leaves only a forward declaration of it, and task storage needs its type. */
struct kept unused_kept SEC(".data.types");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct kept);
} kepts SEC(".maps");

const volatile bool failed_only = false;
/* Calls that took less are left out, ns. */
const volatile __u64 least_time = 0;

/* How often, and how long: all that is kept of a call where only totals are wanted. */
const volatile bool totals_only = false;

struct totals {
	__u64 errors;
	__u64 sum;
	__u64 max;
	__u32 counts[BUCKETS];
};

struct totals unused_totals SEC(".data.types");
struct recipe unused_recipe SEC(".data.types");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CALLS_MAX);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct totals));
} totals SEC(".maps");

static __always_inline void add_up(__u32 number, __u64 duration, long result)
{
	struct totals *of = bpf_map_lookup_elem(&totals, &number);
	__u64 bucket = bucket_of(duration);

	if (!of)
		return;
	barrier_var(bucket);
	of->errors += result < 0 && result >= -4095;
	of->sum += duration;
	if (duration > of->max)
		of->max = duration;
	if (bucket < BUCKETS)
		of->counts[bucket]++;
}

static __always_inline struct flight *flight_of_current(__u64 flags)
{
	return bpf_task_storage_get(&flights, bpf_get_current_task_btf(), NULL, flags);
}

static __always_inline void finish(struct flight *flight)
{
	__u32 number = flight->place;
	struct place *place = bpf_map_lookup_elem(&places, &number);

	if (place)
		send_place(place, flight->size);
}

int decode_files(__u64 *ctx);
int decode_data(__u64 *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} decoders SEC(".maps") = {
	.values = {[READ_FILES] = (void *)&decode_files, [READ_DATA] = (void *)&decode_data},
};

SEC("tp_btf/sys_exit")
int decode_files(__u64 *ctx)
{
	struct flight *flight = flight_of_current(0);
	struct recipe *recipe;
	__u32 size, number;

	if (!flight)
		return 0;
	size = flight->size;
	for (int i = 0; i < ARGS; i++)
		size = read_file_part(flight->place, size, i);
	flight->size = size;
	number = flight->number;
	recipe = bpf_map_lookup_elem(&recipes, &number);
	if (recipe && recipe->reads & READ_DATA)
		bpf_tail_call(ctx, &decoders, READ_DATA);
	finish(flight);
	return 0;
}

SEC("tp_btf/sys_exit")
int decode_data(__u64 *ctx)
{
	struct flight *flight = flight_of_current(0);
	__u32 size;

	if (!flight)
		return 0;
	size = flight->size;
	for (int i = 0; i < ARGS; i++)
		size = read_data_part(flight->place, size, i);
	flight->size = size;
	finish(flight);
	return 0;
}

/* Who called is wanted too. */
const volatile bool with_stacks = false;

/*
 * Sends the user stack of the current task, which is at the call that began then: that is the
 * weight that it is found again by. False if it is lost. A global function, verified by itself.
 */
__noinline int take_stack(__u64 start)
{
	struct sample sample = {.count = 1, .weight = start};
	bool sent;
	__u32 slot;

	if (!begin_sample(&sample))
		return 0;
	slot = take_slot();
	if (slot >= STACK_SLOTS)
		return 0;
	sent = send_sample(NULL, &sample, slot, false);
	return give_slot(slot) && sent;
}

static __always_inline struct place *begin_record(struct flight *flight, struct recipe *recipe,
						  struct pt_regs *regs)
{
	struct place *place = take_place();
	struct call *call;

	if (!place)
		return NULL;
	call = (void *)place->record;
	describe(&call->event, 0);
	call->start = flight->start;
	call->duration = call->event.time - flight->start;
	call->number = flight->number;
	call->has_stack = with_stacks && take_stack(flight->start);
	call->is_final = recipe->is_final;
	call->args[0] = regs->di;
	call->args[1] = regs->si;
	call->args[2] = regs->dx;
	call->args[3] = regs->r10;
	call->args[4] = regs->r8;
	call->args[5] = regs->r9;
	__builtin_memcpy(call->parts, recipe->parts, sizeof(call->parts));
	flight->place = place->number;
	flight->size = sizeof(*call);
	return place;
}

/* A call that replaces the memory that its arguments are in: they are kept until it returns. */
static __always_inline void hold(struct place *place, struct flight *flight)
{
	struct call *call = (void *)place->record;
	struct kept *kept;
	__u64 size = flight->size;
	__u32 number = flight->place;

	for (int i = 0; i < ARGS; i++) {
		__u32 from = size;

		if (call->parts[i].kind != PART_STRINGS) {
			size = read_file_part(number, size, i);
			continue;
		}
		size = read_strings(number, size, call->args[i]);
		call->parts[i].bytes = size - from;
	}
	kept = bpf_task_storage_get(&kepts, bpf_get_current_task_btf(), NULL,
				    BPF_LOCAL_STORAGE_GET_F_CREATE);
	barrier_var(size);
	if (kept && size <= HELD_MAX && !bpf_probe_read_kernel(kept->record, size, place->record))
		kept->size = size;
}

static __always_inline bool only_by_pid(void)
{
	return filter_pid && !filter_uid && !filter_cgroup && !filter_comm;
}

/* True for a command that rprof starts, which becomes a target by the very call that it makes. */
static __always_inline bool is_command_to_be(struct recipe *recipe)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	__u32 *state;

	if (!recipe->at_entry)
		return false;
	state = bpf_map_lookup_elem(&targets, &pid);
	return state && *state == TARGET_AT_EXEC;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(call_enter, struct pt_regs *regs, long nr)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 number = nr;
	struct recipe *recipe = bpf_map_lookup_elem(&recipes, &number);
	struct flight *flight;
	struct place *place;
	bool is_start = false;

	if (!recipe || !recipe->is_wanted)
		return 0;
	flight = flight_of_current(0);
	/* Who was a target by its process id stays one: it need not be asked at each call. */
	if (!(flight && !flight->is_start && only_by_pid()) && !current_is_target()) {
		is_start = is_command_to_be(recipe);
		if (!is_start)
			return 0;
	}
	if (task->thread_info.status & TS_COMPAT) {
		__sync_fetch_and_add(&counters.compat, 1);
		return 0;
	}
	if (!flight)
		flight = flight_of_current(BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!flight) {
		__sync_fetch_and_add(&counters.crowded, 1);
		return 0;
	}
	flight->number = number;
	flight->is_start = is_start;
	flight->start = bpf_ktime_get_ns();
	if (totals_only || (!recipe->at_entry && !recipe->is_final))
		return 0;
	place = begin_record(flight, recipe, regs);
	if (!place)
		return 0;
	if (recipe->at_entry) {
		hold(place, flight);
		leave(place);
	} else {
		send_place(place, sizeof(struct call));
	}
	return 0;
}

/* The record that was kept at the entry, with what the call came to. */
static __always_inline void send_held(struct flight *flight, __u64 start, long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct kept *kept = bpf_task_storage_get(&kepts, task, NULL, 0);
	__u64 now = bpf_ktime_get_ns();
	struct call *call;
	__u64 size;

	if (!kept)
		return;
	call = (void *)kept->record;
	call->event.time = now;
	call->duration = now - start;
	call->result = result;
	size = kept->size;
	if (size) {
		/* Else clang makes one test of two, by a copy that the verifier knows less of. */
		barrier_var(size);
		if (size <= HELD_MAX) {
			barrier_var(size);
			send(kept->record, size);
		}
	}
	kept->size = 0;
	bpf_task_storage_delete(&kepts, task);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_exit, struct pt_regs *regs, long result)
{
	struct flight *flight = flight_of_current(0);
	struct recipe *recipe;
	struct place *place;
	__u64 start, duration;
	__u32 number;

	/* None of a target's, or one that began before. */
	if (!flight || !flight->start)
		return 0;
	start = flight->start;
	number = flight->number;
	duration = bpf_ktime_get_ns() - start;
	flight->start = 0;
	if (flight->is_start && result < 0)
		return 0;
	if (totals_only) {
		add_up(number, duration, result);
		return 0;
	}
	recipe = bpf_map_lookup_elem(&recipes, &number);
	if (!recipe || duration < least_time || (failed_only && result >= 0))
		return 0;
	if (recipe->at_entry) {
		send_held(flight, start, result);
		return 0;
	}
	flight->start = start;
	place = begin_record(flight, recipe, regs);
	flight->start = 0;
	if (!place)
		return 0;
	((struct call *)place->record)->result = result;
	if (recipe->reads)
		bpf_tail_call(ctx, &decoders, recipe->reads & READ_FILES ? READ_FILES : READ_DATA);
	send_place(place, sizeof(struct call));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
