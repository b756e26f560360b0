/*
 * A network of a process's own in which each packet takes as long as it is told to: whatever is sent
 * to 10.9.0.2 or fd09::2 comes back, that much later, as from there to 10.9.0.1 or fd09::1. So a
 * program that connects there is connected with itself, over a slow line.
 */
#ifndef SLOW_H
#define SLOW_H

#define _GNU_SOURCE
#include "work.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define PACKET 2048
#define PACKETS 1024 /* a power of two */

struct packet {
	struct timespec due;
	ssize_t size;
	unsigned char bytes[PACKET];
};

static struct packet packets[PACKETS];
static unsigned int arrived, left;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;
static long slow_ns;
static int tun;

static void swap(unsigned char *a, unsigned char *b, int size)
{
	for (int i = 0; i < size; i++) {
		unsigned char byte = a[i];

		a[i] = b[i];
		b[i] = byte;
	}
}

/* Turns a TCP packet round, which leaves its checksums right. False for any other. */
static int turn_round(unsigned char *packet)
{
	if (packet[0] >> 4 == 4 && packet[9] == IPPROTO_TCP) {
		swap(packet + 12, packet + 16, 4);
		return 1;
	}
	if (packet[0] >> 4 == 6 && packet[6] == IPPROTO_TCP) {
		swap(packet + 8, packet + 24, 16);
		return 1;
	}
	return 0;
}

static void *take_packets(void *unused)
{
	for (;;) {
		struct packet *packet = &packets[arrived % PACKETS];

		packet->size = read(tun, packet->bytes, PACKET);
		clock_gettime(CLOCK_MONOTONIC, &packet->due);
		packet->due.tv_nsec += slow_ns;
		if (packet->due.tv_nsec >= 1000000000) {
			packet->due.tv_sec++;
			packet->due.tv_nsec -= 1000000000;
		}
		if (packet->size < 40 || !turn_round(packet->bytes))
			continue;
		pthread_mutex_lock(&lock);
		if (arrived - left < PACKETS - 1)
			arrived++;
		pthread_cond_signal(&more);
		pthread_mutex_unlock(&lock);
	}
	return unused;
}

static void *give_packets(void *unused)
{
	for (;;) {
		struct packet *packet = &packets[left % PACKETS];

		pthread_mutex_lock(&lock);
		while (arrived == left)
			pthread_cond_wait(&more, &lock);
		pthread_mutex_unlock(&lock);
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &packet->due, NULL))
			;
		if (write(tun, packet->bytes, packet->size) < 0)
			perror("tun");
		pthread_mutex_lock(&lock);
		left++;
		pthread_mutex_unlock(&lock);
	}
	return unused;
}

static void check(int failed, const char *what)
{
	if (failed) {
		perror(what);
		exit(2);
	}
}

static void set_addresses(struct ifreq *request)
{
	struct {
		struct in6_addr address;
		__u32 prefix;
		int index;
	} six = {.prefix = 64};
	struct sockaddr_in *four = (void *)&request->ifr_addr;
	int socket4 = socket(AF_INET, SOCK_DGRAM, 0), socket6 = socket(AF_INET6, SOCK_DGRAM, 0);

	four->sin_family = AF_INET;
	inet_pton(AF_INET, "10.9.0.1", &four->sin_addr);
	check(ioctl(socket4, SIOCSIFADDR, request), "address");
	inet_pton(AF_INET, "255.255.255.0", &four->sin_addr);
	check(ioctl(socket4, SIOCSIFNETMASK, request), "netmask");
	request->ifr_flags = IFF_UP | IFF_RUNNING;
	check(ioctl(socket4, SIOCSIFFLAGS, request), "up");
	check(ioctl(socket4, SIOCGIFINDEX, request), "index");
	six.index = request->ifr_ifindex;
	inet_pton(AF_INET6, "fd09::1", &six.address);
	check(ioctl(socket6, SIOCSIFADDR, &six), "IPv6 address");
	close(socket4);
	close(socket6);
}

/* Makes the network. `ms` is what a packet takes, one way. */
static void slow_network(long ms)
{
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI, .ifr_name = "slow"};
	pthread_t thread;

	slow_ns = ms * 1000000;
	check(unshare(CLONE_NEWNET), "network namespace");
	tun = open("/dev/net/tun", O_RDWR);
	check(tun < 0, "/dev/net/tun");
	check(ioctl(tun, TUNSETIFF, &request), "tun");
	set_addresses(&request);
	check(pthread_create(&thread, NULL, take_packets, NULL), "thread");
	check(pthread_create(&thread, NULL, give_packets, NULL), "thread");
}

/* A socket of either family, and the address of a port of the other end or of any. */
static int slow_socket(int six, int port, int other, struct sockaddr_storage *to, socklen_t *size)
{
	struct sockaddr_in *four = (void *)to;
	struct sockaddr_in6 *to6 = (void *)to;
	int on = 1, end;

	memset(to, 0, sizeof(*to));
	if (six) {
		to6->sin6_family = AF_INET6;
		to6->sin6_port = htons(port);
		if (other)
			inet_pton(AF_INET6, "fd09::2", &to6->sin6_addr);
		*size = sizeof(*to6);
	} else {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		if (other)
			inet_pton(AF_INET, "10.9.0.2", &four->sin_addr);
		*size = sizeof(*four);
	}
	end = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
	check(end < 0, "socket");
	setsockopt(end, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(end, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return end;
}

static int slow_listen(int six, int port)
{
	struct sockaddr_storage at;
	socklen_t size;
	int on = 1, end = slow_socket(six, port, 0, &at, &size);

	if (six)
		setsockopt(end, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	check(bind(end, (void *)&at, size) || listen(end, 64), "listen");
	return end;
}

static long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

#endif
