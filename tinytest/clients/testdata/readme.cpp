/* SPDX-License-Identifier: Apache-2.0 */
/* What the lines of platform/clients/cpp/README.md take for granted, around them. */
#include <cstdio>
#include <optional>
#include <string_view>

struct http_request {
	std::string_view method, raw_target;
	std::optional<std::string_view> header(std::string_view) const { return std::nullopt; }
};
struct http_response {};

static int handle(const http_request &in, http_response &, std::optional<std::string_view> path)
{
	return std::printf("%s: served\n", path == in.raw_target ? in.raw_target.data() : "another path");
}

static int refuse(const http_request &in, http_response &, int status, std::optional<std::string_view> challenge,
                  std::optional<long> retry_after, std::string_view body)
{
	const bool why = body.find("\"debug\":\"no-token\"") != body.npos;
	return std::printf("%s: %d %s, %s\n", in.raw_target.data(), status, why && !retry_after ? "no-token" : body.data(),
	                   challenge.value_or("no challenge").data());
}

// README

int main()
{
	http_response out;
	serve({"GET", "/x-nmos/"}, out);
	serve({"GET", "/x-nmos/node/v1.3/self"}, out);
	return 0;
}
