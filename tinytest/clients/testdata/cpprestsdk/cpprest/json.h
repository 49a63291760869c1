/* SPDX-License-Identifier: Apache-2.0 */
/* A stub of cpprest/json.h of microsoft/cpprestsdk 2.10.18: strings, and objects of them. */
#ifndef STUB_JSON_H
#define STUB_JSON_H

#include <map>
#include <utility>

#include "cpprest/http_msg.h"

namespace web
{
	namespace json
	{
		class value
		{
		public:
			value() {}
			explicit value(const utility::string_t& s) : text(s) {}
			static value object() { return {}; }
			static value string(const utility::string_t& s) { return value(s); }
			value& operator[](const utility::string_t& name) { return fields[name]; }
			bool has_field(const utility::string_t& name) const { return fields.count(name) > 0; }
			const value& at(const utility::string_t& name) const { return fields.at(name); }
			const utility::string_t& as_string() const { return text; }

		private:
			utility::string_t text;
			std::map<utility::string_t, value> fields;
		};
	}
}

#endif
