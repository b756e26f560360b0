/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The two probes of the otel_memory contract: opentelemetry-ebpf-profiler,
 * design-docs/00003-memory-profiling. A probe is a nop, and a note that says where it is and where
 * its arguments are; note format: SystemTap's sys/sdt.h.
 *
 * The nop has one byte. Linux 6.18 makes a call of one of five, a third faster, but the page that
 * it calls is not given to the children of a fork (VM_DONTCOPY), while the call is: they die of it.
 */
#ifndef RPROF_PROBES_H
#define RPROF_PROBES_H

#include <stdint.h>

/* clang-format off */
#define PROBE(name, arguments)                                                                     \
	"990: nop\n"                                                                               \
	".pushsection .note.stapsdt, \"\", \"note\"\n"                                             \
	".balign 4\n"                                                                              \
	".4byte 992f - 991f, 994f - 993f, 3\n"                                                     \
	"991: .asciz \"stapsdt\"\n"                                                                \
	"992: .balign 4\n"                                                                         \
	"993: .8byte 990b\n"                                                                       \
	".8byte _.stapsdt.base\n"                                                                  \
	".8byte 0\n"                                                                               \
	".asciz \"otel_memory\"\n"                                                                 \
	".asciz \"" name "\"\n"                                                                    \
	".asciz \"" arguments "\"\n"                                                               \
	"994: .balign 4\n"                                                                         \
	".popsection\n"                                                                            \
	".ifndef _.stapsdt.base\n"                                                                 \
	".pushsection .stapsdt.base, \"aG\", \"progbits\", .stapsdt.base, comdat\n"                \
	".weak _.stapsdt.base\n"                                                                   \
	".hidden _.stapsdt.base\n"                                                                 \
	"_.stapsdt.base: .space 1\n"                                                               \
	".size _.stapsdt.base, 1\n"                                                                \
	".popsection\n"                                                                            \
	".endif\n"
/* clang-format on */

/*
 * Not inlined, so that each probe has one place; and left as it is entered, by jumps, so that the
 * stack begins with it and goes on with who called the allocator. It is named for those who see it
 * there. Gives p.
 */
static __attribute__((noinline)) void *allocated(void *p, uint64_t size, uint64_t weight)
{
	__asm__ volatile(PROBE("alloc", "8@%%rdi 8@%%rsi 8@%%rdx")
			 :
			 : "D"(p), "S"(size), "d"(weight)
			 : "memory");
	return p;
}

static __attribute__((noinline)) void freed(void *p)
{
	__asm__ volatile(PROBE("free", "8@%%rdi") : : "D"(p) : "memory");
}

#endif
