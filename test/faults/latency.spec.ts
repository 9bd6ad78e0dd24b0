import { afterEach, describe, expect, it } from '@jest/globals';
import { delayFlow } from '../support/api-client.js';
import { expectInvariants, Load, reportFault } from '../support/invariants.js';
import { System } from '../support/system.js';
import { TcpProxy } from '../support/tcp-proxy.js';

const LATENCY_MS = 2_000;
const TEST_LIMIT_MS = 300_000;

describe('a slow network', () => {
  let system: System;
  let slow: TcpProxy;

  afterEach(async () => {
    // What is still held back would only delay the graceful end.
    slow.latencyMs = 0;
    await system.stop();
    await slow.close();
  });

  const expectOneAttemptEach = async (ids: string[]): Promise<void> => {
    const ended = await Promise.all(ids.map(async (id) => (await system.api.execution(id)).body));
    expect(ended.filter(({ attempt }) => attempt !== 1)).toEqual([]);
  };

  it.each(['worker', 'orchestrator'] as const)(
    'of 2 s in each direction for the %s: no worker is lost, no attempt counted',
    async (whose) => {
      // The broker's own limit for a handshake, 10 s, is three such round trips less than it takes.
      system = await System.start({
        orchestrators: 0,
        ownBroker: { config: 'handshake_timeout = 30000\n' },
        // Each slot is taken for as long as task, result and confirm are on their way.
        workerEnv: { WORKER_MAX_CONCURRENT_FLOWS: '50' },
      });
      slow = await TcpProxy.start(system.amqpUrl);
      const slowUrl = { AMQP_URL: slow.through(system.amqpUrl) };
      await system.startOrchestrator(whose === 'orchestrator' ? slowUrl : {});
      await system.startWorker('worker-1', whose === 'worker' ? slowUrl : {});
      const load = new Load(system, 3, delayFlow(500));
      await system.until('load flows', async () => load.accepted.length > 5);
      slow.latencyMs = LATENCY_MS;
      await new Promise((next) => setTimeout(next, 5 * LATENCY_MS));
      const startedAt = Date.now();
      const slowest = await system.api.execute(delayFlow(1));
      await system.api.untilState(slowest.body.executionId, 'completed');
      const recoveryMs = Date.now() - startedAt;
      const ids = [...(await load.stop()), slowest.body.executionId];
      expect(await expectInvariants(system, ids)).toEqual({ completed: ids.length });
      await expectOneAttemptEach(ids);
      expect(system.orchestrators[0]!.output).not.toMatch(/recovering \d+ executions|never arrived/);
      reportFault(`2 s of latency in each direction for the ${whose}`, {
        executions: ids.length,
        recoveryMs,
        note: 'a flow under that latency, from its submission to its end',
      });
    },
    TEST_LIMIT_MS,
  );
});
