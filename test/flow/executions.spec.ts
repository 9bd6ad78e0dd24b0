import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { PRIORITIES } from '../../src/queue/priority.js';
import { delayFlow, flow } from '../support/api-client.js';
import { System } from '../support/system.js';

describe.each(['sqlite', 'postgres'] as const)('executions with the record in %s', (store) => {
  let system: System;
  const slots = 5;
  beforeAll(async () => {
    system = await System.start({
      store,
      workers: ['worker-1', 'worker-2'],
      workerEnv: { WORKER_MAX_CONCURRENT_FLOWS: String(slots) },
    });
  });
  afterAll(() => system.stop());

  it('runs 1,000 over two workers and three priorities, each once, within the slots', async () => {
    const ids: string[] = [];
    for (let batch = 0; batch < 10; batch++) {
      const items = Array.from({ length: 100 }, (_, index) =>
        flow([{ id: 'double', type: 'data-transform', config: { expression: 'n * 2' } }], {
          executionId: `many-${batch * 100 + index}`,
          priority: PRIORITIES[index % 3],
          inputs: { n: batch * 100 + index },
        }),
      );
      const { status, body } = await system.api.post('/orchestrator/execute/batch', { items });
      expect(status).toBe(200);
      expect(body.items.every((item: { status: number }) => item.status === 202)).toBe(true);
      ids.push(...body.items.map((item: { executionId: string }) => item.executionId));
    }
    const workers = new Set<string>();
    for (const id of ids) {
      const execution = await system.api.untilEnded(id);
      expect(execution).toMatchObject({ state: 'completed', attempt: 1, error: null });
      expect(execution.result).toEqual({ double: Number(id.slice('many-'.length)) * 2 });
      workers.add(execution.workerId);
    }
    expect([...workers].toSorted()).toEqual(['worker-1', 'worker-2']);
    const { body } = await system.api.get('/orchestrator/workers');
    const completed = body.items.map(
      (worker: { performance: { tasksCompleted: number } }) => worker.performance.tasksCompleted,
    );
    expect(completed[0] + completed[1]).toBe(1_000);
    expect(
      body.items.every((worker: { heldExecutionIds: string[] }) => worker.heldExecutionIds.length === 0),
    ).toBe(true);
  });

  it('answers within the request when the client waits', async () => {
    const { status, body } = await system.api.execute(delayFlow(20), '?waitMs=20000');
    expect(status).toBe(200);
    expect(body).toMatchObject({ state: 'completed', attempt: 1, waiting: null });
    expect(body.timeline).toMatchObject([{ nodeId: 'wait', type: 'delay', state: 'completed', tries: 1 }]);
    for (const time of ['createdAt', 'queuedAt', 'assignedAt', 'startedAt', 'finishedAt']) {
      expect(new Date(body[time]).toISOString()).toBe(body[time]);
    }
  });

  it('takes the same request twice as one execution, and another body under its id as a conflict', async () => {
    const message = delayFlow(30, { executionId: 'twice', inputs: { b: 1, a: 2 } });
    const [first, second] = await Promise.all([system.api.execute(message), system.api.execute(message)]);
    expect([first.status, second.status]).toEqual([202, 202]);
    await system.api.untilState('twice', 'completed');
    const again = await system.api.execute({ ...message, inputs: { a: 2, b: 1 } }, '?waitMs=1000');
    expect(again.status).toBe(200);
    expect(again.body).toMatchObject({ executionId: 'twice', state: 'completed', attempt: 1 });
    const other = await system.api.execute({ ...message, inputs: { a: 3 } });
    expect(other.status).toBe(422);
    expect(other.body.errors[0].pointer).toBe('/executionId');
  });

  it('ends a flow that takes longer than its time-out as failed', async () => {
    const { body } = await system.api.execute(delayFlow(20_000, { timeoutMs: 100 }), '?waitMs=20000');
    expect(body).toMatchObject({ state: 'failed', attempt: 1, error: { code: 'timeout', retryable: false } });
    expect(body.error.message).toContain('100 ms');
  });

  it('holds an execution back for its delay', async () => {
    const id = await system.api.submit(delayFlow(1, { delayMs: 400 }));
    const waiting = (await system.api.execution(id)).body;
    expect(waiting).toMatchObject({ state: 'accepted', waiting: { code: 'delayed' } });
    const ended = await system.api.untilState(id, 'completed');
    expect(new Date(ended.startedAt).getTime() - new Date(ended.createdAt).getTime()).toBeGreaterThanOrEqual(
      400,
    );
  });

  it('cancels an execution that is still waiting when it expires', async () => {
    const id = await system.api.submit(
      delayFlow(1, { delayMs: 60_000, expiresAt: new Date(Date.now() + 300).toISOString() }),
    );
    const ended = await system.api.untilEnded(id);
    expect(ended).toMatchObject({ state: 'cancelled', error: { code: 'expired' } });
  });

  it('fails a flow with a bad node config and names node, field, expected and got', async () => {
    const { body } = await system.api.execute(
      flow([{ id: 'pause', type: 'delay', config: { ms: 'long' } }]),
      '?waitMs=20000',
    );
    expect(body).toMatchObject({
      state: 'failed',
      attempt: 1,
      error: { code: 'bad_config', nodeId: 'pause' },
    });
    expect(body.error.message).toMatch(/pause.*delay.*ms/);
  });

  it('lists executions by filter, page by page', async () => {
    const labels = { suite: `list-${store}` };
    const ids = await Promise.all(
      [1, 2, 3, 4, 5].map((n) =>
        system.api.submit(delayFlow(1, { executionId: `list-${store}-${n}`, labels })),
      ),
    );
    await Promise.all(ids.map((id) => system.api.untilState(id, 'completed')));
    const seen: string[] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const query = `state=completed&label=suite:list-${store}&limit=2${cursor && `&cursor=${encodeURIComponent(cursor)}`}`;
      const { body } = await system.api.get(`/orchestrator/executions?${query}`);
      expect(body.items.length).toBeLessThanOrEqual(2);
      seen.push(...body.items.map((item: { executionId: string }) => item.executionId));
      cursor = body.nextCursor;
    }
    expect(seen.toSorted()).toEqual(ids.toSorted());
  });

  it('runs a DAG of 2,000 nodes and a fan-in of 1,000', async () => {
    const layers = Array.from({ length: 20 }, (_, layer) =>
      Array.from({ length: 100 }, (_, index) => ({
        id: `n${layer}-${index}`,
        type: 'delay',
        config: { ms: 0 },
      })),
    );
    const wide = {
      nodes: layers.flat(),
      connections: layers
        .slice(1)
        .flatMap((nodes, layer) => nodes.map(({ id }, index) => ({ from: `n${layer}-${index}`, to: id }))),
    };
    const large = await system.api.execute(
      { flowId: 'large', flowData: { name: 'large', version: 1, ...wide }, inputs: { seed: 1 } },
      '?waitMs=30000',
    );
    expect(large.body.state).toBe('completed');
    expect(Object.keys(large.body.result)).toHaveLength(100);
    expect(large.body.timeline).toHaveLength(2_000);

    const sources = Array.from({ length: 1_000 }, (_, index) => ({
      id: `s${index}`,
      type: 'data-transform',
      config: { expression: String(index) },
    }));
    const sum = {
      id: 'sum',
      type: 'data-transform',
      config: { expression: '$sum($each($, function($v) { $v }))' },
    };
    const fanIn = await system.api.execute(
      flow([...sources, sum], { connections: sources.map(({ id }) => ({ from: id, to: 'sum' })) }),
      '?waitMs=30000',
    );
    expect(fanIn.body).toMatchObject({ state: 'completed', result: { sum: 499_500 } });
  });
});
