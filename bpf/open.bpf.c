// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Source `open`: files that are opened, with the result. All of it is taken as the call returns:
 * its arguments are still there, the path has been read in, and the file is known.
 */
#include "kernel.h"
#include "path.bpf.h"
#include <bpf/bpf_tracing.h>

/* arch/x86/entry/syscalls/syscall_64.tbl */
enum {
	NR_OPEN = 2,
	NR_CREAT = 85,
	NR_OPENAT = 257,
	NR_OPENAT2 = 437,
};

/* fcntl.h: what creat() opens with. */
#define CREAT_FLAGS (01 | 0100 | 01000)

const volatile bool failed_only = false;
/* The path as resolved is wanted too, which takes longer than all else. */
const volatile bool with_names = true;

/* The path as given follows, then names. */
struct open {
	struct event event;
	struct names names; /* of the file, or of the directory that `path` is relative to */
	__s32 result;
	__u32 flags;
	__u32 mode;
	__u32 call;
	__s32 path_bytes; /* with its NUL; an errno if it could not be read */
	__u32 unused;
};

struct open unused_open SEC(".data.types");

/* What openat2() is told (include/uapi/linux/openat2.h). */
struct open_how {
	__u64 flags;
	__u64 mode;
	__u64 resolve;
};

static __always_inline void read_arguments(struct open *open, struct pt_regs *regs, __u64 *path,
					   int *fd)
{
	__u64 nr = regs->orig_ax;

	*fd = AT_FDCWD;
	*path = regs->di;
	open->flags = regs->si;
	open->mode = regs->dx;
	if (nr == NR_CREAT) {
		open->flags = CREAT_FLAGS;
		open->mode = regs->si;
	}
	if (nr != NR_OPENAT && nr != NR_OPENAT2)
		return;
	*fd = regs->di;
	*path = regs->si;
	open->flags = regs->dx;
	open->mode = regs->r10;
	if (nr == NR_OPENAT2) {
		struct open_how how = {};

		bpf_probe_read_user(&how, sizeof(how), (void *)regs->dx);
		open->flags = how.flags;
		open->mode = how.mode;
	}
}

SEC("tp_btf/sys_exit")
int BPF_PROG(open_exit, struct pt_regs *regs, long result)
{
	__u64 nr = regs->orig_ax, path;
	struct place *place;
	struct open *open;
	__u32 at = sizeof(struct open);
	int fd;

	if (nr != NR_OPENAT && nr != NR_OPEN && nr != NR_OPENAT2 && nr != NR_CREAT)
		return 0;
	if ((failed_only && result >= 0) || !current_is_target() || !is_native())
		return 0;
	place = take_place();
	if (!place)
		return 0;
	open = (void *)place->record;
	describe(&open->event, 0);
	read_arguments(open, regs, &path, &fd);
	open->call = nr;
	open->result = result;
	at = read_path(place, &open->path_bytes, at, (void *)path);
	open->names.status = PATH_NONE;
	open->names.bytes = 0;
	if (!with_names)
		goto out;
	if (result >= 0)
		at = walk_file(place, &open->names, at, result);
	else
		at = walk_base(place, &open->names, at, fd,
			       place->record[sizeof(struct open)] == '/');
out:
	send_place(place, at);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
