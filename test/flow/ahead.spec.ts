import { afterEach, describe, expect, it } from '@jest/globals';
import { delayFlow, flow } from '../support/api-client.js';
import { FakeWorker } from '../support/fake-worker.js';
import { expectInvariants } from '../support/invariants.js';
import { System } from '../support/system.js';

/** A worker with tasks that are over in a moment is given its next ones before it has slots for them. */
describe('tasks ahead', () => {
  let system: System;
  afterEach(() => system.stop());

  const quick = flow([{ id: 'log', type: 'log', config: { level: 'debug' } }]);
  const runQuick = async (count: number): Promise<string[]> => {
    const ids = await Promise.all(Array.from({ length: count }, () => system.api.submit(quick)));
    await Promise.all(ids.map((id) => system.api.untilState(id, 'completed')));
    return ids;
  };

  it('come free soon: a batch waits for its slots before it is on record, and is written with them', async () => {
    system = await System.start({ workers: ['first'], workerEnv: { WORKER_MAX_CONCURRENT_FLOWS: '2' } });
    const shown = await runQuick(300);
    const accepted = await system.api.post('/orchestrator/execute/batch', {
      items: Array.from({ length: 100 }, () => quick),
    });
    const ids: string[] = accepted.body.items.map((item: { executionId: string }) => item.executionId);
    const ended = await Promise.all(ids.map((id) => system.api.untilState(id, 'completed')));
    const written = ended.filter(({ queuedAt, assignedAt }) => queuedAt === assignedAt);
    // Twelve find a place at once: two slots, and five ahead of each.
    expect(written.length).toBeGreaterThan(12);
    await expectInvariants(system, [...shown, ...ids]);
  });

  it('come free for others at once when a request is repeated whose flow runs for long', async () => {
    system = await System.start({ workers: ['first'], workerEnv: { WORKER_MAX_CONCURRENT_FLOWS: '4' } });
    const shown = await runQuick(400);
    const long = { ...delayFlow(60_000), executionId: 'long' };
    await system.api.submit(long);
    await system.api.untilState('long', 'running');
    const sinceMs = performance.now();
    for (let times = 0; times < 5; times++) {
      const items = [long, delayFlow(1)];
      const { body } = await system.api.post('/orchestrator/execute/batch', { items });
      expect(body.items[0]).toMatchObject({ executionId: 'long', state: 'running' });
      shown.push(body.items[1].executionId);
    }
    // A second each if they waited for the slot of the one that runs.
    expect(performance.now() - sinceMs).toBeLessThan(2_500);
    await system.api.post('/orchestrator/executions/long/cancel');
    await expectInvariants(system, [...shown, 'long'], { states: ['completed', 'cancelled'] });
  });

  it('that a worker cannot begin come back from it uncounted, and run where a slot is free', async () => {
    system = await System.start({ workers: ['first'], workerEnv: { WORKER_MAX_CONCURRENT_FLOWS: '2' } });
    const shown = await runQuick(300);
    const long = await Promise.all([1, 2].map(() => system.api.submit(delayFlow(60_000))));
    await Promise.all(long.map((id) => system.api.untilState(id, 'running')));
    // Ten are sent to the worker, which is full; the last two wait in the queue.
    const items = Array.from({ length: 12 }, () => quick);
    const accepted = await system.api.post('/orchestrator/execute/batch', { items });
    const behind: string[] = accepted.body.items.map((item: { executionId: string }) => item.executionId);
    for (const id of behind) {
      await system.until('it waits for a slot', async () => {
        return (await system.api.execution(id)).body.waiting?.code === 'pool_full';
      });
    }
    await system.startWorker('second');
    const ended = await Promise.all(behind.map((id) => system.api.untilState(id, 'completed')));
    expect(ended.map(({ attempt, workerId }) => ({ attempt, workerId }))).toEqual(
      behind.map(() => ({ attempt: 1, workerId: 'second' })),
    );
    const outcomes = ended.map(({ attempts }) => attempts.map(({ outcome }: { outcome: string }) => outcome));
    const handedBack = outcomes.filter(([first]) => first === 'handed_back');
    expect(handedBack).toEqual(Array.from({ length: 10 }, () => ['handed_back', 'completed']));
    expect(outcomes.filter(([first]) => first === 'completed')).toEqual([['completed'], ['completed']]);
    expect((await system.api.execution(long[0]!)).body.state).toBe('running');
    await Promise.all(long.map((id) => system.api.post(`/orchestrator/executions/${id}/cancel`)));
    await Promise.all(long.map((id) => system.api.untilState(id, 'cancelled')));
    await expectInvariants(system, [...shown, ...long, ...behind], { states: ['completed', 'cancelled'] });
  });

  it('are none that would end with their worker: a flow of one attempt waits for a slot, and what comes after it', async () => {
    system = await System.start({ workers: ['first'], workerEnv: { WORKER_MAX_CONCURRENT_FLOWS: '2' } });
    const shown = await runQuick(300);
    const long = await Promise.all([1, 2].map(() => system.api.submit(delayFlow(2_000))));
    await Promise.all(long.map((id) => system.api.untilState(id, 'running')));
    const single = { ...quick, retry: { maxAttempts: 1 } };
    const behind = [await system.api.submit(single), await system.api.submit(quick)];
    const ended = await Promise.all([...long, ...behind].map((id) => system.api.untilEnded(id)));
    const outcomes = ended.map(({ attempts }) => attempts.map(({ outcome }: { outcome: string }) => outcome));
    expect(outcomes).toEqual(ended.map(() => ['completed']));
    await expectInvariants(system, [...shown, ...long, ...behind]);
  });

  it('that a worker hands back twice, since it missed a confirm, are not taken from it the second time', async () => {
    system = await System.start();
    const fake = await FakeWorker.join(system, 'fake', 2);
    const id = await system.api.submit(quick);
    const { workerId, incarnation } = fake;
    const handBack = (): Promise<void> => {
      const reports = [{ executionId: id, attempt: 1, kind: 'handed_back' }];
      const content = JSON.stringify({ workerId, incarnation, reports });
      return fake.publish('flow.results', 'results', { type: 'task.reports', messageId: 'once', content });
    };
    const first = await fake.nextTask();
    await handBack();
    fake.ack(first);
    const again = await fake.nextTask();
    await handBack();
    await fake.report({ executionId: id, attempt: 1, kind: 'completed', result: {} });
    fake.ack(again);
    const { attempt, attempts } = await system.api.untilEnded(id);
    expect({ attempt, outcomes: attempts.map(({ outcome }: { outcome: string }) => outcome) }).toEqual({
      attempt: 1,
      outcomes: ['handed_back', 'completed'],
    });
    await expectInvariants(system, [id]);
    await fake.close();
  });
});
