// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A record for each hit of any probe, with its arguments: `trace -e`. An object is loaded for each
 * probe, with the one program that it needs.
 *
 * Where the arguments are, user space has found out; it says so in a list for each place that the
 * probe is at, of which the cookie is the number. What a tracepoint has is sent as it is.
 */
#include "events.bpf.h"
#include "kernel.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define PROBE_ARGUMENTS 12
#define PROBE_TEXT_MAX 256
#define PROBE_RECORD_MAX 4096

enum argument_from {
	ARGUMENT_UNKNOWN,
	ARGUMENT_CONSTANT,
	ARGUMENT_REGISTER,
	ARGUMENT_MEMORY, /* at a register, plus an index, plus a constant */
	ARGUMENT_RECORD, /* in the record of a tracepoint */
};

/* Registers that an argument may be in: by DWARF's numbers, or an argument of fentry. */
#define PROBE_REGISTERS 17
#define NO_REGISTER 255

/* Where an argument is. */
struct argument {
	__s64 constant;
	__s32 inside; /* follow: where the next pointer is, behind what the value points to */
	__u8 from;
	__u8 base;
	__u8 index;
	__u8 scale;
	__u8 bytes;
	__u8 is_text; /* the value is the address of a text */
	__u8 follow;
	__u8 unused;
};

struct argument_list {
	struct argument all[PROBE_ARGUMENTS];
};

/* Sized by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct argument_list);
} argument_lists SEC(".maps");

/* One hit; what a tracepoint has, then the texts, follow. */
struct probeline {
	struct event event;
	__u32 place;    /* number of the list */
	__u32 recorded; /* bytes that a tracepoint has */
	__u32 texts;    /* bytes of all texts, each with its NUL */
	__u32 used;     /* for the programs: arguments that are read already */
	__u64 values[PROBE_ARGUMENTS];
	__s32 lengths[PROBE_ARGUMENTS]; /* of texts; negative: it could not be read */
};

struct probeline unused_probeline SEC(".data.types");
struct argument_list unused_list SEC(".data.types");

/* How many arguments there are at most, in any list. */
const volatile __u32 argument_count = 0;

/* Bytes of a tracepoint's fields, and where in them it says where the rest is: __data_loc. */
const volatile __u32 record_bytes = 0;
const volatile __u32 located_count = 0;
#define PROBE_LOCATED 6
const volatile __u32 located[PROBE_LOCATED] = {};
/* The same relative to the end of the field itself: __rel_loc, since 5.17. */
const volatile bool located_relative[PROBE_LOCATED] = {};

/* True where arguments are the kernel's own. */
const volatile bool in_kernel = false;

/* Where registers are kept meanwhile: at the end of a place. */
#define SCRATCH (RECORD_MAX - PROBE_REGISTERS * sizeof(__u64))
/* Where what follows the head may be. */
#define FOLLOWING 8191

static __always_inline long read_bytes(void *to, __u32 bytes, __u64 address)
{
	if (in_kernel)
		return bpf_probe_read_kernel(to, bytes, (const void *)address);
	return bpf_probe_read_user(to, bytes, (const void *)address);
}

static __always_inline long read_text(void *to, __u64 address)
{
	if (in_kernel) {
		long length = bpf_probe_read_kernel_str(to, PROBE_TEXT_MAX, (void *)address);

		/* Some of a kernel function's pointers are a program's. */
		if (length >= 0)
			return length;
	}
	return bpf_probe_read_user_str(to, PROBE_TEXT_MAX, (const void *)address);
}

static __always_inline __u64 register_of(const struct place *place, __u32 number)
{
	const __u64 *registers = (const void *)(place->record + SCRATCH);

	return number < PROBE_REGISTERS ? registers[number] : 0;
}

static __always_inline bool value_of(struct place *place, const struct argument *argument,
				     __u64 *value)
{
	struct probeline *record = (void *)place->record;
	__u64 address = argument->constant;
	__u32 bytes = argument->bytes, at;

	if (argument->from == ARGUMENT_UNKNOWN)
		return false;
	*value = address;
	if (argument->from == ARGUMENT_CONSTANT)
		return true;
	if (argument->from == ARGUMENT_RECORD) {
		at = (sizeof(*record) + address) & FOLLOWING;
		__builtin_memcpy(value, place->record + at, sizeof(*value));
		return true;
	}
	*value = register_of(place, argument->base);
	if (argument->from == ARGUMENT_REGISTER)
		return true;
	address += *value + register_of(place, argument->index) * argument->scale;
	*value = 0;
	if (bytes > sizeof(*value))
		return false;
	return !read_bytes(value, bytes, address);
}

/*
 * Reads the next argument. A global function, so that it is verified once and not for each: so it
 * is told the number of the place, and finds all else there.
 */
__attribute__((noinline)) int read_argument(__u32 number)
{
	struct place *place = bpf_map_lookup_elem(&places, &number);
	struct probeline *record;
	struct argument_list *list;
	struct argument *argument;
	__u64 value = 0;
	__u32 index, key, at;
	long length;

	if (!place)
		return 1;
	record = (void *)place->record;
	key = record->place;
	list = bpf_map_lookup_elem(&argument_lists, &key);
	index = record->used;
	if (!list || index >= PROBE_ARGUMENTS)
		return 1;
	record->used = index + 1;
	argument = &list->all[index];
	record->lengths[index] = -EFAULT;
	if (!value_of(place, argument, &value))
		return 0;
	if (argument->follow && read_bytes(&value, sizeof(value), value + argument->inside))
		return 0;
	record->values[index] = value;
	record->lengths[index] = 0;
	if (!argument->is_text)
		return 0;
	at = (sizeof(*record) + record->recorded + record->texts) & FOLLOWING;
	length = read_text(place->record + at, value);
	record->lengths[index] = length;
	if (length > 0 && length <= PROBE_TEXT_MAX)
		record->texts += length;
	return 0;
}

/* A record of a hit, if it is a target's; its registers are to be filled in. */
static __always_inline struct place *begin_line(void *ctx)
{
	struct place *place;
	struct probeline *record;

	if (!current_is_target())
		return NULL;
	place = take_place();
	if (!place)
		return NULL;
	record = (void *)place->record;
	describe(&record->event, 0);
	record->place = 0;
	record->recorded = 0;
	record->texts = 0;
	record->used = 0;
	return place;
}

static __always_inline void end_line(struct place *place)
{
	struct probeline *record = (void *)place->record;
	__u64 bytes;

	for (__u32 i = 0; i < PROBE_ARGUMENTS; i++) {
		if (i >= argument_count || read_argument(place->number))
			break;
	}
	bytes = sizeof(*record) + ((record->recorded + record->texts) & FOLLOWING);
	send_place(place, bytes);
}

static __always_inline void keep_registers(struct place *place, struct pt_regs *ctx)
{
	__u64 *registers = (void *)(place->record + SCRATCH);

	registers[0] = ctx->ax;
	registers[1] = ctx->dx;
	registers[2] = ctx->cx;
	registers[3] = ctx->bx;
	registers[4] = ctx->si;
	registers[5] = ctx->di;
	registers[6] = ctx->bp;
	registers[7] = ctx->sp;
	registers[8] = ctx->r8;
	registers[9] = ctx->r9;
	registers[10] = ctx->r10;
	registers[11] = ctx->r11;
	registers[12] = ctx->r12;
	registers[13] = ctx->r13;
	registers[14] = ctx->r14;
	registers[15] = ctx->r15;
	registers[16] = ctx->ip;
}

static __always_inline int line_of_registers(struct pt_regs *ctx, __u64 cookie)
{
	struct place *place = begin_line(ctx);
	struct probeline *record;

	if (!place)
		return 0;
	record = (void *)place->record;
	record->place = cookie;
	keep_registers(place, ctx);
	end_line(place);
	return 0;
}

SEC("uprobe")
int line_uprobe(struct pt_regs *ctx)
{
	return line_of_registers(ctx, bpf_get_attach_cookie(ctx));
}

SEC("uretprobe")
int line_uretprobe(struct pt_regs *ctx)
{
	return line_of_registers(ctx, bpf_get_attach_cookie(ctx));
}

SEC("uprobe.multi")
int line_uprobe_multi(struct pt_regs *ctx)
{
	return line_of_registers(ctx, bpf_get_attach_cookie(ctx));
}

SEC("uretprobe.multi")
int line_uretprobe_multi(struct pt_regs *ctx)
{
	return line_of_registers(ctx, bpf_get_attach_cookie(ctx));
}

SEC("kprobe")
int line_kprobe(struct pt_regs *ctx)
{
	return line_of_registers(ctx, 0);
}

SEC("kretprobe")
int line_kretprobe(struct pt_regs *ctx)
{
	return line_of_registers(ctx, 0);
}

/*
 * Copies what lies behind the fixed fields of a tracepoint, as far as they say: texts and arrays
 * follow each other. A global function, so that it is verified by itself.
 */
__attribute__((noinline)) int record_end(__u32 number)
{
	struct place *place = bpf_map_lookup_elem(&places, &number);
	__u32 end = record_bytes;

	if (!place)
		return 0;
	for (__u32 i = 0; i < PROBE_LOCATED; i++) {
		__u32 at = located[i] & FOLLOWING, location, reach;

		if (i >= located_count)
			break;
		at = (sizeof(struct probeline) + at) & FOLLOWING;
		__builtin_memcpy(&location, place->record + at, sizeof(location));
		reach = (location & 0xffff) + (location >> 16);
		if (located_relative[i])
			reach += located[i] + sizeof(location);
		if (reach > end)
			end = reach;
	}
	return end;
}

SEC("tracepoint")
int line_tracepoint(void *ctx)
{
	struct place *place = begin_line(ctx);
	struct probeline *record;
	__u64 bytes = record_bytes;

	if (!place)
		return 0;
	record = (void *)place->record;
	if (bytes > PROBE_RECORD_MAX)
		bytes = PROBE_RECORD_MAX;
	bpf_probe_read_kernel(place->record + sizeof(*record), bytes, ctx);
	if (located_count) {
		bytes = record_end(place->number);
		barrier_var(bytes);
		if (bytes > PROBE_RECORD_MAX)
			bytes = PROBE_RECORD_MAX;
		barrier_var(bytes);
		bpf_probe_read_kernel(place->record + sizeof(*record), bytes, ctx);
	}
	record->recorded = bytes;
	end_line(place);
	return 0;
}

/* What interrupted it, and the address that a fault is at. */
SEC("perf_event")
int line_perf_event(struct bpf_perf_event_data *ctx)
{
	struct place *place = begin_line(ctx);
	__u64 *registers;

	if (!place)
		return 0;
	registers = (void *)(place->record + SCRATCH);
	registers[0] = ctx->regs.ip;
	registers[1] = ctx->addr;
	end_line(place);
	return 0;
}

SEC("fentry")
int line_fentry(void *ctx)
{
	struct place *place = begin_line(ctx);
	__u64 *registers;

	if (!place)
		return 0;
	registers = (void *)(place->record + SCRATCH);
	for (__u32 i = 0; i < PROBE_ARGUMENTS; i++)
		bpf_get_func_arg(ctx, i, &registers[i]);
	end_line(place);
	return 0;
}

SEC("fexit")
int line_fexit(void *ctx)
{
	struct place *place = begin_line(ctx);

	if (!place)
		return 0;
	bpf_get_func_ret(ctx, (void *)(place->record + SCRATCH));
	end_line(place);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
