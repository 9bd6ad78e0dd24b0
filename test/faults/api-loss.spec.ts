import { afterEach, describe, expect, it } from '@jest/globals';
import { delayFlow } from '../support/api-client.js';
import { expectInvariants, reportFault } from '../support/invariants.js';
import { System } from '../support/system.js';
import { TcpProxy } from '../support/tcp-proxy.js';

const FLOW_ID = 'kill-the-api';
const BURST = 60;
const request = (executionId: string, maxAttempts = 3) =>
  delayFlow(5, { flowId: FLOW_ID, executionId, retry: { maxAttempts } });

describe('kill -9 of the API process before the confirm', () => {
  let system: System;
  let proxy: TcpProxy | undefined;
  afterEach(async () => {
    await system.stop();
    await proxy?.close();
    proxy = undefined;
  });

  /** What the API answered, 0 if nothing. */
  const submit = (executionId: string, maxAttempts?: number): Promise<number> =>
    system.api.execute(request(executionId, maxAttempts)).then(
      ({ status }) => status,
      () => 0,
    );

  /** The same requests again, whether they were answered or not: each is one execution, and no more. */
  const expectOneEach = async (ids: string[], maxAttempts?: number): Promise<void> => {
    for (const id of ids) {
      await system.until(`${id} is accepted`, async () => (await submit(id, maxAttempts)) === 202);
    }
    // Nobody can tell whether a single attempt that was on its way had begun.
    await expectInvariants(system, ids, {
      states: maxAttempts === 1 ? ['completed', 'dead'] : ['completed'],
    });
    const listed: string[] = [];
    for (let query: string | null = ''; query !== null;) {
      const { body } = await system.api.get(`/orchestrator/executions?flowId=${FLOW_ID}&limit=100${query}`);
      listed.push(...body.items.map(({ executionId }: { executionId: string }) => executionId));
      query = body.nextCursor === null ? null : `&cursor=${body.nextCursor}`;
    }
    expect(listed.toSorted()).toEqual(ids.toSorted());
  };

  it('at random moments under load: what had no answer and is sent again is one execution', async () => {
    system = await System.start({ workers: ['worker-1', 'worker-2'] });
    const ids: string[] = [];
    const unanswered: string[] = [];
    const restarts: number[] = [];
    for (let round = 1; round <= 5; round++) {
      const orchestrator = system.orchestrators[0]!;
      // From the very first request on its way to nearly all of them answered.
      const killAt = Math.floor(Math.random() * BURST);
      let answered = 0;
      const burst = Array.from({ length: BURST }, (_, index) => `r${round}-${index}`);
      ids.push(...burst);
      await Promise.all(
        burst.map(async (id) => {
          if (killAt === 0) {
            orchestrator.signal('SIGKILL');
          }
          if ((await submit(id)) === 0) {
            unanswered.push(id);
          } else if (++answered === killAt) {
            orchestrator.signal('SIGKILL');
          }
        }),
      );
      await orchestrator.exited;
      const killedAt = Date.now();
      await system.restartOrchestrator(0);
      restarts.push(Date.now() - killedAt);
    }
    expect(unanswered.length).toBeGreaterThan(0);
    await expectOneEach(ids);
    reportFault('kill -9 the API under load, 5 times, requests sent again', {
      executions: ids.length,
      recoveryMs: Math.max(...restarts),
      note: `${unanswered.length} had no answer`,
    });
  });

  // Five go straight to the worker; the others wait on record.
  it.each([
    [
      'of a single attempt that was on its way to a worker got no 202',
      1,
      [0, 0, 0, 0, 0, ...Array(5).fill(202)],
    ],
    ['with attempts left got its 202, and is completed', 3, Array(10).fill(202)],
  ])('while the broker confirms nothing: what is %s', async (_, maxAttempts, expected) => {
    system = await System.start({ orchestrators: 0 });
    proxy = await TcpProxy.start(system.amqpUrl);
    const env = { AMQP_URL: proxy.through(system.amqpUrl), PUBLISH_TIMEOUT_MS: '60000' };
    await system.startOrchestrator(env);
    await system.startWorker('worker-1', { WORKER_MAX_CONCURRENT_FLOWS: '5' });
    proxy.become('hole');
    const ids = Array.from({ length: 10 }, (_, index) => `unconfirmed-${index}`);
    const statuses = Promise.all(ids.map((id) => submit(id, maxAttempts)));
    await system.until('all are on record', async () => {
      const { body } = await system.api.get(`/orchestrator/executions?flowId=${FLOW_ID}&limit=100`);
      return body.items.length === ids.length;
    });
    if (maxAttempts > 1) {
      await statuses;
    }
    await system.orchestrators[0]!.kill();
    const killedAt = Date.now();
    expect((await statuses).toSorted()).toEqual(expected);
    proxy.become('pass');
    await system.restartOrchestrator(0, env);
    const recoveryMs = Date.now() - killedAt;
    await expectOneEach(ids, maxAttempts);
    reportFault('kill -9 the API while the broker confirms nothing', {
      executions: ids.length,
      recoveryMs,
      note: `${expected.filter((status) => status === 0).length} had no answer`,
    });
  });
});
