import { afterEach, describe, expect, it } from '@jest/globals';
import { delayFlow } from '../support/api-client.js';
import { FakeWorker } from '../support/fake-worker.js';
import { expectInvariants, reportFault } from '../support/invariants.js';
import { System } from '../support/system.js';

const RESULT = { wait: { by: 'the process that was killed' } };

describe("a worker that is killed between its result's confirm and its ack", () => {
  let system: System;
  let doomed: FakeWorker | undefined;
  afterEach(async () => {
    doomed?.die();
    await system.stop();
  });

  it.each([
    ['a worker of another name takes over', 'heir', false],
    ['a process of the same name takes over', 'doomed', false],
    ['a process of the same name takes over before the result is read', 'doomed', true],
  ])('leaves one record, unchanged: %s', async (how, heir, isUnread) => {
    system = await System.start({ store: 'postgres' });
    doomed = await FakeWorker.join(system, 'doomed');
    const id = await system.api.submit(delayFlow(1));
    const { task } = await doomed.nextTask();
    const orchestrator = system.orchestrators[0]!;
    if (isUnread) {
      orchestrator.signal('SIGSTOP');
    }
    await doomed.report({ executionId: id, attempt: task.attempt, kind: 'completed', result: RESULT });
    doomed.die();
    const diedAt = Date.now();
    const part = system.launchWorker(heir);
    if (isUnread) {
      // It finds the task in its queue, marked as redelivered, and reports what it cannot know as interrupted.
      await system.until('the heir takes tasks', async () => part.output.includes('takes tasks:'), part);
      orchestrator.signal('SIGCONT');
    }
    const first = await system.api.untilEnded(id);
    await system.untilAssignable(heir, part);
    await expectInvariants(system, [id]);
    const { body } = await system.api.execution(id);
    expect(body).toEqual(first);
    expect(body).toMatchObject({ state: 'completed', attempt: 1, workerId: 'doomed', result: RESULT });
    const { body: next } = await system.api.execute(delayFlow(1), '?waitMs=5000');
    expect(next).toMatchObject({ state: 'completed', workerId: heir });
    reportFault(`worker killed between result's confirm and ack: ${how}`, {
      executions: 1,
      recoveryMs: Date.now() - diedAt,
    });
  });
});
