import { afterEach, describe, expect, it } from '@jest/globals';
import { delayFlow } from '../support/api-client.js';
import { type FakeTask, FakeWorker } from '../support/fake-worker.js';
import { expectInvariants, reportFault } from '../support/invariants.js';
import { System } from '../support/system.js';

const LEASE_TTL_MS = 2_000;
const LEASE = { LEASE_TTL_MS: String(LEASE_TTL_MS), LEASE_RENEW_INTERVAL_MS: '500' };
const WAITING = 300;

describe('tasks that wait with the leader, on record only', () => {
  let system: System;
  afterEach(() => system.stop());

  /** All of them wait with the leader: there is no worker. */
  const waitWithTheLeader = async (rescueAfterMs: number): Promise<{ leader: number; ids: string[] }> => {
    system = await System.start({
      store: 'postgres',
      orchestrators: 2,
      env: { ...LEASE, RESCUE_AFTER_MS: String(rescueAfterMs) },
    });
    const leader = await system.leaderIndex();
    const api = system.apis[leader]!;
    const ids = await Promise.all(Array.from({ length: WAITING }, () => api.submit(delayFlow(1))));
    // Depths are half a second old at most.
    await system.until('all of them show in the depth', async () => {
      const { body } = await api.get('/orchestrator/health');
      return (
        body.queues.find(({ priority }: { priority?: string }) => priority === 'normal').depth === WAITING
      );
    });
    return { leader, ids };
  };

  /** Every task ran once, under its first attempt. @returns how long after `sinceMs` the last one was assigned */
  const lastAssignment = async (ids: string[], sinceMs: number): Promise<number> => {
    await expectInvariants(system, ids);
    const ended = await Promise.all(ids.map(async (id) => (await system.liveApi.execution(id)).body));
    expect(ended.filter(({ attempt, attempts }) => attempt !== 1 || attempts.length !== 1)).toEqual([]);
    return Math.max(...ended.map(({ assignedAt }) => new Date(assignedAt).getTime())) - sinceMs;
  };

  /** `startWorker` asks the first orchestrator, which may be the one that is gone. */
  const joinWorker = async (): Promise<void> => {
    system.launchWorker('worker-1', { WORKER_MAX_CONCURRENT_FLOWS: '50' });
    await system.until('the worker takes tasks', async () => {
      const { body } = await system.liveApi.get('/orchestrator/workers/worker-1');
      return body.assignable === true;
    });
  };

  it('survive kill -9 of the leader: the next one has them within RESCUE_AFTER_MS and a lease', async () => {
    const rescueAfterMs = 3_000;
    const { leader, ids } = await waitWithTheLeader(rescueAfterMs);
    const killedAt = Date.now();
    await system.orchestrators[leader]!.kill();
    await joinWorker();
    const recoveryMs = await lastAssignment(ids, killedAt);
    // Five seconds for a worker to start and for so many flows to run on a busy machine.
    expect(recoveryMs).toBeLessThan(rescueAfterMs + LEASE_TTL_MS + 5_000);
    reportFault('kill -9 the leader while tasks wait with it', { executions: ids.length, recoveryMs });
  });

  it('are handed over at once when the leader is told to stop', async () => {
    const rescueAfterMs = 120_000;
    const { leader, ids } = await waitWithTheLeader(rescueAfterMs);
    const toldAt = Date.now();
    expect(await system.orchestrators[leader]!.stop()).toBe(0);
    await joinWorker();
    const recoveryMs = await lastAssignment(ids, toldAt);
    expect(recoveryMs).toBeLessThan(rescueAfterMs / 4);
    reportFault('SIGTERM the leader while tasks wait with it', { executions: ids.length, recoveryMs });
  });
});

describe('a worker that is lost with batches', () => {
  let system: System;
  let doomed: FakeWorker | undefined;
  afterEach(async () => {
    doomed?.die();
    await system.stop();
  });

  it('costs an attempt where the task may have started, and none in a batch that nobody took', async () => {
    system = await System.start();
    const touched = await Promise.all(Array.from({ length: 4 }, () => system.api.submit(delayFlow(1))));
    doomed = await FakeWorker.join(system, 'doomed', 8, { takesBatches: true, prefetch: 1 });
    const taken: FakeTask[] = [];
    while (taken.length < touched.length) {
      taken.push(await doomed.nextTask());
    }
    expect(doomed.messages).toEqual([{ type: 'flow.tasks', tasks: 4 }]);
    // Its prefetch is used up, so this batch stays in its queue.
    const { body } = await system.api.post('/orchestrator/execute/batch', {
      items: Array.from({ length: 4 }, () => delayFlow(1)),
    });
    const untouched: string[] = body.items.map(({ executionId }: { executionId: string }) => executionId);
    await Promise.all(untouched.map((id) => system.api.untilState(id, 'assigned')));
    // One of those it took it had done, and said so.
    const [done] = taken;
    const { executionId, attempt } = done!.task;
    await doomed.report({ executionId, attempt, kind: 'completed', result: { wait: 1 } });
    await system.api.untilState(executionId, 'completed');
    await system.until('it is no newcomer', async () => {
      const { registeredAt } = (await system.api.get('/orchestrator/workers/doomed')).body;
      return Date.now() - new Date(registeredAt).getTime() > 5_500;
    });
    const diedAt = Date.now();
    doomed.die();
    await system.startWorker('heir');
    const ids = [...touched, ...untouched];
    await expectInvariants(system, ids);
    const attempts = await Promise.all(ids.map(async (id) => (await system.api.execution(id)).body.attempt));
    const counted = touched.map((id) => (id === executionId ? 1 : 2));
    expect(attempts).toEqual([...counted, 1, 1, 1, 1]);
    expect(doomed.messages).toHaveLength(1);
    reportFault('kill -9 a worker that has a batch and one unread', {
      executions: ids.length,
      recoveryMs: Date.now() - diedAt,
    });
  });
});
