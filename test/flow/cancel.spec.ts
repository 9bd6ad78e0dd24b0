import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { flakyServer, type FlakyServer } from '../support/flaky-server.js';
import { delayFlow, flow } from '../support/api-client.js';
import { System } from '../support/system.js';

describe('cancel', () => {
  let system: System;
  let server: FlakyServer;
  beforeAll(async () => {
    server = await flakyServer();
    system = await System.start({
      workers: ['only'],
      env: { RETRY_TIERS_MS: '30000' },
      workerEnv: { WORKER_MAX_CONCURRENT_FLOWS: '1', HTTP_ALLOW_HOSTS: '127.0.0.1' },
    });
  });
  afterAll(async () => {
    await system.stop();
    await server.close();
  });

  const cancel = (id: string) => system.api.post(`/orchestrator/executions/${id}/cancel`);

  it('ends an accepted one (its delay is running) at once', async () => {
    const id = await system.api.submit(delayFlow(1, { delayMs: 60_000 }));
    const { status, body } = await cancel(id);
    expect({ status, body }).toMatchObject({ status: 200, body: { executionId: id, status: 'cancelled' } });
    expect((await system.api.execution(id)).body).toMatchObject({ state: 'cancelled', startedAt: null });
  });

  it('ends a queued one at once, and it never runs', async () => {
    const blocker = await system.api.submit(delayFlow(700));
    const id = await system.api.submit(delayFlow(1));
    const queued = await system.api.untilState(id, 'queued');
    expect(queued.waiting).toMatchObject({ code: 'pool_full' });
    expect((await cancel(id)).status).toBe(200);
    await system.api.untilState(blocker, 'completed');
    // The slot is free now, and this one passes through it: had the cancelled one been run, it would have come first.
    await system.api.untilState(await system.api.submit(delayFlow(1)), 'completed');
    expect((await system.api.execution(id)).body).toMatchObject({
      state: 'cancelled',
      startedAt: null,
      workerId: null,
    });
  });

  it('aborts a running one on its worker and frees the slot', async () => {
    const id = await system.api.submit(delayFlow(60_000));
    await system.api.untilState(id, 'running');
    const { status, body } = await cancel(id);
    expect({ status, state: body.status }).toEqual({ status: 202, state: 'cancelling' });
    const ended = await system.api.untilEnded(id);
    expect(ended).toMatchObject({ state: 'cancelled', workerId: 'only' });
    expect((await system.api.execute(delayFlow(1), '?waitMs=10000')).body.state).toBe('completed');
  });

  it('ends an assigned one that its worker has not started', async () => {
    const worker = system.workers.get('only')!;
    worker.signal('SIGSTOP');
    const id = await system.api.submit(delayFlow(1));
    try {
      await system.api.untilState(id, 'assigned');
      expect((await cancel(id)).status).toBe(202);
    } finally {
      worker.signal('SIGCONT');
    }
    // The task was delivered before the cancel, so it may have begun by the time the worker reads on.
    const ended = await system.api.untilEnded(id);
    expect(['cancelled', 'completed']).toContain(ended.state);
    expect(ended.cancelRequestedAt).not.toBeNull();
  });

  it('ends one that waits for its next attempt', async () => {
    server.answer('/retrying', 500);
    const id = await system.api.submit(
      flow([{ id: 'call', type: 'http-request', config: { method: 'GET', url: server.url('/retrying') } }]),
    );
    const retrying = await system.api.untilState(id, 'retrying');
    expect(retrying.waiting).toMatchObject({ code: 'backing_off' });
    expect((await cancel(id)).status).toBe(200);
    expect((await system.api.execution(id)).body).toMatchObject({ state: 'cancelled' });
    expect(server.calls('/retrying')).toBe(1);
  });

  it('is idempotent, refuses one that ended otherwise, and does not know an unknown id', async () => {
    const id = await system.api.submit(delayFlow(1, { delayMs: 60_000 }));
    await cancel(id);
    expect((await cancel(id)).status).toBe(200);
    const { body } = await system.api.execute(delayFlow(1), '?waitMs=10000');
    expect((await cancel(body.executionId)).status).toBe(409);
    expect((await cancel('no-such-execution')).status).toBe(404);
  });
});
