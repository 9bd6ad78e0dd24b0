import { afterEach, describe, expect, it } from '@jest/globals';
import { delayFlow } from '../support/api-client.js';
import { expectInvariants, reportFault } from '../support/invariants.js';
import { System } from '../support/system.js';

const LEASE = { LEASE_TTL_MS: '2000', LEASE_RENEW_INTERVAL_MS: '500' };

describe('replicas', () => {
  let system: System;
  afterEach(() => system.stop());

  it('that get the same request at the same moment make one execution of it, and none is stuck', async () => {
    system = await System.start({ store: 'postgres', orchestrators: 2, workers: ['worker-1', 'worker-2'] });
    const ids: string[] = [];
    for (let round = 0; round < 15; round++) {
      const batch = Array.from({ length: 40 }, (_, index) => `doubled-${round}-${index}`);
      const answers = await Promise.all(
        batch.flatMap((executionId) => system.apis.map((api) => api.execute(delayFlow(1, { executionId })))),
      );
      expect(answers.filter(({ status }) => status !== 202)).toEqual([]);
      ids.push(...batch);
    }
    const beganAt = Date.now();
    const states = await expectInvariants(system, ids, { timeoutMs: 25_000 });
    expect(states).toEqual({ completed: ids.length });
    reportFault('the same request at two replicas at once', {
      executions: ids.length,
      recoveryMs: Date.now() - beganAt,
    });
  });

  it('that take over give out every slot, although the leader before them had them all taken', async () => {
    system = await System.start({
      store: 'postgres',
      orchestrators: 2,
      workers: ['worker-1'],
      env: LEASE,
      workerEnv: { WORKER_MAX_CONCURRENT_FLOWS: '2' },
    });
    const leader = await system.leaderIndex();
    const follower = system.apis[1 - leader]!;
    const long = await Promise.all([1, 2].map(() => system.apis[leader]!.submit(delayFlow(2_500))));
    await system.until('the other replica sees both slots taken', async () => {
      const { body } = await follower.get('/orchestrator/workers/worker-1');
      return body.assignable === false;
    });
    await system.orchestrators[leader]!.kill();
    const killedAt = Date.now();
    const more = await Promise.all([1, 2, 3, 4].map(() => follower.submit(delayFlow(1))));
    await expectInvariants(system, [...long, ...more], { timeoutMs: 30_000 });
    reportFault('the leader dies while every slot is taken', {
      executions: 6,
      recoveryMs: Date.now() - killedAt,
    });
  });

  it('of one, suspended for longer than its lease, goes on in a new term', async () => {
    system = await System.start({ workers: ['worker-1'], env: LEASE });
    const before = await system.api.submit(delayFlow(300));
    system.orchestrators[0]!.signal('SIGSTOP');
    await new Promise((next) => setTimeout(next, 4_000));
    system.orchestrators[0]!.signal('SIGCONT');
    const continuedAt = Date.now();
    const { body } = await system.api.execute(delayFlow(1), '?waitMs=15000');
    expect(body.state).toBe('completed');
    const recoveryMs = Date.now() - continuedAt;
    await expectInvariants(system, [before, body.executionId]);
    reportFault('the only orchestrator suspended past its lease', { executions: 2, recoveryMs });
  });

  it('give tasks to the other workers when the queue of one cannot be declared', async () => {
    system = await System.start({ orchestrators: 0 });
    const { connect } = await import('amqplib');
    const connection = await connect(system.amqpUrl);
    const channel = await connection.createChannel();
    await channel.assertQueue('flow.worker.odd', { durable: true });
    await connection.close();
    await system.startOrchestrator();
    system.launchWorker('odd');
    await system.startWorker('even');
    const { body } = await system.api.execute(delayFlow(1), '?waitMs=10000');
    expect(body).toMatchObject({ state: 'completed', workerId: 'even' });
    await expectInvariants(system, [body.executionId]);
  });
});
