/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stub of what the adapter and its test use of microsoft/cpprestsdk 2.10.18, as it is on Linux: cpprest/http_msg.h,
 * cpprest/http_headers.h, cpprest/base_uri.h and cpprest/details/basic_types.h. Where libcpprest-dev is installed, the test
 * runs with the real ones too.
 */
#ifndef STUB_HTTP_MSG_H
#define STUB_HTTP_MSG_H

#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <strings.h>

#include "pplx/pplxtasks.h"

#define U(x) x

namespace utility
{
	typedef char char_t;
	typedef std::string string_t;
}

namespace web
{
	/* Keeps its parts as they were spelled. */
	class uri
	{
	public:
		uri() : m_path("/") {}
		uri(const utility::string_t& s) : m_path(s)
		{
			const auto authority = m_path.find("//"); /* after a scheme, or at the start */
			if (authority == 0 || (authority != std::string::npos && m_path[authority - 1] == ':'))
			{
				const auto end = m_path.find_first_of("/?#", authority + 2);
				m_path.erase(0, end);
			}
			cut('#', m_fragment);
			cut('?', m_query);
			if (m_path.empty())
				m_path = "/";
		}

		const utility::string_t& path() const { return m_path; }
		const utility::string_t& query() const { return m_query; }
		/* path, query and fragment alone; the stub holds no more */
		uri resource() const { return *this; }
		utility::string_t to_string() const
		{
			return m_path + (m_query.empty() ? "" : "?" + m_query) + (m_fragment.empty() ? "" : "#" + m_fragment);
		}

	private:
		void cut(char at, utility::string_t& into)
		{
			const auto found = m_path.find(at);
			if (found == std::string::npos)
				return;
			into = m_path.substr(found + 1);
			m_path.erase(found);
		}

		utility::string_t m_path, m_query, m_fragment;
	};

	namespace http
	{
		typedef utility::string_t method;
		typedef unsigned short status_code;

		namespace status_codes
		{
			const status_code OK = 200, BadRequest = 400, MethodNotAllowed = 405;
		}

		namespace header_names
		{
			const utility::string_t allow("Allow"), authorization("Authorization"), content_type("Content-Type"),
				retry_after("Retry-After"), www_authenticate("WWW-Authenticate");
		}

		class http_headers
		{
			struct less
			{
				bool operator()(const utility::string_t& a, const utility::string_t& b) const
				{
					return strcasecmp(a.c_str(), b.c_str()) < 0;
				}
			};
			typedef std::map<utility::string_t, utility::string_t, less> inner;

		public:
			typedef inner::const_iterator const_iterator;

			/* A field that is there already gets the value appended, behind a comma and a space. */
			template <typename T>
			void add(const utility::string_t& name, const T& value)
			{
				std::ostringstream s;
				s << value;
				auto& all = fields[name];
				all = all.empty() ? s.str() : all + ", " + s.str();
			}
			const_iterator find(const utility::string_t& name) const { return fields.find(name); }
			const_iterator begin() const { return fields.begin(); }
			const_iterator end() const { return fields.end(); }

		private:
			inner fields;
		};

		/* Copies of a message are the same message. */
		class http_response
		{
			struct impl
			{
				web::http::status_code status = 65535;
				http_headers headers;
				std::string body;
			};

		public:
			http_response() : m(std::make_shared<impl>()) {}
			web::http::status_code status_code() const { return m->status; }
			void set_status_code(web::http::status_code code) const { m->status = code; }
			http_headers& headers() { return m->headers; }
			const http_headers& headers() const { return m->headers; }
			void set_body(const std::string& body, const std::string& content_type)
			{
				m->body = body;
				m->headers.add(header_names::content_type, content_type);
			}
			pplx::task<utility::string_t> extract_string(bool = false) const { return pplx::task_from_result(m->body); }

		private:
			std::shared_ptr<impl> m;
		};

		class http_request
		{
			struct impl
			{
				web::http::method method;
				web::uri uri;
				http_headers headers;
				http_response response;
			};

		public:
			http_request(web::http::method method) : m(std::make_shared<impl>()) { m->method = std::move(method); }
			const web::http::method& method() const { return m->method; }
			web::uri relative_uri() const { return m->uri.resource(); }
			void set_request_uri(const web::uri& uri) { m->uri = uri; }
			http_headers& headers() { return m->headers; }
			const http_headers& headers() const { return m->headers; }
			pplx::task<void> reply(const http_response& response) const
			{
				m->response = response;
				return pplx::task<void>();
			}
			pplx::task<http_response> get_response() const { return pplx::task_from_result(m->response); }

		private:
			std::shared_ptr<impl> m;
		};
	}
}

#endif
