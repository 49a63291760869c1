/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include "nmos_civetweb.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* What each of CivetWeb's threads has: handles share nothing. */
struct asker {
	struct nmos_authz authz;
	struct nmos_authz_reply reply;
	char target[NMOS_AUTHZ_PACKET_MAX];
	char authorization[NMOS_AUTHZ_PACKET_MAX];
};

static const struct nmos_authz_reply unasked = {.status = 503, .reason = "", .expires_in = -1, .retry_after = 1};
static const char *path_of_socket;
static int timeout;

static void *init_thread(const struct mg_context *ctx, int thread_type)
{
	(void)ctx;
	struct asker *asker = thread_type == 1 ? calloc(1, sizeof *asker) : NULL; /* 1: a thread that serves */
	if (asker != NULL)
		nmos_authz_init(&asker->authz, path_of_socket, timeout); /* if that fails, every question is denied */
	return asker;
}

static void exit_thread(const struct mg_context *ctx, int thread_type, void *thread)
{
	(void)ctx;
	(void)thread_type;
	if (thread != NULL)
		nmos_authz_close(&((struct asker *)thread)->authz);
	free(thread);
}

/* Whether a list in a header has a word. */
static int has(const char *list, const char *word)
{
	size_t length = strlen(word);
	while (list != NULL) {
		list += strspn(list, " \t,");
		size_t item = strcspn(list, ",");
		const char *next = list[item] == ',' ? list + item : NULL;
		while (item > 0 && (list[item - 1] == ' ' || list[item - 1] == '\t'))
			item--;
		if (item == length && strncasecmp(list, word, length) == 0)
			return 1;
		list = next;
	}
	return 0;
}

/* The target as it came, in origin form: scheme and authority are not part of what is judged (RFC 9112 §3.2.2). */
static struct nmos_authz_text target_of(const struct mg_request_info *info, struct asker *asker)
{
	const char *uri = info->request_uri != NULL ? info->request_uri : "";
	const char *rest = uri[0] != '/' ? strstr(uri, "://") : NULL;
	if (rest != NULL)
		uri = rest + 3 + strcspn(rest + 3, "/?#");
	int n = snprintf(asker->target, sizeof asker->target, "%s%s%s%s", rest != NULL && uri[0] != '/' ? "/" : "", uri,
	                 info->query_string != NULL ? "?" : "", info->query_string != NULL ? info->query_string : "");
	if (n < 0)
		n = 0;
	/* One that is cut short is as long as no packet may be: nmos_authz_decide refuses it. */
	return nmos_authz_bytes(asker->target, (size_t)n < sizeof asker->target ? (size_t)n : sizeof asker->target);
}

static int deny(struct mg_connection *conn, const struct nmos_authz_reply *reply)
{
	char head[NMOS_AUTHZ_DENIAL_HEAD_MAX], body[NMOS_AUTHZ_ERROR_BODY_MAX];
	size_t length = nmos_authz_denial_head(reply, head, sizeof head);
	mg_write(conn, head, length);
	mg_printf(conn, "Cache-Control: no-store\r\nConnection: close\r\n\r\n");
	length = nmos_authz_error_body(reply, body, sizeof body);
	if (strcmp(mg_get_request_info(conn)->request_method, "HEAD") != 0)
		mg_write(conn, body, length);
	return reply->status;
}

int nmos_civetweb_handshake(const struct mg_connection *conn)
{
	return strcmp(mg_get_request_info(conn)->request_method, "GET") == 0 && has(mg_get_header(conn, "Connection"), "upgrade") &&
	       has(mg_get_header(conn, "Upgrade"), "websocket");
}

int nmos_civetweb_ask(struct mg_connection *conn)
{
	return nmos_civetweb_ask_all(conn, NULL, 0);
}

/* The targets, the first with the request's query: a token may be in it. NULL: no memory. To be freed. */
static struct nmos_authz_text *all_of(const char *const *targets, size_t count, const char *query, struct asker *asker)
{
	struct nmos_authz_text *all = calloc(count, sizeof *all);
	for (size_t i = 0; all != NULL && i < count; i++)
		all[i] = nmos_authz_string(targets[i]);
	if (all != NULL && query != NULL) {
		int n = snprintf(asker->target, sizeof asker->target, "%s?%s", targets[0], query);
		all[0] = nmos_authz_bytes(asker->target, n >= 0 && (size_t)n < sizeof asker->target ? (size_t)n : sizeof asker->target);
	}
	return all;
}

int nmos_civetweb_ask_all(struct mg_connection *conn, const char *const *targets, size_t count)
{
	struct asker *asker = mg_get_thread_pointer(conn);
	const struct mg_request_info *info = mg_get_request_info(conn);
	struct nmos_authz_request request = {0};
	int authorizations = 0, lengths = 0;
	size_t used = 0;

	if (asker == NULL) /* no memory */
		return deny(conn, &unasked);
	request.method = nmos_authz_string(info->request_method);
	if (count == 0)
		request.target = target_of(info, asker);
	for (int i = 0; i < info->num_headers; i++) {
		if (strcasecmp(info->http_headers[i].name, "Authorization") == 0) {
			int n = snprintf(asker->authorization + used, sizeof asker->authorization - used, "%s%s",
			                 authorizations++ > 0 ? ", " : "", info->http_headers[i].value);
			used = n >= 0 && (size_t)n < sizeof asker->authorization - used ? used + (size_t)n : sizeof asker->authorization - 1;
			request.authorization = nmos_authz_bytes(asker->authorization, used);
		}
		lengths += strcasecmp(info->http_headers[i].name, "Content-Length") == 0;
	}
	if (nmos_civetweb_handshake(conn))
		request.upgrade = nmos_authz_string("websocket"); /* a token in the query counts */
	if (lengths > 1) { /* CivetWeb takes one of them (RFC 9112 §6.3) */
		asker->reply = unasked;
		asker->reply.status = 400;
		asker->reply.retry_after = -1;
		asker->reply.reason = "two-lengths";
		return deny(conn, &asker->reply);
	}
	struct nmos_authz_text *all = count > 0 ? all_of(targets, count, info->query_string, asker) : NULL;
	if (count > 0 && all == NULL)
		return deny(conn, &unasked);
	enum nmos_authz_decision decision = count > 0
		? nmos_authz_decide_all(&asker->authz, &request, all, count, &asker->reply)
		: nmos_authz_decide(&asker->authz, &request, &asker->reply);
	free(all);
	if (decision == NMOS_AUTHZ_ALLOW)
		return 0;
	if (asker->reply.error != NMOS_AUTHZ_OK && asker->reply.status >= 500)
		mg_cry(conn, "nmos-authd cannot be asked at %s: %s", path_of_socket, nmos_authz_strerror(asker->reply.error));
	return deny(conn, &asker->reply);
}

const struct nmos_authz_reply *nmos_civetweb_reply(const struct mg_connection *conn)
{
	const struct asker *asker = mg_get_thread_pointer(conn);
	return asker != NULL ? &asker->reply : &unasked;
}

void nmos_civetweb_init(struct mg_callbacks *callbacks, const char *socket_path, int timeout_ms)
{
	path_of_socket = socket_path;
	timeout = timeout_ms;
	callbacks->begin_request = nmos_civetweb_ask;
	callbacks->init_thread = init_thread;
	callbacks->exit_thread = exit_thread;
}
