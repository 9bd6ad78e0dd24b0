import { afterEach, describe, expect, it } from '@jest/globals';
import { expectInvariants, Load, reportFault } from '../support/invariants.js';
import { delayFlow } from '../support/api-client.js';
import { System } from '../support/system.js';

describe('a rolling upgrade', () => {
  let system: System;
  afterEach(() => system.stop());

  it('SIGTERM to every process in turn under load: nothing fails, no attempt is counted, all exit 0', async () => {
    system = await System.start({
      store: 'postgres',
      orchestrators: 2,
      workers: ['worker-1', 'worker-2'],
      env: { LEASE_TTL_MS: '2000', LEASE_RENEW_INTERVAL_MS: '500' },
    });
    const load = new Load(system, 30, delayFlow(100, { retry: { maxAttempts: 1 } }));
    const stops: number[] = [];
    for (const id of ['worker-1', 'worker-2']) {
      const begun = Date.now();
      expect(await system.workers.get(id)!.stop()).toBe(0);
      stops.push(Date.now() - begun);
      await system.startWorker(id);
    }
    for (const index of [0, 1]) {
      const begun = Date.now();
      expect(await system.orchestrators[index]!.stop()).toBe(0);
      stops.push(Date.now() - begun);
      await system.restartOrchestrator(index);
    }
    const ids = await load.stop();
    const states = await expectInvariants(system, ids);
    expect(states).toEqual({ completed: ids.length });
    const ended = await Promise.all(ids.map(async (id) => (await system.liveApi.execution(id)).body));
    expect(ended.filter(({ attempt }) => attempt !== 1)).toEqual([]);
    reportFault('SIGTERM to every process in turn under load', {
      executions: ids.length,
      recoveryMs: Math.max(...stops),
      note: 'longest stop',
    });
  });
});
