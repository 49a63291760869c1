/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stub of Development/cpprest/ws_listener.h of sony/nmos-cpp at commit df7fc571376d: handlers, and a listener that listens to
 * nothing. The test is its network.
 */
#ifndef STUB_WS_LISTENER_H
#define STUB_WS_LISTENER_H

#include <functional>

#include "cpprest/http_msg.h"
#include "cpprest/ws_client.h"
#include "cpprest/ws_msg.h"

namespace web
{
	namespace websockets
	{
		using web::websockets::client::websocket_close_status;
		using web::websockets::client::websocket_incoming_message;
		using web::websockets::client::websocket_message_type;

		namespace experimental
		{
			namespace listener
			{
				class connection_id
				{
				public:
					connection_id() : number(0) {}
					explicit connection_id(int number) : number(number) {} /* the test's */
					friend bool operator<(const connection_id& a, const connection_id& b) { return a.number < b.number; }
					int number;
				};

				typedef std::function<bool(web::http::http_request req)> validate_handler;
				typedef std::function<void(const web::uri& uri, const connection_id& id)> open_handler;
				typedef std::function<void(const web::uri& uri, const connection_id& id, websocket_close_status close_status, const utility::string_t& close_reason)> close_handler;
				typedef std::function<void(const web::uri& uri, const connection_id& id, const websocket_incoming_message& message)> message_handler;

				struct websocket_listener_handlers
				{
					web::websockets::experimental::listener::validate_handler validate_handler;
					web::websockets::experimental::listener::open_handler open_handler;
					web::websockets::experimental::listener::close_handler close_handler;
					web::websockets::experimental::listener::message_handler message_handler;
				};

				class websocket_listener
				{
				public:
					void set_validate_handler(validate_handler handler) { handlers.validate_handler = handler; }
					void set_open_handler(open_handler handler) { handlers.open_handler = handler; }
					void set_close_handler(close_handler handler) { handlers.close_handler = handler; }
					void set_message_handler(message_handler handler) { handlers.message_handler = handler; }
					pplx::task<void> close(const connection_id& connection, websocket_close_status status, const utility::string_t& reason)
					{
						on_close(connection, status, reason);
						return pplx::task_from_result();
					}

					websocket_listener_handlers handlers; /* the test's */
					std::function<void(const connection_id&, websocket_close_status, const utility::string_t&)> on_close;
				};
			}
		}
	}
}

#endif
