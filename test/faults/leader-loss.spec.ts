import { afterEach, describe, expect, it } from '@jest/globals';
import { delayFlow } from '../support/api-client.js';
import { expectInvariants, Load, reportFault } from '../support/invariants.js';
import { System } from '../support/system.js';

const LEASE = { LEASE_TTL_MS: '2000', LEASE_RENEW_INTERVAL_MS: '500' };

describe('a leader that is lost', () => {
  let system: System;
  afterEach(() => system.stop());

  it('by kill -9 under load, again and again: another replica dispatches within 5 s', async () => {
    system = await System.start({
      store: 'postgres',
      orchestrators: 3,
      workers: ['worker-1', 'worker-2'],
      env: LEASE,
    });
    const load = new Load(system, 40);
    const recoveries: number[] = [];
    for (let round = 0; round < 10; round++) {
      const leader = await system.leaderIndex();
      await new Promise((next) => setTimeout(next, Math.random() * 300));
      const killedAt = Date.now();
      await system.orchestrators[leader]!.kill();
      await system.leaderIndex();
      // Before the load, which a slow machine may be behind with.
      const probe = await system.liveApi.execute(delayFlow(1, { priority: 'high' }), '?waitMs=10000');
      expect(probe.body.state).toBe('completed');
      recoveries.push(new Date(probe.body.assignedAt).getTime() - killedAt);
      await system.restartOrchestrator(leader);
    }
    const ids = await load.stop();
    expect(ids.length).toBeGreaterThan(100);
    await expectInvariants(system, ids);
    expect(Math.max(...recoveries)).toBeLessThan(5_000);
    reportFault('kill -9 the leader under load, 10 times', {
      executions: ids.length,
      recoveryMs: Math.max(...recoveries),
    });
  }, 240_000);

  it('by SIGSTOP beyond its lease: it steps down and dispatches nothing more', async () => {
    system = await System.start({
      store: 'postgres',
      orchestrators: 2,
      workers: ['worker-1', 'worker-2'],
      env: LEASE,
    });
    const load = new Load(system, 30);
    const leader = await system.leaderIndex();
    const { epoch } = (await system.apis[leader]!.get('/orchestrator/health')).body.leader;
    system.orchestrators[leader]!.signal('SIGSTOP');
    const stoppedAt = Date.now();
    const other = 1 - leader;
    await system.until('the other replica leads', async () => {
      const { body } = await system.apis[other]!.get('/orchestrator/health');
      return body.leader.isLeader && body.leader.epoch > epoch;
    });
    const recoveryMs = Date.now() - stoppedAt;
    system.orchestrators[leader]!.signal('SIGCONT');
    await system.until('the old leader follows', async () => {
      const { body } = await system.apis[leader]!.get('/orchestrator/health');
      return body.leader.isLeader === false && body.leader.epoch > epoch;
    });
    const ids = await load.stop();
    await expectInvariants(system, ids);
    reportFault('SIGSTOP the leader past its lease, SIGCONT', { executions: ids.length, recoveryMs });
  });
});
