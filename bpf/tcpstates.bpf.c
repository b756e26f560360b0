// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Source `tcpstates`: TCP connections as they change their state. Most changes come with a packet,
 * when any process may run: so each socket remembers the one that last called for a change, and a
 * connection that is accepted begins with what its listener knew.
 */
#include "kernel.h"
#include "events.bpf.h"
#include <bpf/bpf_tracing.h>

#define IPPROTO_TCP 6
#define AF_INET 2
#define AF_INET6 10
#define PORTS_MAX 16

/* include/net/tcp_states.h */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_CLOSE = 7,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
};

/* One of the two; 0: both. */
const volatile __u32 family_only = 0;
/* Ports of which a connection has one, if there are any. */
const volatile __u32 local_ports = 0, remote_ports = 0;
const volatile __u16 local_port[PORTS_MAX] = {};
const volatile __u16 remote_port[PORTS_MAX] = {};

struct tcpstate {
	struct event event; /* of the owner; no process id if that is not known */
	__u64 age;          /* ns in the old state; 0: not known */
	__u64 socket;       /* tells connections apart */
	__u32 old_state;
	__u32 new_state;
	__u32 family;
	__u16 local_port;
	__u16 remote_port;
	__u8 local[16]; /* an IPv4 address has the first four */
	__u8 remote[16];
};

struct tcpstate unused_tcpstate SEC(".data.types");

/* What is known of a socket. */
struct owner {
	__u64 since; /* when it came to its state; 0: not known */
	__u32 pid;
	__u32 tid;
	__u32 uid;
	__u16 is_target;
	__u16 local_port; /* which is taken from a socket before it is closed */
	char comm[TASK_COMM_LEN];
};

/* Goes with the socket; an accepted one gets a copy of its listener's. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct owner);
} owners SEC(".maps");

/* True where the change is one that its process calls for: connect, listen, shutdown or close. */
static __always_inline bool is_called_for(int old_state, int new_state)
{
	return new_state == TCP_SYN_SENT || new_state == TCP_LISTEN || old_state == TCP_LISTEN ||
	       new_state == TCP_FIN_WAIT1 || new_state == TCP_LAST_ACK;
}

static __always_inline void set_owner(struct owner *owner)
{
	__u64 id = bpf_get_current_pid_tgid();

	owner->pid = id >> 32;
	owner->tid = (__u32)id;
	owner->uid = (__u32)bpf_get_current_uid_gid();
	owner->is_target = current_is_target();
	bpf_get_current_comm(owner->comm, sizeof(owner->comm));
}

static __always_inline bool is_among(const volatile __u16 *ports, __u32 count, __u16 port)
{
	for (int i = 0; i < PORTS_MAX; i++) {
		if (i < count && ports[i] == port)
			return true;
	}
	return !count;
}

static __always_inline bool is_wanted(const struct tcpstate *state, const struct owner *owner)
{
	bool everyone = !filter_pid && !filter_comm && !filter_uid && !filter_cgroup;

	return (everyone || owner->is_target) && (!family_only || state->family == family_only) &&
	       is_among(local_port, local_ports, state->local_port) &&
	       is_among(remote_port, remote_ports, state->remote_port);
}

static __always_inline void read_addresses(struct tcpstate *state, const struct sock *sk)
{
	state->family = sk->__sk_common.skc_family;
	state->local_port = sk->__sk_common.skc_num;
	state->remote_port = __builtin_bswap16(sk->__sk_common.skc_dport);
	if (state->family == AF_INET6) {
		BPF_CORE_READ_INTO(&state->local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&state->remote, sk, __sk_common.skc_v6_daddr);
	} else {
		*(__u32 *)state->local = sk->__sk_common.skc_rcv_saddr;
		*(__u32 *)state->remote = sk->__sk_common.skc_daddr;
	}
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_changed, struct sock *sk, int old_state, int new_state)
{
	struct tcpstate state = {};
	struct owner *owner;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	owner = bpf_sk_storage_get(&owners, sk, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!owner) {
		__sync_fetch_and_add(&counters.crowded, 1);
		return 0;
	}
	/* Until then it was its listener, or nothing yet. */
	if (new_state == TCP_SYN_RECV)
		owner->since = 0;
	else if (is_called_for(old_state, new_state))
		set_owner(owner);
	read_addresses(&state, sk);
	if (state.local_port)
		owner->local_port = state.local_port;
	else if (new_state == TCP_CLOSE)
		state.local_port = owner->local_port;
	state.event.time = bpf_ktime_get_ns();
	if (is_wanted(&state, owner)) {
		state.event.pid = owner->pid;
		state.event.tid = owner->tid;
		state.event.uid = owner->uid;
		__builtin_memcpy(state.event.comm, owner->comm, TASK_COMM_LEN);
		state.age = owner->since ? state.event.time - owner->since : 0;
		state.socket = bpf_get_socket_cookie(sk);
		state.old_state = old_state;
		state.new_state = new_state;
		send(&state, sizeof(state));
	}
	owner->since = state.event.time;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
