import { afterEach, describe, expect, it } from '@jest/globals';
import { delayFlow } from '../support/api-client.js';
import { expectInvariants, reportFault } from '../support/invariants.js';
import { System } from '../support/system.js';

const FLOW_ID = 'kill-the-api';
const BURST = 60;
const request = (executionId: string) => delayFlow(5, { flowId: FLOW_ID, executionId });

describe('kill -9 of the API process before the confirm', () => {
  let system: System;
  afterEach(() => system.stop());

  /** What the API answered, 0 if nothing. */
  const submit = (executionId: string): Promise<number> =>
    system.api.execute(request(executionId)).then(
      ({ status }) => status,
      () => 0,
    );

  /** The same requests again, whether they were answered or not: each is one execution, and no more. */
  const expectOneEach = async (ids: string[]): Promise<void> => {
    for (const id of ids) {
      await system.until(`${id} is accepted`, async () => (await submit(id)) === 202);
    }
    await expectInvariants(system, ids);
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

  it('while the broker confirms nothing: no 202 was given, and the same requests create one execution each', async () => {
    system = await System.start({ ownBroker: true, env: { PUBLISH_TIMEOUT_MS: '60000' } });
    const statuses = new Map<string, number>();
    const pending: Promise<unknown>[] = [];
    const raising = system.broker.ctl(['set_vm_memory_high_watermark', '0.00001']);
    // The broker blocks a connection when it publishes next: of ten publishes at once it reads the first one only.
    for (let round = 0; ![...statuses.values()].includes(503); round++) {
      for (let index = 0; index < 10; index++) {
        const id = `blocked-${round}-${index}`;
        pending.push(submit(id).then((status) => statuses.set(id, status)));
      }
      await new Promise((next) => setTimeout(next, 50));
    }
    await raising;
    await system.orchestrators[0]!.kill();
    await Promise.all(pending);
    const unanswered = [...statuses].filter(([, status]) => status === 0).map(([id]) => id);
    expect(unanswered.length).toBeGreaterThan(0);
    expect([...statuses.values()].every((status) => [0, 202, 503].includes(status))).toBe(true);
    await system.broker.ctl(['set_vm_memory_high_watermark', '0.8']);
    const killedAt = Date.now();
    await system.restartOrchestrator(0);
    const recoveryMs = Date.now() - killedAt;
    await system.startWorker('worker-1');
    await expectOneEach([...statuses.keys()]);
    reportFault('kill -9 the API while the broker confirms nothing', {
      executions: statuses.size,
      recoveryMs,
      note: `${unanswered.length} had no answer`,
    });
  });
});
