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
#include "registers.bpf.h"
#include "steps.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/*
 * One frame; not 0 at the end. A global function, which the verifier checks once and by itself:
 * so 128 rounds load on kernels that have no bpf_loop (it came with 5.17).
 */
__attribute__((noinline)) int unwind_step(__u32 slot)
{
	struct unwind *unwind = bpf_map_lookup_elem(&unwind_state, &slot);

	return unwind ? step(unwind) : 1;
}

/* By frame pointers alone, to measure what tables cost. */
const volatile bool frame_pointers_only = false;

/* Follows the stack from the registers in the state. */
static __always_inline void unwind_all(struct unwind *unwind, __u32 pid, __u32 slot)
{
	struct process *process = NULL;

	if (!frame_pointers_only)
		process = bpf_map_lookup_elem(&unwind_processes, &pid);
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
		if (unwind_step(slot))
			break;
	}
	if (!unwind->loaded && !frame_pointers_only)
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
 * The user stack of the current task, leaf first, in the state of `slot`; its status says how
 * it ended. NULL only if there is no state, which does not happen.
 */
static __always_inline struct unwind *user_stack(__u32 pid, __u32 slot)
{
	struct unwind *unwind = bpf_map_lookup_elem(&unwind_state, &slot);

	if (!unwind)
		return NULL;
	unwind->status = UNWIND_NO_STACK;
	unwind->stack.depth = 0;
	unwind->loaded = false;
	if (user_registers(unwind))
		unwind_all(unwind, pid, slot);
	/* Its memory is being given back: what can be read is as good as it gets. */
	if (unwind->status != UNWIND_COMPLETE &&
	    (is_exiting() || (unwind->loaded && is_in_exec()))) {
		unwind->status = UNWIND_NO_STACK;
		unwind->stack.depth = 0;
	}
	return unwind;
}

#endif
