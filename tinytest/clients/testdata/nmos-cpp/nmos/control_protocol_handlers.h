/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stub of Development/nmos/control_protocol_handlers.h of sony/nmos-cpp at commit df7fc571376d, with what it needs of
 * control_protocol_typedefs.h.
 */
#ifndef STUB_CONTROL_PROTOCOL_HANDLERS_H
#define STUB_CONTROL_PROTOCOL_HANDLERS_H

#include <cstdint>
#include <functional>
#include <vector>

#include "nmos/model.h"

namespace slog
{
	class base_gate;
}

namespace nmos
{
	struct nc_element_id
	{
		uint16_t level;
		uint16_t index;
		nc_element_id(uint16_t level, uint16_t index) : level(level), index(index) {}
	};
	typedef nc_element_id nc_method_id;
	typedef std::vector<int32_t> nc_class_id;

	namespace experimental
	{
		typedef std::function<web::json::value(nmos::resources& resources, const nmos::resource& resource, const web::json::value& arguments,
		                                       bool is_deprecated, slog::base_gate& gate)>
			control_protocol_method_handler;
		typedef std::pair<web::json::value, control_protocol_method_handler> method;
	}
	typedef std::function<experimental::method(const nc_class_id& class_id, const nc_method_id& method_id)>
		get_control_protocol_method_descriptor_handler;
}

#endif
