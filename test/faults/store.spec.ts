import { afterEach, describe, expect, it } from '@jest/globals';
import { delayFlow } from '../support/api-client.js';
import { expectInvariants, Load, reportFault } from '../support/invariants.js';
import { System } from '../support/system.js';

describe('the record', () => {
  let system: System;
  afterEach(() => system.stop());

  it.each(['restarted', 'killed'] as const)(
    'in PostgreSQL, %s under load: nothing accepted is lost',
    async (how) => {
      system = await System.start({
        store: 'postgres',
        ownPostgres: true,
        workers: ['worker-1', 'worker-2'],
      });
      const load = new Load(system, 30);
      await system.until('load flows', async () => load.accepted.length > 30);
      const postgres = system.postgres!;
      if (how === 'killed') {
        await postgres.kill();
        await system.until(
          'submissions are refused',
          async () => (await system.api.execute(delayFlow(1))).status === 503,
        );
      }
      await postgres.restart();
      const restartedAt = Date.now();
      await system.until(
        'a flow runs',
        async () => (await system.api.execute(delayFlow(1), '?waitMs=3000')).body.state === 'completed',
      );
      const recoveryMs = Date.now() - restartedAt;
      const ids = await load.stop();
      const states = await expectInvariants(system, ids);
      expect(states).toEqual({ completed: ids.length });
      reportFault(`PostgreSQL ${how} under load`, { executions: ids.length, recoveryMs });
    },
  );

  it('in SQLite: a second process on the file is refused, and kill -9 during writes loses nothing', async () => {
    system = await System.start({ workers: ['worker-1', 'worker-2'] });
    const second = system.spawnOrchestrator();
    expect(await second.exited).toBe(1);
    expect(second.output).toContain('is in use by another process');
    const load = new Load(system, 50);
    await system.until('load flows', async () => load.accepted.length > 50);
    await system.orchestrators[0]!.kill();
    const killedAt = Date.now();
    await system.restartOrchestrator(0);
    const recoveryMs = Date.now() - killedAt;
    const ids = await load.stop();
    const states = await expectInvariants(system, ids);
    expect(states).toEqual({ completed: ids.length });
    reportFault('kill -9 the only orchestrator during writes to SQLite', {
      executions: ids.length,
      recoveryMs,
    });
  });
});
