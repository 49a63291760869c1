// Does with the Node client what the Go test tells it; see probe.c.
'use strict';
const readline = require('node:readline');
const {Client} = require(process.env.CLIENTS + '/node/nmos_authz.cjs');

const ERRORS = ['ok', 'bad-call', 'bad-value', 'too-long', 'refused', 'unreachable', 'connection-lost', 'timeout', 'bad-reply'];
const client = new Client({socket: process.argv[2], timeout: Number(process.argv[3])});
let out = '';

const value = (word) => (word !== undefined && word.startsWith('x') ? Buffer.from(word.slice(1), 'hex') : undefined);
const decimal = (word) => Number(value(word).toString());
const put = (name, text) => {
  if (text !== undefined) out += `${name}=${text}\n`;
};

function show(r) {
  put('decision', r.allowed === true ? 'allow' : 'deny');
  put('status', r.status);
  put('error', ERRORS.indexOf(r.error));
  put('expires-in', r.expiresIn === undefined ? -1 : r.expiresIn);
  put('retry-after', r.retryAfter === undefined ? -1 : r.retryAfter);
  const names = {'reason': 'reason', 'client-id': 'clientId', 'subject': 'subject', 'issuer': 'issuer', 'path': 'path',
    'www-authenticate': 'wwwAuthenticate', 'would': 'would', 'detail': 'detail'};
  for (const [name, property] of Object.entries(names)) put(name, r[property]);
  for (const target of r.denied) put('denied', target);
  if (!r.allowed) put('body', r.body());
}

async function threads(count, half, method, good, bad, authorization, lines) {
  let allowed = 0, wrong = 0, answered = 0;
  const work = async (i) => {
    for (let k = 0; k < half; k++) {
      const isBad = (k + i) % 2 === 1;
      const r = await client.decide({method, target: isBad ? bad : good, authorization});
      answered += r.error === 'ok';
      if (isBad) wrong += r.allowed;
      else allowed += r.allowed;
    }
  };
  const all = () => Promise.all(Array.from({length: count}, (_, i) => work(i)));
  await all();
  process.stdout.write('half=yes\n\n');
  await lines.next();
  await all();
  put('allowed', allowed);
  put('wrong', wrong);
  put('answered', answered);
}

async function run(command, w, lines) {
  const [a, b, c, d] = w.map(value);
  if (command === 'decide') {
    show(await client.decide({method: a, target: b, authorization: c, upgrade: d}));
  } else if (command === 'decide-all') {
    show(await client.decideAll({method: a, targets: w.slice(4).map(value), authorization: c, upgrade: d}));
  } else if (command === 'verify') {
    show(await client.verify(a));
  } else if (command === 'resource') {
    show(await client.resource({access: {1: 'read', 2: 'write'}[w[0]], kind: b, name: c, authorization: d}));
  } else if (command === 'control') {
    const commands = [];
    for (let i = 3; i < w.length; i += 5) {
      const one = {rolePath: value(w[i + 4])};
      const level = decimal(w[i + 2]), index = decimal(w[i + 3]);
      if (level !== 0 || index !== 0) {
        const classId = value(w[i + 1]);
        Object.assign(one, {handle: decimal(w[i]), classId: classId === undefined ? undefined : classId.toString(), level, index});
      }
      commands.push(one);
    }
    show(await client.control({api: {1: 'control', 2: 'configuration'}[w[0]], model: b, authorization: c, commands}));
    put('statuses', commands.map((one) => one.status).join(' '));
  } else if (command === 'ping') {
    put('error', ERRORS.indexOf(await client.ping()));
  } else if (command === 'timeout') {
    client.timeout = Number(w[0]);
  } else if (command === 'threads') {
    await threads(Number(w[0]), Number(w[1]) / 2, c, d, value(w[4]), value(w[5]), lines);
  } else {
    throw new Error('unknown command ' + command);
  }
}

(async () => {
  process.stdout.write('init=0\n\n');
  const lines = readline.createInterface({input: process.stdin})[Symbol.asyncIterator]();
  for (let line = await lines.next(); !line.done; line = await lines.next()) {
    const [command, ...words] = line.value.split(' ');
    await run(command, words, lines);
    process.stdout.write(out + '\n');
    out = '';
  }
  client.close();
})();
