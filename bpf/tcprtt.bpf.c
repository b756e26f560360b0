// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Source `tcprtt`: the round-trip time of connections, as TCP itself smooths it, at each segment
 * that arrives.
 */
#include "kernel.h"
#include "tcp.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct tcp_sock {
	__u32 srtt_us; /* in eighths of a us */
} __attribute__((preserve_access_index));

/* A segment arrives on behalf of no process: the target is the socket's. */
static __always_inline bool socket_matches(struct sock *sock)
{
	if (filter_uid && BPF_CORE_READ(sock, sk_uid.val) != target_uid)
		return false;
	return !filter_cgroup || cgroup_matches(BPF_CORE_READ(sock, sk_cgrp_data.cgroup));
}

SEC("tp_btf/tcp_probe")
int BPF_PROG(tcprtt_probe, struct sock *sock)
{
	__u64 ns = (BPF_CORE_READ((struct tcp_sock *)sock, srtt_us) >> 3) * 1000ULL;
	struct latency_key key = {};
	struct histogram *histogram;
	struct ends ends;

	/* 0: none was taken yet. */
	if (!ns || ns < least || !socket_matches(sock))
		return 0;
	read_ends(sock, &ends);
	if (!ends_match(&ends))
		return 0;
	ends_key(&key, &ends, false);
	if (by_cgroup)
		key.cgroup = BPF_CORE_READ(sock, sk_cgrp_data.cgroup, kn, id);
	cpu_key(&key);
	histogram = find_histogram(&key, NULL, NULL);
	if (histogram)
		count(histogram, ns);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
