/* SPDX-License-Identifier: Apache-2.0 */
/* A stub of Development/cpprest/api_router.h of sony/nmos-cpp at commit 2087b0588c79: what a route handler is. */
#ifndef STUB_API_ROUTER_H
#define STUB_API_ROUTER_H

#include <functional>
#include <unordered_map>

#include "cpprest/http_utils.h"

namespace web
{
	namespace http
	{
		namespace experimental
		{
			namespace listener
			{
				typedef std::unordered_map<utility::string_t, utility::string_t> route_parameters;
				typedef std::function<pplx::task<bool>(web::http::http_request req, web::http::http_response res,
				                                       const utility::string_t& route_path, const route_parameters& parameters)>
					route_handler;
			}
		}
	}
}

#endif
