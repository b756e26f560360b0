// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Source `readline`: lines typed into a shell, as readline() returns them. */
#include "kernel.h"
#include "events.bpf.h"
#include <bpf/bpf_tracing.h>

#define LINE_MAX 4096

/* The line follows. */
struct readline {
	struct event event;
	__u32 bytes; /* with its NUL */
	__u32 unused;
};

struct readline unused_readline SEC(".data.types");

SEC("uretprobe")
int readline_done(struct pt_regs *ctx)
{
	void *line = (void *)PT_REGS_RC(ctx);
	struct place *place;
	struct readline *record;
	long length;

	/* NULL at the end of input. */
	if (!line || !current_is_target())
		return 0;
	place = take_place();
	if (!place)
		return 0;
	record = (void *)place->record;
	describe(&record->event, 0);
	length = bpf_probe_read_user_str(place->record + sizeof(*record), LINE_MAX, line);
	if (length < 0 || length > LINE_MAX)
		length = 0;
	record->bytes = length;
	send_place(place, sizeof(*record) + length);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
