import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Ajv2020 } from 'ajv/dist/2020.js';
import {
  BATCH_EXAMPLE,
  EXECUTE_EXAMPLE,
  REPLAY_EXAMPLES,
} from '../../../src/orchestrator/api/request-examples.js';
import { type ApiApp, runTo, startApi } from './support/api-app.js';

type Json = Record<string, unknown>;
interface Operation {
  operationId: string;
  tags: string[];
  parameters?: { name: string; required?: boolean; schema: Json }[];
  responses: Record<string, { content?: Record<string, { examples?: Record<string, { value: Json }> }> }>;
}
interface Document {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Json> };
}

const operationsOf = (paths: Document['paths']): Operation[] => Object.values(paths).flatMap(Object.values);

const problemExamples = (paths: Document['paths']): { status: string; example: Json }[] =>
  operationsOf(paths).flatMap(({ responses }) =>
    Object.entries(responses).flatMap(([status, { content = {} }]) =>
      Object.values(content['application/problem+json']?.examples ?? {}).map(({ value }) => ({
        status,
        example: value,
      })),
    ),
  );

let api: ApiApp;

beforeEach(async () => {
  api = await startApi();
});
afterEach(() => api.close());

async function call(method: string, path: string, body?: unknown): Promise<{ status: number; body: Json }> {
  const response = await fetch(api.url + path, {
    method,
    ...(body !== undefined && {
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    }),
  });
  return { status: response.status, body: (await response.json()) as Json };
}
const get = (path: string): ReturnType<typeof call> => call('GET', path);
const post = (path: string, body?: unknown): ReturnType<typeof call> => call('POST', path, body);
const submit = async (executionId: string, more: object = {}): Promise<void> => {
  const { status } = await post('/orchestrator/execute', { ...EXECUTE_EXAMPLE, executionId, ...more });
  expect(status).toBe(202);
};
const ids = ({ body }: { body: Json }): unknown[] =>
  (body['items'] as { executionId: string }[]).map(({ executionId }) => executionId);

describe('executions', () => {
  it('lists with filters and pages', async () => {
    await submit('a', { labels: { team: 'x', stage: 'p' } });
    await submit('b', { labels: { team: 'x' }, priority: 'low' });
    await submit('c', { flowId: 'other' });
    await runTo(api.store, 'c', 'failed');
    const list = async (query: string): Promise<unknown[]> =>
      ids(await get(`/orchestrator/executions?${query}`)).toSorted();
    expect(await list('state=queued,failed')).toEqual(['a', 'b', 'c']);
    expect(await list('state=queued&state=running')).toEqual(['a', 'b']);
    expect(await list('label=team:x&label=stage:p')).toEqual(['a']);
    expect(await list('priority=low')).toEqual(['b']);
    expect(await list('flowId=other&worker=worker-1')).toEqual(['c']);
    expect(await list('createdBefore=2020-01-01T00:00:00Z')).toEqual([]);
    const first = await get('/orchestrator/executions?limit=2');
    const second = await get(`/orchestrator/executions?limit=2&cursor=${String(first.body['nextCursor'])}`);
    expect([...ids(first), ...ids(second)].toSorted()).toEqual(['a', 'b', 'c']);
    expect(second.body['nextCursor']).toBeNull();
  });

  it.each([
    ['cursor=nonsense', 'cursor'],
    ['limit=201', 'limit'],
    ['limit=many', 'limit'],
    ['state=waiting', 'state'],
    ['label=team', 'label'],
    ['flowId=%00', 'flowId'],
    ['createdAfter=yesterday', 'createdAfter'],
    ['colour=red', 'colour'],
  ])('refuses ?%s', async (query, parameter) => {
    const answer = await get(`/orchestrator/executions?${query}`);
    expect(answer).toMatchObject({ status: 400, body: { errors: [{ parameter }] } });
  });

  it('shows one with attempts and the reason why it waits', async () => {
    await submit('a');
    api.surroundings.classState = 'none';
    api.surroundings.knownNodeTypes = new Set(['log']);
    const { body } = await get('/orchestrator/executions/a');
    expect(body).toMatchObject({
      state: 'queued',
      attempts: [{ attempt: 1, outcome: 'queued', workerId: null }],
      waiting: { code: 'no_capable_worker', missingNodeTypes: ['delay'] },
    });
    await runTo(api.store, 'a', 'failed');
    expect((await get('/orchestrator/executions/a')).body).toMatchObject({
      state: 'failed',
      error: { code: 'node_failed' },
      attempts: [{ outcome: 'failed', workerId: 'worker-1' }],
      waiting: null,
    });
    expect(await get('/orchestrator/executions/none')).toMatchObject({ status: 404 });
    expect(await get('/orchestrator/executions/%00')).toMatchObject({ status: 404 });
  });

  it('cancels at once, through the worker, and never what has ended', async () => {
    await submit('a');
    expect(await post('/orchestrator/executions/a/cancel')).toMatchObject({
      status: 200,
      body: { status: 'cancelled' },
    });
    expect(await post('/orchestrator/executions/a/cancel', {})).toMatchObject({ status: 200 });
    await submit('b');
    await runTo(api.store, 'b', 'running');
    for (const reason of ['first', 'again']) {
      expect(await post('/orchestrator/executions/b/cancel', { reason })).toMatchObject({
        status: 202,
        body: { status: 'cancelling' },
      });
    }
    expect(api.surroundings.told[0]).toEqual({
      workerId: 'worker-1',
      executionId: 'b',
      attempt: 1,
      reason: 'first',
    });
    expect((await get('/orchestrator/executions/b')).body['waiting']).toMatchObject({
      code: 'cancel_requested',
    });
    await submit('c');
    await runTo(api.store, 'c', 'completed');
    expect(await post('/orchestrator/executions/c/cancel')).toMatchObject({ status: 409 });
    expect(await post('/orchestrator/executions/d/cancel')).toMatchObject({ status: 404 });
    expect(await post('/orchestrator/executions/c/cancel', { why: 1 })).toMatchObject({ status: 422 });
    expect(await post('/orchestrator/executions/c/cancel', [])).toMatchObject({ status: 422 });
    expect(await post('/orchestrator/executions/c/cancel', { constructor: {}, reason: 5 })).toMatchObject({
      status: 422,
    });
  });

  it('says that it cancels when the wish is on record, whether or not the worker could be told', async () => {
    await submit('a');
    await runTo(api.store, 'a', 'running');
    api.surroundings.untold = Object.assign(new Error('gone'), { name: 'BrokerAwayError' });
    expect(await post('/orchestrator/executions/a/cancel')).toMatchObject({
      status: 202,
      body: { executionId: 'a', status: 'cancelling' },
    });
    expect(api.surroundings.told).toHaveLength(1);
    expect((await api.store.get('a'))!.cancelRequestedAt).not.toBeNull();
  });

  it('tries again what failed, and only that', async () => {
    await submit('a');
    expect(await post('/orchestrator/executions/a/retry')).toMatchObject({ status: 409 });
    await runTo(api.store, 'a', 'failed');
    expect(await post('/orchestrator/executions/a/retry')).toMatchObject({
      status: 202,
      body: { status: 'queued' },
    });
    expect(api.surroundings.kicks).toBe(1);
    expect((await get('/orchestrator/executions/a')).body).toMatchObject({
      attempt: 2,
      attempts: [{}, { attempt: 2 }],
    });
    expect(await post('/orchestrator/executions/none/retry')).toMatchObject({ status: 404 });
  });
});

describe('dead letters', () => {
  const letter = {
    source: 'flow.results',
    exchange: 'flow.results',
    routingKey: 'results',
    reason: 'not JSON',
    messageType: null,
    executionId: null,
    headers: {},
    body: 'AA==',
  };

  it('lists and replays executions, one or many', async () => {
    for (const id of ['a', 'b', 'c']) {
      await submit(id, { labels: { batch: id === 'c' ? '2' : '1' } });
      await runTo(api.store, id, 'dead');
    }
    expect(ids(await get('/orchestrator/dead-letters')).length).toBe(3);
    expect(await post('/orchestrator/dead-letters/a/replay')).toMatchObject({
      status: 202,
      body: { kind: 'execution' },
    });
    expect(await post('/orchestrator/dead-letters/a/replay')).toMatchObject({ status: 409 });
    const none = await post('/orchestrator/dead-letters/replay', { errorCode: 'timeout' });
    expect(none).toMatchObject({ status: 200, body: { replayed: 0, more: false } });
    const some = await post('/orchestrator/dead-letters/replay', {
      label: 'batch:1',
      errorCode: 'node_failed',
      limit: 5,
    });
    expect(some.body).toEqual({ replayed: 1, executionIds: ['b'], more: false });
    expect(await post('/orchestrator/dead-letters/replay', { limit: 1001 })).toMatchObject({ status: 422 });
    expect(await post('/orchestrator/dead-letters/none/replay')).toMatchObject({ status: 404 });
  });

  it.each<[string, unknown]>([
    ['no body', undefined],
    ['an empty one', {}],
    ['a limit alone', { limit: 5 }],
    ['a list of no labels', { label: [] }],
    ['all, refused', { all: false }],
    ['all with a filter', { all: true, errorCode: 'node_failed' }],
  ])('replays nothing for %s', async (_, body) => {
    await submit('a');
    await runTo(api.store, 'a', 'dead');
    const answer = await post('/orchestrator/dead-letters/replay', body);
    expect(answer).toMatchObject({ status: 422, body: { errors: [{ pointer: '' }] } });
    expect(answer.body['detail']).toMatch(/expected at least one filter .* or "all": true/);
    expect((await api.store.get('a'))!.state).toBe('dead');
  });

  it('replays everything when told so', async () => {
    await submit('a');
    await runTo(api.store, 'a', 'dead');
    const answer = await post('/orchestrator/dead-letters/replay', { all: true });
    expect(answer.body).toEqual({ replayed: 1, executionIds: ['a'], more: false });
    expect(await post('/orchestrator/dead-letters/replay', { flowId: null })).toMatchObject({ status: 422 });
  });

  const messageIds = async (): Promise<string[]> =>
    (await api.store.listDeadLetters(10)).items.map(({ id }) => id);

  it('keeps a message until the broker has it', async () => {
    await api.store.addDeadLetters([letter]);
    const [id] = await messageIds();
    const away = Object.assign(new Error('gone'), { name: 'BrokerAwayError' });
    api.surroundings.republish = () => Promise.reject(away);
    expect((await post(`/orchestrator/dead-letters/${id}/replay`)).status).toBe(503);
    expect(await messageIds()).toEqual([id]);
    let during: string[] = [];
    api.surroundings.republish = async () => {
      during = await messageIds();
      return 'routed';
    };
    expect((await post(`/orchestrator/dead-letters/${id}/replay`)).status).toBe(202);
    expect([during, await messageIds()]).toEqual([[id], []]);
  });

  it('deletes messages, and only those', async () => {
    await api.store.addDeadLetters([letter, letter]);
    const [id, other] = await messageIds();
    const remove = async (name: string): Promise<{ status: number; text: string }> => {
      const response = await fetch(`${api.url}/orchestrator/dead-letters/${name}`, { method: 'DELETE' });
      return { status: response.status, text: await response.text() };
    };
    expect(await remove(id!)).toEqual({ status: 204, text: '' });
    expect((await remove(id!)).status).toBe(404);
    expect((await remove('%00')).status).toBe(404);
    expect(await messageIds()).toEqual([other]);
    for (const executionId of ['a', other!]) {
      await submit(executionId);
      await runTo(api.store, executionId, 'dead');
      const refused = await remove(executionId);
      expect(refused.status).toBe(409);
      expect(refused.text).toContain('executions are deleted by retention');
    }
    expect(await messageIds()).toEqual([other]);
    await api.store.replay([other!]);
    expect((await remove(other!)).status).toBe(204);
    expect((await remove(other!)).status).toBe(409);
  });

  it('lists and replays messages, and keeps those that nobody takes', async () => {
    await api.store.addDeadLetters([letter]);
    const page = await get('/orchestrator/dead-letters?kind=message');
    const [{ id }] = page.body['items'] as [{ id: string }];
    api.surroundings.republish = () => Promise.resolve('unroutable');
    expect(await post(`/orchestrator/dead-letters/${id}/replay`)).toMatchObject({ status: 409 });
    expect((await get('/orchestrator/dead-letters?kind=message')).body).toEqual(page.body);
    api.surroundings.republish = () => Promise.resolve('routed');
    expect(await post(`/orchestrator/dead-letters/${id}/replay`)).toMatchObject({
      status: 202,
      body: { kind: 'message' },
    });
    expect((await get('/orchestrator/dead-letters?kind=message')).body['items']).toEqual([]);
    expect(await get('/orchestrator/dead-letters?kind=others')).toMatchObject({ status: 400 });
  });
});

describe('operations', () => {
  it('answers about health in time, whatever hangs', async () => {
    expect((await get('/orchestrator/health')).body).toMatchObject({
      status: 'healthy',
      store: { dialect: 'sqlite' },
    });
    api.surroundings.queueHealth = () => new Promise(() => undefined);
    const begun = performance.now();
    expect(await get('/orchestrator/health')).toMatchObject({
      status: 200,
      body: { status: 'critical', broker: { state: 'away' }, queues: [] },
    });
    expect(performance.now() - begun).toBeLessThan(2_000);
  });

  it('counts what waits with the leader into the depth of its queue', async () => {
    const [ready, letters] = await api.surroundings.queueHealth();
    api.surroundings.queueHealth = () => Promise.resolve([{ ...ready!, depth: 2, inHand: 5 }, letters!]);
    expect((await get('/orchestrator/health')).body['queues']).toEqual([
      { name: 'flow.ready.high', depth: 7, consumers: 1, priority: 'high', watermark: 'normal' },
      { name: 'flow.dlq', depth: 0, consumers: 1, watermark: 'normal' },
    ]);
    const metrics = await (await fetch(`${api.url}/metrics`)).text();
    expect(metrics).toContain('flow_queue_depth_messages{queue="flow.ready.high"} 7');
  });

  it('is live always, and ready while broker and store are there', async () => {
    expect((await get('/health/ready')).status).toBe(200);
    api.surroundings.broker.isUp = false;
    api.surroundings.broker.lastError = 'ECONNREFUSED';
    expect(await get('/health/ready')).toMatchObject({
      status: 503,
      body: { detail: 'expected broker to be up, got away: ECONNREFUSED' },
    });
    expect(await get('/health/live')).toEqual({ status: 200, body: { status: 'ok' } });
    expect((await get('/orchestrator/health')).body).toMatchObject({ status: 'critical' });
  });

  it('says 503 with Retry-After while the store is away, and nothing about its insides', async () => {
    const away = Object.assign(new Error('connect ECONNREFUSED 10.0.0.5:5432'), {
      name: 'StoreUnavailableError',
    });
    api.store.get = () => Promise.reject(away);
    const response = await fetch(`${api.url}/orchestrator/executions/a`);
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '2']);
    expect(await response.text()).not.toContain('10.0.0.5');
    api.store.get = () => Promise.reject(new Error('secret'));
    const broken = await get('/orchestrator/executions/a');
    expect(broken).toMatchObject({ status: 500, body: { type: 'urn:flow-orchestrator:problem:internal' } });
    expect(JSON.stringify(broken.body)).not.toContain('secret');
  });

  it('shows and drains workers', async () => {
    expect((await get('/orchestrator/workers')).body).toMatchObject({ items: [{ workerId: 'worker-1' }] });
    expect(await get('/orchestrator/workers/worker-1')).toMatchObject({
      status: 200,
      body: { assignable: true },
    });
    expect(await get('/orchestrator/workers/none')).toMatchObject({ status: 404 });
    const drained = await post('/orchestrator/workers/worker-1/drain', { deadlineMs: 5 });
    expect(drained).toEqual({
      status: 202,
      body: { workerId: 'worker-1', status: 'draining', deadlineMs: 5 },
    });
    expect(await post('/orchestrator/workers/none/drain')).toMatchObject({ status: 404 });
    expect(await post('/orchestrator/workers/worker-1/drain', { deadlineMs: -1 })).toMatchObject({
      status: 422,
    });
  });

  it('counts requests by route, and has no id in any label', async () => {
    await submit('an-id-of-mine');
    await get('/orchestrator/executions/an-id-of-mine');
    await get('/no/such/route');
    api.surroundings.waitingKinds = [
      { requiredTypes: 'delay', count: 3 },
      { requiredTypes: 'log', count: 4 },
    ];
    const text = await (await fetch(`${api.url}/metrics`)).text();
    expect(text).toContain('flow_admission_waiting_executions 7');
    expect(text).toContain('route="/orchestrator/executions/:executionId",status_code="200"');
    expect(text).toContain('route="unknown",status_code="404"');
    expect(text).toContain('flow_executions_open{state="queued"} 1');
    expect(text).not.toContain('an-id-of-mine');
  });
});

describe('OpenAPI', () => {
  const document = async (): Promise<Document> => (await get('/docs-json')).body as unknown as Document;

  it('has every route, each with an id, one of two tags and a success', async () => {
    const { paths } = await document();
    const operations = Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({
        route: `${method.toUpperCase()} ${path}`,
        operation,
      })),
    );
    expect(operations.map(({ route }) => route).toSorted()).toEqual([
      'DELETE /orchestrator/dead-letters/{id}',
      'GET /health/live',
      'GET /health/ready',
      'GET /metrics',
      'GET /orchestrator/dead-letters',
      'GET /orchestrator/executions',
      'GET /orchestrator/executions/{executionId}',
      'GET /orchestrator/health',
      'GET /orchestrator/scaling',
      'GET /orchestrator/scaling/desired',
      'GET /orchestrator/workers',
      'GET /orchestrator/workers/{workerId}',
      'POST /orchestrator/dead-letters/replay',
      'POST /orchestrator/dead-letters/{id}/replay',
      'POST /orchestrator/execute',
      'POST /orchestrator/execute/batch',
      'POST /orchestrator/executions/{executionId}/cancel',
      'POST /orchestrator/executions/{executionId}/retry',
      'POST /orchestrator/scaling/manual',
      'POST /orchestrator/scaling/pause',
      'POST /orchestrator/scaling/resume',
      'POST /orchestrator/workers/{workerId}/drain',
      'PUT /orchestrator/scaling/bounds',
    ]);
    for (const { operation } of operations) {
      expect(operation.operationId).toMatch(/^[a-z][A-Za-z]+$/);
      expect(['executions', 'operations']).toContain(operation.tags[0]);
      expect(Object.keys(operation.responses).some((status) => status.startsWith('2'))).toBe(true);
    }
  });

  it('has valid schemas, and its examples and our answers keep to them', async () => {
    const { components, paths } = await document();
    const ajv = new Ajv2020({ strict: false, validateFormats: false });
    ajv.addSchema({ $id: 'api:', components, paths });
    const check = (name: string, value: unknown): void => {
      const validate = ajv.getSchema(`api:#/components/schemas/${name}`)!;
      validate(value);
      expect([name, validate.errors]).toEqual([name, null]);
    };
    Object.keys(components.schemas).forEach((name) =>
      expect(ajv.getSchema(`api:#/components/schemas/${name}`)).toBeInstanceOf(Function),
    );
    check('FlowExecution', EXECUTE_EXAMPLE);
    check('Batch', BATCH_EXAMPLE);
    for (const example of Object.values(REPLAY_EXAMPLES)) {
      check('BulkReplayRequest', example);
      expect((await post('/orchestrator/dead-letters/replay', example)).status).toBe(200);
    }
    for (const { status, example } of problemExamples(paths)) {
      check('Problem', example);
      expect([example.detail, String(example.status)]).toEqual([example.detail, status]);
    }
    await submit('a');
    check('Execution', (await get('/orchestrator/executions/a')).body);
    await runTo(api.store, 'a', 'completed');
    check('Execution', (await get('/orchestrator/executions/a')).body);
    check('ExecutionPage', (await get('/orchestrator/executions')).body);
    check('Health', (await get('/orchestrator/health')).body);
    check('WorkerList', (await get('/orchestrator/workers')).body);
    check('Problem', (await get('/nope')).body);
    check('BatchAnswer', (await post('/orchestrator/execute/batch', { items: [EXECUTE_EXAMPLE, 5] })).body);
  });

  it('fills in no parameter that may be left out: trying a list out shows everything', async () => {
    const filled = operationsOf((await document()).paths)
      .flatMap(({ parameters = [] }) => parameters)
      .filter(({ required }) => required !== true)
      .filter((parameter) =>
        [parameter, parameter.schema].some((part) =>
          ['example', 'examples', 'default'].some((key) => key in part),
        ),
      );
    expect(filled).toEqual([]);
  });

  it('has an example of its own for each problem of each route', async () => {
    const { paths } = await document();
    const problems = operationsOf(paths).flatMap(({ responses }) =>
      Object.keys(responses).filter((status) => Number(status) >= 400),
    );
    const shown = problemExamples(paths);
    expect(shown.length).toBeGreaterThanOrEqual(problems.length);
    expect(new Set(shown.map(({ status }) => status))).toEqual(new Set(problems));
  });

  it('has a page that needs nothing from elsewhere', async () => {
    const page = await (await fetch(`${api.url}/docs`)).text();
    const links = [...page.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link]) => link!);
    expect(links.length).toBe(4);
    for (const link of links) {
      const response = await fetch(api.url + link);
      expect([link, response.status]).toEqual([link, 200]);
      await response.arrayBuffer();
    }
    expect((await get('/docs/package.json')).status).toBe(404);
  });
});
