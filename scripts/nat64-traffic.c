// SPDX-License-Identifier: GPL-2.0-only
/*
 * Traffic for make demo-jool: clients and a server that know what the other one sends,
 * and compare every byte of it.
 *
 *	nat64-traffic serve <port>
 *	nat64-traffic tcp <address> <port> <first port> <clients> <connections each> <bytes up> <bytes down>
 *	nat64-traffic udp <address> <port> <first port> <clients> <exchanges each>
 *
 * Each exchange is from a port of its own, the first port and those above: a session of a
 * NAT's that no other exchange has.
 *
 * A client prints a line: exchanges, bytes of payload in both directions, microseconds,
 * exchanges that went wrong. Exit status 0 if none did.
 */
#include <errno.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SERVERS		40	/* processes that accept connections */
#define CHUNK		16384
#define DATAGRAM	64
#define SECONDS		20	/* until something that does not come is given up */

/* What a connection begins with, and what the server answers: what it has seen. */
struct order {
	uint64_t seed, up, down;
};

struct answer {
	uint64_t sum, bytes;
};

/* The same bytes at both ends, from the same seed. */
struct stream {
	uint64_t state, sum;
};

static void begin(struct stream *s, uint64_t seed)
{
	s->state = seed * 0x9e3779b97f4a7c15 | 1;
	s->sum = 0xcbf29ce484222325;
}

static void next_chunk(struct stream *s, uint64_t *words, size_t bytes)
{
	size_t i;

	for (i = 0; i < (bytes + 7) / 8; i++) {
		s->state ^= s->state << 13;
		s->state ^= s->state >> 7;
		s->state ^= s->state << 17;
		words[i] = s->state;
	}
}

/* Of what really arrived or was sent. */
static void add_to_sum(struct stream *s, const void *data, size_t bytes)
{
	uint64_t word = 0;
	size_t i;

	for (i = 0; i < bytes; i += 8) {
		memcpy(&word, (const char *)data + i, bytes - i < 8 ? bytes - i : 8);
		s->sum = (s->sum ^ word) * 0x100000001b3;
	}
}

static int send_all(int fd, const void *data, size_t n)
{
	while (n) {
		ssize_t done = send(fd, data, n, MSG_NOSIGNAL);

		if (done <= 0)
			return -1;
		data = (const char *)data + done;
		n -= done;
	}
	return 0;
}

static int receive_all(int fd, void *data, size_t n)
{
	while (n) {
		ssize_t done = recv(fd, data, n, 0);

		if (done <= 0)
			return -1;
		data = (char *)data + done;
		n -= done;
	}
	return 0;
}

static int send_stream(int fd, struct stream *s, uint64_t n)
{
	uint64_t words[CHUNK / 8];

	while (n) {
		size_t now = n < CHUNK ? n : CHUNK;

		next_chunk(s, words, now);
		add_to_sum(s, words, now);
		if (send_all(fd, words, now))
			return -1;
		n -= now;
	}
	return 0;
}

/* Returns how many bytes came, each as it must be. */
static uint64_t receive_stream(int fd, struct stream *s, uint64_t n)
{
	uint64_t words[CHUNK / 8], got[CHUNK / 8], left = n;

	while (left) {
		size_t now = left < CHUNK ? left : CHUNK;

		next_chunk(s, words, now);
		if (receive_all(fd, got, now) || memcmp(words, got, now))
			break;
		add_to_sum(s, got, now);
		left -= now;
	}
	return n - left;
}

static void set_patience(int fd)
{
	struct timeval patience = { .tv_sec = SECONDS };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

/* ------------------------------------------------------------------- server -- */

static void serve_one(int fd)
{
	struct answer answer;
	struct order order;
	struct stream s;

	set_patience(fd);
	if (receive_all(fd, &order, sizeof(order)))
		return;
	begin(&s, order.seed);
	answer.bytes = receive_stream(fd, &s, order.up);
	answer.sum = s.sum;
	if (send_all(fd, &answer, sizeof(answer)))
		return;
	begin(&s, ~order.seed);
	send_stream(fd, &s, order.down);
}

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static void echo_datagrams(int fd)
{
	char data[DATAGRAM];

	for (;;) {
		struct sockaddr_in from;
		socklen_t length = sizeof(from);
		ssize_t n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &length);

		if (n > 0)
			sendto(fd, data, n, 0, (struct sockaddr *)&from, length);
	}
}

static int serve(unsigned int port)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons(port) };
	int tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
	int on = 1, i;

	setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(tcp, (struct sockaddr *)&here, sizeof(here)) || listen(tcp, 256) ||
	    bind(udp, (struct sockaddr *)&here, sizeof(here)))
		die("serve");
	for (i = 0; i < SERVERS; i++) {
		if (fork())
			continue;
		for (;;) {
			int fd = accept(tcp, NULL, NULL);

			if (fd >= 0) {
				serve_one(fd);
				close(fd);
			}
		}
	}
	echo_datagrams(udp);
	return 2;
}

/* ------------------------------------------------------------------- client -- */

struct total {
	uint64_t exchanges, bytes, bad;
};

static int connect_to(const struct sockaddr_in6 *there, int type, unsigned int port)
{
	struct sockaddr_in6 here = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int fd = socket(AF_INET6, type, 0);

	if (fd < 0)
		return -1;
	set_patience(fd);
	if (!bind(fd, (struct sockaddr *)&here, sizeof(here)) &&
	    !connect(fd, (const struct sockaddr *)there, sizeof(*there)))
		return fd;
	close(fd);
	return -1;
}

/* What the server says it has seen is what was sent, and what it sends is as it must be. */
static int exchange_tcp(int fd, const struct order *order)
{
	struct answer answer;
	struct stream s;

	begin(&s, order->seed);
	if (send_all(fd, order, sizeof(*order)) || send_stream(fd, &s, order->up) ||
	    receive_all(fd, &answer, sizeof(answer)))
		return -1;
	if (answer.sum != s.sum || answer.bytes != order->up)
		return -1;
	begin(&s, ~order->seed);
	return receive_stream(fd, &s, order->down) == order->down ? 0 : -1;
}

/* A datagram may be lost; the one that comes back must be the one that was sent. */
static int exchange_udp(int fd, uint64_t seed)
{
	uint64_t words[DATAGRAM / 8], got[DATAGRAM / 8];
	struct timeval patience = { .tv_sec = 2 };
	struct stream s;
	int try;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	begin(&s, seed);
	next_chunk(&s, words, sizeof(words));
	for (try = 0; try < 5; try++) {
		send(fd, words, sizeof(words), 0);
		if (recv(fd, got, sizeof(got), 0) == sizeof(got))
			return memcmp(words, got, sizeof(got)) ? -1 : 0;
	}
	return -1;
}

static void client(const struct sockaddr_in6 *there, int type, unsigned int first,
		   unsigned int number, unsigned int times, const struct order *what, struct total *total)
{
	struct order order = *what;
	unsigned int i;

	for (i = 0; i < times; i++) {
		int fd, bad = -1;

		errno = 0;
		fd = connect_to(there, type, first + number * times + i);
		order.seed = (uint64_t)number << 32 | (i + 1);
		if (fd >= 0)
			bad = type == SOCK_STREAM ? exchange_tcp(fd, &order) :
						    exchange_udp(fd, order.seed);
		if (bad)
			fprintf(stderr, "exchange %u of client %u: %s\n", i, number,
				errno ? strerror(errno) : "other bytes");
		else
			total->bytes += type == SOCK_STREAM ? order.up + order.down : 2 * DATAGRAM;
		total->exchanges++;
		total->bad += !!bad;
		if (fd >= 0)
			close(fd);
	}
}

static uint64_t microseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000ull + now.tv_nsec / 1000;
}

static int run(const struct sockaddr_in6 *there, int type, unsigned int first,
	       unsigned int clients, unsigned int times, const struct order *order)
{
	struct total *totals = mmap(NULL, clients * sizeof(*totals), PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct total sum = {};
	uint64_t start = microseconds();
	unsigned int i;

	if ((uint64_t)first + (uint64_t)clients * times > 65536) {
		fprintf(stderr, "there are not so many ports\n");
		return 2;
	}
	if (totals == MAP_FAILED)
		die("mmap");
	for (i = 0; i < clients; i++) {
		if (fork())
			continue;
		client(there, type, first, i, times, order, &totals[i]);
		_exit(0);
	}
	while (wait(NULL) > 0)
		;
	start = microseconds() - start;
	for (i = 0; i < clients; i++) {
		sum.exchanges += totals[i].exchanges;
		sum.bytes += totals[i].bytes;
		sum.bad += totals[i].bad;
	}
	printf("%llu %llu %llu %llu\n", (unsigned long long)sum.exchanges,
	       (unsigned long long)sum.bytes, (unsigned long long)start,
	       (unsigned long long)sum.bad);
	return sum.bad || sum.exchanges != (uint64_t)clients * times;
}

int main(int argc, char **argv)
{
	struct sockaddr_in6 there = { .sin6_family = AF_INET6 };
	struct order order = {};

	signal(SIGPIPE, SIG_IGN);
	if (argc == 3 && !strcmp(argv[1], "serve"))
		return serve(atoi(argv[2]));
	if (argc < 7 || inet_pton(AF_INET6, argv[2], &there.sin6_addr) != 1) {
		fprintf(stderr, "usage: nat64-traffic serve|tcp|udp ...\n");
		return 2;
	}
	there.sin6_port = htons(atoi(argv[3]));
	if (argc == 9 && !strcmp(argv[1], "tcp")) {
		order.up = atoll(argv[7]);
		order.down = atoll(argv[8]);
		return run(&there, SOCK_STREAM, atoi(argv[4]), atoi(argv[5]), atoi(argv[6]), &order);
	}
	if (argc == 7 && !strcmp(argv[1], "udp"))
		return run(&there, SOCK_DGRAM, atoi(argv[4]), atoi(argv[5]), atoi(argv[6]), &order);
	fprintf(stderr, "usage: nat64-traffic serve|tcp|udp ...\n");
	return 2;
}
