/* Connections through every state, to be run in a network namespace of its own: one that the client
 * closes first, one that is refused, and one to itself, which both opens and closes from both ends
 * at once. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union address {
	struct sockaddr any;
	struct sockaddr_in four;
	struct sockaddr_in6 six;
};

static union address loopback(int family, int port)
{
	union address address = {0};

	address.any.sa_family = family;
	if (family == AF_INET) {
		address.four.sin_port = htons(port);
		address.four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	} else {
		address.six.sin6_port = htons(port);
		address.six.sin6_addr = in6addr_loopback;
	}
	return address;
}

static void client_and_server(int family, int port)
{
	union address address = loopback(family, port);
	socklen_t size = family == AF_INET ? sizeof(address.four) : sizeof(address.six);
	int listener = socket(family, SOCK_STREAM, 0), client = socket(family, SOCK_STREAM, 0);
	int server;
	char byte;

	if (bind(listener, &address.any, size) || listen(listener, 1) ||
	    connect(client, &address.any, size))
		exit(1);
	server = accept(listener, NULL, NULL);
	close(client);
	read(server, &byte, 1);
	close(server);
	close(listener);
}

static void refused(int port)
{
	union address address = loopback(AF_INET, port);
	int client = socket(AF_INET, SOCK_STREAM, 0);

	if (!connect(client, &address.any, sizeof(address.four)))
		exit(1);
	close(client);
}

static void to_itself(int port)
{
	union address address = loopback(AF_INET, port);
	int both = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(both, &address.any, sizeof(address.four)) ||
	    connect(both, &address.any, sizeof(address.four)))
		exit(1);
	close(both);
}

int main(void)
{
	client_and_server(AF_INET, 7001);
	client_and_server(AF_INET6, 7002);
	refused(7003);
	to_itself(7004);
	return 0;
}
