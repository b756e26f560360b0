/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * User stacks of any program: by unwind tables where there are some, by a frame pointer where there
 * are none (JIT code, assembly by hand, files without tables), and back to tables after that.
 *
 * One function, user_stack(), is all that a source knows of it. Each object has its own state, so
 * a perf event may interrupt a probe that is unwinding. Everything of the user's is read with
 * bpf_probe_read_user(), which never reads the kernel's memory, and the number of frames is
 * bounded.
 */
#ifndef RPROF_UNWIND_BPF_H
#define RPROF_UNWIND_BPF_H

#include "kernel.h"
#include "stack.h"
#include "tables.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

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

/* DWARF's numbers of rbp and rsp (System V ABI, AMD64 supplement, figure 3.36). */
#define REGISTER_BX 3
#define REGISTER_BP 6
#define REGISTER_SP 7
#define REGISTERS 16

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

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct unwind);
} unwind_state SEC(".maps");

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

static __always_inline int table_step(struct unwind *unwind, __u64 rule)
{
	__u64 cfa = 0, ip;

	if (!frame_address(unwind, rule, &cfa))
		return end_stack(unwind, UNWIND_UNREADABLE);
	/* Upwards only, or it could go round. */
	if (cfa <= unwind->sp || !is_near(unwind, rule, cfa))
		return end_stack(unwind, UNWIND_NO_ROW);
	if (!restore_bp(unwind, rule, cfa) || !read_word(&ip, cfa - 8))
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

/* What a process had mapped is gone with an exec, and its pid may be another's after its end. */
static __always_inline int forget_process(struct task_struct *task)
{
	__u32 pid = task->tgid;

	bpf_map_delete_elem(&unwind_processes, &pid);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(unwind_exec, struct task_struct *task)
{
	return forget_process(task);
}

SEC("tp_btf/sched_process_free")
int BPF_PROG(unwind_free, struct task_struct *task)
{
	return task->pid == task->tgid ? forget_process(task) : 0;
}

/*
 * One frame; not 0 at the end. A global function, which the verifier checks once and by itself:
 * so 128 rounds load on kernels that have no bpf_loop (it came with 5.17).
 */
__attribute__((noinline)) int unwind_step(__u32 slot)
{
	struct unwind *unwind = bpf_map_lookup_elem(&unwind_state, &slot);

	return unwind ? step(unwind) : 1;
}

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
	unwind->registers[0] = regs->ax;
	unwind->registers[1] = regs->dx;
	unwind->registers[2] = regs->cx;
	unwind->registers[3] = regs->bx;
	unwind->registers[4] = regs->si;
	unwind->registers[5] = regs->di;
	unwind->registers[REGISTER_BP] = regs->bp;
	unwind->registers[REGISTER_SP] = regs->sp;
	unwind->registers[8] = regs->r8;
	unwind->registers[9] = regs->r9;
	unwind->registers[10] = regs->r10;
	unwind->registers[11] = regs->r11;
	unwind->registers[12] = regs->r12;
	unwind->registers[13] = regs->r13;
	unwind->registers[14] = regs->r14;
	unwind->registers[15] = regs->r15;
	unwind->ip = regs->ip;
	unwind->sp = regs->sp;
	unwind->bp = regs->bp;
	return true;
}

/* Follows the stack from the registers in the state. */
static __always_inline void unwind_all(struct unwind *unwind, __u32 pid)
{
	struct process *process = bpf_map_lookup_elem(&unwind_processes, &pid);

	unwind->stack.depth = 0;
	unwind->exact = true;
	unwind->calls = 0;
	unwind->bx_at = 0;
	unwind->loaded = process != NULL;
	unwind->mapping.pages = 0;
	unwind->mapping.file = NO_FILE;
	if (process)
		unwind->process = *process;
	for (int i = 0; i <= STACK_DEPTH_MAX; i++) {
		if (unwind_step(0))
			break;
	}
	if (!unwind->loaded)
		unwind->status = UNWIND_NOT_LOADED;
}

static __always_inline bool is_exiting(void)
{
	return task_flags() & PF_EXITING;
}

/* In an exec, from some moment on, the registers are still the old program's, but not the memory.
 */
static __always_inline bool is_in_exec(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return bpf_core_field_exists(task->in_execve) &&
	       BPF_CORE_READ_BITFIELD_PROBED(task, in_execve);
}

/*
 * The user stack of the current task, leaf first, in the object's own state; its status says how
 * it ended. NULL only if there is no state, which does not happen.
 */
static __always_inline struct unwind *user_stack(__u32 pid)
{
	__u32 slot = 0;
	struct unwind *unwind = bpf_map_lookup_elem(&unwind_state, &slot);

	if (!unwind)
		return NULL;
	unwind->status = UNWIND_NO_STACK;
	unwind->stack.depth = 0;
	unwind->loaded = false;
	if (user_registers(unwind))
		unwind_all(unwind, pid);
	/* Its memory is being given back: what can be read is as good as it gets. */
	if (unwind->status != UNWIND_COMPLETE &&
	    (is_exiting() || (unwind->loaded && is_in_exec()))) {
		unwind->status = UNWIND_NO_STACK;
		unwind->stack.depth = 0;
	}
	return unwind;
}

#endif
