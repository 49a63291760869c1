/* SPDX-License-Identifier: Apache-2.0 */
/*
 * civetweb PORT SOCKET DEVICE-PORT: a firmware that serves with CivetWeb and asks. What it serves comes from the pretend
 * device, so that it can be compared.
 */
#define _POSIX_C_SOURCE 200809L
#include "nmos_civetweb.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static int device_port;

static int dial(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)device_port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Fetches what was judged, with the headers that the pretend device reads and none that a client could mislead it by. */
static int serve(struct mg_connection *conn)
{
	static const char *const passed[] = {"Authorization", "Content-Type", "Sec-WebSocket-Key",
	                                     "Sec-WebSocket-Version"};
	char *body = malloc(1 << 20);
	const struct nmos_authz_reply *reply = nmos_civetweb_reply(conn);
	const struct mg_request_info *info = mg_get_request_info(conn);
	int status = nmos_civetweb_ask(conn), length = 0, n, fd;
	if (status != 0) {
		free(body);
		return status;
	}
	while (length < 1 << 20 && (n = mg_read(conn, body + length, (1 << 20) - (size_t)length)) > 0)
		length += n;
	if ((fd = dial()) < 0) {
		free(body);
		mg_printf(conn, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
		return 502;
	}
	FILE *out = fdopen(dup(fd), "w");
	fprintf(out, "%s %s%s%s HTTP/1.1\r\nHost: node-1.example.com\r\nX-Auth-Reason: %s\r\n", info->request_method,
	        reply->path != NULL ? reply->path : info->request_uri, info->query_string != NULL ? "?" : "",
	        info->query_string != NULL ? info->query_string : "", reply->reason);
	if (reply->path != NULL)
		fprintf(out, "X-Auth-Path: %s\r\n", reply->path);
	if (reply->client_id != NULL)
		fprintf(out, "X-Auth-Client-Id: %s\r\n", reply->client_id);
	if (reply->subject != NULL)
		fprintf(out, "X-Auth-Subject: %s\r\n", reply->subject);
	for (size_t i = 0; i < sizeof passed / sizeof passed[0]; i++)
		if (mg_get_header(conn, passed[i]) != NULL)
			fprintf(out, "%s: %s\r\n", passed[i], mg_get_header(conn, passed[i]));
	const char *upgrade = mg_get_header(conn, "Upgrade");
	fprintf(out, "Content-Length: %d\r\n%s\r\n", length,
	        upgrade != NULL && strcasecmp(upgrade, "websocket") == 0 ? "Connection: Upgrade\r\nUpgrade: websocket\r\n"
	                                                                 : "Connection: close\r\n");
	fwrite(body, 1, (size_t)length, out);
	fclose(out);
	while ((n = (int)read(fd, body, 1 << 20)) > 0)
		mg_write(conn, body, (size_t)n);
	close(fd);
	free(body);
	return 200;
}

int main(int argc, char **argv)
{
	struct mg_callbacks callbacks = {0};
	const char *options[] = {"listening_ports", argv[1], "decode_url", "no", "decode_query_string", "no", "num_threads", "16",
	                         "error_log_file", "error.log", "max_request_size", "131072", NULL};
	if (argc != 4)
		return 2;
	device_port = atoi(argv[3]);
	nmos_civetweb_init(&callbacks, argv[2], 8000);
	callbacks.begin_request = serve;
	if (mg_start(&callbacks, NULL, options) == NULL)
		return 1;
	pause();
	return 0;
}
