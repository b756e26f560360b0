/*
 * tcpconnlat MS: over a line on which each packet takes MS. On each line of input, `FAMILY PORT
 * COUNT`, connects so often to that port of the other end, where 80 is listened at, and says how many
 * ns that took in all and how many connections there were.
 */
#include "slow.h"

int main(int argc, char **argv)
{
	int family, port, count;

	alarm(LIFE);
	slow_network(argc > 1 ? atol(argv[1]) : 20);
	slow_listen(0, 80);
	slow_listen(1, 80);
	puts("ready");
	fflush(stdout);
	while (scanf("%d %d %d", &family, &port, &count) == 3) {
		long sum = 0, connected = 0;

		while (count--) {
			struct sockaddr_storage to;
			socklen_t size;
			int end = slow_socket(family == 6, port, 1, &to, &size);
			long start = now_ns();

			connected += !connect(end, (void *)&to, size);
			sum += now_ns() - start;
			close(end);
		}
		printf("%ld %ld\n", sum, connected);
		fflush(stdout);
	}
	return 0;
}
