import { createServer, type Server } from 'node:http';
import { connect } from 'node:net';
import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { OrchestratorVariables } from '../../../src/config/config.schema.js';
import { readVariables } from '../../../src/config/read-variables.js';
import { EXECUTE_EXAMPLE } from '../../../src/orchestrator/api/request-examples.js';
import { type ApiApp, type CONFIG, startApi } from './support/api-app.js';

const READ_KEY = 'reader-key-0123456789';
const EXECUTE_KEY = 'submit-key-0123456789';
const OPERATE_KEY = 'operat:key+0123456789';
const ALL_KEY = 'all-scopes-0123456789';
const KEYS = [
  `dashboard:read:${READ_KEY}`,
  `ci:execute:${EXECUTE_KEY}`,
  `on-call:operate:${OPERATE_KEY}`,
  `admin:read+execute+operate:${ALL_KEY}`,
];
const JWT_SECRET = 'a-secret-of-more-than-thirty-two-characters';
const SECRET = new TextEncoder().encode(JWT_SECRET);

let api: ApiApp | undefined;
let jwks: Server | undefined;

afterEach(async () => {
  await api?.close();
  jwks?.close();
  api = jwks = undefined;
});

async function start(overrides: Partial<typeof CONFIG>): Promise<void> {
  api = await startApi(overrides);
}

function ask(path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Response> {
  const body = path.startsWith('/orchestrator/execute') ? JSON.stringify(EXECUTE_EXAMPLE) : undefined;
  if (method !== 'POST' || body === undefined) {
    return fetch(api!.url + path, { method, headers });
  }
  return fetch(api!.url + path, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json', ...headers },
  });
}

const bearer = (credential: string): Record<string, string> => ({ authorization: `Bearer ${credential}` });

/** Every route, with the scope it needs. A 404 or 422 behind the guard is as good as a 200. */
const ROUTES: [string, string, 'read' | 'execute' | 'operate'][] = [
  ['POST', '/orchestrator/execute', 'execute'],
  ['POST', '/orchestrator/execute/batch', 'execute'],
  ['GET', '/orchestrator/executions', 'read'],
  ['GET', '/orchestrator/executions/e1', 'read'],
  ['POST', '/orchestrator/executions/e1/cancel', 'operate'],
  ['POST', '/orchestrator/executions/e1/retry', 'operate'],
  ['GET', '/orchestrator/dead-letters', 'read'],
  ['POST', '/orchestrator/dead-letters/replay', 'operate'],
  ['POST', '/orchestrator/dead-letters/e1/replay', 'operate'],
  ['DELETE', '/orchestrator/dead-letters/e1', 'operate'],
  ['GET', '/orchestrator/workers', 'read'],
  ['GET', '/orchestrator/workers/w1', 'read'],
  ['POST', '/orchestrator/workers/w1/drain', 'operate'],
  ['GET', '/orchestrator/scaling', 'read'],
  ['GET', '/orchestrator/scaling/desired', 'read'],
  ['POST', '/orchestrator/scaling/manual', 'operate'],
  ['PUT', '/orchestrator/scaling/bounds', 'operate'],
  ['POST', '/orchestrator/scaling/pause', 'operate'],
  ['POST', '/orchestrator/scaling/resume', 'operate'],
  ['GET', '/orchestrator/health', 'read'],
  ['GET', '/metrics', 'read'],
];
const KEY_OF = { read: READ_KEY, execute: EXECUTE_KEY, operate: OPERATE_KEY };

describe('API keys', () => {
  it('every route wants its scope; 401 without a key, 403 with a key of the other scopes', async () => {
    await start({ apiKeys: KEYS });
    for (const [method, path, scope] of ROUTES) {
      const place = `${method} ${path}`;
      const without = await ask(path, {}, method);
      expect([place, without.status]).toEqual([place, 401]);
      expect(without.headers.get('www-authenticate')).toBe('Bearer realm="flow-orchestrator"');
      for (const other of ['read', 'execute', 'operate'] as const) {
        const { status } = await ask(path, bearer(KEY_OF[other]), method);
        expect([place, other, status === 403]).toEqual([place, other, other !== scope]);
        expect(status).not.toBe(401);
      }
      expect([401, 403]).not.toContain((await ask(path, { 'x-api-key': ALL_KEY }, method)).status);
    }
  });

  it('the document has every route with its scope, and nothing else is open but probes', async () => {
    await start({ apiKeys: KEYS });
    const { paths, components } = (await (await ask('/docs-json')).json()) as {
      paths: Record<string, Record<string, { security?: object[]; responses: object }>>;
      components: { securitySchemes: object };
    };
    const documented = Object.entries(paths).flatMap(([path, operations]) =>
      Object.entries(operations).map(([method, { security, responses }]) => ({
        route: `${method.toUpperCase()} ${path.replaceAll(/\{\w+\}/g, '*')}`,
        security,
        refusals: Object.keys(responses).filter((status) => status === '401' || status === '403'),
      })),
    );
    const expected = ROUTES.map(([method, path, scope]) => ({
      route: `${method} ${path.replaceAll(/\/(e1|w1)(?=\/|$)/g, '/*')}`,
      security: expect.arrayContaining([{ bearer: [scope] }, { apiKey: [scope] }]),
      refusals: ['401', '403'],
    }));
    const open = ['GET /health/live', 'GET /health/ready'].map((route) => ({
      route,
      security: undefined,
      refusals: [],
    }));
    expect(documented).toHaveLength(expected.length + open.length);
    expect(documented).toEqual(expect.arrayContaining([...expected, ...open]));
    expect(components.securitySchemes).toMatchObject({
      bearer: { type: 'http', scheme: 'bearer' },
      apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
    });
  });

  it('names the missing scope', async () => {
    await start({ apiKeys: KEYS });
    const answer = await ask('/orchestrator/executions/e1/cancel', bearer(READ_KEY), 'POST');
    expect(answer.headers.get('content-type')).toContain('application/problem+json');
    expect(answer.headers.get('www-authenticate')).toContain('error="insufficient_scope", scope="operate"');
    expect(await answer.json()).toMatchObject({
      type: 'urn:flow-orchestrator:problem:forbidden',
      status: 403,
      detail: 'expected a client with the scope "operate", got one without',
    });
  });

  it.each([
    ['a wrong key', bearer(`${READ_KEY}x`)],
    ['the start of a key', bearer(READ_KEY.slice(0, -1))],
    ['a key of other case', bearer(READ_KEY.toUpperCase())],
    ['the whole entry', bearer(KEYS[0]!)],
    ['another scheme', { authorization: `Basic ${btoa(`x:${READ_KEY}`)}` }],
    ['two keys', bearer(`${READ_KEY} ${READ_KEY}`)],
    ['a wrong X-API-Key beside a good bearer', { ...bearer(READ_KEY), 'x-api-key': 'no' }],
    ['an empty X-API-Key', { 'x-api-key': '' }],
    ['a token, though none are configured', bearer('eyJhbGciOiJub25lIn0.eyJzY29wZSI6InJlYWQifQ.')],
  ])('refuses %s', async (_, headers) => {
    await start({ apiKeys: KEYS });
    const answer = await ask('/orchestrator/executions', headers);
    expect(answer.status).toBe(401);
    expect(await answer.text()).not.toContain(READ_KEY);
  });

  it('leaves probes and documentation open, without reasons', async () => {
    await start({ apiKeys: KEYS });
    Object.assign(api!.surroundings.broker, {
      isUp: false,
      blockedReason: null,
      lastError: 'connect ECONNREFUSED 10.1.2.3',
    });
    expect((await ask('/health/live')).status).toBe(200);
    expect((await ask('/docs')).status).toBe(200);
    const ready = await ask('/health/ready');
    expect(ready.status).toBe(503);
    expect(await ready.text()).not.toContain('10.1.2.3');
  });

  it('answers 401 before it has read the body', async () => {
    await start({ apiKeys: KEYS });
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect(Number(new URL(api!.url).port), '127.0.0.1');
      socket.once('error', reject);
      socket.once('data', (bytes) => {
        socket.destroy();
        resolve(bytes.toString());
      });
      socket.write(
        'POST /orchestrator/execute/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 400000\r\n\r\n{',
      );
    });
    expect(answer).toMatch(/^HTTP\/1\.1 401 /);
  });
});

describe('JWT', () => {
  const token = (
    claims: Record<string, unknown>,
    { alg = 'HS256', expires = '5 minutes' as string | number, key = SECRET as never } = {},
  ): Promise<string> =>
    new SignJWT(claims).setProtectedHeader({ alg }).setSubject('ada').setExpirationTime(expires).sign(key);
  const status = async (credential: string): Promise<number> =>
    (await ask('/orchestrator/executions', bearer(credential))).status;

  it('takes the scope from `scope` and from `scopes`', async () => {
    await start({ jwtSecret: JWT_SECRET });
    expect(await status(await token({ scope: 'openid read' }))).toBe(200);
    expect(await status(await token({ scopes: ['execute', 'read'] }))).toBe(200);
    for (const claims of [
      {},
      { scope: 'execute' },
      { scope: 'reader' },
      { scope: ['read'] },
      { scopes: 'read' },
    ]) {
      expect([claims, await status(await token(claims))]).toEqual([claims, 403]);
    }
  });

  it('works beside API keys', async () => {
    await start({ jwtSecret: JWT_SECRET, apiKeys: KEYS });
    expect(await status(await token({ scope: 'read' }))).toBe(200);
    expect(await status(READ_KEY)).toBe(200);
  });

  it('refuses what is expired, unsigned, signed otherwise, for others, or endless', async () => {
    await start({ jwtSecret: JWT_SECRET, jwtIssuer: 'https://issuer', jwtAudience: 'flows' });
    const claims = { scope: 'read', iss: 'https://issuer', aud: 'flows' };
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const now = Math.floor(Date.now() / 1000);
    const good = await token(claims);
    const [head, , signature] = good.split('.');
    const longer = new TextEncoder().encode(JWT_SECRET.repeat(2));
    const bad: Record<string, string> = {
      expired: await token(claims, { expires: now - 60 }),
      'of another issuer': await token({ ...claims, iss: 'https://other' }),
      'for another audience': await token({ ...claims, aud: 'other' }),
      'of another secret': await token(claims, { key: longer as never }),
      'of another HMAC': await token(claims, { alg: 'HS512', key: longer as never }),
      unsigned: `${part({ alg: 'none' })}.${part({ ...claims, exp: now + 60 })}.`,
      changed: [head, part({ ...claims, scope: 'operate', exp: now + 60 }), signature].join('.'),
      endless: await new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(SECRET),
      empty: '..',
    };
    expect(await status(good)).toBe(200);
    for (const [what, credential] of Object.entries(bad)) {
      expect([what, await status(credential)]).toEqual([what, 401]);
    }
    const answer = await ask('/orchestrator/executions', bearer(bad['expired']!));
    expect(answer.headers.get('www-authenticate')).toContain('error="invalid_token"');
    expect(((await answer.json()) as { detail: string }).detail).toBe(
      'expected a valid token: it has expired',
    );
  });

  describe('with a JWKS', () => {
    let pair: Awaited<ReturnType<typeof generateKeyPair>>;
    beforeAll(async () => {
      pair = await generateKeyPair('ES256');
    });

    async function startIssuer(): Promise<string> {
      const keys = [{ ...(await exportJWK(pair.publicKey)), kid: 'k1' }];
      jwks = createServer((_, response) => response.end(JSON.stringify({ keys })));
      await new Promise<void>((listening) => jwks!.listen(0, '127.0.0.1', listening));
      return `http://127.0.0.1:${(jwks.address() as { port: number }).port}/jwks`;
    }
    const signed = async (): Promise<string> =>
      new SignJWT({ scope: 'read' })
        .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
        .setAudience('flows')
        .setExpirationTime('5 minutes')
        .sign(pair.privateKey);

    it('takes what its keys signed, and no HMAC made of the public key', async () => {
      const jwtJwksUrl = await startIssuer();
      await start({ jwtJwksUrl, jwtAudience: 'flows' });
      expect(await status(await signed())).toBe(200);
      const publicKey = new TextEncoder().encode(JSON.stringify(await exportJWK(pair.publicKey)));
      expect(await status(await token({ scope: 'read', aud: 'flows' }, { key: publicKey as never }))).toBe(
        401,
      );
      const other = await generateKeyPair('ES256');
      expect(
        await status(
          await new SignJWT({ scope: 'read', aud: 'flows' })
            .setProtectedHeader({ alg: 'ES256', kid: 'unknown' })
            .setExpirationTime('5 minutes')
            .sign(other.privateKey),
        ),
      ).toBe(401);
    });

    it('answers 503 while the keys cannot be had, and takes API keys all the same', async () => {
      const jwtJwksUrl = await startIssuer();
      await new Promise((closed) => jwks!.close(closed));
      await start({ jwtJwksUrl, jwtAudience: 'flows', apiKeys: KEYS });
      const answer = await ask('/orchestrator/executions', bearer(await signed()));
      expect(answer.status).toBe(503);
      expect(answer.headers.get('retry-after')).toBe('5');
      expect(await status(READ_KEY)).toBe(200);
    });
  });
});

describe('without authentication', () => {
  const speak = (headers: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connect(Number(new URL(api!.url).port), '127.0.0.1');
      socket.once('error', reject);
      socket.once('data', (bytes) => {
        socket.destroy();
        resolve(bytes.toString().slice(9, 12));
      });
      socket.write(
        `POST /orchestrator/executions/e1/cancel HTTP/1.1\r\n${headers}\r\nContent-Length: 0\r\n\r\n`,
      );
    });

  it('does everything for programs of this machine', async () => {
    await start({});
    for (const host of ['localhost:3000', '127.0.0.1', '[::1]:3000', 'LOCALHOST']) {
      expect([host, await speak(`Host: ${host}`)]).toEqual([host, '404']);
    }
    expect(await speak('Host: localhost:3000\r\nOrigin: http://localhost:3000')).toBe('404');
  });

  it.each([
    'Host: evil.example',
    'Host: localhost.evil.example:3000',
    'Host: localhost@evil.example',
    'Host: localhost\r\nOrigin: https://evil.example',
    'Host: localhost\r\nOrigin: null',
  ])('does nothing for pages from elsewhere: %j', async (headers) => {
    await start({});
    expect(await speak(headers)).toBe('403');
  });
});

describe('the configuration', () => {
  const read = (environment: Record<string, string>): OrchestratorVariables =>
    readVariables(OrchestratorVariables, environment);
  const KEY = `ci:execute:${EXECUTE_KEY}`;

  it.each(['127.0.0.1', '::1', 'localhost'])('takes HOST=%s without authentication', (HOST) => {
    expect(read({ HOST }).host).toBe(HOST);
  });

  it.each(['0.0.0.0', '::', '10.0.0.1', 'example.org', '127.0.0.1.example.org'])(
    'refuses HOST=%s without authentication, and says what to set',
    (HOST) => {
      expect(() => read({ HOST })).toThrow(
        /HOST: expected a loopback address .* set API_KEYS, JWT_SECRET or JWT_JWKS_URL/,
      );
      expect(read({ HOST, API_KEYS: KEY }).host).toBe(HOST);
      expect(read({ HOST, JWT_SECRET }).host).toBe(HOST);
      expect(read({ HOST, JWT_JWKS_URL: 'https://issuer/jwks', JWT_AUDIENCE: 'flows' }).host).toBe(HOST);
    },
  );

  it.each([
    ['API_KEYS', { API_KEYS: 'ci:execute:short-key' }],
    ['API_KEYS', { API_KEYS: `ci:admin:${EXECUTE_KEY}` }],
    ['API_KEYS', { API_KEYS: EXECUTE_KEY }],
    ['API_KEYS', { API_KEYS: `${KEY},ci:read:${READ_KEY}` }],
    ['API_KEYS', { API_KEYS: `${KEY},` }],
    ['JWT_SECRET', { JWT_SECRET: EXECUTE_KEY }],
    ['JWT_JWKS_URL', { JWT_JWKS_URL: 'https://issuer/jwks' }],
    ['JWT_JWKS_URL', { JWT_JWKS_URL: 'http://issuer/jwks', JWT_AUDIENCE: 'flows' }],
    ['JWT_JWKS_URL', { JWT_JWKS_URL: 'https://issuer/jwks', JWT_AUDIENCE: 'flows', JWT_SECRET }],
    ['AMQP_CA_FILE', { AMQP_CA_FILE: '/nowhere/ca.pem', AMQP_URL: 'amqps://broker' }],
    ['AMQP_CA_FILE', { AMQP_CA_FILE: 'package.json', AMQP_URL: 'amqp://broker' }],
    ['AMQP_CERT_FILE', { AMQP_CERT_FILE: 'package.json', AMQP_URL: 'amqps://broker' }],
  ])('refuses a bad %s, without showing it', (name, environment: Record<string, string>) => {
    expect(() => read(environment)).toThrow(new RegExp(`^  ${name}: expected `, 'm'));
    try {
      read(environment);
    } catch (error) {
      expect((error as Error).message).not.toContain(EXECUTE_KEY);
      expect((error as Error).message).not.toContain(JWT_SECRET);
    }
  });
});
