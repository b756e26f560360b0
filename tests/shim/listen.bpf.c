/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Hears both probes of the otel_memory contract, and passes on what they say. Compiled by the tests,
 * so it includes nothing: helpers by their numbers in include/uapi/linux/bpf.h.
 */
typedef unsigned long long u64;
typedef unsigned int u32;

#define SEC(name) __attribute__((section(name), used))
#define BPF_MAP_TYPE_RINGBUF 27

static long (*const ringbuf_output)(void *map, void *data, u64 size, u64 flags) = (void *)130;
static u64 (*const get_current_pid_tgid)(void) = (void *)14;

/* struct pt_regs of x86_64 in full: arch/x86/include/asm/ptrace.h. */
struct registers {
	u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
	u64 orig_ax, ip, cs, flags, sp, ss;
};

/* As `Event` in listen.rs reads it. */
struct event {
	u64 process, pointer, size, weight;
};

struct {
	int (*type)[BPF_MAP_TYPE_RINGBUF];
	int (*max_entries)[64 << 20];
} events SEC(".maps");

u64 lost;

static void tell(u64 pointer, u64 size, u64 weight)
{
	struct event event = {get_current_pid_tgid() >> 32, pointer, size, weight};

	if (ringbuf_output(&events, &event, sizeof(event), 1))
		__sync_fetch_and_add(&lost, 1);
}

SEC("uprobe") int alloc(struct registers *registers)
{
	tell(registers->di, registers->si, registers->dx);
	return 0;
}

/* Nothing else has this size. */
SEC("uprobe") int release(struct registers *registers)
{
	tell(registers->di, ~0ULL, 0);
	return 0;
}

char licence[] SEC("license") = "Dual BSD/GPL";
