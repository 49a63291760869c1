/* SPDX-License-Identifier: Apache-2.0 */
/* civetweb PORT SOCKET DEVICE-PORT: a firmware that serves with CivetWeb and asks, see relay.h. */
#define _POSIX_C_SOURCE 200809L
#include "nmos_civetweb.h"

#include "relay.h"

static int device_port;

static int serve(struct mg_connection *conn)
{
	const struct mg_request_info *info = mg_get_request_info(conn);
	const char *upgrade = mg_get_header(conn, "Upgrade");
	struct relayed q = {0};
	size_t size = 0;
	int status, length = 0, n;
	if (nmos_civetweb_handshake(conn) && info->request_uri != NULL && strcmp(info->request_uri, events_socket) == 0) {
		status = nmos_civetweb_ask_all(conn, sources, SOURCES);
		q.judged = events_socket;
	} else {
		status = nmos_civetweb_ask(conn);
	}
	if (status != 0)
		return status;
	char *body = malloc(1 << 20);
	while (length < 1 << 20 && (n = mg_read(conn, body + length, (1 << 20) - (size_t)length)) > 0)
		length += n;
	q.method = nmos_authz_string(info->request_method);
	q.path = nmos_authz_string(info->request_uri);
	q.query = nmos_authz_string(info->query_string);
	q.body = nmos_authz_bytes(body, (size_t)length);
	for (size_t i = 0; i < PASSED; i++)
		q.headers[i] = nmos_authz_string(mg_get_header(conn, passed[i]));
	q.websocket = upgrade != NULL && strcasecmp(upgrade, "websocket") == 0;
	char *answer = relay(device_port, nmos_civetweb_reply(conn), &q, &size);
	if (answer != NULL)
		mg_write(conn, answer, size);
	else
		mg_printf(conn, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
	status = answer != NULL ? 200 : 502;
	free(answer);
	free(body);
	return status;
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
