/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nmos-authd in an nmos-cpp node: the three handlers through which nmos-cpp (github.com/sony/nmos-cpp) asks whether a
 * request may be served. They replace its own check of tokens; see README.md for the lines to change.
 *
 * Copy this pair of files, nmos_authz_nmos_cpp_shared.h, nmos_authz.h and nmos_authz.c into the node. C++11, Linux.
 *
 * Threads: the handlers may be called from any number of threads, as nmos-cpp does. A call blocks its thread until the
 * daemon has answered: some microseconds, and never longer than the timeout.
 */
#ifndef NMOS_AUTHZ_NMOS_CPP_H
#define NMOS_AUTHZ_NMOS_CPP_H

#include <memory>
#include <string>

#include "nmos/authorization_handlers.h"
#include "nmos/ws_api_utils.h"

namespace slog
{
	class base_gate;
}

namespace nmos
{
	struct node_model;
	struct registry_model;
}

namespace nmos_authd
{
	/* The connections to one daemon, which the handlers share: make one for the node. */
	class connections;
	typedef std::shared_ptr<connections> connections_ptr;

	/*
	 * Prepares most connections to the socket of the daemon, about 65 KiB each; none is opened before it is needed, so the
	 * daemon may start later. More than most questions at a time wait for one another. The timeout, in milliseconds, covers
	 * this, too. Throws std::invalid_argument for a path that is not a socket's, a timeout below 1, or most of 0.
	 */
	connections_ptr make_connections(const std::string& socket_path = "/run/nmos-authd/authz.sock", int timeout_ms = 200,
	                                 size_t most = 4);

	/*
	 * The route guard, for node_implementation::on_validate_authorization. What the daemon does not allow is answered with
	 * its status, its challenge, Retry-After, and the NMOS error body, and no other route handler runs. So is, with 400, a
	 * path that is not spelled in its normal form, since nmos-cpp would route on another path than the one that was judged.
	 */
	nmos::experimental::validate_authorization_handler
	make_validate_authorization_handler(connections_ptr daemon, slog::base_gate& gate);

	/*
	 * The guards of WebSocket handshakes, for node_implementation and registry_implementation::on_ws_validate_authorization.
	 * What decides is what the WebSocket can show. In a node the token must permit every IS-07 source that there is, since
	 * nmos-cpp's events WebSockets return whichever of them a client subscribes to (BCP-003-02). In a registry it must
	 * permit the resource_path of the Query API subscription, and with an empty one everything, "*". A handshake of which
	 * the model knows neither, like that of IS-12, is judged by its path, or as that of its API if it has the path of another.
	 *
	 * LOCKS: nmos-cpp calls these handlers with the model locked for writing (make_events_ws_validate_handler,
	 * make_query_ws_validate_handler), and its mutex is not recursive. They read the model under that lock and take none.
	 * A handler of your own around them must not lock the model either: the node would hang for good.
	 */
	nmos::experimental::ws_validate_authorization_handler
	make_ws_validate_authorization_handler(connections_ptr daemon, slog::base_gate& gate, const nmos::node_model& model);
	nmos::experimental::ws_validate_authorization_handler
	make_ws_validate_authorization_handler(connections_ptr daemon, slog::base_gate& gate, const nmos::registry_model& model);

	/*
	 * The check of a token alone: signature, issuer, time, audience. Only for code that takes nmos-cpp's own guard, which
	 * then matches scopes and paths itself, or that checks a token without a request.
	 */
	nmos::experimental::validate_authorization_token_handler
	make_validate_authorization_token_handler(connections_ptr daemon, slog::base_gate& gate);
}

#endif
