// oidc-provider as an authorization server for NMOS. Its settings are those that configs/SERVERS.md names; what a test
// decides comes from the JSON file that the command line names: port, cert, key, jwks, clients, initialToken, audience,
// life, claims (of each client by its id, "" for those that registered themselves).
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import Provider from 'oidc-provider';

const o = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const issuer = `https://localhost:${o.port}`;
const apis = ['registration', 'query', 'node', 'connection', 'events', 'channelmapping'];
const resource = 'urn:nmos';

const provider = new Provider(issuer, {
  jwks: o.jwks, // the first key that fits signs
  clients: o.clients,
  scopes: apis,
  clientAuthMethods: ['client_secret_basic', 'private_key_jwt'],
  // Its default is RS256: without a key for that, it refuses every registration.
  enabledJWA: { idTokenSigningAlgValues: ['RS512'] },
  clientDefaults: { id_token_signed_response_alg: 'RS512' },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    revocation: { enabled: true },
    registration: { enabled: true, initialAccessToken: o.initialToken },
    registrationManagement: { enabled: true, rotateRegistrationAccessToken: true },
    // An access token is a JWT only for a resource: all tokens are for one.
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: apis.join(' '),
        audience: o.audience,
        accessTokenFormat: 'jwt',
        accessTokenTTL: o.life,
        jwt: { sign: { alg: 'RS512' } },
      }),
    },
  },
  // Only claims of what was asked for and granted.
  extraTokenClaims: (ctx, token) => {
    const all = o.claims[token.clientId] ?? o.claims[''];
    return Object.fromEntries(token.scope.split(' ').filter((api) => all[api]).map((api) => [`x-nmos-${api}`, all[api]]));
  },
});

createServer({ cert: readFileSync(o.cert), key: readFileSync(o.key) }, provider.callback())
  .listen(o.port, '127.0.0.1', () => console.log('ready'));
