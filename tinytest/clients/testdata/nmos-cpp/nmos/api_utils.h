/* SPDX-License-Identifier: Apache-2.0 */
/* A stub of Development/nmos/api_utils.h of sony/nmos-cpp at commit 3ce9fc4d138a. */
#ifndef STUB_API_UTILS_H
#define STUB_API_UTILS_H

#include "cpprest/api_router.h"

namespace nmos
{
	namespace details
	{
		/* Thrown to skip other route handlers and then send the response. */
		struct to_api_finally_handler
		{
		};
	}
}

#endif
