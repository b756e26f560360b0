/*
 * softirqs: on each line of input, a number, sends itself that many packets over loopback, one after
 * the other, and says so. Each arrives in a software interrupt.
 */
#include "work.h"
#include <arpa/inet.h>
#include <sys/socket.h>

int main(void)
{
	int out = socket(AF_INET, SOCK_DGRAM, 0), in = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t size = sizeof(to);
	char packet[64] = "packet";
	long count;

	alarm(LIFE);
	if (bind(in, (void *)&to, size) || getsockname(in, (void *)&to, &size))
		return 2;
	while (scanf("%ld", &count) == 1) {
		while (count--) {
			if (sendto(out, packet, sizeof(packet), 0, (void *)&to, size) < 0 ||
			    recv(in, packet, sizeof(packet), 0) < 0)
				return 3;
		}
		puts("done");
		fflush(stdout);
	}
	return 0;
}
