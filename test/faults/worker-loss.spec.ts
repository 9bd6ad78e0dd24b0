import { afterEach, describe, expect, it } from '@jest/globals';
import { delayFlow } from '../support/api-client.js';
import { expectInvariants, reportFault } from '../support/invariants.js';
import { System } from '../support/system.js';

/** From then on a queue without a consumer is a lost worker, not a new one. */
async function untilNoNewcomer(system: System, workerId: string): Promise<void> {
  await system.until(`${workerId} is no newcomer`, async () => {
    const { body } = await system.api.get(`/orchestrator/workers/${workerId}`);
    return Date.now() - new Date(body.registeredAt).getTime() > 5_500;
  });
}

describe('a worker that is lost', () => {
  let system: System;
  afterEach(() => system.stop());

  it('by kill -9 mid-flow: its flows start elsewhere within half a second, under the next attempt', async () => {
    const capacity = 5;
    system = await System.start({
      store: 'postgres',
      workers: ['heir', 'doomed'],
      workerEnv: { WORKER_MAX_CONCURRENT_FLOWS: String(capacity) },
    });
    await untilNoNewcomer(system, 'doomed');
    const ids = await Promise.all(Array.from({ length: 8 }, () => system.api.submit(delayFlow(1_500))));
    await Promise.all(ids.map((id) => system.api.untilState(id, 'running')));
    const killedAt = Date.now();
    await system.workers.get('doomed')!.kill();
    await expectInvariants(system, ids);
    const ended = await Promise.all(ids.map(async (id) => (await system.api.execution(id)).body));
    const reruns = ended.filter(({ attempt }) => attempt === 2);
    expect(ended.filter(({ attempt }) => attempt > 2)).toEqual([]);
    expect(reruns.length).toBeGreaterThan(0);
    expect(reruns.length).toBeLessThanOrEqual(capacity);
    // The heir had slots for one of them at once; the others waited for its own flows to end.
    const restarts = reruns
      .map(({ assignedAt }) => new Date(assignedAt).getTime() - killedAt)
      .toSorted((a, b) => a - b);
    // Half a second where nothing else runs; a heartbeat would take far longer to tell.
    expect(restarts[0]).toBeLessThan(2_000);
    reportFault('kill -9 a worker mid-flow', { executions: ids.length, recoveryMs: restarts[0] });
  });

  it('by SIGSTOP beyond detection: its stale attempt is not recorded, and it rejoins', async () => {
    system = await System.start({
      store: 'postgres',
      workers: ['sleeper'],
      env: { HEARTBEAT_INTERVAL_MS: '300', DEAD_HEARTBEATS: '5' },
      workerEnv: { HEARTBEAT_INTERVAL_MS: '300' },
    });
    const id = await system.api.submit(delayFlow(2_500));
    await system.api.untilState(id, 'running');
    const sleeper = system.workers.get('sleeper')!;
    sleeper.signal('SIGSTOP');
    const stoppedAt = Date.now();
    await system.startWorker('heir');
    const rerun = await system.api.until(id, ({ attempt, state }) => attempt === 2 && state === 'running');
    expect(rerun.workerId).toBe('heir');
    const recoveryMs = new Date(rerun.assignedAt).getTime() - stoppedAt;
    sleeper.signal('SIGCONT');
    await system.untilAssignable('sleeper', sleeper);
    await expectInvariants(system, [id]);
    expect((await system.api.execution(id)).body).toMatchObject({
      state: 'completed',
      attempt: 2,
      workerId: 'heir',
    });
    const { body } = await system.api.execute(delayFlow(1), '?waitMs=5000');
    expect(body.state).toBe('completed');
    reportFault('SIGSTOP a worker past detection, SIGCONT', { executions: 1, recoveryMs });
  });
});
