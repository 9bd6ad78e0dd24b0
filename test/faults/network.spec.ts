import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { delayFlow } from '../support/api-client.js';
import { expectInvariants, Load, reportFault } from '../support/invariants.js';
import { System } from '../support/system.js';
import { TcpProxy } from '../support/tcp-proxy.js';

/** How soon a process notices that its connection is dead: two heartbeats. */
const HEARTBEAT = { AMQP_HEARTBEAT_S: '1' };

describe('the network between our processes and the broker', () => {
  let system: System;
  let toOrchestrator: TcpProxy;
  let toWorker: TcpProxy;

  /** One orchestrator and one worker, each behind a proxy of its own. */
  beforeEach(async () => {
    system = await System.start({ store: 'postgres', orchestrators: 0 });
    toOrchestrator = await TcpProxy.start(system.amqpUrl);
    toWorker = await TcpProxy.start(system.amqpUrl);
  });

  afterEach(async () => {
    // What is still held back would only delay the graceful end.
    [toOrchestrator, toWorker].forEach((proxy) => {
      proxy.latencyMs = 0;
      proxy.become('pass');
    });
    await system.stop();
    await Promise.all([toOrchestrator.close(), toWorker.close()]);
  });

  const startOrchestrator = (): Promise<unknown> =>
    system.startOrchestrator({ ...HEARTBEAT, AMQP_URL: toOrchestrator.through(system.amqpUrl) });
  const workerEnv = (): Record<string, string> => ({
    ...HEARTBEAT,
    AMQP_URL: toWorker.through(system.amqpUrl),
  });

  const untilAFlowRuns = async (since: number): Promise<number> => {
    await system.until(
      'a flow runs',
      async () => (await system.api.execute(delayFlow(1), '?waitMs=3000')).body.state === 'completed',
      undefined,
      60_000,
    );
    return Date.now() - since;
  };

  it('is cut right after a publish, before its confirm: published again, run and recorded once', async () => {
    await startOrchestrator();
    // What comes due goes to the ready queue …
    const waiting = { executionId: 'cut-after-ready', ...delayFlow(10, { delayMs: 200 }) };
    const cuts = [toOrchestrator.cutAfter(waiting.executionId)];
    const answered = system.api.submit(waiting);
    await cuts[0];
    const cutAt = Date.now();
    const ids = [await answered];
    await system.startWorker('worker-1', workerEnv());
    await system.api.untilEnded(ids[0]!);
    const recoveries = [Date.now() - cutAt];
    // … with one straight to the worker's; and the worker's result is a publish as well.
    for (const [name, proxy] of Object.entries({ assign: toOrchestrator, result: toWorker })) {
      const executionId = `cut-after-${name}`;
      await untilAFlowRuns(0);
      const cut = proxy.cutAfter(executionId);
      const submitted = system.api.submit({ executionId, ...delayFlow(200) });
      await cut;
      const begun = Date.now();
      ids.push(await submitted);
      await system.api.untilEnded(executionId);
      recoveries.push(Date.now() - begun);
    }
    expect(await expectInvariants(system, ids)).toEqual({ completed: 3 });
    reportFault('connection cut right after a publish (ready, assign, result)', {
      executions: ids.length,
      recoveryMs: Math.max(...recoveries),
      note: 'until the flow has ended',
    });
  });

  it.each([
    ['the orchestrator', () => [toOrchestrator]],
    ['the worker', () => [toWorker]],
    ['everybody', () => [toOrchestrator, toWorker]],
  ])('swallows everything of %s for some seconds: nothing is lost', async (whose, proxies) => {
    await startOrchestrator();
    await system.startWorker('worker-1', workerEnv());
    const load = new Load(system, 20, delayFlow(30, { retry: { maxAttempts: 10 } }));
    await system.until('load flows', async () => load.accepted.length > 10);
    proxies().forEach((proxy) => proxy.become('hole'));
    await new Promise((next) => setTimeout(next, 8_000));
    proxies().forEach((proxy) => proxy.become('pass'));
    const recoveryMs = await untilAFlowRuns(Date.now());
    expect(recoveryMs).toBeLessThan(15_000);
    const ids = await load.stop();
    expect(await expectInvariants(system, ids)).toEqual({ completed: ids.length });
    reportFault(`8 s black hole between ${whose} and the broker`, { executions: ids.length, recoveryMs });
  });

  it('is silent at the handshake: the start waits, and goes on when the broker answers', async () => {
    toOrchestrator.become('silent');
    const starting = startOrchestrator();
    await system.until('it has connected', async () => toOrchestrator.connections > 1);
    // Longer than the handshake may take: it gives up on these connections and makes others.
    await system.until('it tries again', async () => /ETIMEDOUT/.test(system.orchestrators[0]!.output));
    toOrchestrator.become('pass');
    const answersAt = Date.now();
    await starting;
    await system.startWorker('worker-1');
    const recoveryMs = await untilAFlowRuns(answersAt);
    await expectInvariants(system, [await system.api.submit(delayFlow(10))]);
    reportFault('broker silent at the handshake of a starting orchestrator', { executions: 1, recoveryMs });
  });
});
