/* SPDX-License-Identifier: Apache-2.0 */
/* A stub of Development/nmos/model.h of sony/nmos-cpp at commit df7fc571376d, with what it needs of resource.h and type.h. */
#ifndef STUB_MODEL_H
#define STUB_MODEL_H

#include <mutex>
#include <stdexcept>
#include <vector>

#include "cpprest/json.h"

namespace nmos
{
	struct type
	{
		utility::string_t name;
		friend bool operator==(const type& a, const type& b) { return a.name == b.name; }
	};
	namespace types
	{
		const type source{ U("source") }, subscription{ U("subscription") };
	}

	struct resource
	{
		nmos::type type;
		web::json::value data;
		utility::string_t id;
	};
	typedef std::vector<resource> resources;
	inline resources::const_iterator find_resource(const resources& all, const utility::string_t& id)
	{
		auto at = all.begin();
		while (at != all.end() && at->id != id)
			++at;
		return at;
	}

	/* Its mutex is not recursive. Whoever locks it twice hangs in nmos-cpp, and gets an exception here. */
	struct base_model
	{
		mutable std::mutex mutex;
		web::json::value settings;
		std::unique_lock<std::mutex> write_lock() const
		{
			std::unique_lock<std::mutex> lock(mutex, std::try_to_lock);
			if (!lock.owns_lock())
				throw std::logic_error("the model is locked already: nmos-cpp would hang");
			return lock;
		}
		std::unique_lock<std::mutex> read_lock() const { return write_lock(); }
	};
	struct node_model : base_model
	{
		nmos::resources events_resources, control_protocol_resources;
	};
	struct registry_model : base_model
	{
		nmos::resources registry_resources;
	};
}

#endif
