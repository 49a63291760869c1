/* SPDX-License-Identifier: Apache-2.0 */
/* What the handlers of nmos_authz_nmos_cpp.cpp and the guards of nmos_authz_nmos_cpp_sockets.cpp share. Private to them. */
#ifndef NMOS_AUTHZ_NMOS_CPP_SHARED_H
#define NMOS_AUTHZ_NMOS_CPP_SHARED_H

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpprest/http_utils.h"
#include "nmos/slog.h"
#include "nmos_authz.h"

namespace nmos_authd
{
	/* Handles that no thread uses at the moment. The last one given back is taken first, so that few connections open. */
	class connections
	{
	public:
		connections(const std::string& socket_path, int timeout_ms, size_t most) : timeout(timeout_ms)
		{
			if (most == 0)
				throw std::invalid_argument("nmos_authd: no connections to the daemon are allowed");
			for (; most > 0; --most)
			{
				idle.emplace_back(new nmos_authz());
				if (nmos_authz_init(idle.back().get(), socket_path.c_str(), timeout_ms) != NMOS_AUTHZ_OK)
					throw std::invalid_argument("nmos_authd: " + socket_path + " is not a path of a socket, or the timeout is below 1");
			}
		}

		~connections()
		{
			for (auto& handle : idle)
				nmos_authz_close(handle.get());
		}

		/* A handle with what is left of the timeout, or nullptr when that is over. */
		std::unique_ptr<nmos_authz> take()
		{
			const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout);
			std::unique_lock<std::mutex> lock(mutex);
			if (!freed.wait_until(lock, deadline, [this] { return !idle.empty(); }))
				return nullptr;
			const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
			auto handle = std::move(idle.back());
			idle.pop_back();
			handle->timeout_ms = left.count() > 0 ? static_cast<int>(left.count()) : 1;
			return handle;
		}

		void give(std::unique_ptr<nmos_authz> handle)
		{
			{
				std::lock_guard<std::mutex> lock(mutex);
				idle.push_back(std::move(handle)); /* within the capacity that it had */
			}
			freed.notify_one();
		}

	private:
		const int timeout;
		std::mutex mutex;
		std::condition_variable freed;
		std::vector<std::unique_ptr<nmos_authz>> idle;
	};

	/* A taken handle; its text of a reply is good until it is given back. */
	class lease
	{
	public:
		explicit lease(connections& owner) : from(owner), handle(from.take()) {}
		~lease()
		{
			if (handle)
				from.give(std::move(handle));
		}
		lease(const lease&) = delete;
		lease& operator=(const lease&) = delete;

		nmos_authz* get() const { return handle.get(); }

	private:
		connections& from;
		std::unique_ptr<nmos_authz> handle;
	};

	/* The reply where every connection was busy until the timeout. */
	inline nmos_authz_reply busy()
	{
		auto reply = nmos_authz_reply();
		reply.status = 503;
		reply.error = NMOS_AUTHZ_TIMEOUT;
		reply.reason = "";
		reply.expires_in = -1;
		reply.retry_after = NMOS_AUTHZ_RETRY_AFTER;
		return reply;
	}

	inline nmos_authz_text text(const std::string& s) { return nmos_authz_bytes(s.data(), s.size()); }

	/* Sets up the response to a request that is denied. */
	inline void set_denial(web::http::http_response& res, const nmos_authz_reply& reply)
	{
		char body[NMOS_AUTHZ_ERROR_BODY_MAX];
		nmos_authz_error_body(&reply, body, sizeof body);
		web::http::set_reply(res, static_cast<web::http::status_code>(reply.status), utility::string_t(body),
		                     U("application/json"));
		if (reply.www_authenticate != nullptr)
			res.headers().add(web::http::header_names::www_authenticate, utility::string_t(reply.www_authenticate));
		if (reply.retry_after >= 0)
			res.headers().add(web::http::header_names::retry_after, reply.retry_after);
		if (reply.status == web::http::status_codes::MethodNotAllowed)
			res.headers().add(web::http::header_names::allow, U("GET, HEAD, POST, PUT, PATCH, DELETE"));
	}

	/* The daemon keeps the record of decisions; here is what only the node knows, above all that it could not ask. */
	inline void log(slog::base_gate& gate, const nmos_authz_reply& reply)
	{
		if (reply.error != NMOS_AUTHZ_OK)
			slog::log<slog::severities::error>(gate, SLOG_FLF)
				<< "Authorization error: " << nmos_authz_strerror(reply.error)
				<< (reply.system_error != 0 ? std::string(": ") + std::strerror(reply.system_error) : std::string());
		else
			slog::log<slog::severities::more_info>(gate, SLOG_FLF)
				<< "Authorization denied: " << reply.status << " " << reply.reason;
	}
}

#endif
