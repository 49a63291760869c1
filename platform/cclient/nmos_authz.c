/* SPDX-License-Identifier: Apache-2.0 */
/* The client of nmos-authd's packet socket. See nmos_authz.h for how to use it. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include "nmos_authz.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

typedef char socket_path_fits[sizeof(((struct sockaddr_un *)0)->sun_path) > NMOS_AUTHZ_SOCKET_PATH_MAX ? 1 : -1];

/* One question on its way: written into the handle's request buffer, answered in its reply buffer. */
struct call {
	struct nmos_authz *handle;
	enum nmos_authz_error fault; /* the first one; nothing is added or sent after it */
	int system_error;
	int64_t deadline; /* in the microseconds of now_us */
	size_t request_size;
	size_t reply_size;
	char id[24]; /* the handle's counter in decimal */
	bool any_id; /* the answer is to an earlier question */
	bool many;   /* the question is about commands */
};

/* A plain memset of a buffer that is not read again may be left out by the compiler. */
static void wipe(char *buffer, size_t size)
{
	for (volatile char *p = buffer; size > 0; size--)
		*p++ = 0;
}

/* The monotonic clock: a device that sets its clock from the network jumps by decades. */
static int64_t now_us(void)
{
	struct timespec t = {0, 0};
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int remaining_ms(const struct call *c)
{
	int64_t left = c->deadline - now_us();
	return left > 0 ? (int)((left + 999) / 1000) : 0; /* rounded up, or the last millisecond would be a busy loop */
}

static bool is_control(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

/* ---- the question ---- */

static void put(struct call *c, const char *data, size_t size)
{
	if (c->fault == NMOS_AUTHZ_OK && size > sizeof c->handle->request - c->request_size)
		c->fault = NMOS_AUTHZ_TOO_LONG;
	if (c->fault != NMOS_AUTHZ_OK)
		return;
	memcpy(c->handle->request + c->request_size, data, size);
	c->request_size += size;
}

/* Adds a line unless the value is absent. A newline in a value would be a line of its own: refused, like every control. */
static void put_line(struct call *c, const char *name, struct nmos_authz_text value)
{
	if (value.data == NULL)
		return;
	put(c, name, strlen(name));
	size_t start = c->request_size;
	put(c, value.data, value.size);
	for (size_t i = start; i < c->request_size; i++) {
		if (is_control(c->handle->request[i]))
			c->fault = NMOS_AUTHZ_BAD_VALUE;
	}
	put(c, "\n", 1);
}

static void put_required(struct call *c, const char *name, struct nmos_authz_text value)
{
	if (value.data == NULL && c->fault == NMOS_AUTHZ_OK)
		c->fault = NMOS_AUTHZ_BAD_CALL;
	put_line(c, name, value);
}

/* The id comes first, so that the daemon has read it before it can find fault with a value. */
static void begin(struct call *c, struct nmos_authz *handle, const char *first_line)
{
	memset(c, 0, sizeof *c);
	c->handle = handle;
	if (!handle->ready || handle->timeout_ms < 1) {
		c->fault = NMOS_AUTHZ_BAD_CALL;
		return;
	}
	c->deadline = now_us() + (int64_t)handle->timeout_ms * 1000;
	snprintf(c->id, sizeof c->id, "%" PRIu64, ++handle->counter);
	put(c, first_line, strlen(first_line));
	put_line(c, "id=", nmos_authz_string(c->id));
}

/* ---- the connection: each function returns true, or notes the fault ---- */

static void disconnect(struct nmos_authz *handle)
{
	if (handle->fd >= 0)
		close(handle->fd);
	handle->fd = -1;
}

static bool fail(struct call *c, enum nmos_authz_error fault, int system_error)
{
	c->fault = fault;
	c->system_error = system_error;
	return false;
}

static bool connect_to_daemon(struct call *c)
{
	struct nmos_authz *handle = c->handle;
	handle->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (handle->fd < 0)
		return fail(c, NMOS_AUTHZ_UNREACHABLE, errno);
	handle->owner = (long)getpid();
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	memcpy(address.sun_path, handle->socket_path, strlen(handle->socket_path));
	for (int left; (left = remaining_ms(c)) > 0;) {
		/* A full backlog cannot be polled for; the socket's send timeout is what bounds connect. */
		struct timeval limit = {left / 1000, left % 1000 * 1000};
		if (setsockopt(handle->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0)
			return fail(c, NMOS_AUTHZ_UNREACHABLE, errno);
		if (connect(handle->fd, (struct sockaddr *)&address, sizeof address) == 0)
			return true;
		if (errno != EAGAIN && errno != EINTR)
			return fail(c, NMOS_AUTHZ_UNREACHABLE, errno);
	}
	return fail(c, NMOS_AUTHZ_TIMEOUT, 0);
}

/* Waits for the socket. An error on it counts as ready, for the next call on the socket to report. */
static bool await(struct call *c, short events)
{
	struct pollfd watch = {c->handle->fd, events, 0};
	for (int left; (left = remaining_ms(c)) > 0;) {
		int n = poll(&watch, 1, left);
		if (n > 0)
			return true;
		if (n < 0 && errno != EINTR)
			return fail(c, NMOS_AUTHZ_CONNECTION_LOST, errno);
	}
	return fail(c, NMOS_AUTHZ_TIMEOUT, 0);
}

static bool send_packet(struct call *c)
{
	struct nmos_authz *handle = c->handle;
	/* A packet goes whole or not at all. */
	while (send(handle->fd, handle->request, c->request_size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		if (errno == EMSGSIZE)
			return fail(c, NMOS_AUTHZ_TOO_LONG, errno);
		if (errno != EAGAIN && errno != EINTR)
			return fail(c, NMOS_AUTHZ_CONNECTION_LOST, errno);
		if (!await(c, POLLOUT))
			return false;
	}
	return true;
}

static bool receive_packet(struct call *c)
{
	struct nmos_authz *handle = c->handle;
	while (await(c, POLLIN)) {
		/* MSG_TRUNC: the length of the packet, though only a part of it may have fitted. */
		ssize_t n = recv(handle->fd, handle->reply, sizeof handle->reply, MSG_DONTWAIT | MSG_TRUNC);
		if (n > (ssize_t)sizeof handle->reply)
			return fail(c, NMOS_AUTHZ_BAD_REPLY, EMSGSIZE);
		c->reply_size = n > 0 ? (size_t)n : 0;
		if (n > 0)
			return true;
		if (n == 0)
			return fail(c, NMOS_AUTHZ_CONNECTION_LOST, 0);
		if (errno != EAGAIN && errno != EINTR)
			return fail(c, NMOS_AUTHZ_CONNECTION_LOST, errno);
	}
	return false;
}

static bool try_once(struct call *c)
{
	if ((c->handle->fd >= 0 || connect_to_daemon(c)) && send_packet(c) && receive_packet(c))
		return true;
	disconnect(c->handle); /* a late answer must not be taken for that of the next question */
	return false;
}

static bool exchange(struct call *c)
{
	if (c->handle->fd >= 0 && c->handle->owner != (long)getpid())
		disconnect(c->handle); /* inherited over fork: parent and child would read each other's answers */
	if (try_once(c) || c->fault != NMOS_AUTHZ_CONNECTION_LOST)
		return c->fault == NMOS_AUTHZ_OK;
	c->fault = NMOS_AUTHZ_OK; /* a restarted daemon; asking twice is harmless, since a question changes nothing */
	return try_once(c);
}

/* ---- the reply ---- */

static const struct { int status; const char *text; } errors[] = {
	[NMOS_AUTHZ_OK] = {200, "the daemon answered"},
	[NMOS_AUTHZ_BAD_CALL] = {500, "the handle is not initialised or a value is missing"},
	[NMOS_AUTHZ_BAD_VALUE] = {400, "a value holds a control character"},
	[NMOS_AUTHZ_TOO_LONG] = {400, "the question is longer than a packet may be"},
	[NMOS_AUTHZ_REFUSED] = {400, "the daemon did not take the packet"},
	[NMOS_AUTHZ_UNREACHABLE] = {503, "the daemon cannot be reached"},
	[NMOS_AUTHZ_CONNECTION_LOST] = {503, "the daemon closed the connection"},
	[NMOS_AUTHZ_TIMEOUT] = {503, "the daemon did not answer in time"},
	[NMOS_AUTHZ_BAD_REPLY] = {503, "the daemon's answer breaks the protocol"},
};

static void clear(struct nmos_authz_reply *reply)
{
	memset(reply, 0, sizeof *reply);
	reply->expires_in = -1;
	reply->retry_after = -1;
}

/* The answer where there is none from the daemon. */
static enum nmos_authz_decision deny(struct nmos_authz_reply *reply, enum nmos_authz_error error, int system_error)
{
	clear(reply);
	reply->error = error;
	reply->system_error = system_error;
	reply->reason = "";
	reply->status = errors[error].status;
	if (reply->status == 503)
		reply->retry_after = NMOS_AUTHZ_RETRY_AFTER;
	return NMOS_AUTHZ_DENY;
}

/* What follows prefix in line, or NULL. */
static const char *after(const char *line, const char *prefix)
{
	size_t n = strlen(prefix);
	return strncmp(line, prefix, n) == 0 ? line + n : NULL;
}

/* Decimal digits only. A number beyond a long becomes the largest one, which ends a permission early, never late. */
static bool read_number(const char *s, long *number)
{
	if (*s == '\0' || s[strspn(s, "0123456789")] != '\0')
		return false;
	*number = 0;
	for (; *s != '\0'; s++) {
		int digit = *s - '0';
		*number = *number > (LONG_MAX - digit) / 10 ? LONG_MAX : *number * 10 + digit;
	}
	return true;
}

static bool read_status(const char *s, int least, int most, struct nmos_authz_reply *reply)
{
	long status = 0;
	if (strlen(s) != 3 || !read_number(s, &status) || status < least || status > most)
		return false;
	reply->status = (int)status;
	return true;
}

/* pong is the first line of a good answer to a ping, or NULL where a decision is due. */
static bool read_first_line(const char *line, const char *pong, struct nmos_authz_reply *reply)
{
	const char *status;
	if ((status = after(line, "error ")) != NULL) {
		reply->error = NMOS_AUTHZ_REFUSED;
		return read_status(status, 400, 599, reply);
	}
	if (pong != NULL)
		return strcmp(line, pong) == 0;
	if ((status = after(line, "deny ")) != NULL)
		return read_status(status, 400, 599, reply);
	if ((status = after(line, "allow ")) == NULL)
		return false;
	reply->decision = NMOS_AUTHZ_ALLOW;
	return read_status(status, 200, 200, reply);
}

static bool read_line(const char *line, bool many, const char **id, struct nmos_authz_reply *reply)
{
	const struct { const char *name, **text; } texts[] = {
		{"id=", id},
		{"reason=", &reply->reason},
		{"error=", &reply->text},
		{"client-id=", &reply->client_id},
		{"subject=", &reply->subject},
		{"issuer=", &reply->issuer},
		{"path=", &reply->path},
		{"www-authenticate=", &reply->www_authenticate},
		{"would=", &reply->would},
	};
	const char *value;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		if ((value = after(line, texts[i].name)) == NULL)
			continue;
		if (*texts[i].text != NULL) /* of many commands each has a line; the first is that of the whole */
			return many && texts[i].text == &reply->would;
		*texts[i].text = value;
		return true;
	}
	if ((value = after(line, "expires-in=")) != NULL)
		return reply->expires_in == -1 && read_number(value, &reply->expires_in);
	if ((value = after(line, "retry-after=")) != NULL)
		return reply->retry_after == -1 && read_number(value, &reply->retry_after);
	value = strchr(line, '=');
	return value != NULL && value != line; /* a name unknown here is a later daemon's */
}

/* Ends every line with a NUL instead of a newline; false if there is any other control, or no newline at the end. */
static bool split_lines(char *text, size_t size)
{
	if (size == 0 || text[size - 1] != '\n')
		return false;
	for (size_t i = 0; i < size; i++) {
		if (text[i] == '\n')
			text[i] = '\0';
		else if (is_control(text[i]))
			return false;
	}
	return true;
}

static bool read_reply(struct call *c, const char *pong, struct nmos_authz_reply *reply)
{
	const char *line = c->handle->reply;
	const char *end = line + c->reply_size;
	const char *id = NULL;
	clear(reply);
	if (!split_lines(c->handle->reply, c->reply_size) || !read_first_line(line, pong, reply))
		return false;
	reply->lines = line += strlen(line) + 1;
	reply->lines_end = end;
	for (; line < end; line += strlen(line) + 1) {
		if (!read_line(line, c->many, &id, reply))
			return false;
	}
	if (reply->reason == NULL)
		reply->reason = "";
	if (reply->decision == NMOS_AUTHZ_ALLOW && nmos_authz_next_denied(reply, NULL) != NULL)
		return false;
	if (id != NULL)
		return c->any_id || strcmp(id, c->id) == 0;
	/* A packet that the daemon could not read has no id to echo. That denies, but cannot be matched to the question. */
	disconnect(c->handle);
	return reply->error == NMOS_AUTHZ_REFUSED;
}

static enum nmos_authz_decision ask(struct call *c, const char *pong, struct nmos_authz_reply *reply)
{
	bool answered = c->fault == NMOS_AUTHZ_OK && exchange(c);
	wipe(c->handle->request, c->request_size); /* it holds a token */
	if (!answered)
		return deny(reply, c->fault, c->system_error);
	if (read_reply(c, pong, reply))
		return reply->decision;
	disconnect(c->handle);
	return deny(reply, NMOS_AUTHZ_BAD_REPLY, 0);
}

/* Whether a target or a normalised path is in IS-14's API. */
static bool in_configuration(const char *path, size_t size)
{
	static const char base[] = "/x-nmos/configuration";
	const size_t n = sizeof base - 1;
	return path != NULL && size >= n && memcmp(path, base, n) == 0 && (size == n || path[n] == '/' || path[n] == '?');
}

/* ---- the interface ---- */

enum nmos_authz_error nmos_authz_init_sized(struct nmos_authz *handle, size_t handle_size, const char *socket_path,
                                            int timeout_ms)
{
	handle->ready = 0; /* the members before the buffers lie alike in every size */
	if (handle_size != sizeof *handle || socket_path == NULL || timeout_ms < 1)
		return NMOS_AUTHZ_BAD_CALL;
	size_t n = strlen(socket_path);
	if (n == 0 || n > NMOS_AUTHZ_SOCKET_PATH_MAX)
		return NMOS_AUTHZ_BAD_CALL;
	memset(handle, 0, sizeof *handle);
	memcpy(handle->socket_path, socket_path, n);
	handle->timeout_ms = timeout_ms;
	handle->fd = -1;
	handle->ready = 1;
	return NMOS_AUTHZ_OK;
}

void nmos_authz_close(struct nmos_authz *handle)
{
	if (!handle->ready)
		return;
	disconnect(handle);
	wipe(handle->request, sizeof handle->request);
	wipe(handle->reply, sizeof handle->reply);
}

enum nmos_authz_decision nmos_authz_decide(struct nmos_authz *handle, const struct nmos_authz_request *request,
                                           struct nmos_authz_reply *reply)
{
	struct call c;
	begin(&c, handle, "decide 1\n");
	put_required(&c, "method=", request->method);
	put_required(&c, "target=", request->target);
	put_line(&c, "authorization=", request->authorization);
	put_line(&c, "upgrade=", request->upgrade);
	enum nmos_authz_decision decision = ask(&c, NULL, reply);
	reply->configuration = in_configuration(request->target.data, request->target.size) ||
		(reply->path != NULL && in_configuration(reply->path, strlen(reply->path)));
	return decision;
}

static enum nmos_authz_decision ask_all(struct nmos_authz *handle, const char *question,
                                        const struct nmos_authz_request *request, const struct nmos_authz_text *targets,
                                        size_t count, struct nmos_authz_reply *reply)
{
	struct call c;
	begin(&c, handle, question);
	/* To leave request->target unasked would be to allow it. */
	if (count == 0 || request->target.data != NULL)
		c.fault = NMOS_AUTHZ_BAD_CALL;
	put_line(&c, "method=", request->method);
	put_line(&c, "authorization=", request->authorization);
	put_line(&c, "upgrade=", request->upgrade);
	for (size_t i = 0; i < count; i++)
		put_required(&c, "target=", targets[i]);
	return ask(&c, NULL, reply);
}

enum nmos_authz_decision nmos_authz_decide_all(struct nmos_authz *handle, const struct nmos_authz_request *request,
                                               const struct nmos_authz_text *targets, size_t count,
                                               struct nmos_authz_reply *reply)
{
	return ask_all(handle, "decide-all 1\n", request, targets, count, reply);
}

enum nmos_authz_decision nmos_authz_watch(struct nmos_authz *handle, const struct nmos_authz_request *request,
                                          const struct nmos_authz_text *targets, size_t count,
                                          struct nmos_authz_reply *reply, int *fd)
{
	int other = handle->fd; /* of the usual questions, which goes on */
	long owner = handle->owner;
	if (handle->ready)
		handle->fd = -1;
	enum nmos_authz_decision decision = ask_all(handle, "watch-token 1\n", request, targets, count, reply);
	*fd = -1;
	if (!handle->ready)
		return decision;
	if (decision == NMOS_AUTHZ_ALLOW)
		*fd = handle->fd;
	else
		disconnect(handle);
	handle->fd = other;
	handle->owner = owner;
	return decision;
}

enum nmos_authz_decision nmos_authz_turned(struct nmos_authz *handle, int fd, struct nmos_authz_reply *reply)
{
	struct call c;
	begin(&c, handle, "");
	if (c.fault != NMOS_AUTHZ_OK)
		return deny(reply, c.fault, 0);
	c.any_id = true;
	c.request_size = 0;
	int other = handle->fd;
	handle->fd = fd;
	bool received = receive_packet(&c);
	handle->fd = other; /* fd is the caller's to close */
	if (received && read_reply(&c, NULL, reply) && reply->decision == NMOS_AUTHZ_DENY)
		return NMOS_AUTHZ_DENY;
	return deny(reply, received ? NMOS_AUTHZ_BAD_REPLY : c.fault, c.system_error);
}

enum nmos_authz_decision nmos_authz_verify(struct nmos_authz *handle, struct nmos_authz_text authorization,
                                           struct nmos_authz_reply *reply)
{
	struct call c;
	begin(&c, handle, "verify 1\n");
	put_line(&c, "authorization=", authorization);
	return ask(&c, NULL, reply);
}

enum nmos_authz_decision nmos_authz_resource(struct nmos_authz *handle, struct nmos_authz_text kind,
                                             struct nmos_authz_text name, enum nmos_authz_access access,
                                             struct nmos_authz_text authorization, struct nmos_authz_reply *reply)
{
	struct call c;
	const char *word = access == NMOS_AUTHZ_READ ? "read" : access == NMOS_AUTHZ_WRITE ? "write" : NULL;
	begin(&c, handle, "resource 1\n");
	put_required(&c, "kind=", kind);
	put_required(&c, "name=", name);
	put_required(&c, "access=", nmos_authz_string(word));
	put_line(&c, "authorization=", authorization);
	return ask(&c, NULL, reply);
}

/* ---- commands ---- */

static bool subscribes(const struct nmos_authz_command *command)
{
	return command->level == 0 && command->index == 0;
}

/* A space in a class id would begin the next part of the line, so what it may hold is named. */
static bool is_class_id(struct nmos_authz_text id)
{
	if (id.size == 0 || id.size > 128)
		return false;
	for (size_t i = 0; i < id.size; i++) {
		char c = id.data[i];
		if ((c < '0' || c > '9') && c != '.' && c != '-')
			return false;
	}
	return true;
}

static bool is_role_path(struct nmos_authz_text path)
{
	if (path.data == NULL || path.size == 0 || path.size > NMOS_AUTHZ_ROLE_PATH_MAX)
		return false;
	for (size_t i = 0; i < path.size; i++) {
		if (is_control(path.data[i]))
			return false;
	}
	return true;
}

/* Adds the line of a command, and the longest line of an answer about it to *longest. */
static void put_command(struct call *c, const struct nmos_authz_command *command, size_t *longest)
{
	static const char denied[] = "denied=subscribe  503 a-reason-as-long-as-they-are\n";
	char numbers[64];
	const struct nmos_authz_text id = command->class_id;
	const bool is_command = !subscribes(command);
	if (!is_role_path(command->role_path) ||
	    (is_command && (command->level < 1 || command->level > 65535 || command->index < 1 || command->index > 65535 ||
	                    (id.data != NULL && !is_class_id(id))))) {
		if (c->fault == NMOS_AUTHZ_OK)
			c->fault = NMOS_AUTHZ_BAD_VALUE;
		return;
	}
	*longest += sizeof denied + 10; /* or the number in place of a role path */
	if (is_command) {
		snprintf(numbers, sizeof numbers, "command=%" PRIu32 " ", command->number);
		put(c, numbers, strlen(numbers));
		put(c, id.data != NULL ? id.data : "-", id.data != NULL ? id.size : 1);
		snprintf(numbers, sizeof numbers, " %um%u ", command->level, command->index);
		put(c, numbers, strlen(numbers));
	} else {
		put(c, "subscribe=", 10);
		*longest += command->role_path.size;
	}
	put(c, command->role_path.data, command->role_path.size);
	put(c, "\n", 1);
}

/* What is before the last two words of a line, the status and the reason; 0 if there are not so many. */
static size_t subject(const char *line)
{
	size_t n = strlen(line);
	for (int words = 0; words < 2; words++) {
		while (n > 0 && line[n - 1] != ' ')
			n--;
		if (n == 0)
			return 0;
		n--;
	}
	return n;
}

/* Reads digits up to an end; false if there are none or too many, or anything else. */
static bool read_handle(const char *s, const char *end, uint32_t *handle)
{
	uint64_t n = 0;
	if (s >= end || end - s > 10)
		return false;
	for (; s < end; s++) {
		if (*s < '0' || *s > '9')
			return false;
		n = 10 * n + (uint64_t)(*s - '0');
	}
	*handle = (uint32_t)n;
	return n <= UINT32_MAX;
}

/*
 * Marks what a line says is denied; false if it is about none of the commands, so that nothing can be said of any. There may be
 * a thousand lines about a thousand commands, so little is done for each pair.
 */
static bool mark(const char *line, struct nmos_authz_command *commands, size_t count)
{
	const size_t n = subject(line);
	const char *role = after(line, "subscribe "), *digits = after(line, "command ");
	uint32_t number = 0;
	const bool numbered = digits != NULL && read_handle(digits, line + n, &number);
	bool found = false;
	for (size_t i = 0; i < count; i++) {
		bool is;
		if (subscribes(&commands[i])) {
			const struct nmos_authz_text path = commands[i].role_path;
			is = role != NULL && n == path.size + 10 && memcmp(role, path.data, path.size) == 0;
		} else {
			is = numbered && commands[i].number == number;
		}
		if (is) {
			commands[i].status = 401; /* NcMethodStatus has no 403 */
			found = true;
		}
	}
	return found;
}

enum nmos_authz_decision nmos_authz_control(struct nmos_authz *handle, enum nmos_authz_api api,
                                            struct nmos_authz_text model, struct nmos_authz_text authorization,
                                            struct nmos_authz_command *commands, size_t count,
                                            struct nmos_authz_reply *reply)
{
	struct call c;
	size_t longest = 0;
	const char *word = api == NMOS_AUTHZ_API_CONTROL ? "control" :
	                   api == NMOS_AUTHZ_API_CONFIGURATION ? "configuration" : NULL;
	for (size_t i = 0; i < count; i++)
		commands[i].status = 503;
	begin(&c, handle, "control 1\n");
	c.many = true;
	if (count == 0)
		c.fault = NMOS_AUTHZ_BAD_CALL;
	put_required(&c, "api=", nmos_authz_string(word));
	put_line(&c, "model=", model);
	put_line(&c, "authorization=", authorization);
	for (size_t i = 0; i < count; i++)
		put_command(&c, &commands[i], &longest);
	longest += authorization.size / 4 * 3 + 2048; /* what the token says of its client, and the rest */
	if (c.fault == NMOS_AUTHZ_OK && (count > NMOS_AUTHZ_COMMANDS_MAX || longest > sizeof handle->reply))
		c.fault = NMOS_AUTHZ_TOO_LONG;
	enum nmos_authz_decision decision = ask(&c, NULL, reply);
	if (reply->error != NMOS_AUTHZ_OK || reply->status == 503)
		return decision;
	const char *denied = nmos_authz_next_denied(reply, NULL);
	const bool all = decision != NMOS_AUTHZ_ALLOW && (denied == NULL || strcmp(denied, "*") == 0);
	for (size_t i = 0; i < count; i++)
		commands[i].status = all ? 401 : 200;
	for (; denied != NULL && !all; denied = nmos_authz_next_denied(reply, denied)) {
		if (mark(denied, commands, count))
			continue;
		for (size_t i = 0; i < count; i++)
			commands[i].status = 503;
		disconnect(handle);
		return deny(reply, NMOS_AUTHZ_BAD_REPLY, 0);
	}
	return decision;
}

/* Wipes all of the reply but its reason, which is in use: a token may stand anywhere in one that is broken. */
static void forget(struct nmos_authz *handle, struct nmos_authz_reply *reply)
{
	if (!handle->ready)
		return; /* it may be of another size */
	if (reply->lines == NULL) {
		wipe(handle->reply, sizeof handle->reply);
		return;
	}
	reply->text = reply->client_id = reply->subject = reply->issuer = reply->path = reply->www_authenticate = reply->would = NULL;
	for (char *line = handle->reply + (reply->lines - handle->reply); line < reply->lines_end;) {
		size_t n = strlen(line);
		if (after(line, "reason=") == NULL)
			wipe(line, n);
		line += n + 1;
	}
}

/* Copies the value of a name, which must be there once, not be empty, and fit. */
static bool take(const struct nmos_authz_reply *reply, const char *name, char *out, size_t size)
{
	int found = 0;
	const char *value;
	for (const char *line = reply->lines; line < reply->lines_end; line += strlen(line) + 1) {
		if ((value = after(line, name)) == NULL)
			continue;
		size_t n = strlen(value);
		if (found++ == 0 && n < size)
			memcpy(out, value, n + 1);
	}
	return found == 1 && out[0] != '\0';
}

enum nmos_authz_decision nmos_authz_token(struct nmos_authz *handle, struct nmos_authz_text scope,
                                          struct nmos_authz_text refused, struct nmos_authz_own_token *token,
                                          struct nmos_authz_reply *reply)
{
	struct call c;
	begin(&c, handle, "token 1\n");
	put_required(&c, "scope=", scope);
	put_line(&c, "refused=", refused);
	if (token == NULL)
		c.fault = NMOS_AUTHZ_BAD_CALL;
	else
		nmos_authz_token_wipe(token);
	enum nmos_authz_decision decision = ask(&c, NULL, reply);
	if (reply->error == NMOS_AUTHZ_OK && decision == NMOS_AUTHZ_ALLOW) {
		if (!take(reply, "access-token=", token->value, sizeof token->value) ||
		    !take(reply, "scope=", token->scope, sizeof token->scope) ||
		    !take(reply, "token-id=", token->id, sizeof token->id)) {
			nmos_authz_token_wipe(token);
			disconnect(handle);
			decision = deny(reply, NMOS_AUTHZ_BAD_REPLY, 0);
		}
	} else if (reply->error == NMOS_AUTHZ_OK) {
		take(reply, "detail=", token->detail, sizeof token->detail);
	}
	forget(handle, reply);
	return decision;
}

void nmos_authz_token_wipe(struct nmos_authz_own_token *token)
{
	wipe((char *)token, sizeof *token);
}

enum nmos_authz_error nmos_authz_ping(struct nmos_authz *handle)
{
	struct nmos_authz_reply reply;
	struct call c;
	begin(&c, handle, "ping 1\n");
	ask(&c, "pong 1", &reply);
	return reply.error;
}

const char *nmos_authz_next_denied(const struct nmos_authz_reply *reply, const char *previous)
{
	const char *line = previous != NULL ? previous + strlen(previous) + 1 : reply->lines;
	while (line < reply->lines_end && after(line, "denied=") == NULL)
		line += strlen(line) + 1;
	return line < reply->lines_end ? after(line, "denied=") : NULL;
}

static const char *phrase(int status)
{
	static const struct { int status; const char *phrase; } known[] = {
		{400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"}, {405, "Method Not Allowed"},
		{500, "Internal Server Error"}, {503, "Service Unavailable"},
	};
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
		if (known[i].status == status)
			return known[i].phrase;
	}
	return "Error";
}

/* Appends text as it stands in a JSON string, at *n; false if there is not room for it and for reserve bytes behind it. */
static bool append_json(char *out, size_t size, size_t *n, size_t reserve, const char *text)
{
	for (; *text != '\0' && *n + sizeof "\\u0000" + reserve <= size; text++) {
		unsigned char c = (unsigned char)*text;
		if (c < 0x20 || c >= 0x7f) /* U+FFFD for what is not ASCII, so that the text is always valid */
			*n += (size_t)snprintf(out + *n, size - *n, "\\u%04x", c <= 0x7f ? (unsigned)c : 0xfffdu);
		else
			*n += (size_t)snprintf(out + *n, size - *n, c == '"' || c == '\\' ? "\\%c" : "%c", c);
	}
	return *text == '\0' && *n + sizeof "\\u0000" + reserve <= size;
}

size_t nmos_authz_error_body(const struct nmos_authz_reply *reply, char *out, size_t size)
{
	const char *debug = reply->reason, *text = reply->text != NULL ? reply->text : phrase(reply->status);
	if (debug == NULL || debug[0] == '\0')
		debug = nmos_authz_strerror(reply->error);
	const int configuration = reply->configuration, say = !configuration || reply->text != NULL;
	const char *between = !configuration ? "\",\"debug\":\"" : say ? " (" : "", *end = configuration && say ? ")\"}" : "\"}";
	int head = configuration /* NcMethodStatus has no 403 */
		? snprintf(out, size, "{\"status\":%d,\"errorMessage\":\"", reply->status == 403 ? 401 : reply->status)
		: snprintf(out, size, "{\"code\":%d,\"error\":\"", reply->status);
	size_t n = head > 0 ? (size_t)head : size;
	if (append_json(out, size, &n, strlen(between), say ? text : "")) {
		n += (size_t)snprintf(out + n, size - n, "%s", between);
		if (append_json(out, size, &n, strlen(end), debug))
			return n + (size_t)snprintf(out + n, size - n, "%s", end);
	}
	if (size > 0)
		out[0] = '\0';
	return 0;
}

/* Appends parts, up to the one that is NULL, at *n, and a NUL. Once something did not fit, *n is size and stays it. */
static void append(char *out, size_t size, size_t *n, const char *const *parts)
{
	for (; *parts != NULL; parts++) {
		size_t length = strlen(*parts);
		if (length >= size - *n) {
			*n = size;
			return;
		}
		memcpy(out + *n, *parts, length + 1);
		*n += length;
	}
}

size_t nmos_authz_denial_head(const struct nmos_authz_reply *reply, char *out, size_t size)
{
	char body[NMOS_AUTHZ_ERROR_BODY_MAX], status[16], length[24], seconds[24];
	snprintf(status, sizeof status, "%d", reply->status);
	snprintf(length, sizeof length, "%zu", nmos_authz_error_body(reply, body, sizeof body));
	snprintf(seconds, sizeof seconds, "%ld", reply->retry_after);
	const struct { bool due; const char *parts[5]; } lines[] = {
		{true, {"HTTP/1.1 ", status, " ", phrase(reply->status), NULL}},
		{true, {"Content-Type: application/json", NULL}},
		{true, {"Content-Length: ", length, NULL}},
		{true, {"Access-Control-Allow-Origin: *", NULL}},
		{true, {"Access-Control-Expose-Headers: WWW-Authenticate, Retry-After, Allow", NULL}},
		{reply->www_authenticate != NULL, {"WWW-Authenticate: ", reply->www_authenticate, NULL}},
		{reply->retry_after >= 0, {"Retry-After: ", seconds, NULL}},
		{reply->status == 405, {"Allow: GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE", NULL}},
	};
	static const char *const line_end[] = {"\r\n", NULL};
	size_t n = 0;
	for (size_t i = 0; reply->decision != NMOS_AUTHZ_ALLOW && i < sizeof lines / sizeof lines[0]; i++) {
		if (lines[i].due) {
			append(out, size, &n, lines[i].parts);
			append(out, size, &n, line_end);
		}
	}
	if (n > 0 && n < size)
		return n;
	if (size > 0)
		out[0] = '\0';
	return 0;
}

const char *nmos_authz_strerror(enum nmos_authz_error error)
{
	return (size_t)error < sizeof errors / sizeof errors[0] ? errors[error].text : "unknown error";
}
