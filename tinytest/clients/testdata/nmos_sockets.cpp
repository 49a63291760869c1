/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node in nmos-cpp's manner, as far as WebSockets and restores are guarded: does what the Go test tells it on standard
 * input and prints what came of it. The words of a command are hexadecimal after an "x"; "-" is an absent one.
 *
 *     nmos_sockets SOCKET TIMEOUT_MS CONNECTIONS
 *
 *     shake PORT TARGET AUTHORIZATION    a handshake, up to where the response is sent
 *     open PORT TARGET                   the connection is there: its number
 *     message NUMBER TEXT                a message on it: what the node answers
 *     wait NUMBER                        until the node has closed it
 *     gone NUMBER                        the client has closed it
 *     http METHOD TARGET AUTHORIZATION   a request to a guarded route of IS-14
 */
#include "nmos_authz_nmos_cpp_sockets.h"

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <set>
#include <sstream>
#include <string>

#include "detail/private_access.h"
#include "nmos/api_utils.h"
#include "nmos/slog.h"

namespace
{
	namespace ws = web::websockets::experimental::listener;
	using web::json::value;

	struct test_body { typedef concurrency::streams::container_buffer<std::string>(web::websockets::websocket_incoming_message::*type); };
	struct test_type { typedef web::websockets::websocket_message_type(web::websockets::websocket_incoming_message::*type); };

	class quiet_gate : public slog::base_gate
	{
	public:
		void log(slog::severity, const std::string&) const override {}
	};

	const int control_port = 3218, events_port = 3217;

	int digit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

	std::string decoded(const std::string& word)
	{
		std::string s;
		for (size_t i = 1; i + 1 < word.size(); i += 2)
			s.push_back(static_cast<char>(digit(word[i]) * 16 + digit(word[i + 1])));
		return s;
	}

	web::uri full(int port, const std::string& target) { return web::uri("ws://node-1.example.com:" + std::to_string(port) + target); }

	void add(nmos::node_model& model, int oid, int owner, const std::string& role, const std::vector<int>& class_id)
	{
		nmos::resource r;
		r.id = std::to_string(oid);
		r.data = value::object();
		r.data[U("oid")] = oid;
		r.data[U("owner")] = owner == 0 ? value::null() : value::number(owner);
		r.data[U("role")] = value::string(role);
		r.data[U("classId")] = value::array();
		for (size_t i = 0; i < class_id.size(); ++i)
			r.data[U("classId")][i] = class_id[i];
		model.control_protocol_resources.push_back(r);
	}

	/* What nmos-cpp's message handler does with a message, as far as a test can see it. */
	value answered(nmos::node_model& model, const nmos::get_control_protocol_method_descriptor_handler& find_method, const std::string& text,
	               slog::base_gate& gate)
	{
		auto out = value::object();
		const auto message = value::parse(text);
		if (!message.has_field(U("messageType")))
		{
			out[U("messageType")] = 5;
			return out;
		}
		const auto lock = model.write_lock(); /* it holds it all the time: who takes it again hangs */
		auto& resources = model.control_protocol_resources;
		auto all = value::array();
		if (message.at(U("messageType")).as_integer() == 3)
		{
			for (const auto& oid : message.at(U("subscriptions")).as_array())
				if (nmos::find_resource(resources, std::to_string(oid.as_integer())) != resources.end())
					all[all.size()] = oid;
			out[U("messageType")] = 4;
			out[U("subscriptions")] = all;
			return out;
		}
		for (const auto& command : message.at(U("commands")).as_array())
		{
			auto response = value::object(), result = value::object();
			const auto found = nmos::find_resource(resources, std::to_string(command.at(U("oid")).as_integer()));
			if (found == resources.end())
				result[U("status")] = 404;
			else
			{
				nmos::nc_class_id class_id;
				for (const auto& part : found->data.at(U("classId")).as_array())
					class_id.push_back(part.as_integer());
				const auto& id = command.at(U("methodId"));
				const nmos::nc_method_id method_id(static_cast<uint16_t>(id.at(U("level")).as_integer()), static_cast<uint16_t>(id.at(U("index")).as_integer()));
				const auto method = find_method(class_id, method_id);
				if (method.first.at(U("parameters")).size() != 0)
					throw std::logic_error("a method with parameters");
				result = method.second(resources, *found, command.has_field(U("arguments")) ? command.at(U("arguments")) : value::null(),
				                       method.first.at(U("isDeprecated")).as_bool(), gate);
			}
			response[U("handle")] = command.at(U("handle"));
			response[U("result")] = result;
			all[all.size()] = response;
		}
		out[U("messageType")] = 1;
		out[U("responses")] = all;
		return out;
	}
}

template struct detail::stow_private<test_body, &web::websockets::websocket_incoming_message::m_body>;
template struct detail::stow_private<test_type, &web::websockets::websocket_incoming_message::m_msg_type>;

static void run(const nmos_authd::connections_ptr& daemon)
{
	quiet_gate gate;
	std::mutex mutex;
	std::condition_variable changed;
	std::set<int> closed;
	int executed = 0, last = 0;
	std::string said;

	nmos::node_model model;
	add(model, 1, 0, "root", { 1, 1 });
	add(model, 2, 1, "receiver-monitors", { 1, 1 });
	add(model, 3, 2, "monitor-01", { 1, 2, 2, 1 });
	add(model, 4, 1, "tx-3", { 1, 1 });
	add(model, 5, 4, "gain", { 1, 2, 0, 1 });
	add(model, 6, 4, "left mute", { 1, 2, 0, 2 });
	add(model, 7, 1, "BulkPropertiesManager", { 1, 3, 3 });
	nmos::resource source;
	source.type = nmos::types::source;
	source.id = "1";
	model.events_resources.push_back(source);

	const auto find_method = nmos_authd::make_get_control_protocol_method_descriptor_handler(
		[&executed](const nmos::nc_class_id&, const nmos::nc_method_id&) -> nmos::experimental::method {
			auto descriptor = value::object();
			descriptor[U("parameters")] = value::array();
			descriptor[U("isDeprecated")] = value::boolean(false);
			return { descriptor, [&executed](nmos::resources&, const nmos::resource&, const value&, bool, slog::base_gate&) {
				++executed;
				auto result = value::object();
				result[U("status")] = 200;
				return result;
			} };
		});
	const auto handshake = nmos_authd::make_ws_validate_authorization_handler(daemon, gate, model);

	nmos::server server;
	for (const int port : { events_port, control_port }) /* as make_node_server */
	{
		auto& handlers = server.ws_handlers[{ {}, port }].first;
		handlers.validate_handler = [&, port](web::http::http_request req) {
			const auto lock = model.write_lock();
			return handshake(req, port == control_port ? nmos::experimental::scopes::ncp : nmos::experimental::scopes::events);
		};
		handlers.open_handler = [&](const web::uri&, const ws::connection_id&) { const auto lock = model.write_lock(); };
		handlers.close_handler = [&](const web::uri&, const ws::connection_id&, web::websockets::websocket_close_status, const utility::string_t&) {
			const auto lock = model.write_lock();
		};
		handlers.message_handler = [&](const web::uri&, const ws::connection_id&, const web::websockets::websocket_incoming_message& message) {
			said = answered(model, find_method, message.extract_string().get(), gate).serialize();
		};
		server.ws_listeners.emplace_back();
	}
	size_t at = 0;
	for (const auto& handlers : server.ws_handlers)
	{
		server.ws_listeners[at].handlers = handlers.second.first;
		server.ws_listeners[at++].on_close = [&](const ws::connection_id& id, web::websockets::websocket_close_status, const utility::string_t&) {
			std::lock_guard<std::mutex> lock(mutex);
			closed.insert(id.number);
			changed.notify_all();
		};
	}
	const auto guard = nmos_authd::guard_websockets(daemon, gate, model, server);
	auto& events = server.ws_listeners[0].handlers;
	auto& control = server.ws_listeners[1].handlers;
	const auto route = nmos_authd::make_validate_authorization_handler(daemon, gate, model)(nmos::experimental::scopes::configuration);

	for (std::string line; std::getline(std::cin, line);)
	{
		std::istringstream words(line);
		std::string command, a, b, c;
		words >> command >> a >> b >> c;
		const int number = std::atoi(a.c_str());
		auto& handlers = number == events_port ? events : control;
		if (command == "shake")
		{
			web::http::http_request req(web::http::methods::GET);
			req._set_base_uri(full(number, "").authority());
			req.set_request_uri(web::uri(decoded(b)));
			if (c != "-")
				req.headers().add(web::http::header_names::authorization, decoded(c));
			const bool opens = handlers.validate_handler(req);
			std::cout << "opens=" << opens << "\n";
			if (!opens)
				std::cout << "status=" << req.get_response().get().status_code() << "\n";
		}
		else if (command == "open")
		{
			handlers.open_handler(full(number, decoded(b)), ws::connection_id(++last));
			std::cout << "id=" << last << "\n";
		}
		else if (command == "message")
		{
			web::websockets::websocket_incoming_message message;
			message.*detail::stowed<test_type>::value = web::websockets::websocket_message_type::text_message;
			message.*detail::stowed<test_body>::value = concurrency::streams::container_buffer<std::string>(decoded(b));
			executed = 0;
			said.clear();
			control.message_handler(full(control_port, "/x-nmos/ncp/v1.0"), ws::connection_id(number), message);
			std::cout << "said=" << said << "\nexecuted=" << executed << "\n";
		}
		else if (command == "wait")
		{
			std::unique_lock<std::mutex> lock(mutex);
			const bool ended = changed.wait_for(lock, std::chrono::minutes(1), [&] { return closed.count(number) > 0; });
			std::cout << "closed=" << ended << "\n";
		}
		else if (command == "gone")
		{
			control.close_handler(full(control_port, "/x-nmos/ncp/v1.0"), ws::connection_id(number), web::websockets::websocket_close_status::normal, "");
			std::lock_guard<std::mutex> lock(mutex);
			std::cout << "closed=" << closed.count(number) << "\n";
		}
		else if (command == "http")
		{
			web::http::http_request req(decoded(a));
			req.set_request_uri(web::uri(decoded(b)));
			if (c != "-")
				req.headers().add(web::http::header_names::authorization, decoded(c));
			web::http::http_response res(web::http::status_codes::OK);
			try
			{
				route(req, res, req.relative_uri().path(), {}).get();
			}
			catch (const nmos::details::to_api_finally_handler&)
			{
			}
			std::cout << "status=" << res.status_code() << "\n";
			if (res.status_code() != web::http::status_codes::OK)
				std::cout << "body=" << res.extract_string(true).get() << "\n";
		}
		std::cout << std::endl;
	}
}

int main(int argc, char** argv)
{
	if (argc != 4)
		return 2;
	const auto daemon = nmos_authd::make_connections(argv[1], std::atoi(argv[2]), static_cast<size_t>(std::atoi(argv[3])));
	std::cout << std::endl;
	run(daemon);
	return 0;
}
