import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { flow } from '../support/api-client.js';
import { flakyServer, type FlakyServer } from '../support/flaky-server.js';
import { System } from '../support/system.js';

describe('retries and dead letters', () => {
  let system: System;
  let server: FlakyServer;
  const tiersMs = [200, 500];
  beforeAll(async () => {
    server = await flakyServer();
    system = await System.start({
      workers: ['worker-1', 'worker-2'],
      env: { RETRY_TIERS_MS: tiersMs.join(','), RETRY_MAX_ATTEMPTS: '3' },
      workerEnv: { HTTP_ALLOW_HOSTS: '127.0.0.1' },
    });
  });
  afterAll(async () => {
    await system.stop();
    await server.close();
  });

  const call = (path: string, rest = {}) =>
    flow(
      [{ id: 'call', type: 'http-request', config: { method: 'POST', url: server.url(path), body: {} } }],
      rest,
    );

  it('tries again after each tier, never early, and keeps the story of every attempt', async () => {
    server.answer('/third-time', 503, 503, 200);
    const id = await system.api.submit(call('/third-time'));
    const ended = await system.api.untilEnded(id);
    expect(ended).toMatchObject({ state: 'completed', attempt: 3, maxAttempts: 3 });
    expect(ended.attempts).toMatchObject([
      { attempt: 1, outcome: 'failed', error: { nodeId: 'call' } },
      { attempt: 2, outcome: 'failed', error: { nodeId: 'call' } },
      { attempt: 3, outcome: 'completed', error: null },
    ]);
    const [first, second, third] = server.times('/third-time') as [number, number, number];
    expect(second - first).toBeGreaterThanOrEqual(tiersMs[0]!);
    expect(third - second).toBeGreaterThanOrEqual(tiersMs[1]!);
    expect(third - second).toBeLessThan(tiersMs[1]! + 2_000);
  });

  it('gives the node the same idempotency key in every attempt', async () => {
    server.answer('/keyed', 500, 200);
    const id = await system.api.submit(call('/keyed'));
    await system.api.untilState(id, 'completed');
    expect(server.keys('/keyed')).toEqual([`${id}:call`, `${id}:call`]);
  });

  it("follows the execution's own retry policy", async () => {
    server.answer('/own-policy', 500, 500, 500, 500, 200);
    const retry = { maxAttempts: 5, backoff: { baseMs: 10, factor: 1 } };
    const { body } = await system.api.execute(call('/own-policy', { retry }), '?waitMs=20000');
    expect(body).toMatchObject({ state: 'completed', attempt: 5, maxAttempts: 5 });
  });

  it('does not try again what another attempt would not help', async () => {
    server.answer('/not-found', 404);
    const { body } = await system.api.execute(call('/not-found'), '?waitMs=20000');
    expect(body).toMatchObject({ state: 'failed', attempt: 1, error: { retryable: false, nodeId: 'call' } });
    expect(server.calls('/not-found')).toBe(1);
  });

  it('retries a node inside its attempt without using up attempts', async () => {
    server.answer('/node-retry', 500, 500, 200);
    const message = call('/node-retry');
    message.flowData.nodes[0]!.retry = { maxAttempts: 3, backoff: { baseMs: 5 } };
    const { body } = await system.api.execute(message, '?waitMs=20000');
    expect(body).toMatchObject({ state: 'completed', attempt: 1, timeline: [{ nodeId: 'call', tries: 3 }] });
  });

  it('is dead when its attempts are used up, is listed with the reason, and completes when replayed', async () => {
    server.answer('/dead', 500, 500, 200);
    const id = await system.api.submit(call('/dead', { retry: { maxAttempts: 2, backoff: { baseMs: 10 } } }));
    const dead = await system.api.untilEnded(id);
    expect(dead).toMatchObject({ state: 'dead', attempt: 2 });
    expect(dead.error.message).toContain('attempt 2 of 2');

    const letters = await system.api.get('/orchestrator/dead-letters');
    expect(letters.body.items).toMatchObject([{ executionId: id }]);

    const replay = await system.api.post(`/orchestrator/dead-letters/${id}/replay`);
    expect(replay.status).toBe(202);
    const ended = await system.api.untilState(id, 'completed');
    expect(ended).toMatchObject({ attempt: 3, maxAttempts: 4 });
    expect(ended.attempts.map((attempt: { outcome: string }) => attempt.outcome)).toEqual([
      'failed',
      'dead',
      'completed',
    ]);
    expect((await system.api.get('/orchestrator/dead-letters')).body.items).toEqual([]);
  });

  it('replays in bulk by filter', async () => {
    server.answer('/bulk', 500, 500, 500, 200);
    const once = { maxAttempts: 1 };
    const ids = await Promise.all(
      ['a', 'b', 'c'].map((name) =>
        system.api.submit(call('/bulk', { flowId: 'bulk', executionId: `bulk-${name}`, retry: once })),
      ),
    );
    await Promise.all(ids.map((id) => system.api.untilState(id, 'dead')));
    const { status, body } = await system.api.post('/orchestrator/dead-letters/replay', { flowId: 'bulk' });
    expect(status).toBeLessThan(300);
    expect(body.executionIds.toSorted()).toEqual(ids.toSorted());
    await Promise.all(ids.map((id) => system.api.untilState(id, 'completed')));
  });

  it('runs a failed execution again on request, under the same id, and no completed one', async () => {
    server.answer('/again', 404, 200);
    const { body } = await system.api.execute(call('/again'), '?waitMs=20000');
    expect(body.state).toBe('failed');
    expect((await system.api.post(`/orchestrator/executions/${body.executionId}/retry`)).status).toBe(202);
    expect(await system.api.untilState(body.executionId, 'completed')).toMatchObject({ attempt: 2 });
    expect((await system.api.post(`/orchestrator/executions/${body.executionId}/retry`)).status).toBe(409);
  });
});
