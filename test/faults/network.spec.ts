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

  const expectOneAttemptEach = async (ids: string[]): Promise<void> => {
    const ended = await Promise.all(ids.map(async (id) => (await system.api.execution(id)).body));
    expect(ended.filter(({ attempt }) => attempt !== 1)).toEqual([]);
  };

  it('is cut right after a publish, before its confirm: published again, run and recorded once', async () => {
    await startOrchestrator();
    // Without a worker the task goes to the ready queue …
    const waiting = { executionId: 'cut-after-ready', ...delayFlow(10) };
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

  it.each([
    ['the worker', () => toWorker],
    ['the orchestrator', () => toOrchestrator],
  ])('takes 2 s in each direction for %s: no worker is lost, no attempt counted', async (whose, slow) => {
    await startOrchestrator();
    await system.startWorker('worker-1', workerEnv());
    const load = new Load(system, 5, delayFlow(500));
    await system.until('load flows', async () => load.accepted.length > 5);
    slow().latencyMs = 2_000;
    const slowedAt = Date.now();
    await system.until(
      'flows have ended under latency',
      async () => {
        const { body } = await system.api.get('/orchestrator/executions?state=completed&limit=1');
        return new Date(body.items[0].createdAt).getTime() > slowedAt + 10_000;
      },
      undefined,
      60_000,
    );
    // One that starts under latency needs many round trips until it consumes.
    const second = system.launchWorker('worker-2', workerEnv());
    await system.until(
      'worker-2 runs flows',
      async () => {
        const { body } = await system.api.get('/orchestrator/workers/worker-2');
        return body.performance.tasksCompleted > 0;
      },
      second,
      90_000,
    );
    const ids = await load.stop();
    expect(await expectInvariants(system, ids)).toEqual({ completed: ids.length });
    await expectOneAttemptEach(ids);
    expect(system.orchestrators[0]!.output).not.toMatch(/recovering \d+ executions|suspect|stalled/);
    reportFault(`2 s of latency in each direction for ${whose}`, { executions: ids.length });
  });
});
