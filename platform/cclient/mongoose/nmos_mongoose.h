/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nmos_mongoose: has a Mongoose server (7.23 or later) ask nmos-authd about a request before it serves it. Two more files
 * beside nmos_authz.h and nmos_authz.c; README.md has the lines that a program needs.
 */
#ifndef NMOS_MONGOOSE_H
#define NMOS_MONGOOSE_H

#include <mongoose.h>

#include "nmos_authz.h"

/*
 * Asks about the request of MG_EV_HTTP_MSG, before mg_ws_upgrade if there is one. True: serve it, and route on
 * reply->path, which is NULL if the target has none (observe and off mode, "OPTIONS *"). False: it was denied and answered.
 * Mongoose's loop waits for the answer, as long as nmos_authz_init was told at most. The reply is good until the next call.
 */
bool nmos_mongoose_may_serve(struct nmos_authz *authz, struct mg_connection *conn, struct mg_http_message *request,
                             struct nmos_authz_reply *reply);

/*
 * The same, about these targets in place of the request's own: all sources of an IS-07 WebSocket, "/x-nmos/events/v1.0/sources/1"
 * and so on, when its handshake comes.
 */
bool nmos_mongoose_may_serve_all(struct nmos_authz *authz, struct mg_connection *conn, struct mg_http_message *request,
                                 const char *const *targets, size_t count, struct nmos_authz_reply *reply);

/* Whether the request is the handshake of a WebSocket (RFC 6455 section 4.2.1). */
bool nmos_mongoose_handshake(struct mg_http_message *request);

#endif
