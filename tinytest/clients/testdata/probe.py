# Does with the Python client what the Go test tells it; see probe.c.
import os
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.environ["CLIENTS"] + "/python")
import nmos_authz as n  # noqa: E402

ERRORS = [n.OK, n.BAD_CALL, n.BAD_VALUE, n.TOO_LONG, n.REFUSED, n.UNREACHABLE, n.CONNECTION_LOST, n.TIMEOUT, n.BAD_REPLY]
client = n.Client(sys.argv[1], int(sys.argv[2]) / 1000)
standing = None


def value(word):
    return bytes.fromhex(word[1:]) if word.startswith("x") else None


def put(name, text):
    if text is not None:
        sys.stdout.buffer.write(("%s=%s\n" % (name, text)).encode("utf-8", "surrogateescape"))


def show(r):
    put("decision", "allow" if r else "deny")
    put("status", r.status)
    put("error", ERRORS.index(r.error))
    put("expires-in", -1 if r.expires_in is None else r.expires_in)
    put("retry-after", -1 if r.retry_after is None else r.retry_after)
    for name in ("reason", "client-id", "subject", "issuer", "path", "www-authenticate", "would", "detail"):
        put(name, getattr(r, name.replace("-", "_")))
    put("access-token", r.access_token)
    put("token-scope", r.scope)
    put("token-id", r.token_id)
    for target in r.denied:
        put("denied", target)
    if not r:
        put("body", r.body())


def threads(count, half, method, good, bad, authorization):
    allowed, wrong, answered = [0] * count, [0] * count, [0] * count
    barrier = threading.Barrier(count + 1)

    def work(i):
        for _ in range(2):
            for k in range(half):
                is_bad = (k + i) % 2 == 1
                r = client.decide(method, bad if is_bad else good, authorization)
                answered[i] += r.error == n.OK
                (wrong if is_bad else allowed)[i] += bool(r)
            barrier.wait()
            barrier.wait()
        client.close()
    workers = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for w in workers:
        w.start()
    barrier.wait()
    print("half=yes\n", flush=True)
    sys.stdin.readline()
    barrier.wait()
    barrier.wait()
    barrier.wait()
    for w in workers:
        w.join()
    put("allowed", sum(allowed))
    put("wrong", sum(wrong))
    put("answered", sum(answered))


def run(command, w):
    global standing
    v = [value(x) for x in w] + [None] * 5
    if command == "decide":
        show(client.decide(v[0], v[1], v[2], v[3]))
    elif command == "decide-all":
        show(client.decide_all([value(x) for x in w[4:]], v[2], v[3], v[0]))
    elif command == "verify":
        show(client.verify(v[0]))
    elif command == "resource":
        show(client.resource(v[1], v[2], {"1": "read", "2": "write"}.get(w[0]), v[3]))
    elif command == "token":
        show(client.token(v[0], v[1]))
    elif command == "control":
        commands = []
        for i in range(3, len(w), 5):
            role = value(w[i + 4])
            level, index = int(value(w[i + 2])), int(value(w[i + 3]))
            if level == 0 and index == 0:
                commands.append(n.Subscription(role))
            else:
                class_id = value(w[i + 1])
                commands.append(n.Command(int(value(w[i])), class_id.decode() if class_id else None, (level, index), role))
        show(client.control({"1": "control", "2": "configuration"}.get(w[0]), commands, v[2], v[1]))
        put("statuses", " ".join(str(c.status) for c in commands))
    elif command == "watch":
        reply, standing = client.watch([value(x) for x in w[4:]], v[2], v[3], v[0])
        show(reply)
    elif command == "turned":
        show(standing.turned(int(w[0]) / 1000))
        standing.close()
    elif command == "ping":
        put("error", ERRORS.index(client.ping()))
    elif command == "timeout":
        client.timeout = int(w[0]) / 1000
    elif command == "threads":
        threads(int(w[0]), int(w[1]) // 2, v[2], v[3], v[4], v[5])
    else:
        sys.exit("unknown command " + command)


print("init=0\n", flush=True)
for line in iter(sys.stdin.readline, ""):
    words = line.split()
    run(words[0], words[1:])
    print(flush=True)
    sys.stdout.buffer.flush()
