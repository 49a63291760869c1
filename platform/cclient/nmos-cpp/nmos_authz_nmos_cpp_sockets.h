/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nmos-authd in an nmos-cpp node, on its open WebSockets: each command and each subscription of IS-12 is asked about, and a
 * WebSocket of IS-12 or IS-07 ends when its permission does. It needs no change in nmos-cpp; see README.md for the lines to
 * add. With it the daemon may be configured as [control] commands = "asked".
 *
 * Copy this pair of files beside nmos_authz_nmos_cpp.h and .cpp. C++11, Linux.
 */
#ifndef NMOS_AUTHZ_NMOS_CPP_SOCKETS_H
#define NMOS_AUTHZ_NMOS_CPP_SOCKETS_H

#include <memory>
#include <string>

#include "cpprest/ws_listener.h"
#include "nmos/control_protocol_handlers.h"
#include "nmos/server.h"
#include "nmos_authz_nmos_cpp.h"

namespace nmos_authd
{
	/*
	 * The methods of the node's classes, for node_implementation::on_get_control_protocol_method_descriptor, which must have it
	 * if the WebSockets are guarded: a command that is refused is sent on to a method that there is not, 65535m401 or
	 * 65535m503, and this answers it in its place with that status (CTL-25).
	 */
	nmos::get_control_protocol_method_descriptor_handler
	make_get_control_protocol_method_descriptor_handler(nmos::get_control_protocol_method_descriptor_handler inner);

	/*
	 * The route guard of nmos_authz_nmos_cpp.h that also sees to restores: a PUT or PATCH of bulkProperties in IS-14 needs write on
	 * the object in the path and on all that is there below it, whatever its body says (CTL-65).
	 */
	nmos::experimental::validate_authorization_handler
	make_validate_authorization_handler(connections_ptr daemon, slog::base_gate& gate, const nmos::node_model& model,
	                                    const std::string& device_model = std::string());

	/* Guards the open WebSockets of a node for as long as it lives. */
	class socket_guard;
	typedef std::shared_ptr<socket_guard> socket_guard_ptr;

	/*
	 * Guards the WebSockets of a server that make_node_server has returned and that is not open yet. Keep what it returns for as
	 * long as the server is open, and let it end before the server does: without it the server accepts no WebSocket and no
	 * message. The server must not be moved afterwards. device_model is the name of the device model in the daemon's
	 * configuration if it names several.
	 *
	 * The token of a handshake must reach the commands that follow. nmos-cpp shows the header to one handler and the connection to
	 * another, and what both see is the URI. So while a handshake is under way, one for the same URI with another token is
	 * answered with 503 and Retry-After: the client tries again. A token in the query makes the URI its own.
	 */
	socket_guard_ptr guard_websockets(connections_ptr daemon, slog::base_gate& gate, const nmos::node_model& model,
	                                  nmos::server& server, const std::string& device_model = std::string());
}

#endif
