# SPDX-License-Identifier: Apache-2.0
"""Asks nmos-authd whether a request may be served (AMWA IS-10).

One file to copy: Python 3.8 or later, Linux, the standard library and nothing else. No call raises: every question ends in a
Reply, and whatever is not the daemon's own "allow" is a denial. A Client may be used by any number of threads, each of which
gets a connection of its own; after fork() a child connects again.
"""

import json
import os
import select
import socket
import threading
import time

__version__ = "1.0.0"

SOCKET = "/run/nmos-authd/authz.sock"
PACKET_MAX = 32768  # bytes of a question, the daemon's own limit unless configured
REPLY_MAX = PACKET_MAX + 32768 + 1024  # "control" has the longest reply (PROTOCOL.md section 1)

# Reply.error, and the status that comes with it.
OK = "ok"  # the daemon answered; its decision may be either
BAD_CALL = "bad-call"  # 500: a value is missing or not one of those that there are: a fault of the program
BAD_VALUE = "bad-value"  # 400: a value holds a control character; nothing was sent
TOO_LONG = "too-long"  # 400: the question is longer than a packet may be; nothing was sent
REFUSED = "refused"  # 400: the daemon did not take the packet; reason and detail say why
UNREACHABLE = "unreachable"  # 503: no connection; system_error says why
CONNECTION_LOST = "connection-lost"  # 503: the daemon closed the connection, and the new one too
TIMEOUT = "timeout"  # 503: no answer in time
BAD_REPLY = "bad-reply"  # 503: the answer breaks the protocol or belongs to another question

_STATUS = {OK: 200, BAD_CALL: 500, BAD_VALUE: 400, TOO_LONG: 400, REFUSED: 400, UNREACHABLE: 503, CONNECTION_LOST: 503,
           TIMEOUT: 503, BAD_REPLY: 503}
_PHRASES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 405: "Method Not Allowed",
            500: "Internal Server Error", 503: "Service Unavailable"}
_TEXTS = ("id", "reason", "client-id", "subject", "issuer", "path", "www-authenticate", "detail", "error", "scope", "token-id",
          "access-token")
_CONTROLS = bytes(range(0x20)) + b"\x7f"


class Reply:
    """The answer. It is true if, and only if, the daemon allows. What the daemon did not say is None, reason is ""."""

    __slots__ = ("allowed", "status", "error", "system_error", "reason", "client_id", "subject", "issuer", "path",
                 "www_authenticate", "would", "expires_in", "retry_after", "denied", "detail", "text", "scope", "token_id",
                 "access_token", "configuration")

    def __init__(self, error=BAD_CALL, system_error=0):
        for name in self.__slots__:
            setattr(self, name, None)
        self.allowed = False
        self.status = _STATUS[error]  # HTTP status to answer with
        self.error, self.system_error = error, system_error
        self.reason = ""
        self.retry_after = 1 if self.status == 503 else None  # seconds
        self.denied = []  # targets of decide_all
        self.configuration = False  # the request was one of IS-14's API, whose error body is another

    def __bool__(self):
        return self.allowed

    def __repr__(self):  # never the token
        return "<%s %d %s%s>" % ("allow" if self.allowed else "deny", self.status, self.reason,
                                 "" if self.error == OK else " " + self.error)

    def headers(self):
        """The header fields that belong to a denial. JSON is what body() returns."""
        fields = {"Content-Type": "application/json"}
        if self.www_authenticate:
            fields["WWW-Authenticate"] = self.www_authenticate
        if self.retry_after is not None:
            fields["Retry-After"] = str(self.retry_after)
        if self.status == 405:
            fields["Allow"] = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
        return fields

    def body(self):
        """The NMOS error body of a denial, to be sent as application/json."""
        debug = self.reason or self.error
        if self.configuration:  # NcMethodStatus has no 403
            return json.dumps({"status": 401 if self.status == 403 else self.status,
                               "errorMessage": "%s (%s)" % (self.text, debug) if self.text else debug})
        return json.dumps({"code": self.status, "error": self.text or _PHRASES.get(self.status, "Error"), "debug": debug})


class Command:
    """A command on an object of the device model: its method is (4, 3) for 4m3, its class "1.2.2.1", or None if not known.

    Once asked, status is 200 if it may be carried out, else the NcMethodStatus to answer with: 401 or 503.
    """

    def __init__(self, handle, class_id, method, role_path):
        self.handle, self.class_id, self.method, self.role_path = handle, class_id, method, role_path
        self.status = 503


class Subscription:
    """A subscription to an object of the device model. Once asked, status is 200 if it may be accepted."""

    def __init__(self, role_path):
        self.role_path = role_path
        self.status = 503


class Watch:
    """A question left standing. Wait for fileno() to become readable with the rest; turned() then says why."""

    def __init__(self, sock):
        self._sock = sock

    def fileno(self):
        return self._sock.fileno()

    def turned(self, timeout=0.2):
        """The denial that ends the WebSocket. CONNECTION_LOST: the daemon has ended, ask again."""
        try:
            reply = _read(_receive(self._sock, time.monotonic() + timeout), None)
            return Reply(BAD_REPLY) if reply.allowed else reply
        except _Failure as f:
            return Reply(f.error, f.system_error)

    def close(self):
        self._sock.close()


class Client:
    """Asks the daemon at a socket. timeout, in seconds, is for a whole call."""

    def __init__(self, path=SOCKET, timeout=0.2):
        self.path, self.timeout = path, timeout
        self._mine = threading.local()

    def decide(self, method, target, authorization=None, upgrade=None):
        """May this request be served? Everything as it came: target undecoded with its query, headers None if absent."""
        return self._request("decide 1", [target], method, authorization, upgrade)

    def decide_all(self, targets, authorization=None, upgrade=None, method=None):
        """May all of these targets be served, such as every source of an IS-07 WebSocket? reply.denied lists the others."""
        return self._request("decide-all 1", list(targets), method or "GET", authorization, upgrade)

    def watch(self, targets, authorization=None, upgrade=None, method=None):
        """decide_all for a WebSocket that stays open: the reply, and a Watch if it allows, else None."""
        other = Client(self.path, self.timeout)
        reply = other._request("watch-token 1", list(targets), method or "GET", authorization, upgrade)
        if reply.allowed:
            return reply, Watch(other._mine.sock)
        other.close()
        return reply, None

    def verify(self, authorization=None):
        """Is this token good? An allow says nothing about any path."""
        return self._ask("verify 1", [("authorization", authorization)])

    def resource(self, kind, name, access, authorization=None):
        """May this resource of the device be read, or written? For what is not HTTP."""
        if access not in ("read", "write") or kind is None or name is None:
            return Reply(BAD_CALL)
        return self._ask("resource 1", [("kind", kind), ("name", name), ("access", access), ("authorization", authorization)])

    def token(self, scope, refused=None, resource=None):
        """A token of the device's own: reply.access_token, in an allow and only there. refused: the token_id of one that a
        server answered with 401."""
        if scope is None:
            return Reply(BAD_CALL)
        reply = self._ask("token 1", [("scope", scope), ("resource", resource), ("refused", refused)])
        if reply.allowed and not (reply.access_token and reply.scope and reply.token_id):
            self.close()
            return Reply(BAD_REPLY)
        return reply

    def control(self, api, commands, authorization=None, model=None):
        """May these Commands be carried out and these Subscriptions be accepted? api is "control" for IS-12, "configuration"
        for IS-14. Carry out what has status 200 afterwards, and nothing else."""
        commands = list(commands)
        for c in commands:
            c.status = 503
        try:
            fields = [("api", api), ("model", model)] + [_command(c) for c in commands] + [("authorization", authorization)]
        except _Failure as f:
            return Reply(f.error)
        except (TypeError, ValueError, AttributeError):
            return Reply(BAD_CALL)
        if api not in ("control", "configuration") or not commands:
            return Reply(BAD_CALL)
        reply = self._ask("control 1", fields)
        if reply.error != OK:
            return reply
        denied = set(reply.denied)
        known = {_denied_name(c) for c in commands}
        names = {line if line == "*" else line.rsplit(" ", 2)[0] for line in denied}
        if not names <= known | {"*"}:
            self.close()
            return Reply(BAD_REPLY)
        refusal = 503 if reply.status == 503 else 401
        for c in commands:
            good = reply.allowed or names and "*" not in names and _denied_name(c) not in names
            c.status = 200 if good else refusal
        return reply

    def ping(self):
        """Does the daemon answer? OK if so, else what is wrong."""
        return self._ask("ping 1", [], "pong 1").error

    def close(self):
        """Closes this thread's connection. A later call connects again."""
        sock, self._mine.sock = getattr(self._mine, "sock", None), None
        if sock is not None:
            sock.close()

    # ---- private ----

    def _request(self, verb, targets, method, authorization, upgrade):
        if method is None or not targets or None in targets:
            return Reply(BAD_CALL)
        reply = self._ask(verb, [("method", method)] + [("target", t) for t in targets] +
                          [("authorization", authorization), ("upgrade", upgrade)])
        where = (reply.path or _text(targets[0])).split("?")[0]
        reply.configuration = (where + "/").startswith("/x-nmos/configuration/")
        return reply

    def _ask(self, verb, fields, pong=None):
        mine = self._mine
        mine.counter = getattr(mine, "counter", 0) + 1
        number = str(mine.counter)
        try:
            packet = _packet(verb, number, fields)
            deadline = time.monotonic() + self.timeout
            try:
                answer = self._exchange(packet, deadline)
            except _Failure as f:
                if f.error != CONNECTION_LOST:
                    raise
                answer = self._exchange(packet, deadline)  # a restarted daemon; a question changes nothing
            reply = _read(answer, number, pong)
            if reply.error != OK:
                self.close()  # it may have been without an id, and so cannot be matched to the question
            return reply
        except _Failure as f:
            if f.error not in (BAD_VALUE, TOO_LONG, BAD_CALL):
                self.close()
            return Reply(f.error, f.system_error)

    def _exchange(self, packet, deadline):
        mine = self._mine
        if getattr(mine, "sock", None) is not None and mine.owner != os.getpid():
            self.close()  # inherited over fork: parent and child would read each other's answers
        try:
            if getattr(mine, "sock", None) is None:
                mine.sock, mine.owner = _connect(self.path, deadline), os.getpid()
            _send(mine.sock, packet, deadline)
            return _receive(mine.sock, deadline)
        except BaseException:
            self.close()  # a late answer must not be taken for that of the next question
            raise


class _Failure(Exception):
    def __init__(self, error, system_error=0):
        super().__init__(error)
        self.error, self.system_error = error, system_error or 0


def _bytes(value):
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise _Failure(BAD_CALL)


def _text(value):
    return _bytes(value).decode("utf-8", "surrogateescape") if isinstance(value, (str, bytes, bytearray)) else ""


def _packet(verb, number, fields):
    """The id comes first, so that the daemon has read it before it can find fault with a value."""
    lines = [verb.encode(), b"id=" + number.encode()]
    try:
        for name, value in fields:
            if value is not None:
                value = _bytes(value)
                if value.translate(None, _CONTROLS) != value:  # a newline would start a line of its own
                    raise _Failure(BAD_VALUE)
                lines.append(name.encode() + b"=" + value)
    except UnicodeError:
        raise _Failure(BAD_VALUE) from None
    packet = b"\n".join(lines) + b"\n"
    if len(packet) > PACKET_MAX:
        raise _Failure(TOO_LONG)
    return packet


def _command(c):
    if not 0 < len(_bytes(c.role_path)) <= 1024:
        raise _Failure(BAD_VALUE)
    if isinstance(c, Subscription):
        return "subscribe", c.role_path
    level, index = c.method
    class_id = "-" if c.class_id is None else c.class_id
    # A space in a class id would begin the next part of the line.
    if not 0 <= c.handle <= 2**32 - 1 or not 0 < len(class_id) <= 128 or set(class_id) - set("0123456789.-") or not (
            1 <= level <= 65535 and 1 <= index <= 65535):
        raise _Failure(BAD_VALUE)
    return "command", "%d %s %dm%d %s" % (c.handle, class_id, level, index, _text(c.role_path))


def _denied_name(c):
    return "subscribe " + _text(c.role_path) if isinstance(c, Subscription) else "command %d" % c.handle


def _left(deadline):
    left = deadline - time.monotonic()
    if left <= 0:
        raise _Failure(TIMEOUT)
    return left


def _connect(path, deadline):
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError as e:
        raise _Failure(UNREACHABLE, e.errno) from None
    try:
        while True:
            sock.settimeout(_left(deadline))
            try:
                sock.connect(path)
                break
            except BlockingIOError:  # a full backlog, which cannot be waited for
                time.sleep(min(0.005, _left(deadline)))
        sock.setblocking(False)
        return sock
    except _Failure:
        sock.close()
        raise
    except socket.timeout:
        sock.close()
        raise _Failure(TIMEOUT) from None
    except (OSError, ValueError, TypeError) as e:
        sock.close()
        raise _Failure(UNREACHABLE, getattr(e, "errno", 0)) from None


def _await(sock, events, deadline):
    poll = select.poll()  # select() fails from descriptor 1024 on
    poll.register(sock, events)
    if not poll.poll(_left(deadline) * 1000):
        raise _Failure(TIMEOUT)


def _send(sock, packet, deadline):
    while True:
        try:
            sock.send(packet, socket.MSG_NOSIGNAL)  # whole or not at all
            return
        except BlockingIOError:
            _await(sock, select.POLLOUT, deadline)
        except OSError as e:
            if e.errno == 90:  # EMSGSIZE
                raise _Failure(TOO_LONG, e.errno) from None
            raise _Failure(CONNECTION_LOST, e.errno) from None


def _receive(sock, deadline):
    while True:
        _await(sock, select.POLLIN, deadline)
        try:
            answer = sock.recv(REPLY_MAX + 1)
        except BlockingIOError:
            continue
        except OSError as e:
            raise _Failure(CONNECTION_LOST, e.errno) from None
        if not answer:
            raise _Failure(CONNECTION_LOST)
        if len(answer) > REPLY_MAX:
            raise _Failure(BAD_REPLY)
        return answer


def _digits(value):
    if not value.isascii() or not value.isdigit():
        raise _Failure(BAD_REPLY)
    return min(int(value[:20]), 2**31 - 1)


def _read(answer, number, pong=None):
    """number None: any id. A reply without an id is taken only if it says that the packet could not be read."""
    text = answer.decode("utf-8", "surrogateescape")
    if not text.endswith("\n") or any(c in text.replace("\n", "") for c in _CONTROLS.decode()):
        raise _Failure(BAD_REPLY)
    first, *lines = text[:-1].split("\n")
    word, _, status = first.partition(" ")
    reply = Reply(OK)
    if pong is not None and first == pong:
        pass
    elif word in ("deny", "error") and (pong is None or word == "error") and len(status) == 3 and 400 <= _digits(status) <= 599:
        reply.status = _digits(status)
        reply.error = REFUSED if word == "error" else OK
    elif first == "allow 200" and pong is None:
        reply.allowed = True
    else:
        raise _Failure(BAD_REPLY)
    said = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if not equals or not name:
            raise _Failure(BAD_REPLY)
        if name == "denied":
            reply.denied.append(value)
        elif name == "would":
            reply.would = reply.would or value  # further ones are about single commands
        elif name in said:
            if name in _TEXTS or name in ("expires-in", "retry-after"):
                raise _Failure(BAD_REPLY)
        else:
            said[name] = value
    if reply.allowed and reply.denied:
        raise _Failure(BAD_REPLY)
    if number is not None and said.get("id") != number:
        if reply.error != REFUSED or "id" in said:
            raise _Failure(BAD_REPLY)
    reply.reason = said.get("reason", "")
    reply.client_id, reply.subject, reply.issuer = said.get("client-id"), said.get("subject"), said.get("issuer")
    reply.path, reply.www_authenticate, reply.detail = said.get("path"), said.get("www-authenticate"), said.get("detail")
    reply.text, reply.scope, reply.token_id = said.get("error"), said.get("scope"), said.get("token-id")
    reply.access_token = said.get("access-token") if reply.allowed else None
    reply.expires_in = _digits(said["expires-in"]) if "expires-in" in said else None
    reply.retry_after = _digits(said["retry-after"]) if "retry-after" in said else None
    return reply
