/* SPDX-License-Identifier: Apache-2.0 */
/* A stub of Development/nmos/authorization_handlers.h of sony/nmos-cpp at commit 2722786ce19f. */
#ifndef STUB_AUTHORIZATION_HANDLERS_H
#define STUB_AUTHORIZATION_HANDLERS_H

#include <functional>

#include "cpprest/api_router.h"
#include "nmos/scope.h"

namespace slog
{
	class base_gate;
}

namespace nmos
{
	namespace experimental
	{
		struct authorization_error
		{
			enum status_t
			{
				succeeded,
				without_authentication,
				insufficient_scope,
				no_matching_keys,
				failed
			};

			authorization_error() : value(without_authentication) {}
			authorization_error(status_t value, const std::string& message = {}) : value(value), message(message) {}

			status_t value;
			std::string message;

			operator bool() const { return succeeded == value; }
		};

		typedef std::function<authorization_error(const utility::string_t& access_token)> validate_authorization_token_handler;
		typedef std::function<web::http::experimental::listener::route_handler(const nmos::experimental::scope& scope)>
			validate_authorization_handler;
	}
}

#endif
