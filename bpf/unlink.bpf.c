// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Source `unlink`: files and folders that are removed, with the result, as the call returns. */
#include "kernel.h"
#include "path.bpf.h"
#include <bpf/bpf_tracing.h>

/* arch/x86/entry/syscalls/syscall_64.tbl */
enum {
	NR_RMDIR = 84,
	NR_UNLINK = 87,
	NR_UNLINKAT = 263,
};

const volatile bool failed_only = false;

/* The path as given follows, then names. */
struct unlink {
	struct event event;
	struct names names; /* of the directory that `path` is relative to */
	__s32 result;
	__u32 flags;
	__u32 call;
	__s32 path_bytes; /* with its NUL; an errno if it could not be read */
};

struct unlink unused_unlink SEC(".data.types");

SEC("tp_btf/sys_exit")
int BPF_PROG(unlink_exit, struct pt_regs *regs, long result)
{
	__u64 nr = regs->orig_ax, path = regs->di;
	struct place *place;
	struct unlink *unlink;
	__u32 at = sizeof(struct unlink);
	int fd = AT_FDCWD;

	if (nr != NR_UNLINK && nr != NR_UNLINKAT && nr != NR_RMDIR)
		return 0;
	if ((failed_only && result >= 0) || !current_is_target() || !is_native())
		return 0;
	place = take_place();
	if (!place)
		return 0;
	unlink = (void *)place->record;
	describe(&unlink->event, 0);
	unlink->call = nr;
	unlink->result = result;
	unlink->flags = 0;
	if (nr == NR_UNLINKAT) {
		fd = regs->di;
		path = regs->si;
		unlink->flags = regs->dx;
	}
	at = read_path(place, &unlink->path_bytes, at, (void *)path);
	at = walk_base(place, &unlink->names, at, fd, place->record[sizeof(struct unlink)] == '/');
	send_place(place, at);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
