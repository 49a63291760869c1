/* SPDX-License-Identifier: Apache-2.0 */
/* What a firmware serves comes from the pretend device here, so that it can be compared. */
#include "nmos_authz.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static int dial(int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Headers that the pretend device reads, and none that a client could mislead it by. */
static const char *const passed[] = {"Authorization", "Content-Type", "Sec-WebSocket-Key", "Sec-WebSocket-Version"};
#define PASSED (sizeof passed / sizeof passed[0])

/* The IS-07 WebSocket, and the sources that it shows. */
static const char events_socket[] = "/x-nmos/events/v1.0/ws";
static const char *const sources[] = {"/x-nmos/events/v1.0/sources/6f1e0000-0000-4000-8000-000000000021"};
#define SOURCES (sizeof sources / sizeof sources[0])

struct relayed {
	struct nmos_authz_text method, path, query; /* as they came; path is for what was judged without one */
	struct nmos_authz_text headers[PASSED];     /* as passed names them; .data NULL: absent */
	struct nmos_authz_text body;
	const char *judged; /* the path, if the question was about others */
	int websocket;
};

/* Fetches what was judged. NULL: the device cannot be reached; else its answer, to be freed. */
static char *relay(int port, const struct nmos_authz_reply *reply, const struct relayed *q, size_t *size)
{
	const char *path = reply->path != NULL ? reply->path : q->judged;
	int fd = dial(port);
	if (fd < 0)
		return NULL;
	FILE *out = fdopen(dup(fd), "w");
	fprintf(out, "%.*s ", (int)q->method.size, q->method.data);
	if (path != NULL)
		fputs(path, out);
	else
		fwrite(q->path.data, 1, q->path.size, out);
	if (q->query.data != NULL)
		fprintf(out, "?%.*s", (int)q->query.size, q->query.data);
	fprintf(out, " HTTP/1.1\r\nHost: node-1.example.com\r\nX-Auth-Reason: %s\r\n", reply->reason);
	if (path != NULL)
		fprintf(out, "X-Auth-Path: %s\r\n", path);
	if (reply->client_id != NULL)
		fprintf(out, "X-Auth-Client-Id: %s\r\n", reply->client_id);
	if (reply->subject != NULL)
		fprintf(out, "X-Auth-Subject: %s\r\n", reply->subject);
	for (size_t i = 0; i < PASSED; i++)
		if (q->headers[i].data != NULL)
			fprintf(out, "%s: %.*s\r\n", passed[i], (int)q->headers[i].size, q->headers[i].data);
	fprintf(out, "Content-Length: %zu\r\n%s\r\n", q->body.size,
	        q->websocket ? "Connection: Upgrade, close\r\nUpgrade: websocket\r\n" : "Connection: close\r\n");
	fwrite(q->body.data, 1, q->body.size, out);
	fclose(out);
	char *answer = NULL;
	size_t room = 0, length = 0;
	for (ssize_t n = 1; n > 0; length += n > 0 ? (size_t)n : 0) {
		if (length + 65536 > room)
			answer = realloc(answer, room += 1 << 20);
		n = read(fd, answer + length, room - length);
	}
	close(fd);
	*size = length;
	return answer;
}
