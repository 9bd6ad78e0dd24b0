import { afterEach, describe, expect, it } from '@jest/globals';
import { delayFlow } from '../support/api-client.js';
import { AmqpClient } from '../support/fake-worker.js';
import { expectInvariants, Load, reportFault } from '../support/invariants.js';
import { System } from '../support/system.js';

const BACK_WITHIN_MS = 5_000;

/** Consumed for as long as the system runs; the fleet's queue comes on top, named after its replica. */
const CONSUMED = [
  'flow.ready.high',
  'flow.ready.normal',
  'flow.ready.low',
  'flow.results',
  'flow.dlq',
  'flow.worker.worker-1',
  'flow.worker.worker-2',
];

const deletion = (vhost: string, queue: string): string =>
  `{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"${vhost}">>, queue, <<"${queue}">>)), rabbit_amqqueue:delete(Q, false, false, <<"operator">>).`;

describe('a fault of one channel, its connection alive', () => {
  let system: System;
  afterEach(() => system.stop());

  const runsAFlow = async (): Promise<boolean> =>
    (await system.api.execute(delayFlow(1), '?waitMs=2000')).body.state === 'completed';

  /** A channel each time: asking for a queue that is not there closes it. */
  const isConsumed = async (queue: string): Promise<boolean> => {
    const client = await AmqpClient.open(system);
    try {
      return (await client.channel.checkQueue(queue)).consumerCount > 0;
    } finally {
      await client.close();
    }
  };
  const untilConsumed = (queue: string): Promise<void> =>
    system.until(`${queue} is consumed`, () => isConsumed(queue));

  const beatAt = async (workerId: string): Promise<number> =>
    new Date((await system.api.get(`/orchestrator/workers/${workerId}`)).body.lastHeartbeatAt).getTime();

  it('an operator deletes the queue of each consumer in turn: it is back within 5 s', async () => {
    system = await System.start({ workers: ['worker-1', 'worker-2'] });
    const load = new Load(system, 20);
    await Promise.all(CONSUMED.map(untilConsumed));
    const operator = await AmqpClient.open(system);
    const recoveries: Record<string, number> = {};
    for (const queue of CONSUMED) {
      await operator.channel.deleteQueue(queue);
      const deletedAt = Date.now();
      await untilConsumed(queue);
      await system.until('a flow runs', runsAFlow);
      recoveries[queue] = Date.now() - deletedAt;
    }
    await operator.close();
    const ids = await load.stop();
    await expectInvariants(system, ids, { timeoutMs: 90_000 });
    const [slowest, recoveryMs] = Object.entries(recoveries).toSorted(([, a], [, b]) => b - a)[0]!;
    reportFault('the queue of each consumer deleted under it', {
      executions: ids.length,
      recoveryMs,
      note: `slowest: ${slowest}`,
    });
    expect(recoveryMs).toBeLessThan(BACK_WITHIN_MS);
  });

  it("an operator deletes a replica's own queue for what workers say: it hears them again within 5 s", async () => {
    system = await System.start({ workers: ['worker-1'] });
    const listed = await system.broker.ctl(['list_queues', '-q', '-p', system.vhost, 'name']);
    const queue = listed.split('\n').find((name) => name.startsWith('amq.gen-'))!;
    // An exclusive queue can be deleted by its own connection, or from inside.
    await system.broker.ctl(['eval', deletion(system.vhost, queue)]);
    const deletedAt = Date.now();
    await system.until('a heartbeat is heard', async () => (await beatAt('worker-1')) > deletedAt);
    const recoveryMs = Date.now() - deletedAt;
    const id = await system.api.submit(delayFlow(1));
    await expectInvariants(system, [id]);
    reportFault("a replica's fleet queue deleted under it", { executions: 1, recoveryMs });
    expect(recoveryMs).toBeLessThan(BACK_WITHIN_MS);
  });

  it('every channel makes a protocol error (406): consumers and publishers are back within 5 s', async () => {
    system = await System.start({ ownBroker: true, workers: ['worker-1', 'worker-2'] });
    const load = new Load(system, 20);
    await Promise.all(CONSUMED.map(untilConsumed));
    const connections = await system.broker.ctl(['list_connections', '-q', '--no-table-headers', 'pid']);
    // An ack of an unknown delivery tag, in the name of each client: the broker closes the channel, not the connection.
    await system.broker.ctl([
      'eval',
      "[rabbit_channel:do(C, {'basic.ack', 99999999, false}) || C <- rabbit_channel:list_local()].",
    ]);
    const brokenAt = Date.now();
    await system.until('a flow runs', runsAFlow);
    await Promise.all(CONSUMED.map(untilConsumed));
    await system.until('a heartbeat is heard', async () => (await beatAt('worker-1')) > brokenAt);
    const recoveryMs = Date.now() - brokenAt;
    const isSame =
      (await system.broker.ctl(['list_connections', '-q', '--no-table-headers', 'pid'])) === connections;
    const said = [...system.orchestrators, ...system.workers.values()].map(({ output }) => output);
    // What the broker has on its way for a channel may come after it closed that; amqplib then ends the connection.
    const lost = said.flatMap((output) => output.match(/connection lost \([^)]*/g) ?? []);
    expect(lost.filter((line) => !line.includes('Frame on unknown channel'))).toEqual([]);
    expect(isSame).toBe(lost.length === 0);
    expect(said.every((output) => output.includes('unknown delivery tag'))).toBe(true);
    const ids = await load.stop();
    await expectInvariants(system, ids, { timeoutMs: 90_000 });
    reportFault('a 406 on every channel at once', { executions: ids.length, recoveryMs });
    expect(recoveryMs).toBeLessThan(BACK_WITHIN_MS);
  });
});
