/* SPDX-License-Identifier: Apache-2.0 */
/* A stub of Development/nmos/settings.h of sony/nmos-cpp at commit df7fc571376d. */
#ifndef STUB_SETTINGS_H
#define STUB_SETTINGS_H

#include "cpprest/json.h"

namespace nmos
{
	namespace fields
	{
		inline int control_protocol_ws_port(const web::json::value& settings)
		{
			const auto name = U("control_protocol_ws_port");
			return settings.has_field(name) ? settings.at(name).as_integer() : 3218;
		}
	}
}

#endif
