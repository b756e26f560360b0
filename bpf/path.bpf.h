/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Paths out of the kernel's own tree of names: what a file is called now, symbolic links followed,
 * as its process sees it. bpf_d_path() is not for tracepoints.
 */
#ifndef RPROF_PATH_BPF_H
#define RPROF_PATH_BPF_H

#include "events.bpf.h"

/* Names that one path is followed through; deeper ones are cut at their root. */
#define NAMES_MAX 48
/* NAME_MAX and a NUL. */
#define NAME_BYTES 256

enum path_status {
	PATH_NONE = 0,
	PATH_WHOLE = 1,
	PATH_CUT = 2,    /* its first names are missing */
	PATH_PSEUDO = 3, /* not in any tree: a pipe, a socket, memory */
};

/* A path as names from the last to the first, each with a NUL behind it, in a record's text. */
struct names {
	__u64 inode;  /* of what is in no tree */
	__u32 status; /* enum path_status */
	__u32 bytes;
};

static __always_inline int walk_ends(struct walk *walk, __u32 status)
{
	walk->status = status;
	return 0;
}

/* From the top of a mount to where it is mounted. */
static __always_inline int walk_up(struct walk *walk)
{
	struct mount *mount = (void *)walk->mnt - bpf_core_field_offset(struct mount, mnt);
	struct mount *above = BPF_CORE_READ(mount, mnt_parent);
	struct vfsmount *mnt = (void *)above + bpf_core_field_offset(struct mount, mnt);

	if (above == mount)
		return walk_ends(walk, PATH_WHOLE);
	walk->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
	walk->top = BPF_CORE_READ(mnt, mnt_root);
	walk->mnt = mnt;
	return 1;
}

/*
 * One step of the walk in that place: 0 if it was the last. A function of its own to the verifier,
 * which then looks at it once and not at all ways through all steps.
 */
__noinline int walk_step(__u32 number)
{
	struct place *place = bpf_map_lookup_elem(&places, &number);
	struct walk *walk;
	struct dentry *dentry, *parent;
	const unsigned char *name;
	__u32 at, length;

	if (!place)
		return 0;
	walk = &place->walk;
	dentry = walk->dentry;
	if (dentry == walk->root && walk->mnt == walk->root_mnt)
		return walk_ends(walk, PATH_WHOLE);
	if (dentry == walk->top)
		return walk_up(walk);
	parent = BPF_CORE_READ(dentry, d_parent);
	name = BPF_CORE_READ(dentry, d_name.name);
	length = BPF_CORE_READ(dentry, d_name.len) & (NAME_BYTES - 1);
	at = walk->at;
	if (at > RECORD_MAX - NAME_BYTES || bpf_probe_read_kernel(place->record + at, length, name))
		return walk_ends(walk, PATH_CUT);
	at += length;
	if (at >= RECORD_MAX)
		return walk_ends(walk, PATH_CUT);
	place->record[at] = 0;
	walk->at = at + 1;
	if (parent == dentry) {
		walk->inode = BPF_CORE_READ(dentry, d_inode, i_ino);
		return walk_ends(walk, PATH_PSEUDO);
	}
	walk->dentry = parent;
	return 1;
}

/* Names of a path, up to the root directory of the current process, to the place's record from
 * byte `at` on. Returns where they end. */
static __always_inline __u32 walk(struct place *place, struct names *names, __u32 at,
				  struct vfsmount *mnt, struct dentry *dentry)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	struct walk *walk = &place->walk;
	__u32 number = place->number;

	walk->mnt = mnt;
	walk->dentry = dentry;
	walk->top = BPF_CORE_READ(mnt, mnt_root);
	walk->root_mnt = BPF_CORE_READ(fs, root.mnt);
	walk->root = BPF_CORE_READ(fs, root.dentry);
	walk->inode = 0;
	walk->status = PATH_CUT;
	walk->at = at;
	for (int i = 0; i < NAMES_MAX; i++) {
		if (!walk_step(number))
			break;
	}
	names->inode = walk->inode;
	names->status = walk->status;
	names->bytes = walk->at - at;
	return walk->at;
}

/* The open file of that descriptor; NULL if there is none. */
static __always_inline struct file___kernel *file_of(__u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file___kernel **files = BPF_CORE_READ(table, fd);
	struct file___kernel *file = NULL;

	if (fd < BPF_CORE_READ(table, max_fds))
		bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	return file;
}

/* Names of what `fd` is open on. */
static __always_inline __u32 walk_file(struct place *place, struct names *names, __u32 at, __u32 fd)
{
	struct file___kernel *file = file_of(fd);

	names->status = PATH_NONE;
	names->bytes = 0;
	if (!file)
		return at;
	return walk(place, names, at, BPF_CORE_READ(file, f_path.mnt),
		    BPF_CORE_READ(file, f_path.dentry));
}

/* fcntl.h */
#define AT_FDCWD -100

/* Names of the directory that a path begins at; none if it begins at the root. */
static __always_inline __u32 walk_base(struct place *place, struct names *names, __u32 at, int fd,
				       bool from_root)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	names->status = PATH_NONE;
	names->bytes = 0;
	if (from_root)
		return at;
	if (fd != AT_FDCWD)
		return walk_file(place, names, at, fd);
	return walk(place, names, at, BPF_CORE_READ(task, fs, pwd.mnt),
		    BPF_CORE_READ(task, fs, pwd.dentry));
}

/* A path as a program gave it, to byte `at` of the record; returns where it ends. */
static __always_inline __u32 read_path(struct place *place, __s32 *bytes, __u32 at,
				       const void *path)
{
	long length;

	if (at > RECORD_MAX - PATH_MAX)
		return at;
	length = bpf_probe_read_user_str(place->record + at, PATH_MAX, path);
	*bytes = length;
	if (length <= 0 || length > PATH_MAX) {
		place->record[at] = 0;
		return at;
	}
	return at + length;
}

#endif
