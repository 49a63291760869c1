/* SPDX-License-Identifier: Apache-2.0 */
/* Does with the C++ client what the Go test tells it, as probe.c, and counts what is allocated while it asks. */
#include "nmos_authz.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <new>
#include <poll.h>
#include <pthread.h>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

using namespace nmosauthd;

static std::atomic<long> allocations{0};
static thread_local bool asking = false;

extern "C" void *__libc_malloc(size_t);
extern "C" void *malloc(size_t size)
{
	if (asking)
		allocations++;
	return __libc_malloc(size);
}
void *operator new(size_t size)
{
	void *p = malloc(size);
	if (p == nullptr)
		throw std::bad_alloc();
	return p;
}
void operator delete(void *p) noexcept { free(p); }
void operator delete(void *p, size_t) noexcept { free(p); }

template <class F> static auto ask(F f)
{
	asking = true;
	auto r = f();
	asking = false;
	return r;
}

static std::vector<std::string> words;

static header value(size_t i)
{
	static std::vector<std::string> decoded;
	if (decoded.size() < words.size())
		decoded.resize(words.size());
	if (i >= words.size() || words[i][0] != 'x')
		return std::nullopt;
	decoded[i].clear();
	for (size_t n = 1; n + 1 < words[i].size(); n += 2)
		decoded[i] += static_cast<char>(std::stoi(words[i].substr(n, 2), nullptr, 16));
	return decoded[i];
}

static std::string_view given(size_t i) { return value(i).value_or(std::string_view()); }
static long number(size_t i) { return i < words.size() ? std::strtol(words[i].c_str(), nullptr, 10) : 0; }
static long decimal(size_t i) { return std::strtol(std::string(given(i)).c_str(), nullptr, 10); }

static void put(const char *name, const header &text)
{
	if (text)
		std::cout << name << '=' << *text << '\n';
}

static void show(const reply &r)
{
	std::cout << "decision=" << (r ? "allow" : "deny") << "\nstatus=" << r.status() << "\nerror=" << r.error()
	          << "\nexpires-in=" << r.expires_in().value_or(-1) << "\nretry-after=" << r.retry_after().value_or(-1) << '\n';
	put("reason", r.reason());
	put("client-id", r.client_id());
	put("subject", r.subject());
	put("issuer", r.issuer());
	put("path", r.path());
	put("www-authenticate", r.www_authenticate());
	put("would", r.would());
	r.each_denied([](std::string_view target) { put("denied", target); });
	char body[NMOS_AUTHZ_ERROR_BODY_MAX];
	if (!r)
		put("body", r.body(body));
}

static request asked() { return {given(0), given(1), value(2), value(3)}; }

static std::vector<nmos_authz_text> targets()
{
	std::vector<nmos_authz_text> all;
	for (size_t i = 4; i < words.size(); i++)
		all.push_back(detail::text(value(i)));
	return all;
}

static void threads(const char *socket, std::chrono::milliseconds timeout)
{
	const size_t count = static_cast<size_t>(number(0));
	const long half = number(1) / 2;
	const std::string method(given(2)), good(given(3)), bad(given(4)), authorization(given(5));
	std::atomic<long> allowed{0}, wrong{0}, answered{0};
	pthread_barrier_t barrier;
	pthread_barrier_init(&barrier, nullptr, static_cast<unsigned>(count + 1));
	std::vector<std::thread> all;
	for (size_t i = 0; i < count; i++)
		all.emplace_back([&, i] {
			client c(socket, timeout);
			for (int round = 0; round < 2; round++) {
				for (long n = 0; n < half; n++) {
					const bool is_bad = (static_cast<size_t>(n) + i) % 2 == 1;
					const reply r = ask([&] { return c.decide({method, is_bad ? bad : good, authorization}); });
					answered += r.error() == NMOS_AUTHZ_OK;
					(is_bad ? wrong : allowed) += static_cast<bool>(r);
				}
				pthread_barrier_wait(&barrier);
				if (round == 0)
					pthread_barrier_wait(&barrier);
			}
		});
	pthread_barrier_wait(&barrier);
	std::cout << "half=yes\n" << std::endl;
	std::string on;
	std::getline(std::cin, on);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	for (auto &t : all)
		t.join();
	std::cout << "allowed=" << allowed << "\nwrong=" << wrong << "\nanswered=" << answered << '\n';
}

int main(int, char **argv)
{
	const std::chrono::milliseconds timeout(std::atol(argv[2]));
	client c(argv[1], timeout);
	standing stands;
	std::cout << "init=0\n" << std::endl;
	for (std::string line; std::getline(std::cin, line);) {
		std::istringstream in(line);
		std::string name, word;
		in >> name;
		words.clear();
		while (in >> word)
			words.push_back(word);
		if (name == "decide") {
			const request q = asked();
			show(ask([&] { return c.decide(q); }));
		} else if (name == "decide-all" || name == "watch") {
			const request q = asked();
			const auto t = targets();
			show(ask([&] { return name == "watch" ? c.watch(q, t.data(), t.size(), stands) : c.decide_all(q, t.data(), t.size()); }));
		} else if (name == "turned") {
			pollfd waiting = {stands.fd(), POLLIN, 0};
			poll(&waiting, 1, static_cast<int>(number(0)));
			show(c.turned(stands));
			stands = standing();
		} else if (name == "verify") {
			const header h = value(0);
			show(ask([&] { return c.verify(h); }));
		} else if (name == "resource") {
			const auto kind = given(1), n = given(2);
			const header h = value(3);
			show(ask([&] { return c.resource(kind, n, static_cast<nmosauthd::access>(number(0)), h); }));
		} else if (name == "token") {
			own_token token;
			const auto scope = given(0);
			const header refused = value(1);
			show(ask([&] { return c.token(scope, token, refused); }));
			put("access-token", token.value());
			put("token-scope", token.scope());
			put("token-id", token.id());
			put("detail", token.detail());
		} else if (name == "control") {
			std::vector<command> commands;
			for (size_t i = 3; i + 4 < words.size(); i += 5) {
				const bool subscribe = decimal(i + 2) == 0 && decimal(i + 3) == 0;
				commands.push_back(subscribe ? command::subscription(given(i + 4))
				                             : command::method(static_cast<uint32_t>(decimal(i)), value(i + 1), static_cast<unsigned>(decimal(i + 2)),
				                                               static_cast<unsigned>(decimal(i + 3)), given(i + 4)));
			}
			const header model = value(1), h = value(2);
			show(ask([&] { return c.control(static_cast<api>(number(0)), commands.data(), commands.size(), h, model); }));
			std::cout << "statuses=";
			for (size_t i = 0; i < commands.size(); i++)
				std::cout << (i > 0 ? " " : "") << commands[i].status();
			std::cout << '\n';
		} else if (name == "ping") {
			std::cout << "error=" << ask([&] { return c.ping(); }) << '\n';
		} else if (name == "timeout") {
			c.timeout(std::chrono::milliseconds(number(0)));
		} else if (name == "threads") {
			threads(argv[1], timeout);
		} else if (name == "allocations") {
			std::cout << "allocations=" << allocations << '\n';
		} else {
			return 3;
		}
		std::cout << std::endl;
	}
	return 0;
}
