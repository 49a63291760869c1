// SPDX-License-Identifier: Apache-2.0
'use strict';
/**
 * Asks nmos-authd whether a request may be served (AMWA IS-10).
 *
 * One file to copy: Node 18 or later, Linux, no package. Node has no SOCK_SEQPACKET, so questions are posted to http.sock. No
 * call throws or rejects: every question ends in a Reply, whose `allowed` is true if, and only if, the daemon allows.
 */

const http = require('node:http');

const VERSION = '1.0.0';
const SOCKET = '/run/nmos-authd/http.sock';
const PACKET_MAX = 32768; // bytes of a question, the daemon's own limit unless configured
const REPLY_MAX = PACKET_MAX + 32768 + 1024; // "control" has the longest reply (PROTOCOL.md section 1)

/** Reply.error: whether the daemon answered, and the status that comes with it. */
const STATUS = {
  'ok': 200, // the daemon answered; its decision may be either
  'bad-call': 500, // a value is missing or not one of those that there are: a fault of the program
  'bad-value': 400, // a value holds a control character, or is not a command: nothing was sent
  'too-long': 400, // the question is longer than a packet may be: nothing was sent
  'refused': 400, // the daemon did not take the packet; reason and detail say why
  'unreachable': 503, // no connection; systemError says why
  'connection-lost': 503, // the daemon closed the connection, and the new one too
  'timeout': 503, // no answer in time
  'bad-reply': 503, // the answer breaks the protocol or belongs to another question
};

const PHRASES = {
  400: 'Bad Request', 401: 'Unauthorized', 403: 'Forbidden', 405: 'Method Not Allowed', 500: 'Internal Server Error',
  503: 'Service Unavailable',
};

class Failure extends Error {
  constructor(error, systemError) {
    super(error);
    this.error = error;
    this.systemError = systemError;
  }
}

/** The answer. What the daemon did not say is undefined; reason is then "". An object is always true: look at allowed. */
class Reply {
  constructor(error, systemError) {
    this.allowed = false;
    this.status = STATUS[error]; // HTTP status to answer with
    this.error = error;
    this.systemError = systemError;
    this.reason = '';
    this.denied = []; // targets of decideAll
    this.configuration = false; // the request was one of IS-14's API, whose error body is another
    this.retryAfter = this.status === 503 ? 1 : undefined; // seconds
    for (const name of ['clientId', 'subject', 'issuer', 'path', 'wwwAuthenticate', 'would', 'expiresIn', 'detail', 'text']) {
      this[name] = undefined;
    }
  }

  /** The header fields that belong to a denial. */
  headers() {
    const fields = {'Content-Type': 'application/json'};
    if (this.wwwAuthenticate !== undefined) fields['WWW-Authenticate'] = this.wwwAuthenticate;
    if (this.retryAfter !== undefined) fields['Retry-After'] = String(this.retryAfter);
    if (this.status === 405) fields.Allow = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS';
    return fields;
  }

  /** The NMOS error body of a denial. */
  body() {
    const debug = this.reason || this.error;
    if (this.configuration) { // NcMethodStatus has no 403
      const status = this.status === 403 ? 401 : this.status;
      return JSON.stringify({status, errorMessage: this.text ? `${this.text} (${debug})` : debug});
    }
    return JSON.stringify({code: this.status, error: this.text || PHRASES[this.status] || 'Error', debug});
  }
}

class Client {
  /** timeout, in milliseconds, is for a whole call; sockets is how many questions are asked at the same time. */
  constructor({socket = SOCKET, timeout = 200, sockets = 16} = {}) {
    this.socket = socket;
    this.timeout = timeout;
    this.agent = new http.Agent({keepAlive: true, maxSockets: sockets, maxFreeSockets: sockets});
    this.counter = 0;
  }

  /** May this request be served? req is what node:http or Express hands over. */
  decideRequest(req) {
    const raw = (s) => (typeof s === 'string' ? Buffer.from(s, 'latin1') : undefined); // as node:http reads what came
    const all = []; // two headers are two tokens: req.headers has the first alone
    for (let i = 0; i + 1 < req.rawHeaders.length; i += 2) {
      if (req.rawHeaders[i].toLowerCase() === 'authorization') all.push(req.rawHeaders[i + 1]);
    }
    return this.decide({
      method: req.method, target: raw(req.originalUrl || req.url), authorization: raw(all.length > 0 ? all.join(', ') : undefined),
      upgrade: raw(req.headers.upgrade),
    });
  }

  /** The same in parts, as they came: target undecoded with its query, headers undefined if absent. */
  decide({method, target, authorization, upgrade}) {
    return this.#request('decide 1', method, [target], authorization, upgrade);
  }

  /** May all of these targets be served, such as every source of an IS-07 WebSocket? reply.denied lists the others. */
  decideAll({targets, authorization, upgrade, method = 'GET'}) {
    return this.#request('decide-all 1', method, targets, authorization, upgrade);
  }

  /** Is this token good? An allow says nothing about any path. */
  verify(authorization) {
    return this.#ask('verify 1', [['authorization', authorization]]);
  }

  /** May this resource of the device be read, or written? For what is not HTTP. */
  resource({kind, name, access, authorization}) {
    if (absent(kind) || absent(name) || (access !== 'read' && access !== 'write')) return Promise.resolve(new Reply('bad-call'));
    return this.#ask('resource 1', [['kind', kind], ['name', name], ['access', access], ['authorization', authorization]]);
  }

  /**
   * May these commands be carried out, and these subscriptions be accepted? Each is {handle, classId, level, index, rolePath}, or
   * {rolePath} for a subscription, and gets a status: carry out what has 200, and nothing else. api is "control" for IS-12,
   * "configuration" for IS-14.
   */
  async control({api, model, commands, authorization}) {
    commands = commands || [];
    for (const c of commands) c.status = 503;
    if ((api !== 'control' && api !== 'configuration') || commands.length === 0) return new Reply('bad-call');
    let fields;
    try {
      fields = [['api', api], ['model', model], ...commands.map(commandField), ['authorization', authorization]];
    } catch (e) {
      return new Reply(e instanceof Failure ? e.error : 'bad-call');
    }
    const reply = await this.#ask('control 1', fields);
    if (reply.error !== 'ok') return reply;
    const names = new Set(reply.denied.map((line) => line.split(' ').slice(0, line === '*' ? 1 : -2).join(' ')));
    const known = new Set(commands.map(deniedName)).add('*');
    for (const name of names) {
      if (!known.has(name)) return new Reply('bad-reply'); // about none of them, so that nothing can be said of any
    }
    for (const c of commands) {
      const good = reply.allowed || (names.size > 0 && !names.has('*') && !names.has(deniedName(c)));
      c.status = reply.status === 503 ? 503 : good ? 200 : 401;
    }
    return reply;
  }

  /** Does the daemon answer? "ok" if so, else what is wrong. */
  async ping() {
    return (await this.#ask('ping 1', [], 'pong 1')).error;
  }

  /** Closes the connections. A later call connects again. */
  close() {
    this.agent.destroy();
  }

  async #request(verb, method, targets, authorization, upgrade) {
    if (absent(method) || !Array.isArray(targets) || targets.length === 0 || targets.some(absent)) return new Reply('bad-call');
    const reply = await this.#ask(verb, [['method', method], ...targets.map((t) => ['target', t]),
      ['authorization', authorization], ['upgrade', upgrade]]);
    const where = (reply.path || String(targets[0])).split('?')[0];
    reply.configuration = (where + '/').startsWith('/x-nmos/configuration/');
    return reply;
  }

  async #ask(verb, fields, pong) {
    const id = String(++this.counter);
    try {
      const packet = makePacket(verb, id, fields);
      const deadline = performance.now() + this.timeout;
      let answer;
      try {
        answer = await this.#post(packet, deadline, this.agent);
      } catch (e) {
        if (e.error !== 'connection-lost') throw e;
        answer = await this.#post(packet, deadline, false); // a restarted daemon; asking twice is harmless
      }
      return read(answer, id, pong);
    } catch (e) {
      return e instanceof Failure ? new Reply(e.error, e.systemError) : new Reply('bad-call', e.code);
    }
  }

  async #post(packet, deadline, agent) {
    for (;;) {
      try {
        return await post(this.socket, packet, deadline, agent);
      } catch (e) {
        if (e.systemError !== 'EAGAIN') throw e; // a full backlog, which cannot be waited for
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
  }
}

function post(socketPath, packet, deadline, agent) {
  return new Promise((resolve, reject) => {
    const left = deadline - performance.now();
    if (!(left > 0)) {
      reject(new Failure('timeout'));
      return;
    }
    let request;
    const timer = setTimeout(() => end(new Failure('timeout')), Math.ceil(left));
    const end = (failure, answer) => {
      clearTimeout(timer);
      if (failure) {
        reject(failure);
        if (request) request.destroy();
      } else {
        resolve(answer);
      }
    };
    const lost = (e) => {
      const code = e && e.code;
      if (typeof code === 'string' && code.startsWith('HPE_')) end(new Failure('bad-reply', code));
      else if (e && e.syscall === 'connect') end(new Failure('unreachable', code));
      else end(new Failure('connection-lost', code));
    };
    request = http.request({
      socketPath, agent, method: 'POST', path: '/packet', headers: {'Host': 'localhost', 'Content-Length': packet.length},
    }, (response) => {
      const parts = [];
      let size = 0;
      response.on('data', (part) => {
        size += part.length;
        if (size > REPLY_MAX) end(new Failure('bad-reply'));
        else parts.push(part);
      });
      response.on('error', lost);
      response.on('end', () => {
        if (response.complete) end(null, {status: response.statusCode, text: Buffer.concat(parts).toString('utf8')});
        else end(new Failure('connection-lost'));
      });
    });
    request.on('error', lost);
    request.on('close', () => end(new Failure('connection-lost'))); // nothing came of it; settled already if something did
    request.end(packet);
  });
}

function absent(value) {
  return value === undefined || value === null;
}

function bytes(value) {
  if (typeof value === 'string') return Buffer.from(value, 'utf8');
  if (value instanceof Uint8Array) return Buffer.from(value);
  throw new Failure('bad-call');
}

/** The id comes first, so that the daemon has read it before it can find fault with a value. */
function makePacket(verb, id, fields) {
  const parts = [Buffer.from(`${verb}\nid=${id}\n`)];
  for (const [name, value] of fields) {
    if (absent(value)) continue;
    const raw = bytes(value);
    if (raw.some((c) => c < 0x20 || c === 0x7f)) throw new Failure('bad-value'); // a newline would start a line of its own
    parts.push(Buffer.from(name + '='), raw, Buffer.from('\n'));
  }
  const packet = Buffer.concat(parts);
  if (packet.length > PACKET_MAX) throw new Failure('too-long');
  return packet;
}

function isSubscription(c) {
  return c.level === undefined && c.index === undefined;
}

function commandField(c) {
  const role = bytes(c.rolePath);
  if (role.length === 0 || role.length > 1024) throw new Failure('bad-value');
  if (isSubscription(c)) return ['subscribe', role];
  const within = (n, least, most) => Number.isInteger(n) && n >= least && n <= most;
  const classId = absent(c.classId) ? '-' : c.classId;
  // A space in a class id would begin the next part of the line.
  if (!within(c.handle, 0, 0xffffffff) || !within(c.level, 1, 65535) || !within(c.index, 1, 65535) || !/^[0-9.-]{1,128}$/.test(classId)) {
    throw new Failure('bad-value');
  }
  return ['command', Buffer.concat([Buffer.from(`${c.handle} ${classId} ${c.level}m${c.index} `), role])];
}

function deniedName(c) {
  return isSubscription(c) ? 'subscribe ' + bytes(c.rolePath).toString('utf8') : `command ${c.handle}`;
}

function number(text) {
  if (!/^[0-9]+$/.test(text)) throw new Failure('bad-reply');
  return Math.min(Number(text), 2 ** 31 - 1);
}

const NAMES = {
  'id': 'id', 'reason': 'reason', 'client-id': 'clientId', 'subject': 'subject', 'issuer': 'issuer', 'path': 'path',
  'www-authenticate': 'wwwAuthenticate', 'detail': 'detail', 'error': 'text', 'expires-in': 'expiresIn', 'retry-after': 'retryAfter',
};

/** A reply without an id is taken only if it says that the packet could not be read. */
function read({status, text}, id, pong) {
  // eslint-disable-next-line no-control-regex
  if (!text.endsWith('\n') || /[\x00-\x09\x0b-\x1f\x7f]/.test(text)) throw new Failure('bad-reply');
  const [first, ...lines] = text.slice(0, -1).split('\n');
  const reply = new Reply('ok');
  const match = /^(deny|error) ([45][0-9][0-9])$/.exec(first);
  if (match && (pong === undefined || match[1] === 'error')) {
    reply.status = Number(match[2]);
    if (match[1] === 'error') reply.error = 'refused';
  } else if (first === (pong || 'allow 200')) {
    reply.allowed = pong === undefined;
  } else {
    throw new Failure('bad-reply');
  }
  const said = new Map();
  for (const line of lines) {
    const at = line.indexOf('=');
    if (at < 1) throw new Failure('bad-reply');
    const name = line.slice(0, at);
    const value = line.slice(at + 1);
    if (name === 'denied') {
      reply.denied.push(value);
    } else if (name === 'would') {
      reply.would = reply.would === undefined ? value : reply.would; // further ones are about single commands
    } else if (Object.hasOwn(NAMES, name)) {
      if (said.has(name)) throw new Failure('bad-reply');
      said.set(name, value);
    }
  }
  if (status !== reply.status || (reply.allowed && reply.denied.length > 0)) throw new Failure('bad-reply');
  if (said.get('id') !== id && (reply.error !== 'refused' || said.has('id'))) throw new Failure('bad-reply');
  said.delete('id');
  for (const [name, value] of said) {
    reply[NAMES[name]] = name === 'expires-in' || name === 'retry-after' ? number(value) : value;
  }
  return reply;
}

module.exports = {Client, Reply, SOCKET, VERSION};
