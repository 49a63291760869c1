/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nmosauthd::client: asks nmos-authd whether a request may be served (AMWA IS-10). C++17, over the C client: copy this file
 * and nmos_authz.h and nmos_authz.c.
 *
 * Only making a client allocates; no call does, and none throws. Every question ends in a reply that is true if, and only if,
 * the daemon allows. One client a thread. Text in a reply lies in the client, and is good until its next call.
 */
#ifndef NMOS_AUTHZ_HPP
#define NMOS_AUTHZ_HPP

#include "nmos_authz.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <unistd.h>
#include <utility>

namespace nmosauthd {

/* A header that is absent is std::nullopt, which is not the same as an empty one. */
using header = std::optional<std::string_view>;

/* The HTTP request that the question is about, exactly as it came: nothing decoded, nothing shortened. */
struct request {
	std::string_view method;
	std::string_view target;         /* path and query of the request line */
	header authorization = std::nullopt;
	header upgrade = std::nullopt;   /* "websocket" for a handshake */
};

enum class access { read = NMOS_AUTHZ_READ, write = NMOS_AUTHZ_WRITE };
enum class api { control = NMOS_AUTHZ_API_CONTROL, configuration = NMOS_AUTHZ_API_CONFIGURATION }; /* IS-12, IS-14 */

namespace detail {
inline nmos_authz_text text(std::string_view s) noexcept { return nmos_authz_bytes(s.data(), s.size()); }
inline nmos_authz_text text(const header &s) noexcept { return s ? nmos_authz_bytes(s->data() ? s->data() : "", s->size()) : nmos_authz_string(nullptr); }
inline header optional(const char *s) noexcept { return s ? header(s) : std::nullopt; }
inline std::optional<long> optional(long n) noexcept { return n >= 0 ? std::optional<long>(n) : std::nullopt; }
} // namespace detail

class reply {
public:
	reply() noexcept { raw.reason = "", raw.error = NMOS_AUTHZ_BAD_CALL, raw.status = 500, raw.expires_in = raw.retry_after = -1; }

	explicit operator bool() const noexcept { return raw.decision == NMOS_AUTHZ_ALLOW; }
	int status() const noexcept { return raw.status; }              /* HTTP status to answer with */
	nmos_authz_error error() const noexcept { return raw.error; }   /* whether the daemon answered at all */
	int system_error() const noexcept { return raw.system_error; }
	std::string_view reason() const noexcept { return raw.reason; } /* stable code, "" if there is none */
	header text() const noexcept { return detail::optional(raw.text); } /* what the reason means, for people */
	header client_id() const noexcept { return detail::optional(raw.client_id); }
	header subject() const noexcept { return detail::optional(raw.subject); }
	header issuer() const noexcept { return detail::optional(raw.issuer); }
	header path() const noexcept { return detail::optional(raw.path); } /* normalised: route on this one */
	header www_authenticate() const noexcept { return detail::optional(raw.www_authenticate); }
	header would() const noexcept { return detail::optional(raw.would); }
	std::optional<long> expires_in() const noexcept { return detail::optional(raw.expires_in); }
	std::optional<long> retry_after() const noexcept { return detail::optional(raw.retry_after); }

	/* Calls f with each denied target of decide_all. */
	template <class F> void each_denied(F &&f) const
	{
		for (const char *t = nullptr; (t = nmos_authz_next_denied(&raw, t)) != nullptr;)
			f(std::string_view(t));
	}

	/* The NMOS error body, to be sent as application/json. */
	std::string_view body(char (&buffer)[NMOS_AUTHZ_ERROR_BODY_MAX]) const noexcept
	{
		return {buffer, nmos_authz_error_body(&raw, buffer, sizeof buffer)};
	}

	nmos_authz_reply raw{};
};

/* One of the device's own tokens, 17 KiB, wiped at its end. */
class own_token {
public:
	own_token() noexcept = default;
	own_token(const own_token &) = delete;
	own_token &operator=(const own_token &) = delete;
	~own_token() { nmos_authz_token_wipe(&raw); }

	std::string_view value() const noexcept { return raw.value; } /* into "Authorization: Bearer " as it is, and nowhere else */
	std::string_view scope() const noexcept { return raw.scope; }
	std::string_view id() const noexcept { return raw.id; }       /* by which to say that a server answered 401 */
	std::string_view detail() const noexcept { return raw.detail; }

	nmos_authz_own_token raw{};
};

/* A command on the device model, or a subscription. May it be carried out? allowed() says so once it was asked about. */
class command {
public:
	/* method(2, "1.2.2.1", 4, 3, "root.tx-3.gain"), method 4m3; std::nullopt for a class that is not known. */
	static command method(std::uint32_t number, const header &class_id, unsigned level, unsigned index, std::string_view role_path) noexcept
	{
		command c(role_path);
		c.raw.number = number;
		c.raw.class_id = detail::text(class_id);
		c.raw.level = level;
		c.raw.index = index;
		if (level == 0 && index == 0)
			c.raw.role_path = nmos_authz_string(nullptr); /* that would be a subscription: the question is refused */
		return c;
	}
	static command subscription(std::string_view role_path) noexcept { return command(role_path); }

	bool allowed() const noexcept { return raw.status == 200; }
	int status() const noexcept { return raw.status; } /* else the NcMethodStatus to answer with, 401 or 503 */

private:
	explicit command(std::string_view role_path) noexcept { raw.role_path = detail::text(role_path), raw.status = 503; }
	friend class client;
	nmos_authz_command raw{};
};
static_assert(sizeof(command) == sizeof(nmos_authz_command), "an array of the one is an array of the other");

/* A question left standing. Have poll() watch fd() for POLLIN: see client::watch. */
class standing {
public:
	standing() noexcept = default;
	standing(standing &&other) noexcept : number(std::exchange(other.number, -1)) {}
	standing &operator=(standing &&other) noexcept
	{
		std::swap(number, other.number);
		return *this;
	}
	~standing()
	{
		if (number >= 0)
			close(number);
	}
	int fd() const noexcept { return number; } /* -1 if nothing stands */

private:
	friend class client;
	int number = -1;
};

class client {
public:
	/* Does not connect, so the daemon may start later. The timeout is for a whole call. */
	explicit client(const char *socket = "/run/nmos-authd/authz.sock", std::chrono::milliseconds timeout = std::chrono::milliseconds(200))
	    : handle(new nmos_authz())
	{
		nmos_authz_init(handle.get(), socket, static_cast<int>(timeout.count())); /* if it fails, every call denies */
	}
	client(client &&) = default; /* a client that was moved from can only be destroyed */
	client &operator=(client &&) = default;
	~client() { close(); }

	/* Closes the connection. A later call connects again. */
	void close() noexcept
	{
		if (handle)
			nmos_authz_close(handle.get());
	}

	void timeout(std::chrono::milliseconds timeout) noexcept { handle->timeout_ms = static_cast<int>(timeout.count()); }

	/* May this request be served? */
	reply decide(const request &q) noexcept
	{
		reply r;
		const nmos_authz_request c = raw(q);
		nmos_authz_decide(handle.get(), &c, &r.raw);
		return r;
	}

	/* May all of these targets be served? q.target stays empty. */
	reply decide_all(const request &q, const nmos_authz_text *targets, std::size_t count) noexcept
	{
		reply r;
		const nmos_authz_request c = raw(q);
		nmos_authz_decide_all(handle.get(), &c, targets, count, &r.raw);
		return r;
	}

	/* decide_all that is left standing. Once s.fd() is readable the permission has ended: turned says why. */
	reply watch(const request &q, const nmos_authz_text *targets, std::size_t count, standing &s) noexcept
	{
		reply r;
		standing now;
		const nmos_authz_request c = raw(q);
		nmos_authz_watch(handle.get(), &c, targets, count, &r.raw, &now.number);
		s = std::move(now);
		return r;
	}
	reply turned(const standing &s) noexcept
	{
		reply r;
		nmos_authz_turned(handle.get(), s.fd(), &r.raw);
		return r;
	}

	/* May this resource of the device be read, or written? For what is not HTTP. */
	reply resource(std::string_view kind, std::string_view name, access a, const header &authorization) noexcept
	{
		reply r;
		nmos_authz_resource(handle.get(), detail::text(kind), detail::text(name), static_cast<nmos_authz_access>(a), detail::text(authorization), &r.raw);
		return r;
	}

	/* Is this token good? An allow says nothing about any path. */
	reply verify(const header &authorization) noexcept
	{
		reply r;
		nmos_authz_verify(handle.get(), detail::text(authorization), &r.raw);
		return r;
	}

	/* A token of the device's own. refused: the id of one that a server answered with 401. */
	reply token(std::string_view scope, own_token &out, const header &refused = std::nullopt) noexcept
	{
		reply r;
		nmos_authz_token(handle.get(), detail::text(scope), detail::text(refused), &out.raw, &r.raw);
		return r;
	}

	/* May these commands be carried out? Carry out those that are allowed() afterwards, and no other. */
	reply control(api a, command *commands, std::size_t count, const header &authorization, const header &model = std::nullopt) noexcept
	{
		reply r;
		nmos_authz_control(handle.get(), static_cast<nmos_authz_api>(a), detail::text(model), detail::text(authorization),
		                   count > 0 ? &commands->raw : nullptr, count, &r.raw);
		return r;
	}
	template <std::size_t N> reply control(api a, command (&commands)[N], const header &authorization, const header &model = std::nullopt) noexcept
	{
		return control(a, commands, N, authorization, model);
	}

	/* Does the daemon answer? NMOS_AUTHZ_OK if so. */
	nmos_authz_error ping() noexcept { return nmos_authz_ping(handle.get()); }

private:
	static nmos_authz_request raw(const request &q) noexcept
	{
		return {detail::text(q.method), detail::text(q.target), detail::text(q.authorization), detail::text(q.upgrade)};
	}
	std::unique_ptr<nmos_authz> handle; /* 65 KiB */
};

} // namespace nmosauthd

#endif
