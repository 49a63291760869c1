/* SPDX-License-Identifier: Apache-2.0 */
/* nmos-cpp's open WebSockets over the C client. See nmos_authz_nmos_cpp_sockets.h. */
#include "nmos_authz_nmos_cpp_sockets.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "detail/private_access.h"
#include "nmos/api_utils.h"
#include "nmos/settings.h"
#include "nmos/model.h"
#include "nmos/slog.h"
#include "nmos_authz.h"
#include "nmos_authz_nmos_cpp_shared.h"

namespace nmos_authd
{
	namespace
	{
		namespace ws = web::websockets::experimental::listener;
		using web::json::value;
		using web::websockets::websocket_incoming_message;

		/* An incoming message can be read once, and the C++ REST SDK has no way to make another. */
		struct incoming_body { typedef concurrency::streams::container_buffer<std::string>(websocket_incoming_message::*type); };
		struct incoming_type { typedef web::websockets::websocket_message_type(websocket_incoming_message::*type); };

		/* The method that refuses: its level is no class's, its index is the status. */
		const uint16_t refusing_level = 65535;

		value refusal(int status)
		{
			auto result = value::object();
			result[U("status")] = value::number(status);
			result[U("errorMessage")] = value::string(status == 503 ? U("the permission cannot be asked for now") : U("not permitted"));
			return result;
		}

		/* One object that a command reaches, or that is subscribed to. */
		struct reach
		{
			size_t command; /* its place in the message */
			std::string class_id, role_path;
			unsigned level, index;
		};

		/* The objects of a device model, to read with the model locked. */
		class objects
		{
		public:
			explicit objects(const nmos::resources& resources) : resources(resources) {}

			const nmos::resource* find(int32_t oid) const
			{
				const auto found = nmos::find_resource(resources, utility::conversions::to_string_t(std::to_string(oid)));
				return resources.end() == found ? nullptr : &*found;
			}

			/* The role path, "" of what has none (CTL-1, CTL-2). */
			std::string role_path(const nmos::resource& object) const
			{
				std::string path;
				const auto* at = &object;
				for (int depth = 0; at != nullptr; ++depth)
				{
					if (depth > 100 || !at->data.has_field(U("role")))
						return "";
					const auto role = utility::conversions::to_utf8string(at->data.at(U("role")).as_string());
					path = path.empty() ? role : role + "." + path;
					const auto owner = at->data.has_field(U("owner")) ? at->data.at(U("owner")) : value::null();
					if (owner.is_null())
						return path;
					at = find(owner.as_integer());
				}
				return "";
			}

			static std::string class_id(const nmos::resource& object)
			{
				std::string id;
				for (const auto& part : object.data.at(U("classId")).as_array())
					id += (id.empty() ? "" : ".") + std::to_string(part.as_integer());
				return id;
			}

			/* The role paths of all objects below one. */
			std::set<std::string> below(const std::string& path) const
			{
				std::set<std::string> all;
				for (const auto& object : resources)
				{
					const auto other = object.data.has_field(U("role")) ? role_path(object) : std::string();
					if (other.compare(0, path.size() + 1, path + ".") == 0)
						all.insert(other);
				}
				return all;
			}

		private:
			const nmos::resources& resources;
		};

		std::string joined(const value& roles)
		{
			std::string path;
			for (const auto& role : roles.as_array())
				path += (path.empty() ? "" : ".") + utility::conversions::to_utf8string(role.as_string());
			return path;
		}

		bool starts(const std::string& text, const std::string& with) { return text.compare(0, with.size(), with) == 0; }

		/*
		 * What a method of the bulk properties manager (1.3.3) reaches: the target and, unless the command says otherwise, what is below
		 * it. A restore that modifies reaches what of that is in its data set, and if nothing is, it is asked about as one of the
		 * target; one that rebuilds also reaches what it adds and removes (CTL-43).
		 */
		std::set<std::string> scope(const objects& all, const value& arguments, unsigned index)
		{
			const auto target = joined(arguments.at(U("path")));
			std::set<std::string> paths;
			const auto recurse = arguments.has_field(U("recurse")) ? arguments.at(U("recurse")) : value::boolean(true);
			if (recurse.is_boolean() && !recurse.as_bool())
				return { target };
			if (index == 1 || !arguments.has_field(U("restoreMode")) || arguments.at(U("restoreMode")).as_integer() != 0)
			{
				paths = all.below(target);
				paths.insert(target);
			}
			if (index != 1)
				for (const auto& holder : arguments.at(U("dataSet")).at(U("values")).as_array())
				{
					const auto path = joined(holder.at(U("path")));
					if (path == target || starts(path, target + "."))
						paths.insert(path);
				}
			if (paths.empty())
				paths.insert(target);
			return paths;
		}

		bool is_bulk(const std::string& class_id) { return class_id == "1.3.3" || starts(class_id, "1.3.3."); }

		/*
		 * The objects that the commands of a message reach, or that it subscribes to. What is not there nmos-cpp answers (CTL-26), and
		 * is refused should it be there by then.
		 */
		std::vector<reach> reaches(const objects& all, const value& message, bool subscribes, std::vector<int>& statuses)
		{
			std::vector<reach> out;
			size_t place = 0;
			for (const auto& command : message.at(subscribes ? U("subscriptions") : U("commands")).as_array())
			{
				const size_t at = place++;
				const auto* object = all.find((subscribes ? command : command.at(U("oid"))).as_integer());
				if (object == nullptr)
				{
					statuses[at] = 401;
					continue;
				}
				reach one{ at, objects::class_id(*object), all.role_path(*object), 0, 0 };
				if (!subscribes)
				{
					/* as nmos-cpp reads them */
					const auto& id = command.at(U("methodId"));
					one.level = static_cast<uint16_t>(id.at(U("level")).as_integer());
					one.index = static_cast<uint16_t>(id.at(U("index")).as_integer());
				}
				std::set<std::string> paths{ one.role_path };
				if (!subscribes && is_bulk(one.class_id) && one.level == 3 && one.index <= 3 && command.has_field(U("arguments")))
					paths = scope(all, command.at(U("arguments")), one.index);
				for (const auto& path : paths)
				{
					one.role_path = path;
					out.push_back(one);
				}
			}
			return out;
		}
	}

	namespace
	{
		/*
		 * Asks about objects in as many questions as it takes. A command that reaches several needs each (CTL-82). Returns the first
		 * reply that denies, or else the last.
		 */
		nmos_authz_reply ask(const lease& handle, nmos_authz_api api, const std::string& device_model, nmos_authz_text token,
		                     const std::vector<reach>& all, std::vector<int>& statuses)
		{
			const auto device = device_model.empty() ? nmos_authz_string(nullptr) : text(device_model);
			size_t most = 200;
			auto answer = busy();
			for (size_t from = 0; from < all.size();)
			{
				std::vector<nmos_authz_command> commands;
				for (size_t i = from; i < all.size() && commands.size() < most; ++i)
				{
					auto one = nmos_authz_command();
					one.number = static_cast<uint32_t>(all[i].command + 1);
					one.class_id = text(all[i].class_id);
					one.level = all[i].level;
					one.index = all[i].index;
					one.role_path = text(all[i].role_path);
					one.status = 503;
					commands.push_back(one);
				}
				auto reply = busy();
				if (handle.get())
					nmos_authz_control(handle.get(), api, device, token, commands.data(), commands.size(), &reply);
				if (reply.error == NMOS_AUTHZ_TOO_LONG && commands.size() > 1)
				{
					most = commands.size() / 2; /* long role paths, or a long token */
					continue;
				}
				for (size_t i = 0; i < commands.size(); ++i)
				{
					auto& status = statuses[all[from + i].command];
					if (commands[i].status != 200 && status != 401)
						status = commands[i].status == 503 ? 503 : 401;
				}
				from += commands.size();
				answer = reply;
				if (reply.decision != NMOS_AUTHZ_ALLOW && api == NMOS_AUTHZ_API_CONFIGURATION)
					break; /* its text is good until the next question */
			}
			return answer;
		}

		/*
		 * The object that a request of IS-14 restores, or would, "" if it does not. What else it reaches stands in its body, which the
		 * guard must leave to nmos-cpp: so all that is there below the object counts (CTL-65).
		 */
		std::string restored(const web::http::http_request& req)
		{
			if (req.method() != web::http::methods::PUT && req.method() != web::http::methods::PATCH)
				return "";
			const auto segments = web::uri::split_path(req.relative_uri().path());
			if (segments.size() < 6 || segments[1] != U("configuration") || segments.back() != U("bulkProperties"))
				return "";
			return utility::conversions::to_utf8string(web::uri::decode(segments[segments.size() - 2]));
		}
	}

	nmos::get_control_protocol_method_descriptor_handler
	make_get_control_protocol_method_descriptor_handler(nmos::get_control_protocol_method_descriptor_handler inner)
	{
		return [inner](const nmos::nc_class_id& class_id, const nmos::nc_method_id& method_id) -> nmos::experimental::method
		{
			if (method_id.level != refusing_level)
				return inner(class_id, method_id);
			const int status = method_id.index == 503 ? 503 : 401;
			auto descriptor = value::object();
			descriptor[U("parameters")] = value::array();
			descriptor[U("isDeprecated")] = value::boolean(false);
			return { descriptor, [status](nmos::resources&, const nmos::resource&, const value&, bool, slog::base_gate&) { return refusal(status); } };
		};
	}

	class socket_guard : public std::enable_shared_from_this<socket_guard>
	{
	public:
		socket_guard(connections_ptr daemon, slog::base_gate& gate, const nmos::node_model& model, const std::string& device_model)
			: daemon(daemon), gate(gate), model(model), device_model(device_model)
		{
			if (pipe2(wake, O_NONBLOCK | O_CLOEXEC) != 0)
				throw std::runtime_error("nmos_authd: no pipe for the thread that watches permissions");
			watcher = std::thread([this] { watch(); });
		}

		~socket_guard()
		{
			{
				std::lock_guard<std::mutex> lock(mutex);
				ending = true;
			}
			nudge();
			watcher.join();
			for (auto& session : sessions)
				if (session.second.fd >= 0)
					close(session.second.fd);
			close(wake[0]);
			close(wake[1]);
		}

		/* Puts the guard before the handlers of a listener. Those of IS-12 show commands, those of IS-07 all sources. */
		void guard(ws::websocket_listener& listener, const ws::websocket_listener_handlers& inner, bool commands)
		{
			const std::weak_ptr<socket_guard> weak = shared_from_this();
			listener.set_validate_handler([weak, inner](web::http::http_request req)
			{
				const auto self = weak.lock();
				return self && self->validate(inner.validate_handler, req);
			});
			listener.set_open_handler([weak, inner, &listener, commands](const web::uri& uri, const ws::connection_id& id)
			{
				inner.open_handler(uri, id);
				if (const auto self = weak.lock())
					self->opened(listener, uri, id, commands);
			});
			listener.set_close_handler([weak, inner](const web::uri& uri, const ws::connection_id& id,
			                                         web::websockets::websocket_close_status status, const utility::string_t& reason)
			{
				if (const auto self = weak.lock())
					self->closed(id);
				inner.close_handler(uri, id, status, reason);
			});
			if (commands)
				listener.set_message_handler([weak, inner](const web::uri& uri, const ws::connection_id& id, const websocket_incoming_message& message)
				{
					if (const auto self = weak.lock())
						inner.message_handler(uri, id, self->judged(id, message));
				});
		}

	private:
		typedef std::chrono::steady_clock clock;

		/* A handshake that was accepted and whose connection is not there yet. */
		struct handshake
		{
			std::string authorization;
			bool header;
			int count;
			clock::time_point since;
		};

		struct session
		{
			ws::websocket_listener* listener;
			std::string authorization;
			bool header; /* there was an Authorization header */
			std::vector<std::string> targets; /* that the WebSocket can show; the first has its query */
			int fd;                           /* of the standing question; -1 if there is none */
			clock::time_point until;          /* when the permission ends, if nobody says it */
		};

		bool validate(const ws::validate_handler& inner, web::http::http_request& req)
		{
			const auto key = req.absolute_uri().to_string();
			const auto field = req.headers().find(web::http::header_names::authorization);
			const bool header = field != req.headers().end();
			const auto authorization = header ? utility::conversions::to_utf8string(field->second) : std::string();
			if (!inner(req))
				return false;
			std::lock_guard<std::mutex> lock(mutex);
			const auto now = clock::now();
			/* Below nmos-cpp, websocketpp gives up a handshake after five seconds. */
			for (auto it = pending.begin(); it != pending.end();)
				it = now - it->second.since > std::chrono::seconds(10) ? pending.erase(it) : std::next(it);
			const auto found = pending.find(key);
			const bool other = found != pending.end() && (found->second.header != header || found->second.authorization != authorization);
			if (other || (found == pending.end() && pending.size() >= 256))
			{
				web::http::http_response res(web::http::status_codes::ServiceUnavailable);
				res.headers().add(web::http::header_names::retry_after, 1);
				req.reply(res);
				return false;
			}
			auto& entry = pending[key];
			entry.authorization = authorization;
			entry.header = header;
			entry.count = found == pending.end() ? 1 : entry.count + 1;
			entry.since = now;
			return true;
		}

		void opened(ws::websocket_listener& listener, const web::uri& uri, const ws::connection_id& id, bool commands)
		{
			session one{ &listener, "", false, targets(uri, commands), -1, (clock::time_point::max)() };
			{
				std::lock_guard<std::mutex> lock(mutex);
				const auto found = pending.find(uri.to_string());
				if (found != pending.end())
				{
					one.authorization = found->second.authorization;
					one.header = found->second.header;
					if (--found->second.count == 0)
						pending.erase(found);
				}
			}
			const bool stays = stand(one);
			{
				std::lock_guard<std::mutex> lock(mutex);
				sessions[id] = one;
			}
			if (!stays)
				end(listener, id);
			nudge();
		}

		void closed(const ws::connection_id& id)
		{
			std::lock_guard<std::mutex> lock(mutex);
			const auto found = sessions.find(id);
			if (found == sessions.end())
				return;
			if (found->second.fd >= 0)
				gone.push_back(found->second.fd); /* the thread that watches it closes it */
			sessions.erase(found);
			nudge();
		}

		/* What the permission of a WebSocket is about: IS-12's socket, or every IS-07 source of the node (PATH-12). */
		std::vector<std::string> targets(const web::uri& uri, bool commands)
		{
			std::vector<std::string> all;
			if (!commands)
			{
				const auto lock = model.read_lock();
				for (const auto& resource : model.events_resources)
					if (nmos::types::source == resource.type)
						all.push_back("/x-nmos/events/v1.0/sources/" + utility::conversions::to_utf8string(resource.id));
			}
			if (all.empty())
				all.push_back(commands ? "/x-nmos/ncp/v1.0" : "/x-nmos/events/v1.0");
			const auto query = utility::conversions::to_utf8string(uri.query());
			if (!query.empty())
				all[0] += "?" + query;
			return all;
		}

		/* Leaves the question standing whether a WebSocket is permitted. If the daemon has no room for it, the time counts. */
		bool stand(session& one)
		{
			const lease handle(*daemon);
			if (!handle.get())
				return false;
			auto question = nmos_authz_request();
			question.authorization = one.header ? text(one.authorization) : nmos_authz_string(nullptr);
			question.upgrade = nmos_authz_string("websocket");
			std::vector<nmos_authz_text> texts;
			for (const auto& target : one.targets)
				texts.push_back(text(target));
			nmos_authz_reply reply;
			nmos_authz_watch(handle.get(), &question, texts.data(), texts.size(), &reply, &one.fd);
			if (reply.decision == NMOS_AUTHZ_ALLOW)
				return true;
			if (reply.error == NMOS_AUTHZ_TOO_LONG || std::string(reply.reason) == NMOS_AUTHZ_REASON_WATCH_LIMIT)
				return stand_by_time(handle, question, texts, one);
			log_ended(reply);
			return false;
		}

		bool stand_by_time(const lease& handle, const nmos_authz_request& question, const std::vector<nmos_authz_text>& texts, session& one)
		{
			const size_t most = 100;
			nmos_authz_reply reply;
			for (size_t i = 0; i < texts.size(); i += most)
			{
				nmos_authz_decide_all(handle.get(), &question, texts.data() + i, (std::min)(most, texts.size() - i), &reply);
				if (reply.decision != NMOS_AUTHZ_ALLOW)
				{
					log_ended(reply);
					return false;
				}
				if (reply.expires_in >= 0)
					one.until = (std::min)(one.until, clock::now() + std::chrono::seconds(reply.expires_in));
			}
			return true;
		}

		void log_ended(const nmos_authz_reply& reply)
		{
			slog::log<slog::severities::more_info>(gate, SLOG_FLF)
				<< "Authorization of a WebSocket has ended: " << reply.status << " "
				<< (reply.reason[0] != '\0' ? reply.reason : nmos_authz_strerror(reply.error));
		}

		void end(ws::websocket_listener& listener, const ws::connection_id& id)
		{
			try
			{
				listener.close(id, web::websockets::websocket_close_status::policy_violation, U("not permitted")).wait();
			}
			catch (const std::exception&)
			{
				/* it is gone already */
			}
		}

		/* Waits for permissions to end, and ends their WebSockets. */
		void watch()
		{
			for (;;)
			{
				std::vector<pollfd> fds(1, pollfd{ wake[0], POLLIN, 0 });
				std::vector<ws::connection_id> ids(1);
				auto first = (clock::time_point::max)();
				{
					std::lock_guard<std::mutex> lock(mutex);
					if (ending)
						return;
					for (const int fd : gone)
						close(fd);
					gone.clear();
					for (const auto& one : sessions)
					{
						first = (std::min)(first, one.second.until);
						fds.push_back(pollfd{ one.second.fd, POLLIN, 0 }); /* poll ignores one below zero */
						ids.push_back(one.first);
					}
				}
				int timeout = -1;
				if (first != (clock::time_point::max)())
					timeout = static_cast<int>((std::max)(int64_t(0), (std::min)(int64_t(60000),
						int64_t(std::chrono::duration_cast<std::chrono::milliseconds>(first - clock::now()).count()) + 1)));
				poll(fds.data(), fds.size(), timeout);
				char drained[64];
				if (fds[0].revents != 0 && read(wake[0], drained, sizeof drained) < 0)
					continue;
				const auto now = clock::now();
				for (size_t i = 1; i < fds.size(); ++i)
					turned(ids[i], fds[i], now);
			}
		}

		/* One permission has ended, perhaps. */
		void turned(const ws::connection_id& id, const pollfd& fd, clock::time_point now)
		{
			session one;
			{
				std::lock_guard<std::mutex> lock(mutex);
				const auto found = sessions.find(id);
				if (found == sessions.end() || (fd.revents == 0 && found->second.until > now))
					return;
				one = found->second;
				found->second.fd = -1;
				found->second.until = (clock::time_point::max)();
			}
			bool stays = false;
			if (one.fd >= 0)
			{
				nmos_authz_reply reply;
				{
					const lease handle(*daemon);
					if (!handle.get())
						reply = busy();
					else
						nmos_authz_turned(handle.get(), one.fd, &reply);
					if (reply.error == NMOS_AUTHZ_OK)
						log_ended(reply);
				}
				close(one.fd);
				one.fd = -1;
				one.until = (clock::time_point::max)();
				stays = reply.error != NMOS_AUTHZ_OK && stand(one); /* the daemon has ended, and another runs, perhaps */
			}
			std::unique_lock<std::mutex> lock(mutex);
			const auto found = sessions.find(id);
			if (found == sessions.end())
			{
				if (one.fd >= 0)
					close(one.fd);
				return;
			}
			found->second.fd = one.fd;
			found->second.until = one.until;
			if (stays)
				return;
			found->second.header = false; /* no command is permitted any more */
			found->second.authorization.clear();
			found->second.targets.clear();
			found->second.until = (clock::time_point::max)();
			lock.unlock();
			end(*one.listener, id);
		}

		/* The message with what is refused marked, or taken out. What cannot be read becomes a message that nmos-cpp refuses. */
		websocket_incoming_message judged(const ws::connection_id& id, const websocket_incoming_message& message)
		{
			std::string body;
			try
			{
				body = message.extract_string().get();
				auto json = value::parse(utility::conversions::to_string_t(body));
				const auto type = json.at(U("messageType")).as_integer();
				if ((type == 0 || type == 3) && judge(id, json, type == 3))
					body = utility::conversions::to_utf8string(json.serialize());
			}
			catch (const std::exception&)
			{
				body = "{}";
			}
			websocket_incoming_message out;
			out.*detail::stowed<incoming_type>::value = web::websockets::websocket_message_type::text_message;
			out.*detail::stowed<incoming_body>::value = concurrency::streams::container_buffer<std::string>(std::move(body));
			return out;
		}

		/* Judges the commands or the subscriptions of a message, and reports whether it has changed the message. */
		bool judge(const ws::connection_id& id, value& message, bool subscribes)
		{
			const auto name = subscribes ? U("subscriptions") : U("commands");
			std::vector<int> statuses(message.at(name).size(), 200);
			std::vector<reach> all;
			{
				const auto lock = model.read_lock();
				all = reaches(objects(model.control_protocol_resources), message, subscribes, statuses);
			}
			ask(id, all, statuses);
			if (std::all_of(statuses.begin(), statuses.end(), [](int status) { return status == 200; }))
				return false;
			auto kept = value::array();
			for (size_t i = 0; i < statuses.size(); ++i)
			{
				auto command = message.at(name).at(i);
				if (subscribes && statuses[i] != 200) /* CTL-27 */
					continue;
				if (statuses[i] != 200) /* CTL-25 */
				{
					command[U("methodId")][U("level")] = value::number(refusing_level);
					command[U("methodId")][U("index")] = value::number(statuses[i]);
				}
				kept[kept.size()] = command;
			}
			message[name] = kept;
			return true;
		}

		void ask(const ws::connection_id& id, const std::vector<reach>& all, std::vector<int>& statuses)
		{
			std::string authorization;
			bool has = false;
			{
				std::lock_guard<std::mutex> lock(mutex);
				const auto found = sessions.find(id);
				if (found != sessions.end())
				{
					const auto& one = found->second;
					authorization = one.header || one.targets.empty() ? one.authorization : bearer(one.targets[0]);
					has = one.header || !authorization.empty();
				}
			}
			const lease handle(*daemon);
			nmos_authd::ask(handle, NMOS_AUTHZ_API_CONTROL, device_model, has ? text(authorization) : nmos_authz_string(nullptr), all, statuses);
		}

		/* The Authorization value for a token in the query of a target; "" if there is none. The handshake was judged with it. */
		static std::string bearer(const std::string& target)
		{
			const auto at = target.find('?');
			const auto query = at == std::string::npos ? std::string() : target.substr(at + 1);
			for (const auto& pair : web::uri::split_query(utility::conversions::to_string_t(query)))
				if (pair.first == U("access_token"))
					return "Bearer " + utility::conversions::to_utf8string(web::uri::decode(pair.second));
			return "";
		}

		void nudge()
		{
			const char byte = 0;
			if (write(wake[1], &byte, 1) < 0)
				return; /* a full pipe wakes as well */
		}

		const connections_ptr daemon;
		slog::base_gate& gate;
		const nmos::node_model& model;
		const std::string device_model;
		int wake[2];
		std::mutex mutex; /* of what follows */
		std::map<utility::string_t, handshake> pending;
		std::map<ws::connection_id, session> sessions;
		std::vector<int> gone;
		bool ending = false;
		std::thread watcher;
	};

	nmos::experimental::validate_authorization_handler
	make_validate_authorization_handler(connections_ptr daemon, slog::base_gate& gate, const nmos::node_model& model,
	                                    const std::string& device_model)
	{
		const auto inner = make_validate_authorization_handler(daemon, gate);
		return [daemon, &gate, &model, device_model, inner](const nmos::experimental::scope& scope)
			-> web::http::experimental::listener::route_handler
		{
			const auto guard = inner(scope);
			return [daemon, &gate, &model, device_model, guard](web::http::http_request req, web::http::http_response res,
			                                                   const utility::string_t& route,
			                                                   const web::http::experimental::listener::route_parameters& parameters)
			{
				const auto next = guard(req, res, route, parameters); /* throws if it does not permit the target */
				const auto target = restored(req);
				if (target.empty())
					return next;
				std::set<std::string> paths;
				{
					const auto lock = model.read_lock();
					paths = objects(model.control_protocol_resources).below(target);
				}
				std::vector<reach> all;
				for (const auto& path : paths)
					all.push_back(reach{ 0, "1", path, 1, 2 }); /* write, whichever property is set */
				const auto field = req.headers().find(web::http::header_names::authorization);
				const auto authorization = field == req.headers().end() ? std::string() : utility::conversions::to_utf8string(field->second);
				std::vector<int> statuses(1, 200);
				const lease handle(*daemon); /* which the text of the reply is in */
				auto reply = ask(handle, NMOS_AUTHZ_API_CONFIGURATION, device_model,
				                 field == req.headers().end() ? nmos_authz_string(nullptr) : text(authorization), all, statuses);
				if (statuses[0] == 200)
					return next;
				reply.configuration = 1;
				log(gate, reply);
				set_denial(res, reply);
				throw nmos::details::to_api_finally_handler{};
			};
		};
	}

	socket_guard_ptr guard_websockets(connections_ptr daemon, slog::base_gate& gate, const nmos::node_model& model,
	                                  nmos::server& server, const std::string& device_model)
	{
		const auto guard = std::make_shared<socket_guard>(daemon, gate, model, device_model);
		const auto control = nmos::fields::control_protocol_ws_port(model.settings);
		auto listener = server.ws_listeners.begin();
		for (const auto& handlers : server.ws_handlers) /* make_node_server makes one listener of each, in this order */
		{
			if (listener == server.ws_listeners.end())
				throw std::logic_error("nmos_authd: the server has fewer WebSocket listeners than handlers");
			guard->guard(*listener++, handlers.second.first, handlers.first.second == control);
		}
		return guard;
	}
}

template struct detail::stow_private<nmos_authd::incoming_body, &web::websockets::websocket_incoming_message::m_body>;
template struct detail::stow_private<nmos_authd::incoming_type, &web::websockets::websocket_incoming_message::m_msg_type>;
