/* SPDX-License-Identifier: Apache-2.0 */
/* A stub of Development/detail/private_access.h of sony/nmos-cpp at commit df7fc571376d. */
#ifndef STUB_PRIVATE_ACCESS_H
#define STUB_PRIVATE_ACCESS_H

namespace detail
{
	template <class Tag>
	struct stowed
	{
		static typename Tag::type value;
	};
	template <class Tag>
	typename Tag::type stowed<Tag>::value;

	template <class Tag, typename Tag::type x>
	struct stow_private
	{
		stow_private() { stowed<Tag>::value = x; }
		static stow_private instance;
	};
	template <class Tag, typename Tag::type x>
	stow_private<Tag, x> stow_private<Tag, x>::instance;
}

#endif
