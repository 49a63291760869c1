/* SPDX-License-Identifier: Apache-2.0 */
/* mongoose URL SOCKET DEVICE-PORT: a firmware that serves with Mongoose and asks, see relay.h. */
#define _POSIX_C_SOURCE 200809L
#include "nmos_mongoose.h"

#include "relay.h"

static struct nmos_authz authz;
static int device_port;

static struct nmos_authz_text text(struct mg_str s)
{
	return nmos_authz_bytes(s.buf, s.len);
}

static void handle(struct mg_connection *conn, int event, void *data)
{
	struct mg_http_message *request = data;
	struct nmos_authz_reply reply;
	struct relayed q = {0};
	size_t size = 0;
	if (event != MG_EV_HTTP_MSG)
		return;
	if (nmos_mongoose_handshake(request) && mg_strcmp(request->uri, mg_str(events_socket)) == 0) {
		if (!nmos_mongoose_may_serve_all(&authz, conn, request, sources, SOURCES, &reply))
			return;
		q.judged = events_socket;
	} else if (!nmos_mongoose_may_serve(&authz, conn, request, &reply)) {
		return;
	}
	q.method = text(request->method);
	q.path = text(request->uri);
	q.query = text(request->query);
	q.body = text(request->body);
	for (size_t i = 0; i < PASSED; i++) {
		const struct mg_str *value = mg_http_get_header(request, passed[i]);
		if (value != NULL)
			q.headers[i] = text(*value);
	}
	const struct mg_str *upgrade = mg_http_get_header(request, "Upgrade");
	q.websocket = upgrade != NULL && mg_strcasecmp(*upgrade, mg_str("websocket")) == 0;
	char *answer = relay(device_port, &reply, &q, &size);
	if (answer != NULL)
		mg_send(conn, answer, size);
	else
		mg_printf(conn, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
	free(answer);
	conn->is_resp = 0;
	conn->is_draining = 1;
}

int main(int argc, char **argv)
{
	struct mg_mgr mgr;
	if (argc != 4)
		return 2;
	device_port = atoi(argv[3]);
	setvbuf(stdout, NULL, _IOLBF, 0); /* Mongoose's log */
	mg_log_set(MG_LL_ERROR);
	nmos_authz_init(&authz, argv[2], 8000);
	mg_mgr_init(&mgr);
	if (mg_http_listen(&mgr, argv[1], handle, NULL) == NULL)
		return 1;
	for (;;)
		mg_mgr_poll(&mgr, 1000);
}
