/* SPDX-License-Identifier: Apache-2.0 */
/* A stub of Development/nmos/slog.h of sony/nmos-cpp at commit 3ce9fc4d138a, and of the parts of Development/slog below it. */
#ifndef STUB_SLOG_H
#define STUB_SLOG_H

#include <sstream>
#include <string>

#define SLOG_FLF __FILE__, __LINE__, __FUNCTION__

namespace slog
{
	typedef int severity;
	namespace severities
	{
		const severity more_info = -10, error = 20;
	}

	class base_gate
	{
	public:
		virtual ~base_gate() {}
		virtual void log(severity level, const std::string& message) const = 0;
	};

	/* One message, given to the gate when its statement ends. */
	class statement
	{
	public:
		statement(const base_gate& gate, severity level) : gate(gate), level(level) {}
		~statement() { gate.log(level, text.str()); }
		template <typename T>
		statement& operator<<(const T& part)
		{
			text << part;
			return *this;
		}

	private:
		const base_gate& gate;
		const severity level;
		std::ostringstream text;
	};

	template <severity Level>
	statement log(const base_gate& gate, const char*, int, const char*)
	{
		return { gate, Level };
	}
}

#endif
