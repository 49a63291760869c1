/* SPDX-License-Identifier: Apache-2.0 */
/* A stub of Development/nmos/server.h of sony/nmos-cpp at commit df7fc571376d, and of websockets.h. */
#ifndef STUB_SERVER_H
#define STUB_SERVER_H

#include <map>
#include <vector>

#include "cpprest/ws_listener.h"

namespace nmos
{
	typedef std::pair<utility::string_t, int> host_port;
	struct websockets
	{
	};

	struct server
	{
		std::map<host_port, std::pair<web::websockets::experimental::listener::websocket_listener_handlers, nmos::websockets>> ws_handlers;
		std::vector<web::websockets::experimental::listener::websocket_listener> ws_listeners;
	};
}

#endif
