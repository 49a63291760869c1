#!/usr/bin/env python3
"""Asks a server, or a command, what the vectors in this folder ask, and reports what it answered otherwise.

    run.py --http unix:/run/nmos-authd/http.sock             a server that is asked before a request is served
    run.py --http http://127.0.0.1:8080 --form plain         a server that serves the requests themselves
    run.py --command ./check                                 a program: a line of JSON in, a line of JSON out
    run.py --list                                            the groups and what their settings are
    run.py --serve 8081                                      the key sets, until it is interrupted

README.md says more. It needs Python 3.8 and nothing else. The exit status is 0 if nothing failed, 1 if something did, 2 if it
could not be asked.
"""
import argparse, collections, fnmatch, glob, http.client, http.server, json, os, select, shlex, socket, subprocess, sys
import tempfile, threading, time, urllib.parse

FORMS = {  # the request line, and headers; one whose value is empty is left out
    'authorize': ('GET {path}', ['X-Original-Method: {method}', 'X-Original-URI: {target}', 'X-Original-Upgrade: {upgrade}']),
    'forwarded': ('GET {path}', ['X-Forwarded-Method: {method}', 'X-Forwarded-Uri: {target}', 'X-Forwarded-Host: {host}',
                                 'X-Forwarded-Proto: {scheme}']),
    'plain': ('{method} {target}', ['Host: {host}', 'Upgrade: {upgrade}', 'Connection: {connection}']),
}
DEFAULT = 'form'  # the group whose setting a server has unless somebody says otherwise


class Unasked(Exception):
    """A case that cannot be asked; str() says why."""


def main():
    o = options()
    groups = read(o.vectors)
    if o.list:
        for g in groups:
            print('%-28s %4d cases  %s' % (g['name'], len(g['cases']), ', '.join(differences(g, groups)) or 'the usual setting'))
        return 0
    keys = Keys(o.serve, groups) if o.serve is not None else None
    if keys and not (o.http or o.command):
        print('serving on http://127.0.0.1:%d; GROUP/jwks.json is a group\'s key set' % keys.port, flush=True)
        try:
            keys.thread.join()
        except KeyboardInterrupt:
            return 0
    results = []
    for g in groups:
        cases = [c for c in g['cases'] if wanted(o, c)]
        if not cases or o.group and not any(fnmatch.fnmatch(g['name'], p) for p in o.group):
            continue
        reason = cannot(o, g, groups) or (o.setup and set_up(o, g, keys))
        if reason:
            results += [(c, 'skipped', reason) for c in cases]
            continue
        asker = Command(o) if o.command else HTTP(o)
        try:
            results += ask_all(o, asker, g, cases)
        finally:
            asker.close()
    return report(o, groups, results)


def options():
    p = argparse.ArgumentParser(usage=__doc__.split('\n\n')[1].strip('\n'), add_help=False)
    a = p.add_argument
    a('-h', '--help', action='store_true')
    a('--http', metavar='URL'), a('--command', metavar='COMMAND'), a('--list', action='store_true'), a('--serve', type=int, metavar='PORT')
    a('--vectors', default=os.path.dirname(os.path.abspath(__file__)), metavar='FOLDER')
    a('--form', choices=list(FORMS), default='authorize'), a('--path', default=None), a('--line'), a('--header', action='append')
    a('--group', action='append'), a('--case', action='append'), a('--part', action='append'), a('--level', action='append')
    a('--setup', metavar='COMMAND'), a('--compare', choices=['allowed', 'status', 'error', 'reason'], default='status')
    a('--allowed', default='200-299'), a('--once', action='store_true'), a('--timeout', type=float, default=30)
    a('--patience', type=float, default=60), a('--report', metavar='FILE'), a('--quiet', action='store_true')
    o = p.parse_args()
    if o.help or not (o.http or o.command or o.list or o.serve is not None) or o.http and o.command:
        print(__doc__)
        sys.exit(0 if o.help else 2)
    return o


def read(folder):
    """The groups of all files, each with its file's name, and each case with its rule's level."""
    groups = []
    for name in sorted(glob.glob(os.path.join(folder, '*.json'))):
        with open(name, encoding='utf-8') as f:
            text = json.load(f)
        if text.get('format') != 1:
            sys.exit('%s: its format is %r, and this program knows 1' % (name, text.get('format')))
        for g in text['groups']:
            for c in g['cases']:
                c['level'] = text['rules'][c['rule']]['level']
            groups.append(g)
    if not groups:
        sys.exit('there are no vectors in ' + folder)
    return groups


def wanted(o, c):
    return ((not o.part or c['part'] in o.part) and (not o.level or c['level'] in o.level)
            and (not o.case or any(fnmatch.fnmatch(c['name'], p) for p in o.case)))


def differences(g, groups):
    """What a server must be told for this group beyond the usual setting."""
    usual, device = next(u for u in groups if u['name'] == DEFAULT)['device'], g['device']
    found = [name for name in ('names', 'issuer', 'jwks', 'leeway', 'paths') if device.get(name) != usual.get(name)]
    return found + (['clock'] if 'clock' in g else [])


def cannot(o, g, groups):
    """Why the server is not in the setting of the group, or None."""
    if o.command or o.setup or o.group:
        return None
    other = differences(g, groups)
    return 'another setting (%s): --setup, or --group for a server that has it' % ', '.join(other) if other else None


def set_up(o, g, keys):
    """Runs the command that gives the server the setting of a group. Returns why it has not, or None."""
    device, clock = g['device'], g.get('clock')
    with tempfile.NamedTemporaryFile('w', suffix='.json', delete=False, encoding='utf-8') as f:
        f.write(device['jwks'])
    env = dict(os.environ, VECTORS_GROUP=g['name'], VECTORS_ISSUER=device['issuer'], VECTORS_JWKS=f.name,
               VECTORS_NAMES=','.join(device['names']), VECTORS_LEEWAY=str(device.get('leeway', 0)),
               VECTORS_PATHS=json.dumps(device.get('paths') or {}),
               VECTORS_CLOCK='any' if not clock else str(clock['now']) if clock['known'] else 'unknown')
    if keys:
        env['VECTORS_JWKS_URL'] = 'http://127.0.0.1:%d/%s/jwks.json' % (keys.port, g['name'])
    # Its output goes to a file: what it leaves running would hold a pipe open.
    with tempfile.TemporaryFile('w+', errors='replace') as out:
        code = subprocess.call(o.setup, shell=True, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        out.seek(0)
        said = (out.read().strip().splitlines() or ['no reason given'])[-1]
    if code == 77:
        return said
    if code:
        sys.exit('the set-up of group %s failed with status %d: %s' % (g['name'], code, said))
    return None


class Keys:
    """Serves key sets and metadata (RFC 8414) on loopback."""

    def __init__(self, port, groups):
        documents = {}
        for g in groups:
            documents['/%s/jwks.json' % g['name']] = g['device']['jwks']

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = documents.get(self.path)
                if body is None:
                    self.send_error(404)
                    return
                body = body.encode()
                self.send_response(200)
                self.send_header('Content-Type', 'application/json')
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(('127.0.0.1', port), Handler)
        self.port = server.server_address[1]
        for g in groups:
            path = urllib.parse.urlsplit(g['device']['issuer']).path
            documents.setdefault('/.well-known/oauth-authorization-server' + path, json.dumps({
                'issuer': g['device']['issuer'], 'jwks_uri': 'http://127.0.0.1:%d/%s/jwks.json' % (self.port, g['name']),
                'response_types_supported': ['code'],
            }))
        self.thread = threading.Thread(target=server.serve_forever, daemon=True)
        self.thread.start()


def values(g, c):
    """What stands for the names in braces."""
    r, token = c['request'], c.get('token', '')
    clock = g.get('clock')
    return {
        'method': r['method'], 'target': r['target'].replace('{token}', token), 'host': r['host'], 'scheme': r['scheme'],
        'upgrade': r.get('upgrade', ''), 'connection': 'Upgrade' if 'upgrade' in r else '', 'token': token,
        'authorization': [a.replace('{token}', token) for a in r.get('authorization', [])],
        'issuer': g['device']['issuer'], 'names': ','.join(g['device']['names']),
        'now': str(clock['now'] if clock and clock['known'] else int(time.time())),
    }


class HTTP:
    """Asks a server over HTTP. It writes requests itself, since libraries refuse some that a client may send."""

    def __init__(self, o):
        self.o, self.sock = o, None
        if o.http.startswith('unix:'):
            self.family, self.address, self.path = socket.AF_UNIX, o.http[5:], '/authorize'
        else:
            u = urllib.parse.urlsplit(o.http)
            self.family, self.address, self.path = socket.AF_INET, (u.hostname, u.port or 80), u.path or '/authorize'
            if u.scheme != 'http' or not u.hostname:
                sys.exit('--http %s: it takes http://HOST:PORT/PATH or unix:PATH' % o.http)
        self.path = o.path or self.path
        line, headers = FORMS[o.form]
        self.line, self.headers = o.line or line, o.header or headers
        self.allowed = [tuple(int(n) for n in (part + '-' + part).split('-')[:2]) if '-' not in part else
                        tuple(int(n) for n in part.split('-')) for part in o.allowed.split(',')]

    def text(self, g, c):
        v = values(g, c)
        put = lambda s: s.format(path=self.path, **{k: x for k, x in v.items() if k != 'authorization'})
        line = put(self.line)
        if line.count(' ') != 1:
            raise Unasked('a request line cannot hold it')
        lines = []
        for header in self.headers:
            name, _, template = header.partition(':')
            value = put(template.strip())
            if value != value.strip(' \t'):
                raise Unasked('a header cannot hold it')
            if value:
                lines.append(name + ': ' + value)
            elif '{target}' in template or '{method}' in template:
                raise Unasked('a header cannot hold it')
        lines += ['Authorization: ' + a for a in v['authorization']]
        if not any(x.lower().startswith('host:') for x in lines):
            lines.insert(0, 'Host: ' + v['host'])
        if any(ord(ch) < 32 or ord(ch) == 127 for ch in ''.join(lines) + line):
            raise Unasked('HTTP cannot hold it')
        return ('%s HTTP/1.1\r\n%s\r\n\r\n' % (line, '\r\n'.join(lines))).encode()

    def connect(self):
        self.sock = socket.socket(self.family, socket.SOCK_STREAM)
        self.sock.settimeout(self.o.timeout)
        self.sock.connect(self.address)

    def ask(self, g, c):
        request, method = self.text(g, c), self.line.format(path=self.path, method=c['request']['method'], target='/').split(' ')[0]
        for attempt in (1, 2):
            kept = self.sock is not None
            try:
                if not kept:
                    self.connect()
                self.sock.sendall(request)
                response = http.client.HTTPResponse(self.sock, method=method)
                response.begin()
                break
            except (http.client.HTTPException, OSError) as e:
                self.close()
                if attempt == 2 or not kept:  # a server may end a connection that it has kept
                    if isinstance(e, (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)):
                        return {'status': 0, 'error': None, 'reason': 'hung up', 'retry': '1'}  # no answer, so nothing is allowed
                    sys.exit('%s: %s: %s' % (self.o.http, c['name'], e or type(e).__name__))
        status, retry = response.status, response.getheader('Retry-After', '1')
        challenge, reason = response.getheader('WWW-Authenticate', ''), response.getheader('X-Auth-Reason')
        if status == 101 or response.length is None and not response.chunked or response.will_close:
            self.close()
        else:
            response.read()
        if any(low <= status <= high for low, high in self.allowed) or status == 101:
            status = 200
        return {'status': status, 'error': error_of(challenge), 'reason': reason, 'retry': retry}

    def close(self):
        if self.sock:
            self.sock.close()
        self.sock = None


def error_of(challenge):
    """The error of a challenge: error=invalid_token, or with quotes."""
    for part in challenge.replace('"', '').replace(',', ' ').split():
        if part.startswith('error='):
            return part[6:]
    return None


class Command:
    """Asks a program, which reads a question a line and writes an answer a line."""

    def __init__(self, o):
        self.o, self.process, self.buffer = o, None, b''

    def ask(self, g, c):
        v, device = values(g, c), g['device']
        question = dict(v, name=c['name'], group=g['name'], part=c['part'], names=device['names'], jwks=device['jwks'], leeway=device.get('leeway', 0),
                        paths=device.get('paths') or {}, now=int(v['now']), clock_known=g.get('clock', {'known': True})['known'])
        del question['connection']
        if not self.process:
            self.process = subprocess.Popen(shlex.split(self.o.command), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self.process.stdin.write(json.dumps(question).encode() + b'\n')
            self.process.stdin.flush()
            if self.o.once:
                self.process.stdin.close()
            answer = json.loads(self.line(c))
        except (OSError, ValueError) as e:
            sys.exit('%s: %s: %s' % (self.o.command, c['name'], e))
        if self.o.once:
            self.close()
        if 'skip' in answer:
            raise Unasked(str(answer['skip']))
        if 'status' not in answer:
            answer['status'] = 200 if answer.get('allowed') is True else 401
            answer['coarse'] = True  # it says yes and no
        return {'status': answer['status'], 'error': answer.get('error') or None, 'reason': answer.get('reason'), 'retry': '1', 'coarse': answer.get('coarse')}

    def line(self, c):
        end = time.monotonic() + self.o.timeout
        while b'\n' not in self.buffer:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise OSError('no answer within %g s' % self.o.timeout)
            more = os.read(self.process.stdout.fileno(), 1 << 16)
            if not more:
                raise OSError('it ended without an answer')
            self.buffer += more
        line, _, self.buffer = self.buffer.partition(b'\n')
        return line

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.stdout.close()
            self.process.wait()
        self.process, self.buffer = None, b''


def matches(o, got, want):
    compare = 'allowed' if got.get('coarse') else o.compare
    if compare == 'allowed':
        return (got['status'] == 200) == (want['status'] == 200)
    if got['status'] != want['status']:
        return False
    if compare == 'error' or compare == 'reason':
        if got['error'] != want.get('error'):
            return False
    return compare != 'reason' or want.get('reason') in (None, got['reason'])


def ask_all(o, asker, g, cases):
    """Asks the cases of a group. Those that are answered "later" are asked again, together."""
    results, waiting, end = {}, cases, time.monotonic() + o.patience
    while waiting:
        later, pause = [], 0.0
        for c in waiting:
            try:
                got = asker.ask(g, c)
            except Unasked as e:
                results[c['name']] = (c, 'skipped', str(e))
                continue
            good = any(matches(o, got, want) for want in [c['answer']] + c.get('also', []))
            if not good and c.get('first') and got['status'] == c['first']['status'] and time.monotonic() < end:
                later.append(c)
                pause = max(pause, float(got['retry']) if got['retry'].isdigit() else 1)
            results[c['name']] = (c, 'passed' if good else 'failed', got)
        waiting = later
        if waiting:
            time.sleep(min(pause, 2, max(0, end - time.monotonic())))
    return [results[c['name']] for c in cases]


def said(a):
    return ' '.join(str(a[k]) for k in ('status', 'error', 'reason') if a.get(k))


def report(o, groups, results):
    rules = collections.defaultdict(lambda: {'passed': 0, 'failed': 0, 'skipped': 0})
    total, reasons, levels = collections.Counter(), collections.Counter(), {}
    for c, how, what in results:
        rules[c['rule']][how] += 1
        total[how] += 1
        levels[c['rule']] = c['level']
        if how == 'skipped':
            reasons[what] += 1
    failed = [(c, got) for c, how, got in results if how == 'failed']
    line = '%-9s %-7s %7s %7s %8s'
    if not o.quiet:
        print(line % ('rule', 'level', 'passed', 'failed', 'skipped'))
        for rule in sorted(rules, key=lambda r: (r.split('-')[0], int(r.split('-')[1]))):
            n = rules[rule]
            print(line % (rule, levels[rule], n['passed'], n['failed'], n['skipped']))
    for level in ('must', 'should', 'choice'):
        n = collections.Counter(how for c, how, _ in results if c['level'] == level)
        print(line % ('all', level, n['passed'], n['failed'], n['skipped']))
    if failed:
        print('\nfailed:')
        for c, got in failed:
            print('  %s %s: %s; want %s' % (c['rule'], c['name'], said(got), ' or '.join(said(w) for w in [c['answer']] + c.get('also', []))))
    if reasons:
        print('\nskipped:')
        for reason, n in reasons.most_common():
            print('  %d: %s' % (n, reason))
    if o.report:
        with open(o.report, 'w', encoding='utf-8') as f:
            json.dump({'compare': o.compare, 'passed': total['passed'], 'failed': total['failed'], 'skipped': total['skipped'], 'rules': rules,
                       'levels': levels, 'skips': reasons,
                       'failures': [{'name': c['name'], 'rule': c['rule'], 'level': c['level'], 'got': got, 'want': c['answer']} for c, got in failed]}, f, indent=1)
            f.write('\n')
    if not total['passed'] and not total['failed']:
        print('nothing was asked', file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
