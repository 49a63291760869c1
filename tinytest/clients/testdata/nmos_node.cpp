/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node in nmos-cpp's manner, as far as requests are guarded: does what the Go test tells it on standard input and prints
 * what came of it. The words of a command are hexadecimal after an "x"; "-" is an absent one.
 *
 *     nmos_node SOCKET TIMEOUT_MS CONNECTIONS
 *
 *     http METHOD TARGET AUTHORIZATION          a request to a guarded route
 *     ws SCOPE TARGET AUTHORIZATION [SOURCE...] a WebSocket handshake of a node that has these sources
 *     query TARGET AUTHORIZATION [HREF PATH]    one of a registry that has this subscription
 *     token TOKEN                               the check of a token alone
 *     threads COUNT TIMES METHOD TARGET         how many of these requests were not served
 */
#include "nmos_authz_nmos_cpp.h"

#include <atomic>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "nmos/api_utils.h"
#include "nmos/model.h"
#include "nmos/slog.h"

class stream_gate : public slog::base_gate
{
public:
	void log(slog::severity level, const std::string& message) const override
	{
		std::cout << "log=" << level << " " << message << "\n";
	}
};

class quiet_gate : public slog::base_gate
{
public:
	void log(slog::severity, const std::string&) const override {}
};

static int digit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

static std::string decoded(const std::string& word)
{
	std::string s;
	for (size_t i = 1; i + 1 < word.size(); i += 2)
		s.push_back(static_cast<char>(digit(word[i]) * 16 + digit(word[i + 1])));
	return s;
}

static web::http::http_request make_request(const std::string& method, const std::string& target, const std::string& authorization)
{
	web::http::http_request req(decoded(method));
	req.set_request_uri(web::uri(decoded(target)));
	if (authorization != "-")
		req.headers().add(web::http::header_names::authorization, decoded(authorization));
	return req;
}

static void print(const web::http::http_response& res)
{
	std::cout << "status=" << res.status_code() << "\n";
	for (const auto& field : res.headers())
		std::cout << field.first << "=" << field.second << "\n";
	std::cout << "body=" << res.extract_string(true).get() << "\n";
}

/* As an api_router of nmos-cpp does: the guard, then the route, and in the end, whatever came before, the response. */
static web::http::http_response serve(const web::http::experimental::listener::route_handler& guard, web::http::http_request req)
{
	web::http::http_response res;
	try
	{
		if (guard(req, res, req.relative_uri().path(), {}).get())
			web::http::set_reply(res, web::http::status_codes::OK, U("served"));
	}
	catch (const nmos::details::to_api_finally_handler&)
	{
	}
	return res;
}

static int unserved(const web::http::experimental::listener::route_handler& guard, int threads, int times, const std::string& method,
                    const std::string& target)
{
	std::atomic<int> n{ 0 };
	std::vector<std::thread> all;
	for (int i = 0; i < threads; ++i)
		all.emplace_back([&] {
			for (int k = 0; k < times; ++k)
				n += serve(guard, make_request(method, target, "-")).status_code() != web::http::status_codes::OK;
		});
	for (auto& t : all)
		t.join();
	return n;
}

static nmos::resource make_resource(const nmos::type& type, const std::string& id)
{
	nmos::resource r;
	r.type = type;
	r.id = id;
	r.data = web::json::value::object();
	return r;
}

/* As nmos-cpp's validate handlers do: with the model locked. */
template <typename Model>
static void open(const nmos::experimental::ws_validate_authorization_handler& handshake, const Model& model, const std::string& scope,
                 web::http::http_request req)
{
	const auto lock = model.write_lock();
	const bool opens = handshake(req, nmos::experimental::scope{ scope });
	std::cout << "opens=" << opens << "\n";
	if (!opens)
		print(req.get_response().get());
}

int main(int argc, char** argv)
{
	if (argc != 4)
		return 2;
	stream_gate gate;
	quiet_gate quiet;
	nmos_authd::connections_ptr daemon;
	try
	{
		daemon = nmos_authd::make_connections(argv[1], std::atoi(argv[2]), static_cast<size_t>(std::atoi(argv[3])));
	}
	catch (const std::invalid_argument& e)
	{
		std::cout << "invalid=" << e.what() << "\n" << std::endl;
		return 0;
	}
	std::cout << std::endl;

	nmos::node_model node;
	nmos::registry_model registry;
	const auto guard = nmos_authd::make_validate_authorization_handler(daemon, gate)(nmos::experimental::scopes::node);
	const auto quiet_guard = nmos_authd::make_validate_authorization_handler(daemon, quiet)(nmos::experimental::scopes::node);
	const auto handshake = nmos_authd::make_ws_validate_authorization_handler(daemon, gate, node);
	const auto query_handshake = nmos_authd::make_ws_validate_authorization_handler(daemon, gate, registry);
	const auto validate = nmos_authd::make_validate_authorization_token_handler(daemon, gate);

	for (std::string line; std::getline(std::cin, line);)
	{
		std::istringstream words(line);
		std::string command, a, b, c;
		words >> command >> a >> b >> c;
		if (command == "http")
			print(serve(guard, make_request(a, b, c)));
		else if (command == "ws")
		{
			node.events_resources.assign(1, make_resource(nmos::types::subscription, "not-a-source"));
			for (std::string source; words >> source;)
				node.events_resources.push_back(make_resource(nmos::types::source, decoded(source)));
			open(handshake, node, decoded(a), make_request("x474554", b, c));
		}
		else if (command == "query")
		{
			std::string resource_path;
			registry.registry_resources.assign(1, make_resource(nmos::types::source, "not-a-subscription"));
			if (words >> resource_path)
			{
				auto subscription = make_resource(nmos::types::subscription, "1");
				subscription.data[U("ws_href")] = web::json::value::string(decoded(c));
				subscription.data[U("resource_path")] = web::json::value::string(decoded(resource_path));
				registry.registry_resources.push_back(subscription);
			}
			open(query_handshake, registry, "query", make_request("x474554", a, b));
		}
		else if (command == "token")
		{
			const auto result = validate(decoded(a));
			std::cout << "value=" << result.value << "\nmessage=" << result.message << "\n";
		}
		else if (command == "threads")
		{
			std::string target;
			words >> target;
			std::cout << "unserved=" << unserved(quiet_guard, std::atoi(a.c_str()), std::atoi(b.c_str()), c, target) << "\n";
		}
		std::cout << std::endl;
	}
	return 0;
}
