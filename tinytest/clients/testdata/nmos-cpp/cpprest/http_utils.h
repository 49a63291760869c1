/* SPDX-License-Identifier: Apache-2.0 */
/* A stub of Development/cpprest/http_utils.h of sony/nmos-cpp at commit 3ce9fc4d138a. */
#ifndef STUB_HTTP_UTILS_H
#define STUB_HTTP_UTILS_H

#include "cpprest/http_msg.h"

namespace web
{
	namespace http
	{
		inline void set_reply(web::http::http_response& res, web::http::status_code code, const utility::string_t& body_text,
		                      const utility::string_t& content_type = U("text/plain"))
		{
			res.set_status_code(code);
			res.set_body(body_text, content_type);
		}
	}
}

#endif
