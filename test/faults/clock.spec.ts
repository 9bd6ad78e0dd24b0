import { pathToFileURL } from 'node:url';
import { afterEach, describe, expect, it } from '@jest/globals';
import { delayFlow, flow } from '../support/api-client.js';
import { flakyServer } from '../support/flaky-server.js';
import { expectInvariants, Load, reportFault } from '../support/invariants.js';
import { System, type SystemOptions } from '../support/system.js';

const HOUR_MS = 3_600_000;
const DELAY_MS = 4_000;
/** Later than due by more than this is late: far below an hour, and far above what a busy machine takes. */
const TOLERANCE_MS = 10_000;

const offBy = (ms: number): Record<string, string> => ({
  NODE_OPTIONS: `--import=${pathToFileURL('test/support/shift-clock.mjs').href}`,
  CLOCK_OFFSET_MS: String(ms),
});

interface Case {
  whose: string;
  options: SystemOptions;
  orchestrators: Record<string, string>[];
  worker: Record<string, string>;
}

const REPLICAS: SystemOptions = {
  store: 'postgres',
  env: { LEASE_TTL_MS: '2000', LEASE_RENEW_INTERVAL_MS: '500' },
};

const CASES: Case[] = [
  {
    whose: 'the leading of two replicas is an hour ahead',
    options: REPLICAS,
    orchestrators: [offBy(HOUR_MS), {}],
    worker: {},
  },
  {
    whose: 'the other of two replicas is an hour behind',
    options: REPLICAS,
    orchestrators: [{}, offBy(-HOUR_MS)],
    worker: {},
  },
  {
    whose: 'a worker is an hour ahead',
    options: { store: 'postgres' },
    orchestrators: [{}],
    worker: offBy(HOUR_MS),
  },
  {
    whose: 'the only orchestrator is an hour behind, with SQLite',
    options: {},
    orchestrators: [offBy(-HOUR_MS)],
    worker: {},
  },
];

describe('a clock that is wrong', () => {
  let system: System;
  let server: Awaited<ReturnType<typeof flakyServer>>;
  afterEach(async () => {
    await system.stop();
    await server.close();
  });

  it.each(CASES)(
    '$whose: nothing dies, nothing is early or late, the lease stays',
    async ({ whose, options, orchestrators, worker }) => {
      server = await flakyServer();
      server.answer('/retried', 500, 200);
      system = await System.start({ ...options, orchestrators: 0 });
      for (const env of orchestrators) {
        await system.startOrchestrator({ RETRY_TIERS_MS: '3000', ...env });
      }
      await system.startWorker('worker-1', { HTTP_ALLOW_HOSTS: '127.0.0.1', ...worker });
      const { epoch } = (await (await system.leaderApi()).get('/orchestrator/health')).body.leader;
      const load = new Load(system, 10);
      // Measured by the clock of this process, which is right.
      const ids: string[] = [];
      const lateness: number[] = [];
      for (const api of system.apis) {
        const askedAt = Date.now();
        const id = await api.submit(delayFlow(1, { delayMs: DELAY_MS }));
        await api.untilEnded(id);
        ids.push(id);
        lateness.push(Date.now() - askedAt - DELAY_MS);
      }
      const retried = await system.api.submit(
        flow([{ id: 'call', type: 'http-request', config: { url: server.url('/retried') } }]),
      );
      expect((await system.api.untilEnded(retried)).attempt).toBe(2);
      const [first, second] = server.times('/retried');
      lateness.push(second! - first! - 3_000);
      expect(Math.min(...lateness)).toBeGreaterThanOrEqual(0);
      expect(Math.max(...lateness)).toBeLessThan(TOLERANCE_MS);
      ids.push(retried, ...(await load.stop()));
      expect(await expectInvariants(system, ids)).toEqual({ completed: ids.length });
      const logs = system.orchestrators.map(({ output }) => output).join('');
      expect(logs).not.toMatch(/recovering \d+ executions|suspect/);
      const { leader } = (await (await system.leaderApi()).get('/orchestrator/health')).body;
      expect(leader.epoch).toBe(epoch);
      for (const id of ids) {
        const { body } = await system.api.execution(id);
        expect(body.startedAt >= body.createdAt && body.finishedAt >= body.startedAt).toBe(true);
      }
      reportFault(`clock: ${whose}`, {
        executions: ids.length,
        recoveryMs: Math.max(...lateness),
        note: 'latest start after it was due',
      });
    },
  );
});
