import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { LookupAddress } from 'node:dns';
import { isAllowedHost, isPublicAddress, type Lookup } from '../../../../src/runtime/nodes/address-guard.js';
import { type HttpOptions, httpRequestNode } from '../../../../src/runtime/nodes/http-request.node.js';
import { gate, node, run } from '../harness.js';

type Answer = (request: IncomingMessage, response: ServerResponse, body: string) => void;

let server: Server;
let base: string;
let port: number;
let answer: Answer;
let requests: string[];

beforeAll(async () => {
  server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => answer(request, response, body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as AddressInfo).port;
  base = `http://127.0.0.1:${port}`;
});

beforeEach(() => {
  requests = [];
});

afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

async function send(
  config: Record<string, unknown>,
  options: HttpOptions = { allowHosts: ['127.0.0.1'] },
  signal?: AbortSignal,
) {
  const { handler, close } = httpRequestNode(options);
  try {
    const outcome = await run([node('h', 'http-request', { config })], [], {
      handlers: [handler],
      ...(signal && { signal }),
    });
    return outcome.kind === 'completed' ? { ...outcome, output: outcome.result['h'] } : outcome;
  } finally {
    await close();
  }
}

const json: Answer = (request, response, body) => {
  response.setHeader('content-type', 'application/json; charset=utf-8');
  response.end(JSON.stringify({ method: request.method, url: request.url, headers: request.headers, body }));
};

describe('http-request', () => {
  it('sends method, query, headers and body, and reads JSON', async () => {
    answer = json;
    const outcome = await send({
      url: `${base}/a?x=1`,
      method: 'POST',
      query: { y: 2, z: true },
      headers: { 'X-Mine': 'yes' },
      body: { n: 1 },
    });
    expect(outcome).toMatchObject({
      kind: 'completed',
      output: {
        status: 200,
        headers: { 'content-type': 'application/json; charset=utf-8' },
        body: {
          method: 'POST',
          url: '/a?x=1&y=2&z=true',
          body: '{"n":1}',
          headers: { 'x-mine': 'yes', 'content-type': 'application/json', 'idempotency-key': 'e1:h' },
        },
      },
    });
  });

  it('sends no Idempotency-Key with GET, and reads text as text', async () => {
    answer = (request, response) => response.end(String(request.headers['idempotency-key']));
    expect(await send({ url: base })).toMatchObject({ output: { status: 200, body: 'undefined' } });
  });

  it.each([
    [500, true],
    [503, true],
    [429, true],
    [404, false],
    [400, false],
    [304, false],
  ])('fails on %i, retryable: %s', async (status, retryable) => {
    answer = (_request, response) => response.writeHead(status).end();
    expect(await send({ url: `${base}/x?secret=1` })).toMatchObject({
      kind: 'failed',
      error: {
        code: 'http_status',
        retryable,
        details: { status },
        message: `GET ${base}/x: expected status 2xx, got ${status}`,
      },
    });
  });

  it('takes the statuses that are expected for success', async () => {
    answer = (_request, response) => response.writeHead(404).end();
    expect(await send({ url: base, expectedStatus: [200, 404] })).toMatchObject({ output: { status: 404 } });
    expect(await send({ url: base, expectedStatus: 200 })).toMatchObject({ kind: 'failed' });
  });

  it('fails retryably when nobody listens, and when the answer takes too long', async () => {
    const closed = createServer();
    await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve));
    const { port: free } = closed.address() as AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    expect(await send({ url: `http://127.0.0.1:${free}` })).toMatchObject({
      error: { code: 'http_network', retryable: true },
    });
    answer = () => {};
    expect(await send({ url: base, timeoutMs: 20 })).toMatchObject({
      error: { code: 'http_timeout', retryable: true },
    });
  });

  it('is aborted, also while the body comes in', async () => {
    const started = gate();
    answer = (_request, response) => {
      response.write('part');
      started.open();
    };
    const cancel = new AbortController();
    const running = send({ url: base }, { allowHosts: ['127.0.0.1'] }, cancel.signal);
    await started.passed;
    cancel.abort();
    expect(await running).toMatchObject({ kind: 'cancelled' });
  });

  it('limits the size of the response, announced or not', async () => {
    const limited = { allowHosts: ['127.0.0.1'], maxResponseBytes: 10 };
    answer = (_request, response) => response.end('x'.repeat(11));
    expect(await send({ url: base }, limited)).toMatchObject({
      error: { code: 'http_too_large', retryable: false },
    });
    answer = (_request, response) => {
      response.write('x'.repeat(8));
      response.end('x'.repeat(8));
    };
    expect(await send({ url: base }, limited)).toMatchObject({ error: { code: 'http_too_large' } });
    answer = (_request, response) => response.end('x'.repeat(10));
    expect(await send({ url: base }, limited)).toMatchObject({ kind: 'completed' });
  });

  it('says so when JSON is expected and something else comes', async () => {
    answer = (_request, response) => response.end('<html>');
    expect(await send({ url: base, responseType: 'json' })).toMatchObject({
      error: { code: 'http_bad_body', retryable: false },
    });
  });

  it('follows redirects as browsers do, a few of them, and keeps credentials to their origin', async () => {
    answer = (request, response, body) => {
      if (request.url === '/first') response.writeHead(302, { location: '/second' }).end();
      else if (request.url === '/third')
        response.writeHead(307, { location: `http://localhost:${port}/fourth` }).end();
      else if (request.url === '/loop') response.writeHead(302, { location: '/loop' }).end();
      else json(request, response, body);
    };
    const allowed = { allowHosts: ['127.0.0.1', `localhost:${port}`] };
    const headers = { authorization: 'secret' };
    expect(await send({ url: `${base}/first`, method: 'POST', body: 'x', headers }, allowed)).toMatchObject({
      output: { body: { method: 'GET', url: '/second', body: '', headers: { authorization: 'secret' } } },
    });
    const other = await send({ url: `${base}/third`, method: 'POST', body: 'x', headers }, allowed);
    expect(other).toMatchObject({ output: { body: { method: 'POST', url: '/fourth', body: 'x' } } });
    expect(JSON.stringify(other)).not.toContain('secret');
    expect(await send({ url: `${base}/loop` }, allowed)).toMatchObject({
      error: { code: 'http_redirects', retryable: false },
    });
    expect(requests.filter((one) => one === 'GET /loop')).toHaveLength(6);
  });

  it.each(['Host', 'Content-Length', 'transfer-encoding'])('refuses the header %s', async (name) => {
    expect(await send({ url: base, headers: { [name]: 'x' } })).toMatchObject({
      error: { code: 'bad_config', retryable: false },
    });
    expect(requests).toEqual([]);
  });
});

describe('the guard against reaching inside', () => {
  const resolvesTo = (...answers: string[][]): { lookup: Lookup; asked: () => number } => {
    let asked = 0;
    const lookup = ((
      _name: string,
      _options: unknown,
      callback: (error: null, addresses: LookupAddress[]) => void,
    ) => {
      const addresses = answers[Math.min(asked++, answers.length - 1)]!;
      callback(
        null,
        addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      );
    }) as unknown as Lookup;
    return { lookup, asked: () => asked };
  };
  const blocked = { kind: 'failed', error: { code: 'http_blocked', retryable: false } };

  it.each([
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0177.0.0.1',
    '0x7f.0.0.1',
    '0x7f000001',
    '0',
    'localhost',
    '[::1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[::127.0.0.1]',
    '169.254.169.254',
    '[fd00:ec2::254]',
    '10.0.0.1',
    '[64:ff9b::7f00:1]',
    '[2002:7f00:1::]',
    '[::]',
  ])('refuses http://%s', async (host) => {
    expect(await send({ url: `http://${host}:${port}/` }, {})).toMatchObject(blocked);
    expect(requests).toEqual([]);
  });

  it.each(['file:///etc/passwd', 'ftp://example.com/', 'gopher://x', 'data:,x', 'not a url', '//127.0.0.1'])(
    'refuses %s',
    async (url) => {
      expect(await send({ url }, {})).toMatchObject(blocked);
    },
  );

  it('refuses a name that resolves inside, even among public addresses', async () => {
    const { lookup } = resolvesTo(['93.184.216.34', '127.0.0.1']);
    const outcome = await send({ url: `http://rebind.example:${port}/` }, { lookup });
    expect(outcome).toMatchObject(blocked);
    expect(outcome.kind === 'failed' && outcome.error.message).toContain('127.0.0.1 of rebind.example');
    expect(requests).toEqual([]);
  });

  it('refuses a redirect to the inside, by address and by name', async () => {
    const allowed: HttpOptions = {
      allowHosts: [`public.example:${port}`],
      lookup: resolvesTo(['127.0.0.1']).lookup,
    };
    for (const location of [
      `http://127.0.0.1:${port}/in`,
      `http://[::ffff:127.0.0.1]:${port}/in`,
      `http://inside.example:${port}/in`,
      'file:///etc/passwd',
    ]) {
      answer = (_request, response) => response.writeHead(302, { location }).end();
      requests = [];
      expect(await send({ url: `http://public.example:${port}/out` }, allowed)).toMatchObject(blocked);
      expect(requests).toEqual(['GET /out']);
    }
  });

  it('checks the answer that is connected to, so that a second, different one is of no use', async () => {
    const { lookup, asked } = resolvesTo(['203.0.114.1'], ['127.0.0.1']);
    const cancel = new AbortController();
    const running = send({ url: `http://rebind.example:${port}/`, timeoutMs: 50 }, { lookup }, cancel.signal);
    expect(await running).toMatchObject({ kind: 'failed' });
    expect(asked()).toBe(1);
    expect(requests).toEqual([]);
  });

  it('lets through what the operator allows', async () => {
    answer = json;
    expect(
      await send({ url: `http://localhost:${port}/` }, { allowHosts: [`localhost:${port}`] }),
    ).toMatchObject({ kind: 'completed' });
    expect(isAllowedHost(['*.corp.example'], 'a.CORP.example', '80')).toBe(true);
    expect(isAllowedHost(['*.corp.example'], 'evilcorp.example', '80')).toBe(false);
    expect(isAllowedHost(['a:81'], 'a', '80')).toBe(false);
  });

  it('knows public addresses from others', () => {
    for (const address of [
      '93.184.216.34',
      '8.8.8.8',
      '2606:4700::1111',
      '::ffff:8.8.8.8',
      '172.32.0.1',
      '100.128.0.1',
    ]) {
      expect([address, isPublicAddress(address)]).toEqual([address, true]);
    }
    for (const address of [
      '172.31.255.255',
      '100.100.100.200',
      '192.168.1.1',
      'fe80::1',
      'fc00::1',
      'ff02::1',
      '255.255.255.255',
      '168.63.129.16',
      '::ffff:10.0.0.1',
      'nonsense',
      '',
    ]) {
      expect([address, isPublicAddress(address)]).toEqual([address, false]);
    }
  });
});
