/* SPDX-License-Identifier: Apache-2.0 */
/* A stub of pplx/pplxtasks.h of microsoft/cpprestsdk 2.10: a task that is done when it is made. */
#ifndef STUB_PPLXTASKS_H
#define STUB_PPLXTASKS_H

#include <utility>

namespace pplx
{
	template <typename T>
	class task
	{
	public:
		explicit task(T result) : value(std::move(result)) {}
		T get() const { return value; }

	private:
		T value;
	};

	template <>
	class task<void>
	{
	};

	template <typename T>
	task<T> task_from_result(T value)
	{
		return task<T>(std::move(value));
	}
}

#endif
