/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The state of a walk up a user stack, and the registers that it begins with: those of the current
 * task when it last was in user mode.
 */
#ifndef RPROF_REGISTERS_BPF_H
#define RPROF_REGISTERS_BPF_H

#include "kernel.h"
#include "stack.h"
#include "tables.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/* How a user stack ended. profiler/model/ has the words for it. */
enum unwind_status {
	UNWIND_COMPLETE = 0,
	UNWIND_NO_STACK,   /* a kernel thread, or memory that is gone already */
	UNWIND_NO_MAPPING, /* a return address that is in no executable memory that we know of */
	UNWIND_NO_ROW,     /* no table has the address, and there is no frame pointer either */
	UNWIND_BAD_FRAME_POINTER,
	UNWIND_UNREADABLE, /* a page of the stack that is not there */
	UNWIND_TOO_DEEP,
	UNWIND_NOT_LOADED, /* the process's tables are not here yet: frame pointers only */
	UNWIND_32_BIT,
	UNWIND_STATUS_MAX,
};

/* DWARF's numbers of rbp and rsp (System V ABI, AMD64 supplement, figure 3.36). */
#define REGISTER_BX 3
#define REGISTER_BP 6
#define REGISTER_SP 7
#define REGISTERS 16

#define PF_EXITING 0x00000004
#define PF_KTHREAD 0x00200000
#define USER32_CS 0x23

/* Registers and frames so far. */
struct unwind {
	__u64 registers[REGISTERS]; /* by DWARF's numbers, of the last frame that is exact */
	__u64 ip;
	__u64 sp;
	__u64 bp;
	struct process process;
	struct mapping mapping; /* the last one, since callers are mostly in the same */
	struct pt_regs saved;   /* as the entry code left them */
	bool loaded;            /* the process's mappings are known */
	bool exact;             /* ip is where code was interrupted, not a return address */
	__u32 calls;            /* frames since the last that is exact */
	__u64 bx_at;            /* where rbx was saved; 0: in its register; LOST */
	__u32 status;
	struct stack stack;
};

/*
 * Walks that may be under way on one CPU at a time. A perf event does not interrupt a perf event,
 * but a probe may be preempted for another of its own: such an object defines this to be more.
 */
#ifndef STACK_SLOTS
#define STACK_SLOTS 1
#endif

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STACK_SLOTS);
	__type(key, __u32);
	__type(value, struct unwind);
} unwind_state SEC(".maps");

static __always_inline __u32 task_flags(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, flags);
}

/* Where the entry code leaves a task's user registers: at the top of its kernel stack. */
static __always_inline const void *saved_registers(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	/* Before 5.15 nothing lies above them; since 6.9 there may be a FRED frame. */
	return BPF_CORE_READ(task, stack) + THREAD_SIZE - sizeof(struct pt_regs);
}

/* Puts registers in DWARF's order. */
static __always_inline void take_registers(__u64 *to, const struct pt_regs *regs)
{
	to[0] = regs->ax;
	to[1] = regs->dx;
	to[2] = regs->cx;
	to[3] = regs->bx;
	to[4] = regs->si;
	to[5] = regs->di;
	to[REGISTER_BP] = regs->bp;
	to[REGISTER_SP] = regs->sp;
	to[8] = regs->r8;
	to[9] = regs->r9;
	to[10] = regs->r10;
	to[11] = regs->r11;
	to[12] = regs->r12;
	to[13] = regs->r13;
	to[14] = regs->r14;
	to[15] = regs->r15;
}

/*
 * Registers of the current task when it last was in user mode, which is now if the program
 * interrupted it there.
 */
static __always_inline bool user_registers(struct unwind *unwind)
{
	/* Not on the stack, which has 512 bytes for all functions together before 6.12. */
	struct pt_regs *regs = &unwind->saved;

	if (task_flags() & PF_KTHREAD)
		return false;
	if (bpf_probe_read_kernel(regs, sizeof(*regs), saved_registers()))
		return false;
	if (regs->cs == USER32_CS) {
		unwind->status = UNWIND_32_BIT;
		return false;
	}
	if ((regs->cs & 3) != 3 || !regs->ip)
		return false;
	take_registers(unwind->registers, regs);
	unwind->ip = regs->ip;
	unwind->sp = regs->sp;
	unwind->bp = regs->bp;
	return true;
}

#endif
