/* SPDX-License-Identifier: Apache-2.0 */
/* A stub of Development/nmos/scope.h of sony/nmos-cpp at commit 10a47efbc6e7. */
#ifndef STUB_SCOPE_H
#define STUB_SCOPE_H

#include "cpprest/http_msg.h"

namespace nmos
{
	namespace experimental
	{
		struct scope
		{
			utility::string_t name;
			friend bool operator==(const scope& a, const scope& b) { return a.name == b.name; }
		};
		namespace scopes
		{
			const scope node{ U("node") }, connection{ U("connection") }, events{ U("events") },
				query{ U("query") }, ncp{ U("ncp") }, configuration{ U("configuration") };
		}
	}
}

#endif
