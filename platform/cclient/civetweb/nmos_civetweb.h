/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nmos_civetweb: has a CivetWeb server (1.15 or later) ask nmos-authd about each request before it serves it. Two more
 * files beside nmos_authz.h and nmos_authz.c; README.md has the lines that a program needs.
 */
#ifndef NMOS_CIVETWEB_H
#define NMOS_CIVETWEB_H

#include <civetweb.h>

#include "nmos_authz.h"

/*
 * Sets begin_request, init_thread and exit_thread for mg_start, whose options must have "decode_url" "no" and
 * "decode_query_string" "no": what is judged must be what came. A question takes timeout_ms at most. Both arguments
 * count for all servers of the process. A begin_request of your own calls nmos_civetweb_ask first.
 */
void nmos_civetweb_init(struct mg_callbacks *callbacks, const char *socket_path, int timeout_ms);

/* Asks. 0: go on; else the request was denied and answered, and this is the status: return it from begin_request. */
int nmos_civetweb_ask(struct mg_connection *conn);

/*
 * The same, about these targets in place of the request's own: all sources of an IS-07 WebSocket, "/x-nmos/events/v1.0/sources/1"
 * and so on. begin_request asks by it if the handshake of that WebSocket comes.
 */
int nmos_civetweb_ask_all(struct mg_connection *conn, const char *const *targets, size_t count);

/* Whether the request is the handshake of a WebSocket (RFC 6455 section 4.2.1). */
int nmos_civetweb_handshake(const struct mg_connection *conn);

/*
 * The reply to the question about this request, for handlers: route on its path, which is NULL where the target has none
 * (observe and off mode, "OPTIONS *"). Good until the request ends. Never NULL; if nobody has asked, it denies.
 */
const struct nmos_authz_reply *nmos_civetweb_reply(const struct mg_connection *conn);

#endif
