/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One step up a user stack, to the caller of a frame: by its row of an unwind table, or by what is
 * known of code that has none.
 */
#ifndef RPROF_STEPS_BPF_H
#define RPROF_STEPS_BPF_H

#include "registers.bpf.h"
#include "tables.bpf.h"

/* enum Kind and enum Rbp of profiler/unwind/rule.rs. */
enum rule_kind {
	RULE_NONE,
	RULE_SP,
	RULE_BP,
	RULE_SP_DEREF,
	RULE_BP_DEREF,
	RULE_PLT,
	RULE_SIGNAL,
	RULE_REGISTER,
	RULE_END,
	RULE_ODD,
	RULE_RETURN,
};

enum rule_bp {
	BP_SAME,
	BP_AT_CFA,
	BP_AT_BP,
	BP_LOST,
};

/* Where a rule has rbx: where it was, so many words below the CFA, or lost. */
#define BX_SAME 0
#define BX_LOST 15

/*
 * Registers of the interrupted code in the ucontext that a signal frame's rsp points to: r8 to r15,
 * rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip (struct sigcontext_64).
 */
#define UCONTEXT_REGISTERS 0x28
#define UCONTEXT_COUNT 17

/* What rbp is once it is lost: no frame pointer, and not the 0 that marks the outermost frame. */
#define LOST 1

/* No frame is larger; anything beyond is not a frame pointer. */
#define FRAME_BYTES_MAX (16 << 20)

static __always_inline bool read_word(__u64 *to, __u64 address)
{
	return bpf_probe_read_user(to, sizeof(*to), (const void *)address) == 0;
}

static __always_inline int end_stack(struct unwind *unwind, __u32 status)
{
	unwind->status = status;
	return 1;
}

static __always_inline int signal_step(struct unwind *unwind)
{
	__u64 saved[UCONTEXT_COUNT];

	if (bpf_probe_read_user(saved, sizeof(saved),
				(const void *)(unwind->sp + UCONTEXT_REGISTERS)))
		return end_stack(unwind, UNWIND_UNREADABLE);
	for (int i = 8; i < REGISTERS; i++)
		unwind->registers[i] = saved[i - 8];
	unwind->registers[0] = saved[13];
	unwind->registers[1] = saved[12];
	unwind->registers[2] = saved[14];
	unwind->registers[3] = saved[11];
	unwind->registers[4] = saved[9];
	unwind->registers[5] = saved[8];
	unwind->registers[REGISTER_BP] = unwind->bp = saved[10];
	unwind->registers[REGISTER_SP] = unwind->sp = saved[15];
	unwind->ip = saved[16];
	unwind->exact = true;
	unwind->calls = 0;
	unwind->bx_at = 0;
	return 0;
}

/* On to the caller, whose return address and stack pointer are known. */
static __always_inline int call_step(struct unwind *unwind, __u64 ip, __u64 sp)
{
	unwind->ip = ip;
	unwind->sp = sp;
	unwind->exact = false;
	unwind->calls++;
	return 0;
}

/* `mov $15, %rax; syscall`: rt_sigreturn, for which musl and Go have no unwind rows. */
static __always_inline bool is_sigreturn(__u64 ip)
{
	__u64 code = 0;

	return read_word(&code, ip) && code == 0x0f0000000fc0c748ULL;
}

static __always_inline int frame_pointer_step(struct unwind *unwind)
{
	__u64 frame[2];

	if (unwind->bp == 0) /* the ABI's mark of the outermost frame */
		return end_stack(unwind, UNWIND_COMPLETE);
	if (unwind->bp < unwind->sp || unwind->bp & 7 || unwind->bp - unwind->sp > FRAME_BYTES_MAX)
		return end_stack(unwind, UNWIND_BAD_FRAME_POINTER);
	if (bpf_probe_read_user(frame, sizeof(frame), (const void *)unwind->bp))
		return end_stack(unwind, UNWIND_UNREADABLE);
	call_step(unwind, frame[1], unwind->bp + sizeof(frame));
	unwind->bx_at = LOST; /* there is no row to tell */
	unwind->bp = frame[0];
	return 0;
}

/*
 * Behind the system call of clone() and clone3(), in a file that has rows: there is none here,
 * since it returns twice, on the stack of the caller and on a new one.
 */
static __always_inline bool is_clone(const struct unwind *unwind)
{
	__u16 code = 0;

	return unwind->calls == 0 && unwind->mapping.file != NO_FILE &&
	       bpf_probe_read_user(&code, sizeof(code), (const void *)(unwind->ip - 2)) == 0 &&
	       code == 0x050f;
}

static __always_inline int clone_step(struct unwind *unwind)
{
	__u64 ip;

	if (unwind->registers[0] == 0) /* the new thread, before its first instruction */
		return end_stack(unwind, UNWIND_COMPLETE);
	if (!read_word(&ip, unwind->sp))
		return end_stack(unwind, UNWIND_UNREADABLE);
	return call_step(unwind, ip, unwind->sp + sizeof(__u64));
}

/*
 * True if rbp may be taken for a frame pointer. It is one in all of Go, whose rows count in the
 * innermost frame only; but not where the CFA is in another register, as in the resolver of lazily
 * bound functions, which leaves rbp to its caller. And a row that rprof does not have says that
 * there is a caller, where an rbp of 0 would say that there is none.
 */
static __always_inline bool may_guess(const struct unwind *unwind, __u64 rule)
{
	if ((rule & 15) == RULE_REGISTER)
		return (rule >> 12 & 15) == REGISTER_SP;
	return (rule & 15) == RULE_NONE || unwind->bp;
}

/* Where there is no row, or one that cannot be used. */
static __always_inline int step_without_row(struct unwind *unwind, __u64 rule)
{
	int ended;

	if (is_sigreturn(unwind->ip))
		return signal_step(unwind);
	if ((rule & 15) == RULE_NONE && is_clone(unwind))
		return clone_step(unwind);
	if (!may_guess(unwind, rule))
		return end_stack(unwind, UNWIND_NO_ROW);
	ended = frame_pointer_step(unwind);
	if (ended && unwind->status == UNWIND_BAD_FRAME_POINTER && unwind->mapping.file != NO_FILE)
		unwind->status = UNWIND_NO_ROW;
	return ended;
}

/*
 * True if a function that realigns its stack has popped rbp already. GCC still says then that the
 * caller's is at [rbp], as it was before. What lies next is the copy of the return address that
 * such a function pushes first.
 */
static __always_inline bool has_popped_bp(const struct unwind *unwind, __u64 cfa)
{
	__u64 copy, ip;

	return read_word(&copy, unwind->sp) && read_word(&ip, cfa - 8) && copy == ip;
}

/* The caller's rbp; false if it cannot be read. */
static __always_inline bool restore_bp(struct unwind *unwind, __u64 rule, __u64 cfa)
{
	__s64 offset = (__s16)(rule >> 16);

	switch (rule >> 8 & 15) {
	case BP_AT_CFA:
		return read_word(&unwind->bp, cfa + offset);
	case BP_AT_BP:
		if ((rule & 15) == RULE_REGISTER && has_popped_bp(unwind, cfa))
			break;
		return read_word(&unwind->bp, unwind->bp + offset);
	case BP_LOST:
		unwind->bp = LOST;
	}
	return true;
}

/* The canonical frame address, which the caller's stack pointer is; false if it is unreadable. */
static __always_inline bool frame_address(struct unwind *unwind, __u64 rule, __u64 *cfa)
{
	__s64 offset = (__s32)(rule >> 32);
	__u32 parameter = rule >> 12 & 15;
	bool there = true;

	switch (rule & 15) {
	case RULE_SP:
		*cfa = unwind->sp + offset;
		break;
	case RULE_BP:
		*cfa = unwind->bp + offset;
		break;
	case RULE_SP_DEREF:
		there = read_word(cfa, unwind->sp + offset);
		*cfa += 8 * parameter;
		break;
	case RULE_BP_DEREF:
		there = read_word(cfa, unwind->bp + offset);
		*cfa += 8 * parameter;
		break;
	case RULE_PLT:
		*cfa = unwind->sp + offset + ((unwind->ip & 15) >= parameter ? 8 : 0);
		break;
	case RULE_REGISTER:
		*cfa = unwind->registers[parameter & (REGISTERS - 1)];
		if (parameter == REGISTER_BX && unwind->bx_at)
			there = read_word(cfa, unwind->bx_at);
		*cfa += offset;
	}
	return there;
}

/* False if the CFA comes from a register that cannot have held it. */
static __always_inline bool is_near(const struct unwind *unwind, __u64 rule, __u64 cfa)
{
	return (rule & 15) != RULE_REGISTER || unwind->calls == 0 ||
	       cfa - unwind->sp <= FRAME_BYTES_MAX;
}

/* Only where it is: hardly any stack needs its value. */
static __always_inline void follow_bx(struct unwind *unwind, __u64 rule, __u64 cfa)
{
	__u32 words = rule >> 4 & 15;

	if (words != BX_SAME)
		unwind->bx_at = words == BX_LOST ? LOST : cfa - 8 * words;
}

/* The caller's rbp and return address; false if they cannot be read. */
static __always_inline bool restore_caller(struct unwind *unwind, __u64 rule, __u64 cfa, __u64 *ip)
{
	__u64 pair[2];

	/* Side by side, as `push %rbp` leaves them: one read takes half the time of two. */
	if ((rule >> 8 & 15) == BP_AT_CFA && (__s16)(rule >> 16) == -16) {
		if (bpf_probe_read_user(pair, sizeof(pair), (const void *)(cfa - 16)))
			return false;
		unwind->bp = pair[0];
		*ip = pair[1];
		return true;
	}
	return restore_bp(unwind, rule, cfa) && read_word(ip, cfa - 8);
}

static __always_inline int table_step(struct unwind *unwind, __u64 rule)
{
	__u64 cfa = 0, ip;

	if (!frame_address(unwind, rule, &cfa))
		return end_stack(unwind, UNWIND_UNREADABLE);
	/* Upwards only, or it could go round. */
	if (cfa <= unwind->sp || !is_near(unwind, rule, cfa))
		return end_stack(unwind, UNWIND_NO_ROW);
	if (!restore_caller(unwind, rule, cfa, &ip))
		return end_stack(unwind, UNWIND_UNREADABLE);
	follow_bx(unwind, rule, cfa);
	return call_step(unwind, ip, cfa);
}

/* To a return address that is in a register. */
static __always_inline int return_step(struct unwind *unwind, __u64 rule)
{
	__s64 offset = (__s32)(rule >> 32);

	if (unwind->calls || offset < 0)
		return end_stack(unwind, UNWIND_NO_ROW);
	return call_step(unwind, unwind->registers[rule >> 12 & (REGISTERS - 1)],
			 unwind->sp + offset);
}

/*
 * True if the register that the CFA is in is known: in an exact frame, and in its caller for
 * registers that are lost in a call. That a row names such a one means that it was not: it is
 * assembly by hand calling its like, as in OpenSSL.
 */
static __always_inline bool knows_register(const struct unwind *unwind, __u64 rule)
{
	const __u32 lost_in_calls = 0xf37; /* all but rbx, rbp, rsp, r12 to r15 */

	if ((rule >> 12 & 15) == REGISTER_BX)
		return unwind->bx_at != LOST;
	return unwind->calls == 0 || (unwind->calls == 1 && lost_in_calls >> (rule >> 12 & 15) & 1);
}

/* Finds the mapping of the code at `pc`. Of a process that is not loaded, all are without table. */
static __always_inline bool enter_mapping(struct unwind *unwind, __u64 pc)
{
	struct mapping *mapping;

	if (!unwind->loaded || mapping_holds(&unwind->mapping, pc))
		return true;
	mapping = find_mapping(&unwind->process, pc);
	if (!mapping)
		return false;
	unwind->mapping = *mapping;
	return true;
}

static __always_inline int step(struct unwind *unwind)
{
	__u32 depth = unwind->stack.depth;
	bool innermost = depth == 0;
	__u64 pc = unwind->exact ? unwind->ip : unwind->ip - 1;
	bool known = enter_mapping(unwind, pc);
	__u64 rule;

	if (!unwind->ip && !innermost)
		return end_stack(unwind, UNWIND_COMPLETE);
	if (depth >= STACK_DEPTH_MAX)
		return end_stack(unwind, UNWIND_TOO_DEEP);
	if (known || innermost) {
		/* User space takes one from each address but the first; that suits return
		 * addresses. */
		unwind->stack.addresses[depth] = unwind->ip + (unwind->exact && !innermost);
		unwind->stack.depth = depth + 1;
	}
	if (!known)
		return end_stack(unwind, UNWIND_NO_MAPPING);
	rule = unwind->mapping.file == NO_FILE
		       ? RULE_NONE
		       : find_rule(unwind->mapping.file, pc - unwind->mapping.bias);
	switch (rule & 15) {
	case RULE_END:
		return end_stack(unwind, UNWIND_COMPLETE);
	case RULE_SIGNAL:
		return signal_step(unwind);
	case RULE_RETURN:
		return return_step(unwind, rule);
	case RULE_NONE:
	case RULE_ODD:
		return step_without_row(unwind, rule);
	case RULE_REGISTER:
		if (!knows_register(unwind, rule))
			return step_without_row(unwind, rule);
	}
	return table_step(unwind, rule);
}

#endif
