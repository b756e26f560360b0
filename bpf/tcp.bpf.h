/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TCP connections: which are watched, and the names of their ends. */
#ifndef RPROF_TCP_BPF_H
#define RPROF_TCP_BPF_H

#include "kernel.h"
#include "latency.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* include/linux/socket.h, include/uapi/linux/in.h */
#define AF_INET 2
#define IPPROTO_TCP 6

/* Only connections of this family; 0 is any. */
const volatile __u16 family = 0;

/* Only connections whose ends are these; addresses as in a key, port 0 is any. */
const volatile bool filter_local = false;
const volatile bool filter_remote = false;
const volatile __u8 local_address[16] = {};
const volatile __u8 remote_address[16] = {};
const volatile __u16 local_port = 0;
const volatile __u16 remote_port = 0;

const volatile bool by_local_address = false;
const volatile bool by_remote_address = false;
const volatile bool by_local_port = false;
const volatile bool by_remote_port = false;

struct ends {
	__u8 local[16]; /* IPv4 as ::ffff:a.b.c.d */
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
	__u16 family;
	__u16 unused;
};

static __always_inline void map_address(__u8 *to, __be32 address)
{
	to[10] = to[11] = 0xff;
	__builtin_memcpy(to + 12, &address, sizeof(address));
}

static __always_inline void read_ends(const struct sock *sock, struct ends *ends)
{
	__builtin_memset(ends, 0, sizeof(*ends));
	ends->local_port = BPF_CORE_READ(sock, __sk_common.skc_num);
	ends->remote_port = bpf_ntohs(BPF_CORE_READ(sock, __sk_common.skc_dport));
	ends->family = BPF_CORE_READ(sock, __sk_common.skc_family);
	if (ends->family == AF_INET) {
		map_address(ends->local, BPF_CORE_READ(sock, __sk_common.skc_rcv_saddr));
		map_address(ends->remote, BPF_CORE_READ(sock, __sk_common.skc_daddr));
	} else if (bpf_core_field_exists(sock->__sk_common.skc_v6_daddr)) {
		/* Without IPv6 the kernel has no such field, nor such a socket. */
		BPF_CORE_READ_INTO(&ends->local, sock, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&ends->remote, sock, __sk_common.skc_v6_daddr);
	}
}

static __always_inline bool same_address(const __u8 *address, const volatile __u8 *wanted)
{
	for (int i = 0; i < 16; i++) {
		if (address[i] != wanted[i])
			return false;
	}
	return true;
}

static __always_inline bool ends_match(const struct ends *ends)
{
	if (family && ends->family != family)
		return false;
	if (local_port && ends->local_port != local_port)
		return false;
	if (remote_port && ends->remote_port != remote_port)
		return false;
	if (filter_local && !same_address(ends->local, local_address))
		return false;
	return !filter_remote || same_address(ends->remote, remote_address);
}

/* The parts of a key that are the connection's: all of them, or those that are kept apart. */
static __always_inline void ends_key(struct latency_key *key, const struct ends *ends, bool all)
{
	if (all || by_local_address)
		__builtin_memcpy(key->name, ends->local, 16);
	if (all || by_remote_address)
		__builtin_memcpy(key->name + 16, ends->remote, 16);
	if (all || by_local_port)
		key->local_port = ends->local_port;
	if (all || by_remote_port)
		key->remote_port = ends->remote_port;
}

#endif
