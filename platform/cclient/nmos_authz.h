/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nmos_authz: asks nmos-authd whether a request may be served (AMWA IS-10).
 *
 * Two files to copy, C99, Linux, no dependency but libc, no allocation. Every question ends in "allow" or "deny"; where
 * the daemon cannot be asked, or its answer cannot be trusted, the answer is "deny".
 *
 * Threads: one handle a thread. Handles share nothing, so no call needs a lock; one handle in two threads is a race.
 * A child after fork() may go on with its copy of a handle: it opens a connection of its own. Close the handle before a
 * child closes descriptors by their numbers, as daemons do when they start: what has the number afterwards is another file.
 *
 * Ownership: the caller owns handle, request and reply. Text in a request is borrowed for the length of the call. Text in
 * a reply lies in the handle and is good until the next call with that handle.
 */
#ifndef NMOS_AUTHZ_H
#define NMOS_AUTHZ_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NMOS_AUTHZ_VERSION "1.4.0"
#define NMOS_AUTHZ_VERSION_NUMBER 10400 /* major * 10000 + minor * 100 + patch */

/*
 * Longest packet to the daemon in bytes, all values of a question together; the daemon's own limit is the same unless
 * configured. A smaller one saves memory. It sets the size of the handle, so every file of a program must be compiled
 * with the same value; nmos_authz_init refuses a handle of another size.
 */
#ifndef NMOS_AUTHZ_PACKET_MAX
#define NMOS_AUTHZ_PACKET_MAX 32768
#endif
#if NMOS_AUTHZ_PACKET_MAX < 1024
#error "NMOS_AUTHZ_PACKET_MAX is too small for a token"
#endif

/* Longest reply in bytes. Denied targets come back, so it must exceed the longest question by the rest of a reply. */
#define NMOS_AUTHZ_REPLY_MAX (NMOS_AUTHZ_PACKET_MAX + 1024)

/* Longest path of a socket in bytes: what sockaddr_un holds before its NUL. */
#define NMOS_AUTHZ_SOCKET_PATH_MAX 107

/* Seconds that a reply of the client's own making (status 503) asks the remote to wait. */
#define NMOS_AUTHZ_RETRY_AFTER 1

/* Reasons that firmware may want to tell apart. The daemon has more; all are stable. */
#define NMOS_AUTHZ_REASON_OK "ok"                               /* allow: the token permits it */
#define NMOS_AUTHZ_REASON_PUBLIC "public"                       /* allow: no token is needed */
#define NMOS_AUTHZ_REASON_OBSERVE "observe"                     /* allow: observe mode, see would */
#define NMOS_AUTHZ_REASON_OFF "off"                             /* allow: authorization is switched off */
#define NMOS_AUTHZ_REASON_NO_TOKEN "no-token"                   /* 401 */
#define NMOS_AUTHZ_REASON_TOKEN_EXPIRED "token-expired"         /* 401 */
#define NMOS_AUTHZ_REASON_AUDIENCE "audience"                   /* 403: a token for other devices */
#define NMOS_AUTHZ_REASON_API_NOT_GRANTED "api-not-granted"     /* 403 */
#define NMOS_AUTHZ_REASON_PATH_NOT_GRANTED "path-not-granted"   /* 403 */
#define NMOS_AUTHZ_REASON_RESOURCE_UNKNOWN "resource-unknown"   /* 403: not in the inventory */
#define NMOS_AUTHZ_REASON_METHOD "method"                       /* 405 */
#define NMOS_AUTHZ_REASON_PATH_AMBIGUOUS "path-ambiguous"       /* 400 */
#define NMOS_AUTHZ_REASON_PATH_TOO_LONG "path-too-long"         /* 400 */
#define NMOS_AUTHZ_REASON_CONTROL_NOT_GRANTED "control-not-granted" /* 403: IS-12 needs the whole model, read and write */
#define NMOS_AUTHZ_REASON_SUBTREE_NOT_GRANTED "subtree-not-granted" /* 403: bulkProperties with all below, see recurse */
#define NMOS_AUTHZ_REASON_KEYS_PENDING "keys-pending"           /* 503 */
#define NMOS_AUTHZ_REASON_CLOCK_UNTRUSTED "clock-untrusted"     /* 503 */
#define NMOS_AUTHZ_REASON_INVENTORY_PENDING "inventory-pending" /* 503 */
#define NMOS_AUTHZ_REASON_WATCH_LIMIT "watch-limit"             /* 503: ask decide_all, and mind expires_in */

#define NMOS_AUTHZ_REASON_OWN_TOKEN "own-token"                 /* allow: here is a token of the device's own */
#define NMOS_AUTHZ_REASON_OWN_TOKEN_CALLER "own-token-caller"   /* 403: [client] does not admit this process */
#define NMOS_AUTHZ_REASON_OWN_TOKEN_SCOPE "own-token-scope"     /* 403: [client] scopes does not list it */
#define NMOS_AUTHZ_REASON_OWN_TOKEN_PENDING "own-token-pending" /* 503: ask again after retry_after */

/* Bytes of the longest token of the device's own, of a scope, of a token's name, and of why there is none. */
#define NMOS_AUTHZ_TOKEN_MAX 16384
#define NMOS_AUTHZ_SCOPE_MAX 256
#define NMOS_AUTHZ_TOKEN_ID_MAX 32
#define NMOS_AUTHZ_DETAIL_MAX 512

/* Bytes of the longest role path, and commands and subscriptions in one question. */
#define NMOS_AUTHZ_ROLE_PATH_MAX 1024
#define NMOS_AUTHZ_COMMANDS_MAX 1024

/* Bytes for nmos_authz_error_body and for nmos_authz_denial_head that hold whatever the daemon answers. */
#define NMOS_AUTHZ_ERROR_BODY_MAX 512
#define NMOS_AUTHZ_DENIAL_HEAD_MAX 1024

/* The zero value denies. */
enum nmos_authz_decision {
	NMOS_AUTHZ_DENY = 0,
	NMOS_AUTHZ_ALLOW = 1
};

/* Whether the daemon could be asked. Anything but NMOS_AUTHZ_OK comes with NMOS_AUTHZ_DENY and the status shown. */
enum nmos_authz_error {
	NMOS_AUTHZ_OK = 0,          /* the daemon answered; its decision may be either */
	NMOS_AUTHZ_BAD_CALL,        /* 500: handle not initialised, or a value missing; a fault of the program */
	NMOS_AUTHZ_BAD_VALUE,       /* 400: a value holds a control character; nothing was sent */
	NMOS_AUTHZ_TOO_LONG,        /* 400: the question is longer than a packet may be; nothing was sent */
	NMOS_AUTHZ_REFUSED,         /* 400: the daemon did not take the packet; reason says why */
	NMOS_AUTHZ_UNREACHABLE,     /* 503: no connection; system_error says why */
	NMOS_AUTHZ_CONNECTION_LOST, /* 503: the daemon closed the connection, and the new one too */
	NMOS_AUTHZ_TIMEOUT,         /* 503: no answer in time */
	NMOS_AUTHZ_BAD_REPLY        /* 503: the answer breaks the protocol or belongs to another question */
};

/* Text of known length; it need not end in a NUL. data == NULL means "absent", which is not the same as empty. */
struct nmos_authz_text {
	const char *data;
	size_t size; /* bytes */
};

/* Text from a string, or "absent" from NULL. */
static inline struct nmos_authz_text nmos_authz_string(const char *s)
{
	struct nmos_authz_text t;
	t.data = s;
	t.size = s != NULL ? strlen(s) : 0;
	return t;
}

/* Text from bytes whose number the HTTP stack knows; a NUL among them is refused rather than taken for the end. */
static inline struct nmos_authz_text nmos_authz_bytes(const char *data, size_t size)
{
	struct nmos_authz_text t;
	t.data = data;
	t.size = size;
	return t;
}

/* The HTTP request that the question is about, exactly as it came: nothing decoded, nothing shortened. */
struct nmos_authz_request {
	struct nmos_authz_text method;        /* "GET"; for decide_all it may be absent and is then GET */
	struct nmos_authz_text target;        /* path and query of the request line; absent for decide_all */
	struct nmos_authz_text authorization; /* value of the Authorization header; absent where the header was */
	struct nmos_authz_text upgrade;       /* value of the Upgrade header, likewise: "websocket" for a handshake */
};

/* What is to be done with a resource of the device. Zero is neither, so that it cannot be forgotten. */
enum nmos_authz_access {
	NMOS_AUTHZ_READ = 1,
	NMOS_AUTHZ_WRITE = 2
};

/* Whose commands nmos_authz_control asks about, and so which claim counts. */
enum nmos_authz_api {
	NMOS_AUTHZ_API_CONTROL = 1,      /* IS-12 */
	NMOS_AUTHZ_API_CONFIGURATION = 2 /* IS-14 */
};

/*
 * One command on an object of the device model, or a subscription to one. A command that reaches several objects is several
 * of these with the same number. What access it needs is not said here: the daemon derives it from class and method.
 */
struct nmos_authz_command {
	uint32_t number;                  /* the command's handle in the message */
	struct nmos_authz_text class_id;  /* the object's own, "1.2.2.1"; absent if you do not know it */
	unsigned level;                   /* of the method: 4 and 2 of 4m2; */
	unsigned index;                   /* both 0: a subscription */
	struct nmos_authz_text role_path; /* "root.receiver-monitors.monitor-01", as in the model */
	int status;                       /* the answer: 200, or the NcMethodStatus to answer with, 401 or 503 */
};

/* The answer. Each pointer is NULL where the daemon said nothing, except reason, which is then "". */
struct nmos_authz_reply {
	enum nmos_authz_decision decision;
	int status;                   /* HTTP status to answer with; 200 for allow */
	enum nmos_authz_error error;  /* whether the daemon was asked */
	int system_error;             /* errno behind the error, or 0 */
	const char *reason;           /* stable lower-case code */
	const char *text;             /* what the reason of a denial means, for people */
	const char *client_id;        /* these three once a token was verified */
	const char *subject;
	const char *issuer;
	const char *path;             /* normalised; route on this, not on the target; NULL, too, where the target has none: "*" */
	const char *www_authenticate; /* copy into the response */
	const char *would;            /* observe mode: status and reason that enforce mode would have given */
	long expires_in;              /* seconds until the permission ends, or -1; close a WebSocket by then */
	long retry_after;             /* seconds, or -1; copy into the response as Retry-After */
	int configuration;            /* 1 if the request was one of IS-14's API, whose error body is another */
	const char *lines;            /* private */
	const char *lines_end;        /* private */
};

/* One of the device's own tokens, about 17 KiB. The caller owns it, and wipes it. Texts that there are none of are "". */
struct nmos_authz_own_token {
	char value[NMOS_AUTHZ_TOKEN_MAX + 1]; /* goes into "Authorization: Bearer " as it is; "" if there is none */
	char scope[NMOS_AUTHZ_SCOPE_MAX + 1]; /* what it is good for, which may be less than was asked for */
	char id[NMOS_AUTHZ_TOKEN_ID_MAX + 1]; /* its name, by which to say that a server refused it */
	char detail[NMOS_AUTHZ_DETAIL_MAX + 1]; /* why there is none, for a log */
};

/*
 * A connection to the daemon and its buffers, about 65 KiB: keep it in static or heap memory rather than on a small
 * stack. Only timeout_ms is for the caller, who may change it between calls; all else is private.
 */
struct nmos_authz {
	int timeout_ms; /* for one call: connecting, sending and receiving together; at least 1 */
	int ready;
	int fd;
	long owner;
	uint64_t counter;
	char socket_path[NMOS_AUTHZ_SOCKET_PATH_MAX + 1];
	char request[NMOS_AUTHZ_PACKET_MAX];
	char reply[NMOS_AUTHZ_REPLY_MAX];
};

/*
 * Prepares a handle; it does not connect, so the daemon may start later. The path is copied. Do not initialise a handle
 * that is open. Returns NMOS_AUTHZ_OK, or NMOS_AUTHZ_BAD_CALL for an empty or too long path, a timeout below 1, or a
 * library compiled with another NMOS_AUTHZ_PACKET_MAX; with such a handle, or one that is all zero, every call denies.
 */
#define nmos_authz_init(handle, socket_path, timeout_ms) \
	nmos_authz_init_sized((handle), sizeof(struct nmos_authz), (socket_path), (timeout_ms))
enum nmos_authz_error nmos_authz_init_sized(struct nmos_authz *handle, size_t handle_size, const char *socket_path,
                                            int timeout_ms);

/* Closes the connection and wipes the buffers, and with them the text of the last reply. A later call connects again. */
void nmos_authz_close(struct nmos_authz *handle);

/*
 * May this request be served? Fills in the reply, which must not be NULL, and returns its decision. Serve the request
 * only if that is NMOS_AUTHZ_ALLOW. The call takes handle->timeout_ms at most. If the daemon went away since the last
 * call, it connects again and asks once more within the same time.
 */
enum nmos_authz_decision nmos_authz_decide(struct nmos_authz *handle, const struct nmos_authz_request *request,
                                           struct nmos_authz_reply *reply);

/*
 * May all of these targets be served, for instance every source of an IS-07 WebSocket? Allows only if each is allowed;
 * nmos_authz_next_denied lists those that are not. At least one target; request->target must be absent.
 */
enum nmos_authz_decision nmos_authz_decide_all(struct nmos_authz *handle, const struct nmos_authz_request *request,
                                               const struct nmos_authz_text *targets, size_t count,
                                               struct nmos_authz_reply *reply);

/*
 * decide_all for a WebSocket that stays open: if that allows, the question is left standing, and *fd is a connection for just
 * that. Have poll() watch it for POLLIN with the rest; it is the caller's to close. Once it is readable the permission has
 * ended, be it by the token, its key, the mode or the configuration: nmos_authz_turned says why. Close it when the WebSocket
 * closes. Write nothing to it. *fd is -1 if the decision is not NMOS_AUTHZ_ALLOW.
 */
enum nmos_authz_decision nmos_authz_watch(struct nmos_authz *handle, const struct nmos_authz_request *request,
                                          const struct nmos_authz_text *targets, size_t count,
                                          struct nmos_authz_reply *reply, int *fd);

/*
 * Reads why the answer has turned, on a connection of nmos_authz_watch that is readable, with any handle of this thread. The
 * decision is NMOS_AUTHZ_DENY: end the WebSocket. NMOS_AUTHZ_CONNECTION_LOST means that the daemon has ended: ask
 * nmos_authz_watch again, and end the WebSocket if that does not allow. Close fd in either case. Called before there is
 * anything to read, it waits for handle->timeout_ms and says NMOS_AUTHZ_TIMEOUT.
 */
enum nmos_authz_decision nmos_authz_turned(struct nmos_authz *handle, int fd, struct nmos_authz_reply *reply);

/*
 * May this resource of the device be read, or written? For whatever is not HTTP: a meter feed over UDP, a front panel,
 * SNMP, Ember+. The kind ("meter", "sender", "receiver", "source", or one of the maker's) and the device's own name or
 * number for it are looked up in the device's inventory; the reply's path is the API path that they stand for. Text as
 * in a request; no authorization is the absent one, nmos_authz_string(NULL).
 */
enum nmos_authz_decision nmos_authz_resource(struct nmos_authz *handle, struct nmos_authz_text kind,
                                             struct nmos_authz_text name, enum nmos_authz_access access,
                                             struct nmos_authz_text authorization, struct nmos_authz_reply *reply);

/*
 * Is this token genuine, current, and meant for this device? For stacks that match paths themselves; an allow says
 * nothing about any path. The text is the value of the Authorization header.
 */
enum nmos_authz_decision nmos_authz_verify(struct nmos_authz *handle, struct nmos_authz_text authorization,
                                           struct nmos_authz_reply *reply);

/*
 * May these commands be carried out, and these subscriptions accepted? One message of IS-12 or one body of IS-14 is one
 * question. Fills in the status of each: carry out those with 200 and no other, answer the others in their place with their
 * status, and leave a subscription out that does not have 200. The decision is NMOS_AUTHZ_ALLOW if all have 200. Whatever
 * goes wrong, each has a status, and it is not 200.
 *
 * model is the name of the device model in the daemon's configuration if the device has several; absent if it has one.
 * authorization is that of the WebSocket's handshake, as in every question. Nothing is sent if a class id, a method or a role
 * path is not one (NMOS_AUTHZ_BAD_VALUE), or if it does not fit into a packet, or its longest answer into the handle
 * (NMOS_AUTHZ_TOO_LONG): ask in two parts.
 */
enum nmos_authz_decision nmos_authz_control(struct nmos_authz *handle, enum nmos_authz_api api,
                                            struct nmos_authz_text model, struct nmos_authz_text authorization,
                                            struct nmos_authz_command *commands, size_t count,
                                            struct nmos_authz_reply *reply);

/*
 * A token of the device's own, to register with an IS-04 registry (scope "registration") or to open another node's IS-07
 * socket ("events"). Ask for it each time just before it is sent: the daemon renews it, and answers from memory.
 * NMOS_AUTHZ_ALLOW, and only that, comes with a token, which ends in reply->expires_in seconds. Else reply->status is 503:
 * ask again after reply->retry_after seconds; or 403: reply->reason says what the device's configuration lacks.
 *
 * If a server answered 401 to a token, pass that token's id as refused, else nmos_authz_string(NULL): the daemon fetches
 * another, the first time immediately, and has no token for you until it is there. At 403 do not: a new one says the same.
 *
 * The token is in the caller's hands: wipe it with nmos_authz_token_wipe once it is sent, and let it reach no log, no
 * argument and no URL. The handle keeps no copy. A token longer than NMOS_AUTHZ_PACKET_MAX leaves room for is
 * NMOS_AUTHZ_BAD_REPLY; the default has room for any.
 */
enum nmos_authz_decision nmos_authz_token(struct nmos_authz *handle, struct nmos_authz_text scope,
                                          struct nmos_authz_text refused, struct nmos_authz_own_token *token,
                                          struct nmos_authz_reply *reply);

/* Wipes a token, which a plain memset may fail to: a compiler can leave out what is not read again. */
void nmos_authz_token_wipe(struct nmos_authz_own_token *token);

/* Does the daemon answer? NMOS_AUTHZ_OK if so. */
enum nmos_authz_error nmos_authz_ping(struct nmos_authz *handle);

/* The denied target after previous, or the first one for NULL; NULL when there is none left. */
const char *nmos_authz_next_denied(const struct nmos_authz_reply *reply, const char *previous);

/*
 * Writes the NMOS error body for a reply, {"code":403,"error":"the token does not grant ...","debug":"path-not-granted"}, and a
 * NUL. For IS-14 (reply->configuration) it is {"status":401,"errorMessage":"the token does not ... (path-not-granted)"}, since
 * NcMethodStatus has no 403.
 * Returns its length without the NUL, or 0 and an empty string if size is too small; NMOS_AUTHZ_ERROR_BODY_MAX never is.
 * Send it as application/json.
 */
size_t nmos_authz_error_body(const struct nmos_authz_reply *reply, char *out, size_t size);

/*
 * For stacks that write HTTP themselves: the status line of a denial and its header fields, each ended by CRLF, and a NUL.
 * They are Content-Type and Content-Length of the error body, WWW-Authenticate, Retry-After and Allow where due, and the
 * CORS fields that let a browser's page read them. Add what else there is to say, an empty line, and the error body (not for
 * HEAD). Returns the length without the NUL; 0 and an empty string if size is too small, which NMOS_AUTHZ_DENIAL_HEAD_MAX
 * never is, or if the reply is not a denial.
 */
size_t nmos_authz_denial_head(const struct nmos_authz_reply *reply, char *out, size_t size);

/* One line for people; static text, never NULL. */
const char *nmos_authz_strerror(enum nmos_authz_error error);

#ifdef __cplusplus
}
#endif

#endif
