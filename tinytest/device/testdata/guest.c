/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the test cannot do with the machine's shell, built for the machine:
 *
 *     guest push SOCKET N               pushes inventories N, N+1, … and prints each number once it is acknowledged
 *     guest load SOCKET TIMES           asks about GET /x-nmos/node/v1.3/self so many times; prints how many were allowed
 *     guest first SOCKET PROGRAM ...    starts PROGRAM, asks until it is allowed, and prints how many µs that took
 *     guest connect SOCKET PROGRAM ...  starts PROGRAM, and prints how many µs passed until it sent a byte
 *
 * load and first take the value of the Authorization header from the first line of standard input.
 */
#define _POSIX_C_SOURCE 200809L

#include "nmos_authz.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct nmos_authz authz;
static char authorization[NMOS_AUTHZ_PACKET_MAX];

static void die(const char *what)
{
	fprintf(stderr, "guest: %s\n", what);
	exit(2);
}

static int dial(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0 || strlen(path) >= sizeof address.sun_path)
		die("no socket");
	strcpy(address.sun_path, path);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	close(fd);
	return -1;
}

/* Reports whether inventory n was acknowledged. */
static int push(const char *path, long n)
{
	char body[256], request[512], reply[64] = "";
	size_t got = 0;
	ssize_t more;
	int fd = dial(path);
	if (fd < 0)
		return 0;
	snprintf(body, sizeof body, "{\"resources\":[{\"kind\":\"meter\",\"name\":\"in-%ld\",\"id\":\"6f3a0c1e-8d5b-4b52-9a0e-%012ld\"}]}", n, n);
	snprintf(request, sizeof request, "PUT /inventory HTTP/1.1\r\nHost: device\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
	         strlen(body), body);
	if (write(fd, request, strlen(request)) == (ssize_t)strlen(request))
		while (got < sizeof reply - 1 && (more = read(fd, reply + got, sizeof reply - 1 - got)) > 0)
			got += (size_t)more;
	close(fd);
	return strncmp(reply, "HTTP/1.1 204", 12) == 0;
}

static int ask(void)
{
	struct nmos_authz_request request = {0};
	struct nmos_authz_reply reply;
	request.method = nmos_authz_string("GET");
	request.target = nmos_authz_string("/x-nmos/node/v1.3/self");
	request.authorization = nmos_authz_string(authorization);
	return nmos_authz_decide(&authz, &request, &reply) == NMOS_AUTHZ_ALLOW;
}

static void read_authorization(void)
{
	if (fgets(authorization, sizeof authorization, stdin) == NULL)
		die("no authorization on standard input");
	authorization[strcspn(authorization, "\r\n")] = '\0';
}

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static int answered(const char *path)
{
	char byte;
	int fd = dial(path), got;
	if (fd < 0)
		return 0;
	got = read(fd, &byte, 1) == 1;
	close(fd);
	return got;
}

/* Runs a program until it has answered, a minute at most. */
static int start(const char *path, char **program, int asks)
{
	const struct timespec pause = {0, 1000000};
	long long began = now(), took = -1;
	pid_t child = fork();
	if (child == 0) {
		execv(program[0], program);
		_exit(127);
	}
	while (took < 0 && now() - began < 60000000) {
		if (asks ? ask() : answered(path))
			took = now() - began;
		else
			nanosleep(&pause, NULL);
	}
	kill(child, SIGTERM);
	waitpid(child, NULL, 0);
	printf("%lld\n", took);
	return took < 0;
}

int main(int argc, char **argv)
{
	if (argc < 4)
		die("usage: guest push|load|first|connect SOCKET ...");
	if (nmos_authz_init(&authz, argv[2], 60000) != NMOS_AUTHZ_OK)
		die("the socket's path is too long");
	if (strcmp(argv[1], "push") == 0) {
		for (long n = atol(argv[3]);; n++) {
			while (!push(argv[2], n))
				;
			dprintf(1, "%ld\n", n);
		}
	}
	if (strcmp(argv[1], "connect") == 0)
		return start(argv[2], argv + 3, 0);
	read_authorization();
	if (strcmp(argv[1], "load") == 0) {
		long allowed = 0;
		for (long n = atol(argv[3]); n > 0; n--)
			allowed += ask();
		printf("%ld\n", allowed);
		return 0;
	}
	return start(argv[2], argv + 3, 1);
}
