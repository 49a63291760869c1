// What the lines of platform/clients/node/README.md take for granted, around them.
'use strict';
const module_ = require('node:module');
const http = require('node:http');
const load = module_.createRequire(process.env.CLIENTS + '/node/');

function handle(req, res, path) {
  res.end(path);
}

(async (require) => {
// README

  const server = http.createServer(serve).listen(0, '127.0.0.1', async () => {
    for (const target of ['/x-nmos/', '/x-nmos/node/v1.3/self']) {
      const answer = await fetch(`http://127.0.0.1:${server.address().port}${target}`);
      const body = await answer.text();
      if (answer.status === 200 && body === target) console.log(`${target}: served`);
      else console.log(`${target}: ${answer.status} ${JSON.parse(body).debug}, ${answer.headers.get('WWW-Authenticate')}`);
    }
    process.exit(0);
  });
})(load);
