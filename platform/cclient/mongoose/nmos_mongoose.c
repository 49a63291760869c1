/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include "nmos_mongoose.h"

#include <string.h>
#include <strings.h>

static bool is(struct mg_str text, const char *word)
{
	return text.len == strlen(word) && strncasecmp(text.buf, word, text.len) == 0;
}

/* Whether a list in a header has a word. */
static bool has(struct mg_http_message *request, const char *name, const char *word)
{
	const struct mg_str *list = mg_http_get_header(request, name);
	size_t begin = 0;
	for (size_t i = 0; list != NULL && i <= list->len; i++) {
		if (i < list->len && list->buf[i] != ',')
			continue;
		size_t from = begin, to = i;
		while (from < to && (list->buf[from] == ' ' || list->buf[from] == '\t'))
			from++;
		while (to > from && (list->buf[to - 1] == ' ' || list->buf[to - 1] == '\t'))
			to--;
		if (is(mg_str_n(list->buf + from, to - from), word))
			return true;
		begin = i + 1;
	}
	return false;
}

/*
 * The target as it came, with its query: Mongoose has only noted where that begins. In origin form: scheme and authority
 * are no part of what is judged (RFC 9112 section 3.2.2).
 */
static struct nmos_authz_text target_of(const struct mg_http_message *request)
{
	const char *uri = request->uri.buf, *end = uri + request->uri.len;
	if (request->query.buf != NULL)
		end = request->query.buf + request->query.len;
	for (const char *at = uri; *uri != '/' && at + 3 <= end; at++) {
		if (memcmp(at, "://", 3) != 0)
			continue;
		for (at += 3; at < end && *at != '/' && *at != '?' && *at != '#';)
			at++;
		return at == end ? nmos_authz_string("/") : nmos_authz_bytes(at, (size_t)(end - at));
	}
	return nmos_authz_bytes(uri, (size_t)(end - uri));
}

static void deny(struct mg_connection *conn, const struct mg_http_message *request, const struct nmos_authz_reply *reply)
{
	static const char more[] = "Cache-Control: no-store\r\nConnection: close\r\n\r\n";
	char head[NMOS_AUTHZ_DENIAL_HEAD_MAX], body[NMOS_AUTHZ_ERROR_BODY_MAX];
	mg_send(conn, head, nmos_authz_denial_head(reply, head, sizeof head));
	mg_send(conn, more, sizeof more - 1);
	size_t length = nmos_authz_error_body(reply, body, sizeof body);
	if (!is(request->method, "HEAD"))
		mg_send(conn, body, length);
	conn->is_resp = 0; /* the response is complete */
	conn->is_draining = 1;
}

bool nmos_mongoose_may_serve(struct nmos_authz *authz, struct mg_connection *conn, struct mg_http_message *request,
                             struct nmos_authz_reply *reply)
{
	struct nmos_authz_request question = {0};
	const struct mg_str *authorization = mg_http_get_header(request, "Authorization"); /* two are refused by Mongoose */
	question.method = nmos_authz_bytes(request->method.buf, request->method.len);
	question.target = target_of(request);
	if (authorization != NULL)
		question.authorization = nmos_authz_bytes(authorization->buf, authorization->len);
	if (request->method.len == 3 && memcmp(request->method.buf, "GET", 3) == 0 && has(request, "Connection", "upgrade") &&
	    has(request, "Upgrade", "websocket"))
		question.upgrade = nmos_authz_string("websocket"); /* a token in the query counts (RFC 6455 section 4.2.1) */
	if (nmos_authz_decide(authz, &question, reply) == NMOS_AUTHZ_ALLOW)
		return true;
	if (reply->error != NMOS_AUTHZ_OK && reply->status >= 500)
		MG_ERROR(("nmos-authd cannot be asked: %s", nmos_authz_strerror(reply->error)));
	deny(conn, request, reply);
	return false;
}
