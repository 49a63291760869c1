/* SPDX-License-Identifier: Apache-2.0 */
/* What the README's examples take for granted of an HTTP stack. */
#include <stddef.h>

enum { MOST_SOURCES = 64 };

struct http_request;
struct http_response;

const char *http_method(struct http_request *in);
const char *http_raw_target(struct http_request *in);
size_t http_raw_target_size(struct http_request *in);
const char *http_header(struct http_request *in, const char *name);
void http_set_header(struct http_response *out, const char *name, const char *value);
void http_set_number(struct http_response *out, const char *name, long value);
void http_respond(struct http_response *out, int status, const char *type, const char *body);
void http_log(const char *what, const char *about);

struct peer;
struct meter {
	const char *name; /* "in-1" */
};

void udp_send_levels(struct peer *peer, const struct meter *meter);
void udp_send_refusal(struct peer *peer, const char *reason, long retry_after);
long seconds_now(void); /* of a monotonic clock */

void on_meter_request(struct peer *peer, const struct meter *meter, const char *token, long *granted_until);
void on_meter_tick(struct peer *peer, const struct meter *meter, long granted_until);
struct registry_request;

int registry_send(const struct registry_request *request, const char *scheme, const char *token);
void log_once(const char *reason, const char *detail);
int ask_registry(const struct registry_request *request, long *wait);

int may_serve(struct http_request *in, struct http_response *out);
int may_subscribe(struct http_request *in, const char *const *sources, size_t count);
