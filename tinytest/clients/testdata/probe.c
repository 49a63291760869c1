/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does with the C client what the Go test tells it on standard input, a command a line, and prints what came of it:
 * name=value lines and an empty line. A value is written in hexadecimal after an "x", and "-" is an absent one.
 *
 *     probe SOCKET TIMEOUT_MS
 */
#define _POSIX_C_SOURCE 200809L
#define _XOPEN_SOURCE 700

#include "nmos_authz.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_WORDS = 8192, MOST_THREADS = 16 };

static struct nmos_authz authz;
static struct nmos_authz_reply reply;
static const char *socket_path;
static int timeout_ms;

static char line[4 * NMOS_AUTHZ_PACKET_MAX];
static struct nmos_authz_text words[MOST_WORDS];
static size_t count;

static void die(const char *what)
{
	fprintf(stderr, "probe: %s\n", what);
	exit(3);
}

static int digit(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* Decodes in place; the text then lies over its own hexadecimal form, without a NUL. */
static struct nmos_authz_text value(char *word)
{
	size_t n = 0;
	if (word[0] != 'x')
		return nmos_authz_string(NULL); /* absent, or a number */
	for (char *p = word + 1; p[0] != '\0' && p[1] != '\0'; p += 2)
		word[n++] = (char)(digit(p[0]) * 16 + digit(p[1]));
	return nmos_authz_bytes(word, n);
}

static struct nmos_authz_text word(size_t i)
{
	return i < count ? words[i] : nmos_authz_string(NULL);
}

static void print(const char *name, const char *text)
{
	if (text != NULL)
		printf("%s=%s\n", name, text);
}

static void print_reply(enum nmos_authz_decision returned)
{
	if (returned != reply.decision)
		die("the returned decision is not that of the reply");
	printf("decision=%s\n", reply.decision == NMOS_AUTHZ_ALLOW ? "allow" : "deny");
	printf("status=%d\nerror=%d\nsystem-error=%d\n", reply.status, (int)reply.error, reply.system_error);
	printf("expires-in=%ld\nretry-after=%ld\n", reply.expires_in, reply.retry_after);
	print("reason", reply.reason);
	print("client-id", reply.client_id);
	print("subject", reply.subject);
	print("issuer", reply.issuer);
	print("path", reply.path);
	print("www-authenticate", reply.www_authenticate);
	print("would", reply.would);
	for (const char *t = NULL; (t = nmos_authz_next_denied(&reply, t)) != NULL;)
		print("denied", t);
}

/* Whether a buffer of the handle is all zero: that which held the token, or that which held the reply. */
static const char *wiped(const char *buffer, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (buffer[i] != 0)
			return "no";
	}
	return "yes";
}

typedef size_t writer(const struct nmos_authz_reply *, char *, size_t);

/* What write makes of the reply in a buffer of that size; the CRLFs are printed as "|". */
static void print_written(writer *write, size_t size)
{
	/* Of exactly that size, so that the sanitizer sees a byte too many. */
	char *out = malloc(size > 0 ? size : 1);
	if (out == NULL)
		die("out of memory");
	size_t n = write(&reply, size > 0 ? out : NULL, size);
	if (size > 0 && strlen(out) != n)
		die("the length is not that of the text");
	printf("length=%zu\ntext=", n);
	for (size_t i = 0; i < n; i++) {
		if (out[i] == '\r' && i + 1 < n && out[i + 1] == '\n')
			i++, putchar('|');
		else
			putchar(out[i]);
	}
	printf("\n");
	free(out);
}

/* A reason that the daemon does not have, to see what becomes of it in JSON. */
static void odd_reply(void)
{
	memset(&reply, 0, sizeof reply);
	reply.status = 418;
	reply.reason = "\"\\\n\x01\x7f\xc3\xa9/";
}

/* Asks count times with handle and says how many questions went unanswered. */
static long unanswered(struct nmos_authz *handle, long times)
{
	long n = 0;
	while (times-- > 0)
		n += nmos_authz_ping(handle) != NMOS_AUTHZ_OK;
	return n;
}

static void fork_and_ask(long times)
{
	fflush(stdout);
	pid_t child = fork();
	if (child < 0)
		die("cannot fork");
	if (child == 0)
		_exit(unanswered(&authz, times) == 0 ? 0 : 1);
	long mine = unanswered(&authz, times);
	int status = -1;
	waitpid(child, &status, 0);
	printf("parent=%ld\nchild=%d\n", mine, status);
}

struct worker {
	pthread_t thread;
	struct nmos_authz handle;
	long first, half;
	long allowed, wrong, answered;
};

static pthread_barrier_t barrier;

/* Asks in turn about a target that may be served and one that may not. */
static void *work(void *argument)
{
	struct worker *w = argument;
	nmos_authz_init(&w->handle, socket_path, timeout_ms);
	for (int round = 0; round < 2; round++) {
		for (long i = 0; i < w->half; i++) {
			long bad = (w->first + i) % 2;
			struct nmos_authz_request request = {word(2), word(3 + (size_t)bad), word(5), nmos_authz_string(NULL)};
			struct nmos_authz_reply r;
			long allowed = nmos_authz_decide(&w->handle, &request, &r) == NMOS_AUTHZ_ALLOW;
			*(bad ? &w->wrong : &w->allowed) += allowed;
			w->answered += r.error == NMOS_AUTHZ_OK;
		}
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
	}
	nmos_authz_close(&w->handle);
	return NULL;
}

/* Half of the questions are asked, then the rest once a line has been read: the test restarts the daemon in between. */
static void ask_in_threads(long threads, long times)
{
	static struct worker workers[MOST_THREADS];
	static char on[16];
	long allowed = 0, wrong = 0, answered = 0;
	if (threads > MOST_THREADS)
		die("too many threads");
	memset(workers, 0, sizeof workers);
	pthread_barrier_init(&barrier, NULL, (unsigned)threads + 1);
	for (long i = 0; i < threads; i++) {
		workers[i].first = i;
		workers[i].half = times / 2;
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			die("cannot start a thread");
	}
	pthread_barrier_wait(&barrier);
	printf("half=yes\n\n");
	fflush(stdout);
	if (fgets(on, sizeof on, stdin) == NULL)
		die("nothing to go on with");
	for (int i = 0; i < 3; i++)
		pthread_barrier_wait(&barrier);
	for (long i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		allowed += workers[i].allowed;
		wrong += workers[i].wrong;
		answered += workers[i].answered;
	}
	pthread_barrier_destroy(&barrier);
	printf("allowed=%ld\nwrong=%ld\nanswered=%ld\n", allowed, wrong, answered);
}

static void on_alarm(int number)
{
	(void)number;
}

/* From now on a signal interrupts whatever system call is under way, every so many microseconds; 0 ends that. */
static void interrupt_every(long microseconds)
{
	struct sigaction action;
	memset(&action, 0, sizeof action);
	action.sa_handler = on_alarm;
	sigaction(SIGALRM, &action, NULL);
	struct itimerval timer = {{0, microseconds}, {0, microseconds}};
	setitimer(ITIMER_REAL, &timer, NULL);
}

static void decide(struct nmos_authz *handle)
{
	struct nmos_authz_request request = {word(0), word(1), word(2), word(3)};
	print_reply(nmos_authz_decide(handle, &request, &reply));
}

static void decide_all(void)
{
	/* method, target (to be absent), authorization, upgrade, then the targets */
	struct nmos_authz_request request = {word(0), word(1), word(2), word(3)};
	size_t targets = count > 4 ? count - 4 : 0;
	print_reply(nmos_authz_decide_all(&authz, &request, words + 4, targets, &reply));
}

/* The token lies in memory of exactly its size, so that the sanitizer sees a byte too many. */
static void own_token(struct nmos_authz *handle, int without)
{
	struct nmos_authz_own_token *token = malloc(sizeof *token);
	if (token == NULL)
		die("out of memory");
	memset(token, 'o', sizeof *token);
	print_reply(nmos_authz_token(handle, word(0), word(1), without ? NULL : token, &reply));
	if (!without) {
		print("access-token", token->value);
		print("token-scope", token->scope);
		print("token-id", token->id);
		print("detail", token->detail);
		nmos_authz_token_wipe(token);
		print("token-wiped", wiped((const char *)token, sizeof *token));
		size_t n = 0, i = 0;
		for (; i < sizeof authz.reply; i++)
			n += authz.reply[i] == 'Z'; /* what tests make tokens of */
		printf("left=%zu\n", n);
	}
	free(token);
}

/*
 * api, model, authorization, then of each command its number, class, level, index and role path. They lie in memory of exactly
 * their size, so that the sanitizer sees one too many.
 */
static void control(struct nmos_authz *handle, long api)
{
	size_t n = count > 3 ? (count - 3) / 5 : 0;
	struct nmos_authz_command *commands = malloc(n > 0 ? n * sizeof *commands : 1);
	if (commands == NULL)
		die("out of memory");
	for (size_t i = 0; i < n; i++) {
		const struct nmos_authz_text *w = words + 3 + 5 * i;
		char number[3][16];
		for (int k = 0; k < 3; k++) {
			const struct nmos_authz_text from = w[k == 0 ? 0 : k + 1];
			size_t size = from.size < 15 ? from.size : 15;
			memset(number[k], 0, 16);
			if (from.data != NULL)
				memcpy(number[k], from.data, size);
		}
		commands[i].number = (uint32_t)strtoul(number[0], NULL, 10);
		commands[i].class_id = w[1];
		commands[i].level = (unsigned)strtoul(number[1], NULL, 10);
		commands[i].index = (unsigned)strtoul(number[2], NULL, 10);
		commands[i].role_path = w[4];
		commands[i].status = 200; /* to be overwritten */
	}
	print_reply(nmos_authz_control(handle, (enum nmos_authz_api)api, word(1), word(2), commands, n, &reply));
	printf("statuses=");
	for (size_t i = 0; i < n; i++)
		printf("%s%d", i > 0 ? " " : "", commands[i].status);
	printf("\n");
	free(commands);
}

static int standing = -1; /* the connection of nmos_authz_watch */

/* method, target (to be absent), authorization, upgrade, then the targets */
static void watch(struct nmos_authz *handle)
{
	struct nmos_authz_request request = {word(0), word(1), word(2), word(3)};
	print_reply(nmos_authz_watch(handle, &request, words + 4, count > 4 ? count - 4 : 0, &reply, &standing));
	printf("stands=%s\n", standing >= 0 ? "yes" : "no");
}

/* Waits for that connection to become readable, and reads what has come. */
static void turned(long milliseconds)
{
	struct pollfd waiting = {standing, POLLIN, 0};
	printf("readable=%d\n", poll(&waiting, 1, (int)milliseconds));
	print_reply(nmos_authz_turned(&authz, standing, &reply));
	if (close(standing) != 0)
		die("the connection was closed by another");
	standing = -1;
}

static void run(const char *command, long a, long b)
{
	static struct nmos_authz never_initialised;

	if (strcmp(command, "decide") == 0)
		decide(&authz);
	else if (strcmp(command, "decide-all") == 0)
		decide_all();
	else if (strcmp(command, "control") == 0)
		control(&authz, a);
	else if (strcmp(command, "control-zero") == 0)
		control(&never_initialised, a);
	else if (strcmp(command, "watch") == 0)
		watch(&authz);
	else if (strcmp(command, "watch-zero") == 0)
		watch(&never_initialised);
	else if (strcmp(command, "turned") == 0)
		turned(a);
	else if (strcmp(command, "verify") == 0)
		print_reply(nmos_authz_verify(&authz, word(0), &reply));
	else if (strcmp(command, "token") == 0)
		own_token(&authz, 0);
	else if (strcmp(command, "token-nowhere") == 0)
		own_token(&authz, 1);
	else if (strcmp(command, "token-zero") == 0)
		own_token(&never_initialised, 0);
	else if (strcmp(command, "ping") == 0)
		printf("error=%d\n", (int)nmos_authz_ping(&authz));
	else if (strcmp(command, "decide-zero") == 0)
		decide(&never_initialised);
	else if (strcmp(command, "odd-reply") == 0)
		odd_reply();
	else if (strcmp(command, "body") == 0)
		print_written(nmos_authz_error_body, (size_t)a);
	else if (strcmp(command, "head") == 0)
		print_written(nmos_authz_denial_head, (size_t)a);
	else if (strcmp(command, "resource") == 0)
		print_reply(nmos_authz_resource(&authz, word(1), word(2), (enum nmos_authz_access)a, word(3), &reply));
	else if (strcmp(command, "wiped") == 0)
		print("wiped", wiped(authz.request, sizeof authz.request)), print("reply-wiped", wiped(authz.reply, sizeof authz.reply));
	else if (strcmp(command, "timeout") == 0)
		authz.timeout_ms = (int)a;
	else if (strcmp(command, "strerror") == 0)
		print("text", nmos_authz_strerror((enum nmos_authz_error)a));
	else if (strcmp(command, "interrupt") == 0)
		interrupt_every(a);
	else if (strcmp(command, "fork") == 0)
		fork_and_ask(a);
	else if (strcmp(command, "threads") == 0)
		ask_in_threads(a, b);
	else if (strcmp(command, "close") == 0)
		nmos_authz_close(&authz);
	else
		die("unknown command");
}

/* Reads the next command, also where interrupt_every interrupts that. */
static int next_line(void)
{
	while (fgets(line, sizeof line, stdin) == NULL) {
		if (!ferror(stdin) || errno != EINTR)
			return 0;
		clearerr(stdin);
	}
	return 1;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		die("usage: probe SOCKET TIMEOUT_MS");
	socket_path = argv[1];
	printf("init=%d\n\n", (int)nmos_authz_init(&authz, socket_path, timeout_ms = atoi(argv[2])));
	fflush(stdout);
	while (next_line()) {
		long numbers[2] = {0, 0};
		char *command = strtok(line, " \n");
		count = 0;
		for (char *w; (w = strtok(NULL, " \n")) != NULL; count++) {
			if (count >= MOST_WORDS)
				die("too many words");
			if (count < 2)
				numbers[count] = strtol(w, NULL, 10);
			words[count] = value(w);
		}
		if (command != NULL)
			run(command, numbers[0], numbers[1]);
		printf("\n");
		fflush(stdout);
	}
	nmos_authz_close(&authz);
	return 0;
}
