import { afterEach, describe, expect, it } from '@jest/globals';
import { delayFlow } from '../support/api-client.js';
import { AmqpClient } from '../support/fake-worker.js';
import { expectInvariants, Load, reportFault } from '../support/invariants.js';
import { System } from '../support/system.js';

const BACK_WITHIN_MS = 5_000;

/** Queues with the consumers on each, by the broker's own count. */
async function consumers(system: System): Promise<Map<string, number>> {
  const listed = await system.broker.ctl([
    ...['list_queues', '-q', '-p', system.vhost, 'name', 'consumers', '--formatter', 'json'],
  ]);
  const queues = JSON.parse(listed) as { name: string; consumers: number }[];
  return new Map(queues.map(({ name, consumers: count }) => [name, count]));
}

describe('a fault of one channel, its connection alive', () => {
  let system: System;
  afterEach(() => system.stop());

  const runsAFlow = async (): Promise<boolean> =>
    (await system.api.execute(delayFlow(1), '?waitMs=2000')).body.state === 'completed';

  it('an operator deletes the queue of each consumer in turn: it is back within 5 s', async () => {
    system = await System.start({ workers: ['worker-1', 'worker-2'] });
    const load = new Load(system, 20);
    await system.until('load flows', async () => load.accepted.length > 10);
    const operator = await AmqpClient.open(system);
    const queues = [...(await consumers(system)).entries()].filter(([, count]) => count > 0);
    expect(queues.length).toBe(8);
    const recoveries = new Map<string, number>();
    for (const [queue] of queues) {
      // Looking with rabbitmqctl takes a good part of a second: a channel of our own asks at once.
      await operator.channel.deleteQueue(queue);
      const deletedAt = Date.now();
      await system.until(`${queue} is consumed again`, () => isConsumed(queue), undefined, 20_000);
      await system.until('a flow runs', runsAFlow);
      recoveries.set(queue, Date.now() - deletedAt);
    }
    await operator.close();
    const ids = await load.stop();
    await expectInvariants(system, ids, { timeoutMs: 90_000 });
    const slowest = [...recoveries].toSorted(([, a], [, b]) => b - a)[0]!;
    reportFault('the queue of each consumer deleted under it', {
      executions: ids.length,
      recoveryMs: slowest[1],
      note: slowest[0],
    });
    expect(Object.fromEntries([...recoveries].filter(([, ms]) => ms > BACK_WITHIN_MS))).toEqual({});
  });

  /** A channel each time: asking for a queue that is not there closes it. */
  async function isConsumed(queue: string): Promise<boolean> {
    const client = await AmqpClient.open(system);
    try {
      return (await client.channel.checkQueue(queue)).consumerCount > 0;
    } finally {
      await client.close();
    }
  }

  it('every channel makes a protocol error (406): consumers and publishers are back within 5 s', async () => {
    system = await System.start({ ownBroker: true, workers: ['worker-1', 'worker-2'] });
    const load = new Load(system, 20);
    await system.until('load flows', async () => load.accepted.length > 10);
    const before = await consumers(system);
    const connections = await system.broker.ctl(['list_connections', '-q', '--no-table-headers', 'pid']);
    // What the broker does on an ack of an unknown delivery tag, in the name of each client.
    await system.broker.ctl([
      'eval',
      "[rabbit_channel:do(C, {'basic.ack', 99999999, false}) || C <- rabbit_channel:list_local()].",
    ]);
    const brokenAt = Date.now();
    await system.until('a flow runs', runsAFlow);
    const recoveryMs = Date.now() - brokenAt;
    expect(recoveryMs).toBeLessThan(BACK_WITHIN_MS);
    await system.until(
      'every consumer is back',
      async () => {
        const after = await consumers(system);
        return [...before].every(([queue, count]) => after.get(queue) === count);
      },
      undefined,
      BACK_WITHIN_MS,
    );
    expect(await system.broker.ctl(['list_connections', '-q', '--no-table-headers', 'pid'])).toBe(
      connections,
    );
    const said = [...system.orchestrators, ...system.workers.values()].map(({ output }) => output);
    expect(said.every((output) => output.includes('unknown delivery tag'))).toBe(true);
    const ids = await load.stop();
    await expectInvariants(system, ids, { timeoutMs: 90_000 });
    reportFault('a 406 on every channel at once', { executions: ids.length, recoveryMs });
  });
});
