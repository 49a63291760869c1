/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include "nmos_mongoose.h"

#include <stdlib.h>
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
 * are not part of what is judged (RFC 9112 section 3.2.2).
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

bool nmos_mongoose_handshake(struct mg_http_message *request)
{
	return request->method.len == 3 && memcmp(request->method.buf, "GET", 3) == 0 && has(request, "Connection", "upgrade") &&
	       has(request, "Upgrade", "websocket");
}

bool nmos_mongoose_may_serve(struct nmos_authz *authz, struct mg_connection *conn, struct mg_http_message *request,
                             struct nmos_authz_reply *reply)
{
	return nmos_mongoose_may_serve_all(authz, conn, request, NULL, 0, reply);
}

/* Asks about the targets, the first with the request's query: a token may be in it. Without memory nothing is asked. */
static enum nmos_authz_decision ask_all(struct nmos_authz *authz, const struct nmos_authz_request *question, struct mg_str query,
                                        const char *const *targets, size_t count, struct nmos_authz_reply *reply)
{
	struct nmos_authz_text *all = calloc(count, sizeof *all);
	size_t first = strlen(targets[0]);
	char *target = malloc(first + 1 + query.len);
	enum nmos_authz_decision decision = NMOS_AUTHZ_DENY;
	if (all != NULL && target != NULL) {
		for (size_t i = 0; i < count; i++)
			all[i] = nmos_authz_string(targets[i]);
		memcpy(target, targets[0], first);
		target[first] = '?';
		if (query.len > 0)
			memcpy(target + first + 1, query.buf, query.len);
		all[0] = nmos_authz_bytes(target, query.len > 0 ? first + 1 + query.len : first);
		decision = nmos_authz_decide_all(authz, question, all, count, reply);
	}
	free(target);
	free(all);
	return decision;
}

bool nmos_mongoose_may_serve_all(struct nmos_authz *authz, struct mg_connection *conn, struct mg_http_message *request,
                                 const char *const *targets, size_t count, struct nmos_authz_reply *reply)
{
	static const struct nmos_authz_reply unasked = {.status = 503, .reason = "", .expires_in = -1, .retry_after = 1};
	struct nmos_authz_request question = {0};
	const struct mg_str *authorization = mg_http_get_header(request, "Authorization"); /* two are refused by Mongoose */
	question.method = nmos_authz_bytes(request->method.buf, request->method.len);
	*reply = unasked;
	if (authorization != NULL)
		question.authorization = nmos_authz_bytes(authorization->buf, authorization->len);
	if (nmos_mongoose_handshake(request))
		question.upgrade = nmos_authz_string("websocket"); /* a token in the query counts */
	enum nmos_authz_decision decision;
	if (count > 0) {
		decision = ask_all(authz, &question, request->query, targets, count, reply);
	} else {
		question.target = target_of(request);
		decision = nmos_authz_decide(authz, &question, reply);
	}
	if (decision == NMOS_AUTHZ_ALLOW)
		return true;
	if (reply->error != NMOS_AUTHZ_OK && reply->status >= 500)
		MG_ERROR(("nmos-authd cannot be asked: %s", nmos_authz_strerror(reply->error)));
	deny(conn, request, reply);
	return false;
}
