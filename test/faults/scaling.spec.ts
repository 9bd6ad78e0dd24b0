import { afterEach, describe, expect, it } from '@jest/globals';
import { type ApiClient, delayFlow } from '../support/api-client.js';
import { expectInvariants, Load, reportFault } from '../support/invariants.js';
import { System } from '../support/system.js';

const QUICK = {
  WORKER_DRIVER: 'process',
  MIN_WORKERS: '2',
  MAX_WORKERS: '5',
  SCALING_INTERVAL_MS: '200',
  SCALING_COOLDOWN_MS: '1000',
  SCALE_DOWN_STABILIZATION_MS: '2000',
  SCALING_DRAIN_TARGET_MS: '2000',
  WORKER_MAX_CONCURRENT_FLOWS: '5',
  LEASE_TTL_MS: '2000',
  LEASE_RENEW_INTERVAL_MS: '500',
};
const UNTIL = 'until the pool has its size';
const ONCE = { retry: { maxAttempts: 1 } };

/**
 * What a killed leader had put on record and not sent yet counts as an attempt, and these flows have but one. No other
 * may be dead, and never more than there are slots.
 */
async function expectNeverSent(system: System): Promise<void> {
  const { body } = await system.liveApi.get('/orchestrator/executions?state=dead&limit=100');
  const slots = Number(QUICK.MAX_WORKERS) * Number(QUICK.WORKER_MAX_CONCURRENT_FLOWS);
  expect(body.items.length).toBeLessThanOrEqual(slots);
  for (const { error, startedAt } of body.items) {
    expect({ message: error.message, startedAt }).toEqual({
      message: expect.stringContaining('the task never arrived'),
      startedAt: null,
    });
  }
}

async function scalingOf(api: ApiClient) {
  return (await api.get('/orchestrator/scaling')).body.classes[0];
}

async function untilSize(system: System, size: number): Promise<void> {
  await system.until(`the leader has ${size} workers, and no others`, async () => {
    const { desired, workers } = await scalingOf(await system.leaderApi());
    return desired === size && workers.ready === size && workers.draining === 0 && workers.starting === 0;
  });
}

async function readyWorkers(system: System): Promise<{ workerId: string; registeredAt: string }[]> {
  const { body } = await system.api.get('/orchestrator/workers');
  return body.items.filter(({ lifecycle }: { lifecycle: string }) => lifecycle === 'ready');
}

const countOf = (text: string, pattern: RegExp): number => [...text.matchAll(pattern)].length;

describe('a pool that is kept at its size', () => {
  let system: System;
  afterEach(() => system.stop());

  it('is neither doubled nor forgotten when its leader is killed in the middle of growing', async () => {
    system = await System.start({ store: 'postgres', orchestrators: 2, env: QUICK });
    await untilSize(system, 2);
    const leader = await system.leaderIndex();
    const items = Array.from({ length: 500 }, () => delayFlow(150, ONCE));
    const ids: string[] = [];
    for (let round = 0; round < 2; round++) {
      const { body } = await system.apis[leader]!.post('/orchestrator/execute/batch', { items });
      ids.push(...body.items.map(({ executionId }: { executionId: string }) => executionId));
    }
    await system.until('workers are on their way up', async () => {
      const { desired, workers } = await scalingOf(system.apis[leader]!);
      return desired > 2 && workers.starting > 0;
    });
    await system.orchestrators[leader]!.kill();
    const killedAt = Date.now();
    let most = 0;
    const watching = setInterval(() => {
      most = Math.max(most, system.launchedWorkers().length);
    }, 50);
    try {
      await untilSize(system, 5);
      const recoveryMs = Date.now() - killedAt;
      await expectInvariants(system, ids, { states: ['completed', 'dead'] });
      await expectNeverSent(system);
      await untilSize(system, 2);
      await system.until('two processes are left', async () => system.launchedWorkers().length === 2);
      expect(most).toBe(5);
      reportFault('kill -9 the leader while the pool grows', {
        executions: ids.length,
        recoveryMs,
        note: UNTIL,
      });
    } finally {
      clearInterval(watching);
    }
  });

  it('loses no attempt when its leader is replaced: the workers drain, and the next leader starts its own', async () => {
    system = await System.start({ store: 'postgres', orchestrators: 2, env: QUICK });
    await untilSize(system, 2);
    const before = system.launchedWorkers().map(({ workerId }) => workerId);
    const load = new Load(system, 20, delayFlow(150, ONCE));
    await system.until('work is done', async () => load.accepted.length > 20);
    const leader = await system.leaderIndex();
    const stoppedAt = Date.now();
    expect(await system.orchestrators[leader]!.stop()).toBe(0);
    await untilSize(system, 2);
    const recoveryMs = Date.now() - stoppedAt;
    await system.restartOrchestrator(leader);
    const ids = await load.stop();
    expect(await expectInvariants(system, ids)).toEqual({ completed: ids.length });
    const after = system.launchedWorkers().map(({ workerId }) => workerId);
    expect(after.filter((workerId) => before.includes(workerId))).toEqual([]);
    reportFault('SIGTERM to the leader that runs the workers', {
      executions: ids.length,
      recoveryMs,
      note: UNTIL,
    });
  });

  it('ends with its only orchestrator, which first takes what the workers still report', async () => {
    system = await System.start({ env: QUICK });
    await untilSize(system, 2);
    const id = await system.api.submit(delayFlow(1_500, ONCE));
    const { workerId } = await system.api.untilState(id, 'running');
    expect(await system.orchestrators[0]!.stop()).toBe(0);
    expect(system.launchedWorkers()).toEqual([]);
    await system.restartOrchestrator(0, { WORKER_DRIVER: 'none' });
    expect((await system.api.execution(id)).body).toMatchObject({ state: 'completed', attempt: 1, workerId });
  });

  it('replaces workers that are killed under load, without a change of size and whatever the cooldown', async () => {
    const slow = { SCALING_INTERVAL_MS: '10000', SCALING_COOLDOWN_MS: '600000', MAX_WORKERS: '2' };
    system = await System.start({ env: { ...QUICK, ...slow } });
    await system.until('two workers take tasks', async () => (await readyWorkers(system)).length === 2);
    const load = new Load(system, 15, delayFlow(60));
    // One that ends sooner would count as a worker that cannot start.
    await system.until('they are no newcomers any more', async () =>
      (await readyWorkers(system)).every(
        ({ registeredAt }) => Date.now() - Date.parse(registeredAt) > 10_500,
      ),
    );
    const repairs: number[] = [];
    for (const { workerId, pid } of system.launchedWorkers()) {
      process.kill(pid, 'SIGKILL');
      const killedAt = Date.now();
      await system.until('another one has taken its place', async () => {
        const ready = await readyWorkers(system);
        return ready.length === 2 && ready.every((worker) => worker.workerId !== workerId);
      });
      repairs.push(Date.now() - killedAt);
    }
    const ids = await load.stop();
    await expectInvariants(system, ids);
    expect(Math.max(...repairs)).toBeLessThan(9_000);
    const { decisions } = await scalingOf(system.api);
    expect(decisions.filter(({ action }: { action: string }) => action !== 'none')).toMatchObject([
      { from: 0, to: 2 },
    ]);
    reportFault('kill -9 of each launched worker under load', {
      executions: ids.length,
      recoveryMs: Math.max(...repairs),
      note: UNTIL,
    });
  });

  it('does not spin when its workers end at their start: it backs off, and says so', async () => {
    const command = [process.execPath, '-e', 'process.exit(3)'].join(',');
    system = await System.start({ env: { ...QUICK, WORKER_COMMAND: command } });
    await system.until('it backs off', async () => (await scalingOf(system.api)).backOff !== null);
    const launches = (): number =>
      countOf(system.orchestrators[0]!.output, /worker default-\w+ ended with 3/g);
    const { backOff } = await scalingOf(system.api);
    const leftMs = Date.parse(backOff.until) - Date.now();
    expect(leftMs).toBeGreaterThan(7_000);
    expect(leftMs).toBeLessThanOrEqual(10_000);
    const { body } = await system.api.get('/orchestrator/health');
    expect(body.reasons.join()).toContain('workers of the class default end at their start');
    await system.until(
      'a good part of it is over',
      async () => Date.now() > Date.parse(backOff.until) - 4_000,
    );
    expect(launches()).toBe(2);
    await system.until('it tries again', async () => launches() > 2);
    await system.until(
      'it backs off for longer',
      async () => (await scalingOf(system.api)).backOff?.crashes === 2,
    );
    const second = (await scalingOf(system.api)).backOff;
    expect(Date.parse(second.until) - Date.now()).toBeGreaterThan(15_000);
  });
});
