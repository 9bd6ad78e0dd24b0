import { afterEach, describe, expect, it } from '@jest/globals';
import { delayFlow, flow } from '../support/api-client.js';
import { System } from '../support/system.js';

describe('dispatch', () => {
  let system: System;
  afterEach(() => system.stop());

  it('starts high before normal before low, and within a priority the oldest first', async () => {
    system = await System.start({ workers: ['only'], workerEnv: { WORKER_MAX_CONCURRENT_FLOWS: '1' } });
    const blocker = await system.api.submit(delayFlow(1_500));
    await system.api.untilState(blocker, 'running');
    const order: string[] = [];
    for (const priority of ['low', 'normal', 'high', 'low', 'normal', 'high'] as const) {
      order.push(await system.api.submit(delayFlow(5, { priority })));
      await system.api.untilState(order.at(-1)!, 'queued');
    }
    const ended = await Promise.all(order.map((id) => system.api.untilState(id, 'completed')));
    const byStart = ended.toSorted((a, b) => a.assignedAt.localeCompare(b.assignedAt));
    expect(byStart.map(({ executionId }) => order.indexOf(executionId))).toEqual([2, 5, 1, 4, 0, 3]);
  });

  it('lets a flow that no worker can run wait, says why, blocks nobody, and runs it when a capable worker joins', async () => {
    system = await System.start({
      workers: ['plain'],
      workerEnv: { WORKER_NODE_TYPES: 'delay,log' },
      env: { DISPATCH_PREFETCH: '4' },
    });
    const picky = Array.from({ length: 12 }, (_, index) =>
      system.api.submit(
        flow([{ id: 't', type: 'data-transform', config: { expression: 'n + 1' } }], {
          executionId: `picky-${index}`,
          priority: 'high',
          inputs: { n: index },
        }),
      ),
    );
    const ids = await Promise.all(picky);
    const waiting = await system.api.until(
      ids[11]!,
      (execution) => execution.waiting?.code === 'no_capable_worker',
    );
    expect(waiting.waiting.message).toContain('data-transform');
    // Low priority, behind twelve that cannot run: it runs all the same.
    const low = await system.api.execute(delayFlow(1, { priority: 'low' }), '?waitMs=10000');
    expect(low.body.state).toBe('completed');

    await system.startWorker('able', { WORKER_NODE_TYPES: 'data-transform' });
    const ended = await Promise.all(ids.map((id) => system.api.untilState(id, 'completed')));
    expect(ended.every(({ workerId, attempt }) => workerId === 'able' && attempt === 1)).toBe(true);
  });

  it('does not let tasks for a full worker block those for a free one', async () => {
    system = await System.start({ env: { DISPATCH_PREFETCH: '4' } });
    await system.startWorker('slow', { WORKER_NODE_TYPES: 'delay', WORKER_MAX_CONCURRENT_FLOWS: '1' });
    await system.startWorker('quick', { WORKER_NODE_TYPES: 'data-transform' });
    const delays = await Promise.all(Array.from({ length: 10 }, () => system.api.submit(delayFlow(300))));
    const quick = await system.api.execute(
      flow([{ id: 't', type: 'data-transform', config: { expression: '1' } }]),
      '?waitMs=2000',
    );
    expect(quick.body.state).toBe('completed');
    const stillWaiting = await Promise.all(delays.map((id) => system.api.execution(id)));
    expect(stillWaiting.filter(({ body }) => body.waiting?.code === 'pool_full').length).toBeGreaterThan(0);
    await Promise.all(delays.map((id) => system.api.untilState(id, 'completed')));
  });

  it.each(['round_robin', 'weighted', 'least_busy'])('spreads work under %s', async (strategy) => {
    system = await System.start({ workers: ['a', 'b'], env: { LOAD_BALANCING_STRATEGY: strategy } });
    const ids = await Promise.all(Array.from({ length: 8 }, () => system.api.submit(delayFlow(400))));
    const ended = await Promise.all(ids.map((id) => system.api.untilState(id, 'completed')));
    const perWorker = ['a', 'b'].map((id) => ended.filter(({ workerId }) => workerId === id).length);
    expect(perWorker.toSorted()).toEqual([4, 4]);
  });

  it('refuses unknown node types at once where it is told to', async () => {
    system = await System.start({ workers: ['w'], env: { UNKNOWN_NODE_TYPES: 'reject' } });
    const { status, body } = await system.api.execute(flow([{ id: 'x', type: 'no-such-type' }]));
    expect(status).toBe(422);
    expect(body.errors[0]).toMatchObject({ pointer: '/flowData/nodes' });
    expect(body.errors[0].message).toContain('no-such-type');
  });
});
