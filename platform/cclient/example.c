/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks the daemon one question and prints the reply. Exits 0 for allow, 1 for deny, 2 when it could not ask.
 *
 *     example SOCKET METHOD TARGET
 *     example SOCKET KIND NAME read|write
 *     example -a SOCKET ... < authorization.txt
 *     example -t SOCKET SCOPE
 *
 * With -a the value of the Authorization header is the first line of standard input: arguments are for all to see in ps.
 */
#include "nmos_authz.h"

#include <stdio.h>

/* Larger than a small stack; its buffers are used again by every question. */
static struct nmos_authz authz;

static char authorization[NMOS_AUTHZ_PACKET_MAX];

static void print(const char *name, const char *value)
{
	if (value != NULL && value[0] != '\0')
		printf("%s: %s\n", name, value);
}

static void print_number(const char *name, long value)
{
	if (value >= 0)
		printf("%s: %ld\n", name, value);
}

static void print_reply(const struct nmos_authz_reply *reply)
{
	printf("%s %d\n", reply->decision == NMOS_AUTHZ_ALLOW ? "allow" : "deny", reply->status);
	print("reason", reply->reason);
	print("would", reply->would);
	print("client-id", reply->client_id);
	print("subject", reply->subject);
	print("issuer", reply->issuer);
	print_number("expires-in", reply->expires_in);
	print("path", reply->path);
	print("www-authenticate", reply->www_authenticate);
	print_number("retry-after", reply->retry_after);
	if (reply->decision != NMOS_AUTHZ_ALLOW) {
		char body[NMOS_AUTHZ_ERROR_BODY_MAX];
		nmos_authz_error_body(reply, body, sizeof body);
		print("body", body);
	}
}

/* Asks about METHOD TARGET, or about KIND NAME read|write; false if the words are neither. */
static int ask(char **words, int count, struct nmos_authz_text value, struct nmos_authz_reply *reply)
{
	if (count == 2) {
		struct nmos_authz_request request = {0};
		request.method = nmos_authz_string(words[0]);
		request.target = nmos_authz_string(words[1]);
		request.authorization = value;
		nmos_authz_decide(&authz, &request, reply);
		return 1;
	}
	int write = strcmp(words[2], "write") == 0;
	if (!write && strcmp(words[2], "read") != 0)
		return 0;
	nmos_authz_resource(&authz, nmos_authz_string(words[0]), nmos_authz_string(words[1]),
	                    write ? NMOS_AUTHZ_WRITE : NMOS_AUTHZ_READ, value, reply);
	return 1;
}

/* Asks for a token of the device's own, and says what it is: the token itself is for a registry and nobody else. */
static void ask_token(const char *scope, struct nmos_authz_reply *reply)
{
	static struct nmos_authz_own_token token;

	if (nmos_authz_token(&authz, nmos_authz_string(scope), nmos_authz_string(NULL), &token, reply) == NMOS_AUTHZ_ALLOW) {
		printf("token of %zu bytes\n", strlen(token.value));
		print("token-id", token.id);
		print("scope", token.scope);
	}
	print("detail", token.detail);
	nmos_authz_token_wipe(&token);
}

int main(int argc, char **argv)
{
	int with_authorization = argc > 1 && strcmp(argv[1], "-a") == 0;
	int own_token = argc == 4 && strcmp(argv[1], "-t") == 0;
	char **words = argv + 1 + (with_authorization || own_token);
	int count = argc - 1 - (with_authorization || own_token);
	struct nmos_authz_text value = nmos_authz_string(NULL);
	struct nmos_authz_reply reply;

	if (!own_token && count != 3 && count != 4) {
		fprintf(stderr,
		        "usage: %s [-a] SOCKET METHOD TARGET\n       %s [-a] SOCKET KIND NAME read|write\n       %s -t SOCKET SCOPE\n",
		        argv[0], argv[0], argv[0]);
		return 2;
	}
	if (with_authorization) {
		if (fgets(authorization, sizeof authorization, stdin) == NULL) {
			fprintf(stderr, "%s: no authorization on standard input\n", argv[0]);
			return 2;
		}
		value = nmos_authz_bytes(authorization, strcspn(authorization, "\r\n"));
	}
	if (nmos_authz_init(&authz, words[0], 1000) != NMOS_AUTHZ_OK) {
		fprintf(stderr, "%s: %s is not a path of a socket\n", argv[0], words[0]);
		return 2;
	}
	if (own_token) {
		ask_token(words[1], &reply);
	} else if (!ask(words + 1, count - 1, value, &reply)) {
		fprintf(stderr, "%s: the access is read or write, not %s\n", argv[0], words[3]);
		return 2;
	}
	print_reply(&reply);
	if (reply.error != NMOS_AUTHZ_OK) {
		fprintf(stderr, "%s: %s\n", argv[0], nmos_authz_strerror(reply.error));
		if (reply.system_error != 0)
			fprintf(stderr, "%s: %s\n", words[0], strerror(reply.system_error));
	}
	nmos_authz_close(&authz); /* the numbers in the reply outlive it, its text does not */
	if (reply.error != NMOS_AUTHZ_OK)
		return 2;
	return reply.decision == NMOS_AUTHZ_ALLOW ? 0 : 1;
}
