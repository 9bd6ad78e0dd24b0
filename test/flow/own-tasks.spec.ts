import { afterEach, describe, expect, it } from '@jest/globals';
import { delayFlow } from '../support/api-client.js';
import { FakeWorker } from '../support/fake-worker.js';
import { expectInvariants } from '../support/invariants.js';
import { System } from '../support/system.js';

/** Tasks that wait with the leader, without a message on the broker. */
describe('a task that waits with the leader', () => {
  let system: System;
  let fake: FakeWorker | undefined;
  afterEach(async () => {
    await fake?.close();
    fake = undefined;
    await system.stop();
  });

  const ready = async (): Promise<{ depth: number; watermark: string }> => {
    const { body } = await system.api.get('/orchestrator/health');
    return body.queues.find(({ priority }: { priority?: string }) => priority === 'normal');
  };

  /** Messages in the ready queue, with those that are delivered and not acked. */
  const onBroker = async (): Promise<number> => {
    const text = await system.broker.ctl([
      'list_queues',
      '-q',
      '-p',
      system.vhost,
      'name',
      'messages',
      '--formatter',
      'json',
    ]);
    const queues = JSON.parse(text) as { name: string; messages: number }[];
    return queues.find(({ name }) => name === 'flow.ready.normal')!.messages;
  };

  /** Occupies every slot with flows that last until the test ends them. */
  const submit = (count: number): Promise<string[]> =>
    Promise.all(Array.from({ length: count }, () => system.api.submit(delayFlow(1))));

  const complete = async (worker: FakeWorker): Promise<string> => {
    const next = await worker.nextTask();
    const { executionId, attempt } = next.task;
    await worker.report({ executionId, attempt, kind: 'completed', result: { wait: 1 } });
    worker.ack(next);
    return executionId;
  };

  it('reaches its worker whole, also when more wait than the leader keeps the content of', async () => {
    system = await System.start();
    fake = await FakeWorker.join(system, 'fake', 1);
    // 5.6 Mi characters: of the later ones the content is on record alone.
    const pad = 'é'.repeat(196_608);
    const expected: Record<string, unknown> = {};
    for (let index = 0; index < 30; index++) {
      const request = { ...delayFlow(1), inputs: { index, pad } };
      expected[await system.api.submit(request)] = { flowData: request.flowData, inputs: request.inputs };
    }
    expect(await onBroker()).toBe(0);
    const received: Record<string, unknown> = {};
    for (let index = 0; index < 30; index++) {
      const next = await fake.nextTask();
      const { executionId, attempt, flowData, inputs } = next.task;
      received[executionId] = { flowData, inputs };
      await fake.report({ executionId, attempt, kind: 'completed', result: { wait: 1 } });
      fake.ack(next);
    }
    expect(received).toEqual(expected);
    await expectInvariants(system, Object.keys(expected));
  });

  it('has no message, counts in the depth and its watermark, knows how many go first, and keeps its place', async () => {
    system = await System.start({
      env: {
        RESCUE_AFTER_MS: '300',
        RESCUE_INTERVAL_MS: '50',
        QUEUE_LOW_WATER_MARK: '2',
        QUEUE_HIGH_WATER_MARK: '5',
      },
    });
    fake = await FakeWorker.join(system, 'fake', 1);
    const ids: string[] = [];
    for (let index = 0; index < 9; index++) {
      ids.push(...(await submit(1)));
    }
    await system.until('eight wait', async () => (await ready()).depth === 8);
    const last = (await system.api.execution(ids[8]!)).body;
    expect(last).toMatchObject({ state: 'queued', waiting: { code: 'pool_full', ahead: 7 } });
    expect((await ready()).watermark).toBe('high');
    expect((await system.api.get('/metrics')).body).toMatch(
      /flow_queue_depth_messages{queue="flow\.ready\.normal"} 8/,
    );
    // Several times as long as it would take the stager to publish them, were they not put off.
    await new Promise((next) => setTimeout(next, 1_200));
    expect(await onBroker()).toBe(0);
    const order: string[] = [];
    for (let index = 0; index < 9; index++) {
      order.push(await complete(fake));
    }
    expect(order).toEqual(ids);
    await expectInvariants(system, ids);
    await system.until('nothing shows in the depth', async () => (await ready()).depth === 0);
    expect((await ready()).watermark).toBe('normal');
  });

  it('is cancelled at once, does not hold up the next one, and can be retried', async () => {
    system = await System.start({ env: { RESCUE_AFTER_MS: '60000' } });
    fake = await FakeWorker.join(system, 'fake', 1);
    const [runs] = await submit(1);
    const cancelled = await submit(3);
    const [next] = await submit(1);
    for (const id of cancelled) {
      const { body } = await system.api.post(`/orchestrator/executions/${id}/cancel`);
      expect(body.status).toBe('cancelled');
    }
    // What still waits here is its first attempt; the second is published like any other.
    const retried = await system.api.post(`/orchestrator/executions/${cancelled[0]}/retry`);
    expect(retried.status).toBe(202);
    await system.until('its task is on the broker', async () => (await onBroker()) === 1);
    const order = [await complete(fake), await complete(fake), await complete(fake)];
    expect(order).toEqual([runs, next, cancelled[0]]);
    await expectInvariants(system, [runs!, next!, cancelled[0]!]);
    await expectInvariants(system, cancelled.slice(1), { states: ['cancelled'] });
    expect((await system.api.execution(cancelled[0]!)).body.attempt).toBe(2);
  });

  it('goes to the broker while older ones are hidden there, so that none overtakes them', async () => {
    system = await System.start({
      store: 'postgres',
      orchestrators: 2,
      env: { DISPATCH_PREFETCH: '2', RESCUE_AFTER_MS: '60000' },
    });
    fake = await FakeWorker.join(system, 'fake', 1);
    const leader = await system.leaderApi();
    const follower = system.apis.find((api) => api !== leader)!;
    const ids = [await leader.submit(delayFlow(1))];
    for (let index = 0; index < 8; index++) {
      ids.push(await follower.submit(delayFlow(1)));
    }
    await system.until('the window is full', async () => (await onBroker()) === 8);
    const order: string[] = [];
    for (let index = 0; index < 6; index++) {
      order.push(await complete(fake));
      // Just after the window was full: what was acked is being replaced by older ones from the broker.
      ids.push(await leader.submit(delayFlow(1)));
    }
    while (order.length < ids.length) {
      order.push(await complete(fake));
    }
    expect(order).toEqual(ids);
    await expectInvariants(system, ids);
  });
});

describe('tasks for one worker', () => {
  let system: System;
  let fake: FakeWorker | undefined;
  afterEach(async () => {
    await fake?.close();
    fake = undefined;
    await system.stop();
  });

  /** Lets forty tasks wait for a worker that has slots for all of them. */
  const given = async (takesBatches: boolean | undefined): Promise<string[]> => {
    system = await System.start();
    const ids = await Promise.all(Array.from({ length: 40 }, () => system.api.submit(delayFlow(1))));
    fake = await FakeWorker.join(system, 'fake', 64, takesBatches === undefined ? {} : { takesBatches });
    const tasks = [];
    for (let index = 0; index < ids.length; index++) {
      tasks.push(await fake.nextTask());
    }
    const reports = tasks.map(({ task: { executionId, attempt } }) => ({
      executionId,
      attempt,
      kind: 'completed' as const,
      result: { wait: 1 },
    }));
    await fake.report(...reports);
    tasks.forEach((task) => fake!.ack(task));
    return ids;
  };

  it('travel in few messages if it says that it takes batches', async () => {
    const ids = await given(true);
    expect(fake!.messages.length).toBeLessThan(20);
    expect(fake!.messages.some(({ type, tasks }) => type === 'flow.tasks' && tasks > 1)).toBe(true);
    expect(fake!.messages.reduce((sum, { tasks }) => sum + tasks, 0)).toBe(40);
    await expectInvariants(system, ids);
  });

  it.each([undefined, false])('travel one by one if it says %s', async (takesBatches) => {
    const ids = await given(takesBatches);
    expect(fake!.messages).toEqual(ids.map(() => ({ type: 'flow.task', tasks: 1 })));
    await expectInvariants(system, ids);
  });
});
