#!/usr/bin/env python3
"""Answers the vectors by the rules, one after the other as README.md and the files have them: for reading, and to see that
tables and rules agree. It shares nothing with nmos-authd, is slow, and no daemon: it holds no keys of its own, knows no
time, and says 401 at once where a server would first fetch keys again.

    run.py --command ./check.py --compare reason

It needs Python 3.8 and nothing else.
"""
import base64, hashlib, json, re, sys
from urllib.parse import unquote_to_bytes

STATUS = {'ok': 200, 'public': 200, 'token-empty': 400, 'two-tokens': 400, 'path-ambiguous': 400, 'path-too-long': 400, 'audience': 403,
          'api-not-granted': 403, 'path-not-granted': 403, 'path-closed': 403, 'path-version': 403, 'control-not-granted': 403,
          'subtree-not-granted': 403, 'method': 405, 'keys-pending': 503, 'clock-untrusted': 503}
ERROR = {400: 'invalid_request', 401: 'invalid_token', 403: 'insufficient_scope'}


class No(Exception):
    """The answer, if it is no; its argument is the reason."""


def main():
    for line in sys.stdin:
        try:
            reason = answer(json.loads(line))
        except No as e:
            reason = e.args[0]
        status = STATUS.get(reason, 401)
        error = None if reason == 'no-token' else ERROR.get(status)
        print(json.dumps({'status': status, 'error': error, 'reason': reason}), flush=True)


def answer(q):
    access = {'GET': 'read', 'HEAD': 'read', 'POST': 'write', 'PUT': 'write', 'PATCH': 'write', 'DELETE': 'write', 'OPTIONS': 'none'}.get(q['method'])
    if access is None:
        raise No('method')  # PATH-1
    if access == 'none' and q['target'] == '*':
        return 'public'  # PATH-2: about the server as a whole
    path = normal(q['target'])
    if path is None:
        raise No('path-ambiguous')  # PATH-9
    if len(path) > 2048:
        raise No('path-too-long')  # PATH-16
    if access == 'none':
        return 'public'  # PATH-2
    place = find(path, q)
    if access == 'read' and place[0] in ('root', 'open'):
        return 'public'  # PATH-3, PATH-11
    token = credentials(q)
    claims = verified(token, q)
    return permit(access, place, claims, q)


# Where the token stands (ANS-1, ANS-4, ANS-9).

def bearer(value):
    m = re.match(r'(?i)bearer(?: +|$)(.*)', value, re.S)
    return m and m.group(1)


def credentials(q):
    value = ','.join(q['authorization'])
    token = bearer(value)
    if token and ',' in token and bearer(token.split(',', 1)[1].lstrip(' \t')) is not None:
        raise No('two-tokens')
    handshake = q['method'] == 'GET' and any(p.strip(' \t').lower() == 'websocket' for p in q['upgrade'].split(','))
    if handshake:
        query = q['target'].partition('?')[2].partition('#')[0]
        found = [p.partition('=')[2] for p in query.split('&') if p.partition('=')[0] == 'access_token']
        if len(found) > 1 or found and token is not None:
            raise No('two-tokens')
        if found:
            if re.search(r'%(?![0-9A-Fa-f]{2})', found[0]):
                raise No('token-malformed')
            token = unquote_to_bytes(found[0]).decode('latin-1')
    if token is None:
        raise No('no-token')
    if token == '':
        raise No('token-empty')
    return token


# The token (TOK, KEY, CLM).

def decode(segment):
    """Unpadded canonical base64url, or None."""
    if not re.fullmatch(r'[A-Za-z0-9_-]*', segment) or len(segment) % 4 == 1:
        return None
    raw = base64.urlsafe_b64decode(segment + '=' * (-len(segment) % 4))
    return raw if base64.urlsafe_b64encode(raw).rstrip(b'=').decode() == segment else None


def plain(raw):
    """One JSON object without ambiguities (TOK-5)."""
    def once(pairs):
        if len({k for k, _ in pairs}) < len(pairs):
            raise ValueError('a name twice')
        for k, v in pairs:
            k.encode(), isinstance(v, str) and v.encode()  # no surrogate stands alone
        return dict(pairs)

    def constant(name):
        raise ValueError(name)

    def walk(v, depth):
        if depth > 16 and isinstance(v, (dict, list)):
            raise ValueError('too deep')
        if isinstance(v, str):
            v.encode()
        for x in v.values() if isinstance(v, dict) else v if isinstance(v, list) else ():
            walk(x, depth + 1)

    try:
        v = json.loads(raw.decode('utf-8'), object_pairs_hook=once, parse_constant=constant)
        walk(v, 1)
    except (ValueError, RecursionError):
        raise No('token-json')
    if not isinstance(v, dict):
        raise No('token-json')
    return v


def verified(token, q):
    if len(token.encode('utf-8', 'surrogatepass')) > 16384:
        raise No('token-too-large')
    parts = token.split('.')
    raw = [decode(p) for p in parts]
    if len(parts) != 3 or None in raw or not parts[0] or not parts[1]:
        raise No('token-malformed')
    header = plain(raw[0])
    if not isinstance(header.get('kid', ''), str):
        raise No('token-json')
    if header.get('alg') != 'RS512':
        raise No('token-algorithm')  # TOK-2
    if 'crit' in header:
        raise No('token-critical')  # TOK-3
    typ = header.get('typ', 'JWT')
    if not isinstance(typ, str) or not re.fullmatch(r'(?:application/)?(?:jwt|at\+jwt)', typ.lower()) or not typ.isascii():
        raise No('token-type')  # TOK-4
    claims = plain(raw[1])
    issuer = claims.get('iss')
    if not line(issuer) or not re.match(r'[A-Za-z][A-Za-z0-9+.-]*://.', issuer, re.S):
        raise No('issuer-missing')  # CLM-1
    one = lambda s: s[:-1] if s.endswith('/') else s
    if one(issuer) != one(q['issuer']):
        raise No('issuer-untrusted')  # KEY-5
    keys = key_set(q['jwks'])
    if not keys:
        raise No('keys-pending')
    signed = '.'.join(parts[:2]).encode()
    if not any(rsa(n, e, signed, raw[2]) for _, n, e in keys):
        known = header.get('kid') in ('', None) or header['kid'] in [kid for kid, _, _ in keys]
        raise No('signature' if known else 'key-unknown')  # KEY-6
    return judged(claims, q)


def rsa(n, e, message, signature):
    """RSASSA-PKCS1-v1_5 with SHA-512: RFC 8017 section 8.2.2, by comparing blocks."""
    size = (n.bit_length() + 7) // 8
    s = int.from_bytes(signature, 'big')
    if len(signature) != size or s >= n:
        return False
    info = bytes.fromhex('3051300d060960864801650304020305000440') + hashlib.sha512(message).digest()
    return pow(s, e, n).to_bytes(size, 'big') == b'\0\1' + b'\xff' * (size - len(info) - 3) + b'\0' + info


def key_set(document):
    """The keys that count: (kid, n, e) (KEY-4, KEY-8)."""
    members = []
    try:
        v = json.loads(document.lstrip('\ufeff'), object_pairs_hook=lambda pairs: members.append(pairs) or Pairs(pairs))
    except ValueError:
        return []
    if isinstance(v, Pairs):
        v = v.get('keys')
    if not isinstance(v, list) or len(v) > 64:
        return []
    keys, work = [], 0
    for k in v:
        try:
            key = fit(k)
        except (ValueError, TypeError, AttributeError):
            continue
        work += key[1].bit_length() ** 2
        if work > 512 << 20:
            break
        keys.append(key)
    return keys


class Pairs(dict):
    def __init__(self, pairs):
        super().__init__({k: v for k, v in pairs if v is not None})
        self.names = [k for k, _ in pairs]


def fit(k):
    used = ('kty', 'use', 'key_ops', 'alg', 'kid', 'n', 'e')
    if any(k.names.count(name) > 1 for name in used) or any(not isinstance(k.get(name, ''), str) for name in used if name != 'key_ops'):
        raise ValueError
    ops = k.get('key_ops', ['verify'])
    ops = [ops] if isinstance(ops, str) else ops
    if k.get('kty') != 'RSA' or k.get('use') not in (None, '', 'sig') or k.get('alg') not in (None, '', 'RS512') or 'verify' not in ops:
        raise ValueError
    n, e = (int.from_bytes(lenient(k[name]), 'big') for name in ('n', 'e')) if 'n' in k and 'e' in k else (0, 0)
    if not 2048 <= n.bit_length() <= 8192 or not 3 <= e < 1 << 31 or not e % 2 or not n % 2 or len(k.get('kid', '').encode()) > 256:
        raise ValueError
    return k.get('kid', ''), n, e


def lenient(text):
    text = text.rstrip('=')
    if not text or not re.fullmatch(r'[A-Za-z0-9_-]+', text):
        raise ValueError
    return base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))


def line(v):
    """A string that says something, in one line."""
    return isinstance(v, str) and v != '' and not re.search(r'[\x00-\x1f\x7f]', v)


def number(v):
    return isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) != float('inf')


def judged(c, q):
    if not line(c.get('sub')):
        raise No('subject-missing')  # CLM-2
    aud = [c['aud']] if isinstance(c.get('aud'), str) else c.get('aud')
    if not isinstance(aud, list) or not all(isinstance(a, str) for a in aud):
        raise No('audience-missing')  # CLM-3
    if not number(c.get('exp')):
        raise No('expiry-missing')  # CLM-7
    if not number(c.get('iat', 0)) or not number(c.get('nbf', 0)):
        raise No('time-form')  # CLM-8
    ids = [c[name] for name in ('client_id', 'azp') if name in c]
    if not ids or not all(line(i) for i in ids):
        raise No('client-missing')  # CLM-9
    if len(ids) == 2 and ids[0] != ids[1]:
        raise No('client-conflict')
    if not isinstance(c.get('scope', ''), str):
        raise No('scope-form')  # CLM-10
    now, leeway = q['now'], q['leeway']
    if not q['clock_known']:
        raise No('clock-untrusted')  # OPS-1
    if now - leeway >= c['exp']:
        raise No('token-expired')
    if c.get('iat', now) > now + leeway:
        raise No('token-issued-later')
    if c.get('nbf', now) > now + leeway:
        raise No('token-not-yet-valid')
    if not any(names(a, device.lower()) for a in aud for device in q['names']):
        raise No('audience')  # CLM-6
    return c


def names(entry, device):
    """CLM-4, CLM-5."""
    m = re.match(r'[A-Za-z][A-Za-z0-9+.-]*://', entry)
    url, entry = bool(m), entry[m.end():] if m else entry
    entry = ''.join(ch.lower() if ch.isascii() else ch for ch in entry)
    if ':' in device:  # an IPv6 address, in brackets if it stands in a URL
        return entry == '[' + device + ']' or not url and entry == device or entry in ('*', '*.')
    entry = entry[:-1] if entry.endswith('.') else entry
    if not entry or re.search(r'[:/?#@ ]', entry):
        return False
    if entry == '*':
        return True
    first, *rest = entry.split('.')
    glob = lambda label: '[^.]*'.join(re.escape(p) for p in label.split('*'))
    expression = [r'[^.]+(?:\.[^.]+)*' if first == '*' else glob(first)] + [glob(label) for label in rest]
    return bool(re.fullmatch(r'\.'.join(expression), device))


# The path (PATH, CTL).

def normal(target):
    """RFC 3986 section 6.2.2, or None for what two servers could read differently."""
    path = target.partition('?')[0]
    if not path.startswith('/') or re.search(r'[^!-~]|[\\#;]', path):
        return None
    segments, kept = path[1:].split('/'), []
    for i, s in enumerate(segments):
        last = i == len(segments) - 1
        if re.search(r'%(?![0-9A-Fa-f]{2})', s) or s == '' and not last:
            return None
        try:
            text = unquote_to_bytes(s).decode('utf-8')
        except ValueError:
            return None
        if re.search(r'[\x00-\x1f\x7f-\x9f/\\;]', text):
            return None
        s = re.sub(r'%[0-9A-Fa-f]{2}', lambda m: chr(int(m[0][1:], 16)) if re.fullmatch(r'[A-Za-z0-9._~-]', chr(int(m[0][1:], 16))) else m[0].upper(), s)
        if s == '..':
            if not kept:
                return None
            kept.pop()
        if s not in ('.', '..'):
            kept.append(s)
        elif last:
            kept.append('')
    return '/' + '/'.join(kept)


def under(path, prefix):
    return path == prefix or path.startswith(prefix + '/')


def find(path, q):
    """The kind of place, the API, and what specifiers match."""
    bare, paths = path[:-1] if path.endswith('/') else path, q['paths']
    if bare in paths.get('control', []) or re.fullmatch(r'/x-nmos/ncp/v[0-9]+\.[0-9]+', bare):
        return 'control', None, None
    if bare in ('', '/x-nmos'):
        return 'root', None, None
    if any(under(path, p) for p in paths.get('public', []) if not p.startswith('/x-nmos') or under(p, '/x-nmos/system')):
        return 'open', None, None
    if not path.startswith('/x-nmos/'):
        for prefix, api in paths.get('claims', {}).items():
            if under(path, prefix):
                rest = path[len(prefix):].strip('/')
                return ('resource', api, rest) if rest else ('everything', api, None)
        return 'closed', None, None
    m = re.fullmatch(r'/x-nmos/([a-z0-9-]+)(?:/(?:(v[0-9]+\.[0-9]+)(?:/(.*))?)?)?', path)
    if not m:
        return 'version', None, None
    api, version, rest = m[1], m[2], (m[3] or '')
    rest = rest[:-1] if rest.endswith('/') else rest
    handshake = q['method'] == 'GET' and any(p.strip(' \t').lower() == 'websocket' for p in q['upgrade'].split(','))
    if handshake and api == 'query' and (rest == '' or rest.split('/')[0] == 'subscriptions'):
        return 'everything', api, None  # PATH-14
    if rest == '':
        return 'base', api, None
    if api == 'configuration':
        return is14(rest, q)
    return 'resource', api, rest


def is14(rest, q):
    m = re.fullmatch(r'(?:(?!rolePaths/)[A-Za-z0-9_-]+/)?rolePaths(?:/([^/]+)(?:/(.*))?)?', rest)
    if m:
        if m[1] is None:
            return 'list', 'configuration', None
        bulk = m[2] == 'bulkProperties'
        pairs = [p for p in q['target'].partition('?')[2].split('&') if re.sub('[^a-z]', '', unquote_to_bytes(p.partition('=')[0]).decode('latin-1').lower()).startswith('recurse')]
        subtree = bulk and (not pairs or any(p != 'recurse=false' for p in pairs))
        return 'object', unquote_to_bytes(m[1]).decode(), subtree
    if re.fullmatch(r'[A-Za-z0-9_-]+', rest):
        return 'base', 'configuration', None
    return 'object', '', False


def matches(specifier, text):
    """PATH-6, without going back: a regular expression takes too long for many stars."""
    pieces = specifier.split('*')
    if len(pieces) == 1:
        return specifier == text
    if not text.startswith(pieces[0]) or len(text) < len(pieces[0]) + len(pieces[-1]):
        return False
    at, end = len(pieces[0]), len(text) - len(pieces[-1])
    for p in pieces[1:-1]:
        at = text.find(p, at, end)
        if at < 0:
            return False
        at += len(p)
    return text.endswith(pieces[-1]) and at <= end


def role_matches(specifier, role):
    block = re.fullmatch(r'(.*?)\.\*+', specifier, re.S)
    return bool(specifier and role) and (matches(specifier, role) or bool(block) and matches(block[1], role))


def covers(specifier, role):
    head = specifier.rstrip('*')
    return head != specifier and (role + '.').startswith(head)


def whole(specifier):
    """Everything, or everything below the root block."""
    return bool(re.fullmatch(r'(?:root\.)?\*+', specifier))


def permit(access, place, claims, q):
    kind, api, what = place

    def granted(api, access):
        c = claims.get('x-nmos-' + api)
        lists = [c[k] for k in ('read', 'write') if k in c] if isinstance(c, dict) else [None]
        if any(not isinstance(x, list) or not all(isinstance(s, str) for s in x) for x in lists):
            return []  # CLM-11
        return c.get(access, [])

    def has(api):
        c = claims.get('x-nmos-' + api)
        good = isinstance(c, dict) and all(isinstance(c[k], list) and all(isinstance(s, str) for s in c[k]) for k in ('read', 'write') if k in c)
        return good or api in claims.get('scope', '').split(' ')

    if kind in ('root', 'version'):
        raise No('path-version')
    if kind in ('closed', 'open'):
        raise No('path-closed')
    if kind == 'control':  # PATH-15
        if access != 'read' or not has('control') and not has('ncp'):
            raise No('api-not-granted')
        if not all(any(whole(s) for a in ('control', 'ncp') for s in granted(a, x)) for x in ('read', 'write')):
            raise No('control-not-granted')
        return 'ok'
    if kind == 'base':  # PATH-4
        apis = ('control', 'ncp') if api == 'ncp' else (api,)
        if access != 'read' or not any(has(a) for a in apis):
            raise No('api-not-granted')
        return 'ok'
    if kind in ('list', 'object'):
        specifiers = granted('configuration', access)
        if kind == 'list':
            good = any(s for s in specifiers) if access == 'read' else any(whole(s) for s in specifiers)
        else:
            good = any(role_matches(s, api) for s in specifiers)
        if not good:
            raise No('path-not-granted' if has('configuration') else 'api-not-granted')
        if kind == 'object' and access == 'read' and what and not any(covers(s, api) for s in specifiers):
            raise No('subtree-not-granted')  # CTL-64
        return 'ok'
    if kind == 'everything':
        good = any(s and s.strip('*') == '' for s in granted(api, access))
    else:  # PATH-5 to PATH-7
        good = any(matches(s, what) or matches(s, what + '/') for s in granted(api, access))
    if not good:
        raise No('path-not-granted' if has(api) else 'api-not-granted')
    return 'ok'


if __name__ == '__main__':
    main()
