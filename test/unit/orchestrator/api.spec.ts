import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { BATCH_EXAMPLE, EXECUTE_EXAMPLE } from '../../../src/orchestrator/api/request-examples.js';
import { type ApiApp, CONFIG, runTo, startApi } from './support/api-app.js';

interface Answer {
  status: number;
  headers: Headers;
  body: Record<string, unknown> & { errors?: { pointer?: string; limit?: string; message: string }[] };
}

let api: ApiApp;

beforeEach(async () => {
  api = await startApi();
});
afterEach(() => api.close());

async function post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const raw = typeof body === 'string' || body instanceof Uint8Array;
  const response = await fetch(api.url + path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    body: raw ? (body as string) : JSON.stringify(body),
  });
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Answer['body'],
  };
}
const execute = (body: unknown, headers?: Record<string, string>): Promise<Answer> =>
  post('/orchestrator/execute', body, headers);

function expectProblem(answer: Answer, status: number, kind: string): void {
  expect(answer.headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
  expect(answer.body).toMatchObject({ type: `urn:flow-orchestrator:problem:${kind}`, status });
  expect(answer.status).toBe(status);
}

const { executionId: _, ...anonymous } = EXECUTE_EXAMPLE;

describe('POST /orchestrator/execute', () => {
  it('accepts the documented example', async () => {
    const answer = await execute(EXECUTE_EXAMPLE);
    expect(answer).toMatchObject({ status: 202, body: { executionId: 'exec-456', status: 'accepted' } });
    expect(answer.headers.get('location')).toBe('/orchestrator/executions/exec-456');
    expect(await api.store.get('exec-456')).toMatchObject({
      state: 'queued',
      priority: 'high',
      requiredTypes: 'delay',
    });
  });

  it('answers the same request again, and names a conflict', async () => {
    await execute(EXECUTE_EXAMPLE);
    const reordered = Object.fromEntries(Object.entries(EXECUTE_EXAMPLE).toReversed());
    expect(await execute(reordered)).toMatchObject({
      status: 202,
      body: { executionId: 'exec-456', status: 'queued' },
    });
    const other = await execute({ ...EXECUTE_EXAMPLE, priority: 'low' });
    expectProblem(other, 422, 'id-conflict');
    expect(other.body.errors).toMatchObject([{ pointer: '/executionId' }]);
  });

  it('makes an id, and takes the Idempotency-Key for one', async () => {
    expect((await execute(anonymous)).body['executionId']).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
    const keyed = await execute(anonymous, { 'Idempotency-Key': 'order-17' });
    expect(keyed.body).toEqual({ executionId: 'order-17', status: 'accepted' });
    expect((await execute(anonymous, { 'Idempotency-Key': 'order-17' })).body['status']).toBe('queued');
    const conflict = await execute({ ...anonymous, inputs: {} }, { 'Idempotency-Key': 'order-17' });
    expectProblem(conflict, 422, 'id-conflict');
    expect(conflict.body.errors).toMatchObject([{ header: 'Idempotency-Key' }]);
    expect((await execute(EXECUTE_EXAMPLE, { 'Idempotency-Key': 'other' })).body['executionId']).toBe(
      'exec-456',
    );
  });

  it('waits for the end when asked to', async () => {
    const answer = execute(EXECUTE_EXAMPLE, { Prefer: 'wait=4' });
    while (!(await api.store.get('exec-456'))) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    await runTo(api.store, 'exec-456', 'completed');
    const { status, headers, body } = await answer;
    expect({ status, applied: headers.get('preference-applied') }).toEqual({
      status: 200,
      applied: 'wait=4',
    });
    expect(body).toMatchObject({
      state: 'completed',
      result: { second: { ms: 50 } },
      workerId: 'worker-1',
      waiting: null,
    });
    const cut = await execute(EXECUTE_EXAMPLE, { Prefer: 'wait=600' });
    expect(cut.headers.get('preference-applied')).toBe('wait=5');
    expect((await post('/orchestrator/execute?waitMs=1000', EXECUTE_EXAMPLE)).status).toBe(200);
    expect((await post('/orchestrator/execute?waitMs=20', anonymous)).status).toBe(202);
    expectProblem(await post('/orchestrator/execute?waitMs=5001', anonymous), 400, 'invalid-parameter');
  });

  it('answers those who wait when the process goes', async () => {
    const answer = post('/orchestrator/execute?waitMs=5000', EXECUTE_EXAMPLE);
    while (!(await api.store.get('exec-456'))) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    const begun = performance.now();
    await api.app.close();
    expect((await answer).status).toBe(202);
    expect(performance.now() - begun).toBeLessThan(2_000);
  });

  it('refuses with Retry-After, and accepts nothing', async () => {
    api.surroundings.refusal = { reason: 'the broker takes no messages: low on memory', retryAfterS: 5 };
    const answer = await execute(EXECUTE_EXAMPLE);
    expectProblem(answer, 503, 'unavailable');
    expect(answer.headers.get('retry-after')).toBe('5');
    expect(answer.body['detail']).toContain('Nothing was accepted');
    expect(await api.store.get('exec-456')).toBeNull();
  });

  it('does not deny what it may have accepted, and says how to send it again', async () => {
    const { accept } = api.store;
    api.store.accept = async (items) => {
      await accept.call(api.store, items);
      throw Object.assign(new Error('connection lost'), { name: 'StoreUnavailableError' });
    };
    const own = await execute(EXECUTE_EXAMPLE);
    const keyed = await execute(anonymous, { 'Idempotency-Key': 'order 17' });
    const made = await execute(anonymous);
    const batch = await post('/orchestrator/execute/batch', { items: [anonymous] });
    api.store.accept = accept;
    for (const answer of [own, keyed, made]) {
      expectProblem(answer, 503, 'unavailable');
      expect(answer.headers.get('retry-after')).toBe('2');
      expect(answer.body['detail']).toContain('It is unknown whether the request was accepted');
    }
    expect(own.body['detail']).toContain('with the executionId "exec-456"');
    expect(keyed.body['detail']).toContain('with the same Idempotency-Key');
    const [item] = batch.body['items'] as [{ problem: { detail: string } }];
    for (const detail of [made.body['detail'] as string, item.problem.detail]) {
      const [, executionId] = /with the executionId "([^"]+)"/.exec(detail)!;
      expect(await execute({ ...anonymous, executionId })).toMatchObject({
        status: 202,
        body: { executionId },
      });
    }
    expect((await api.store.list({}, 10)).items).toHaveLength(4);
  });

  it('points at every fault', async () => {
    const answer = await execute({
      flowId: 'f',
      colour: 'red',
      retry: { maxAttempts: 0 },
      flowData: { ...EXECUTE_EXAMPLE.flowData, connections: [{ from: 'first', to: 'third' }] },
    });
    expectProblem(answer, 422, 'invalid-request');
    expect(answer.body.errors!.map(({ pointer }) => pointer).toSorted()).toEqual([
      '/colour',
      '/flowData/connections/0/to',
      '/retry/maxAttempts',
    ]);
    expect(answer.body['instance']).toBe('/orchestrator/execute');
  });
});

describe('hostile bodies', () => {
  const nested = (levels: number): string =>
    `{"flowId":"f","inputs":{"x":${'['.repeat(levels)}${']'.repeat(levels)}}}`;

  it.each<[string, unknown, Record<string, string>, number, string]>([
    ['malformed JSON', '{"flowId":', {}, 400, 'malformed-body'],
    ['invalid UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]), {}, 400, 'malformed-body'],
    ['nothing', '', {}, 422, 'invalid-request'],
    ['null', 'null', {}, 422, 'invalid-request'],
    ['a number', '5', {}, 422, 'invalid-request'],
    ['text', 'hello', { 'Content-Type': 'text/plain' }, 415, 'unsupported-media-type'],
    [
      'a form',
      'flowId=f',
      { 'Content-Type': 'application/x-www-form-urlencoded' },
      415,
      'unsupported-media-type',
    ],
    ['__proto__', '{"flowId":"f","inputs":{"__proto__":{"admin":true}}}', {}, 422, 'invalid-request'],
    ['__proto__ in escapes', '{"\\u005f_proto__":{}}', {}, 422, 'invalid-request'],
    ['a constructor', '{"constructor":{"prototype":{}},"flowId":"f"}', {}, 422, 'invalid-request'],
    ['deep nesting', nested(600), {}, 422, 'invalid-request'],
    ['bottomless nesting', '['.repeat(30_000) + ']'.repeat(30_000), {}, 422, 'invalid-request'],
  ])('refuses %s', async (_name, body, headers, status, kind) => {
    expectProblem(await execute(body, headers), status, kind);
    expect(({} as { admin?: boolean }).admin).toBeUndefined();
  });

  it('names the limits that were passed', async () => {
    const large = await execute({ ...anonymous, inputs: { x: 'y'.repeat(CONFIG.bodyLimitBytes) } });
    expectProblem(large, 413, 'too-large');
    expect(large.body['detail']).toContain(`at most ${CONFIG.bodyLimitBytes} bytes`);
    expect((await execute(nested(600))).body.errors).toMatchObject([{ limit: 'maxJsonDepth' }]);
    const nodes = Array.from({ length: 21 }, (_item, index) => ({ id: `n${index}`, type: 'delay' }));
    const many = await execute({ ...anonymous, flowData: { name: 'n', version: 1, nodes, connections: [] } });
    expect(many.body.errors).toMatchObject([{ pointer: '/flowData/nodes', limit: 'maxNodes' }]);
  });

  it.each([
    ['headers without end', `GET / HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(70_000)}\r\n\r\n`, 'HTTP/1.1 431 '],
    ['no HTTP', 'hello\r\n\r\n', 'HTTP/1.1 400 '],
  ])('answers %s with a problem', async (_name, request, start) => {
    const { hostname, port } = new URL(api.url);
    const socket = connect(Number(port), hostname);
    await once(socket, 'connect');
    socket.write(request);
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', () => undefined);
    await once(socket, 'close');
    const answer = Buffer.concat(chunks).toString();
    expect(answer.startsWith(start)).toBe(true);
    expect(answer).toContain('application/problem+json');
  });
});

describe('POST /orchestrator/execute/batch', () => {
  it('answers each item on its own', async () => {
    await execute(EXECUTE_EXAMPLE);
    const items = [
      ...BATCH_EXAMPLE.items,
      { flowId: 'f' },
      { ...EXECUTE_EXAMPLE, inputs: {} },
      EXECUTE_EXAMPLE,
      5,
      { ...anonymous, inputs: { x: 'y'.repeat(CONFIG.bodyLimitBytes) } },
    ];
    const answer = await post('/orchestrator/execute/batch', { items });
    expect(answer.status).toBe(200);
    expect(answer.body['items']).toMatchObject([
      { index: 0, status: 202, state: 'accepted' },
      { index: 1, status: 202, state: 'accepted' },
      { index: 2, status: 422, problem: { errors: [{ pointer: '/flowData' }] } },
      { index: 3, status: 422, problem: { type: 'urn:flow-orchestrator:problem:id-conflict' } },
      { index: 4, status: 202, executionId: 'exec-456', state: 'queued' },
      { index: 5, status: 422 },
      { index: 6, status: 413, problem: { errors: [{ limit: 'bodyLimitBytes' }] } },
    ]);
  });

  it.each<[string, unknown, string]>([
    ['no items', {}, '/items'],
    ['an empty batch', { items: [] }, '/items'],
    ['too many', { items: Array.from({ length: 11 }, () => anonymous) }, '/items'],
    ['another field', { items: [anonymous], mode: 'x' }, '/mode'],
    ['a list', [anonymous], '/items'],
  ])('refuses %s', async (_name, body, pointer) => {
    const answer = await post('/orchestrator/execute/batch', body);
    expectProblem(answer, 422, 'invalid-request');
    expect(answer.body.errors!.map((error) => error.pointer)).toContain(pointer);
  });

  it('has a body limit of its own', async () => {
    const answer = await post('/orchestrator/execute/batch', {
      items: ['x'.repeat(CONFIG.batchBodyLimitBytes)],
    });
    expectProblem(answer, 413, 'too-large');
    expect(answer.body['detail']).toContain(`at most ${CONFIG.batchBodyLimitBytes} bytes`);
  });
});
