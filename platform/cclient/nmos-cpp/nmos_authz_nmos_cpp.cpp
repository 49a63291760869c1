/* SPDX-License-Identifier: Apache-2.0 */
/* nmos-cpp's authorization handlers over the C client. See nmos_authz_nmos_cpp.h. */
#include "nmos_authz_nmos_cpp.h"

#include <functional>
#include <vector>

#include "nmos/api_utils.h"
#include "nmos/model.h"
#include "nmos_authz_nmos_cpp_shared.h"

namespace nmos_authd
{
	namespace
	{
		/* The value of a header field, or "absent". */
		nmos_authz_text header(const web::http::http_request& request, const utility::string_t& name)
		{
			const auto& headers = request.headers();
			const auto found = headers.find(name);
			return headers.end() == found ? nmos_authz_string(nullptr) : text(found->second);
		}

		/*
		 * nmos-cpp routes on the path as it came. Where the daemon judged another spelling of it, with dot segments removed
		 * or escapes decoded, the two might mean different resources to some handler: refused, as ambiguous (PATH-9). So the
		 * daemon is asked about a spelling that it calls ambiguous, too: only it knows whether its mode refuses nothing, or
		 * just what was judged is observed ([enforce]), and what it refuses it records.
		 */
		void refuse_other_path(const lease& handle, nmos_authz_request& question, const std::string& target, const std::string& path,
		                       nmos_authz_reply& reply)
		{
			if (reply.decision != NMOS_AUTHZ_ALLOW || (reply.path != nullptr && path == reply.path))
				return;
			const std::string ambiguous("//" + target);
			question.target = text(ambiguous);
			nmos_authz_decide(handle.get(), &question, &reply);
			const std::string reason(reply.reason);
			if (reply.decision != NMOS_AUTHZ_ALLOW || reason == NMOS_AUTHZ_REASON_OBSERVE || reason == NMOS_AUTHZ_REASON_OFF)
				return; /* these modes refuse nothing */
			reply.decision = NMOS_AUTHZ_DENY;
			reply.status = 400;
			reply.reason = NMOS_AUTHZ_REASON_PATH_AMBIGUOUS;
			reply.text = "two servers could read this path differently";
		}

		/* Asks about a request as it came. An HTTP request has no Upgrade field for which nmos-cpp would open a WebSocket. */
		nmos_authz_reply decide(const lease& handle, const web::http::http_request& request, const char* upgrade)
		{
			if (!handle.get())
				return busy();
			const auto uri = request.relative_uri(); /* what nmos-cpp routes on; cpprest keeps its spelling */
			const std::string method(request.method()), target(uri.to_string()), path(uri.path());
			auto question = nmos_authz_request();
			question.method = text(method);
			question.target = text(target);
			question.authorization = header(request, web::http::header_names::authorization);
			question.upgrade = nmos_authz_string(upgrade);
			nmos_authz_reply reply;
			nmos_authz_decide(handle.get(), &question, &reply);
			refuse_other_path(handle, question, target, path, reply);
			return reply;
		}

		/*
		 * Asks about all that a WebSocket can show, as many targets at a time as fit into a packet beside a long token. A token
		 * in the handshake's query goes along with the first of them.
		 */
		nmos_authz_reply decide_all(const lease& handle, const web::http::http_request& request, const std::vector<std::string>& targets)
		{
			const size_t most = 100;
			auto reply = busy();
			if (!handle.get())
				return reply;
			const auto query = request.relative_uri().query();
			const std::string method(request.method());
			auto question = nmos_authz_request();
			question.method = text(method);
			question.authorization = header(request, web::http::header_names::authorization);
			question.upgrade = nmos_authz_string("websocket");
			for (size_t i = 0; i < targets.size(); i += most)
			{
				const auto first = query.empty() ? targets[i] : targets[i] + "?" + query;
				std::vector<nmos_authz_text> texts(1, text(first));
				while (texts.size() < most && i + texts.size() < targets.size())
					texts.push_back(text(targets[i + texts.size()]));
				nmos_authz_decide_all(handle.get(), &question, texts.data(), texts.size(), &reply);
				if (reply.decision != NMOS_AUTHZ_ALLOW)
					break;
			}
			return reply;
		}

		/* The targets that a token must permit for a WebSocket; none if its own path decides. The model is locked already. */
		typedef std::function<std::vector<std::string>(const std::string& path, const nmos::experimental::scope& scope)> shown;

		/*
		 * Reports whether a path can be that of a WebSocket of an API. nmos-cpp opens one whatever the path says, for IS-12 even if
		 * only its last segment is a version: what is judged must not be the path of something else, which a token permits.
		 */
		bool is_of(const nmos::experimental::scope& scope, const std::string& path)
		{
			const std::string base("/x-nmos/" + std::string(scope.name) + "/");
			if (path.compare(0, base.size(), base) != 0)
				return false;
			return !(nmos::experimental::scopes::ncp == scope) || path.find('/', base.size()) == std::string::npos;
		}

		nmos::experimental::ws_validate_authorization_handler make_ws_handler(connections_ptr daemon, slog::base_gate& gate, shown show)
		{
			return [daemon, &gate, show](web::http::http_request& request, const nmos::experimental::scope& scope)
			{
				auto targets = show(request.relative_uri().path(), scope);
				if (targets.empty() && !is_of(scope, request.relative_uri().path()))
					targets.push_back("/x-nmos/" + std::string(scope.name) + "/v1.0" + (nmos::experimental::scopes::ncp == scope ? "" : "/*"));
				const lease handle(*daemon);
				const auto reply = targets.empty() ? decide(handle, request, "websocket") : decide_all(handle, request, targets);
				if (reply.decision == NMOS_AUTHZ_ALLOW)
					return true;
				log(gate, reply);
				web::http::http_response res;
				set_denial(res, reply);
				request.reply(res);
				return false;
			};
		}

		/* A string of a resource, or "". */
		std::string field(const nmos::resource& resource, const utility::string_t& name)
		{
			return resource.data.has_field(name) ? resource.data.at(name).as_string() : utility::string_t();
		}
	}

	connections_ptr make_connections(const std::string& socket_path, int timeout_ms, size_t most)
	{
		return std::make_shared<connections>(socket_path, timeout_ms, most);
	}

	nmos::experimental::validate_authorization_handler
	make_validate_authorization_handler(connections_ptr daemon, slog::base_gate& gate)
	{
		/* The scope is that of the API whose routes are guarded; the daemon sees it in the path. */
		return [daemon, &gate](const nmos::experimental::scope&) -> web::http::experimental::listener::route_handler
		{
			return [daemon, &gate](web::http::http_request req, web::http::http_response res, const utility::string_t&,
			                       const web::http::experimental::listener::route_parameters&)
			{
				const lease handle(*daemon);
				const auto reply = decide(handle, req, nullptr);
				if (reply.decision == NMOS_AUTHZ_ALLOW)
					return pplx::task_from_result(true); /* go on to the next route */
				log(gate, reply);
				set_denial(res, reply);
				throw nmos::details::to_api_finally_handler{}; /* past all other routes, to the one that sends the response */
			};
		};
	}

	nmos::experimental::ws_validate_authorization_handler
	make_ws_validate_authorization_handler(connections_ptr daemon, slog::base_gate& gate, const nmos::node_model& model)
	{
		return make_ws_handler(daemon, gate, [&model](const std::string&, const nmos::experimental::scope& scope)
		{
			std::vector<std::string> targets;
			if (nmos::experimental::scopes::events == scope) /* PATH-12 */
				for (const auto& resource : model.events_resources)
					if (nmos::types::source == resource.type)
						targets.push_back("/x-nmos/events/v1.0/sources/" + resource.id);
			return targets;
		});
	}

	nmos::experimental::ws_validate_authorization_handler
	make_ws_validate_authorization_handler(connections_ptr daemon, slog::base_gate& gate, const nmos::registry_model& model)
	{
		return make_ws_handler(daemon, gate, [&model](const std::string& path, const nmos::experimental::scope& scope)
		{
			std::vector<std::string> targets;
			if (nmos::experimental::scopes::query == scope) /* PATH-14 */
				for (const auto& resource : model.registry_resources)
					if (nmos::types::subscription == resource.type && web::uri(field(resource, U("ws_href"))).path() == path)
						targets.push_back(path.substr(0, path.find("/subscriptions/")) + field(resource, U("resource_path")));
			return targets;
		});
	}

	nmos::experimental::validate_authorization_token_handler
	make_validate_authorization_token_handler(connections_ptr daemon, slog::base_gate& gate)
	{
		using nmos::experimental::authorization_error;
		return [daemon, &gate](const utility::string_t& access_token) -> authorization_error
		{
			try
			{
				const lease handle(*daemon);
				const std::string authorization("Bearer " + access_token);
				auto reply = busy();
				if (handle.get())
					nmos_authz_verify(handle.get(), text(authorization), &reply);
				if (reply.decision == NMOS_AUTHZ_ALLOW)
					return{ authorization_error::succeeded };
				log(gate, reply);
				const std::string message(reply.reason[0] != '\0' ? reply.reason : nmos_authz_strerror(reply.error));
				switch (reply.status)
				{
				case 403: return{ authorization_error::insufficient_scope, message };
				case 503: return{ authorization_error::no_matching_keys, message }; /* nmos-cpp answers 503 to this one */
				default: return{ authorization_error::failed, message };
				}
			}
			catch (const std::exception& e)
			{
				return{ authorization_error::failed, e.what() };
			}
		};
	}
}
