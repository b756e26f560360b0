// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Source `tcpconnlat`: how long it took until a connection that a process asked for was there, or
 * until it failed. It begins where the first segment is about to be sent.
 */
#include "kernel.h"
#include "tcp.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* include/net/tcp_states.h */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_CLOSE = 7,
};

/* Errors that a connection ends with (asm-generic/errno.h): the last for one without. */
#define ECANCELED 125
#define ERRNO_MAX 4095

/* Whether connections that came about and those that did not are kept apart. */
const volatile bool by_result = false;

/* Whether each is told by itself. */
const volatile bool tell_each = false;

/* Who asked for a connection, and when. */
struct attempt {
	__u64 start; /* ns, CLOCK_MONOTONIC */
	struct latency_key key;
	struct ends ends;
	__u32 pid;
	__u32 tid;
	char comm[TASK_COMM_LEN];   /* of the process */
	char thread[TASK_COMM_LEN]; /* of the thread */
};

/* Goes with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct attempt);
} attempts SEC(".maps");

/* A connection, told by itself. */
struct connection {
	__u64 time; /* ns, CLOCK_MONOTONIC: when it was there or had failed */
	__u64 ns;
	struct latency_key key; /* with all that is known */
	char comm[TASK_COMM_LEN];
	char thread[TASK_COMM_LEN];
};

struct connection unused_connection SEC(".data.types");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} connections SEC(".maps");

static __always_inline void begin(struct sock *sock)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 id = bpf_get_current_pid_tgid();
	struct attempt *attempt;

	if (!target_matches(id >> 32))
		return;
	attempt = bpf_sk_storage_get(&attempts, sock, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!attempt) {
		count_missed();
		return;
	}
	/* Now: a connection that fails may lose its ends. The local port comes later. */
	read_ends(sock, &attempt->ends);
	__builtin_memset(&attempt->key, 0, sizeof(attempt->key));
	task_key(&attempt->key, task);
	attempt->pid = id >> 32;
	attempt->tid = id;
	bpf_get_current_comm(attempt->thread, sizeof(attempt->thread));
	BPF_CORE_READ_INTO(&attempt->comm, task, group_leader, comm);
	attempt->start = bpf_ktime_get_ns();
}

static __always_inline void tell(const struct attempt *attempt, __u64 now, __u16 error)
{
	struct connection *connection;

	connection = bpf_ringbuf_reserve(&connections, sizeof(*connection), 0);
	if (!connection) {
		count_untold();
		return;
	}
	connection->time = now;
	connection->ns = now - attempt->start;
	connection->key = attempt->key;
	connection->key.pid = attempt->pid;
	connection->key.tid = attempt->tid;
	connection->key.number = error;
	ends_key(&connection->key, &attempt->ends, true);
	__builtin_memcpy(connection->comm, attempt->comm, sizeof(connection->comm));
	__builtin_memcpy(connection->thread, attempt->thread, sizeof(connection->thread));
	bpf_ringbuf_submit(connection, 0);
}

static __always_inline void end(struct sock *sock, __u16 error)
{
	struct attempt *attempt = bpf_sk_storage_get(&attempts, sock, NULL, 0);
	__u64 now = bpf_ktime_get_ns();
	struct histogram *histogram;
	__u16 port;

	if (!attempt || !attempt->start)
		return;
	port = BPF_CORE_READ(sock, __sk_common.skc_num);
	if (port)
		attempt->ends.local_port = port;
	if (!error)
		read_ends(sock, &attempt->ends);
	if (now - attempt->start < least || !ends_match(&attempt->ends))
		goto out;
	if (by_result)
		attempt->key.number = error;
	ends_key(&attempt->key, &attempt->ends, false);
	cpu_key(&attempt->key);
	histogram = find_histogram(&attempt->key, attempt->comm, attempt->thread);
	if (histogram)
		count(histogram, now - attempt->start);
	if (tell_each)
		tell(attempt, now, error);
out:
	bpf_sk_storage_delete(&attempts, sock);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcpconnlat_state, struct sock *sock, int old, int new)
{
	int error;

	if (BPF_CORE_READ(sock, sk_protocol) != IPPROTO_TCP)
		return 0;
	if (new == TCP_SYN_SENT) {
		begin(sock);
	} else if (old == TCP_SYN_SENT || old == TCP_SYN_RECV) {
		/* Both ends may ask at once, which goes by way of SYN_RECV. */
		if (new == TCP_ESTABLISHED) {
			end(sock, 0);
		} else if (new != TCP_SYN_RECV) {
			error = BPF_CORE_READ(sock, sk_err);
			end(sock, error > 0 && error <= ERRNO_MAX ? error : ECANCELED);
		}
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
