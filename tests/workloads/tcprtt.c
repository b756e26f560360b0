/*
 * tcprtt MS: over a line on which each packet takes MS. On each line of input, `FAMILY COUNT`, sends
 * so many messages to port 80 of the other end, each once the one before was answered, and says how
 * many ns the quickest and the slowest answer took.
 */
#include "slow.h"

static void *answer(void *listener)
{
	for (;;) {
		int end = accept((int)(long)listener, NULL, NULL);
		char byte;

		while (read(end, &byte, 1) == 1 && write(end, &byte, 1) == 1)
			;
		close(end);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int family, count;
	pthread_t thread;

	alarm(LIFE);
	slow_network(argc > 1 ? atol(argv[1]) : 20);
	pthread_create(&thread, NULL, answer, (void *)(long)slow_listen(0, 80));
	pthread_create(&thread, NULL, answer, (void *)(long)slow_listen(1, 80));
	puts("ready");
	fflush(stdout);
	while (scanf("%d %d", &family, &count) == 2) {
		struct sockaddr_storage to;
		socklen_t size;
		int end = slow_socket(family == 6, 80, 1, &to, &size);
		long least = 1L << 60, most = 0, start = now_ns();
		char byte = 7;

		check(connect(end, (void *)&to, size), "connect");
		do {
			long took = now_ns() - start;

			least = took < least ? took : least;
			most = took > most ? took : most;
			start = now_ns();
		} while (count-- && write(end, &byte, 1) == 1 && read(end, &byte, 1) == 1);
		close(end);
		printf("%ld %ld\n", least, most);
		fflush(stdout);
	}
	return 0;
}
