/* SPDX-License-Identifier: Apache-2.0 */
/* A stub of Development/nmos/ws_api_utils.h of sony/nmos-cpp at commit 10a47efbc6e7. */
#ifndef STUB_WS_API_UTILS_H
#define STUB_WS_API_UTILS_H

#include <functional>

#include "cpprest/http_msg.h"
#include "nmos/authorization_handlers.h"

namespace nmos
{
	namespace experimental
	{
		typedef std::function<bool(web::http::http_request& request, const nmos::experimental::scope& scope)>
			ws_validate_authorization_handler;
	}
}

#endif
