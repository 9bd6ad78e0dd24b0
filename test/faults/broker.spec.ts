import { afterEach, describe, expect, it } from '@jest/globals';
import { delayFlow } from '../support/api-client.js';
import { expectInvariants, Load, reportFault } from '../support/invariants.js';
import { System } from '../support/system.js';

/** A new quorum queue that has not been written to the disk yet does not survive kill -9 of a 3.10 node. */
const QUEUES_ON_DISK_MS = 2_500;

describe('the broker', () => {
  let system: System;
  afterEach(() => system.stop());

  const untilItWorksAgain = async (since: number): Promise<number> => {
    await system.until(
      'a flow runs',
      async () => (await system.api.execute(delayFlow(1), '?waitMs=3000')).body.state === 'completed',
      undefined,
      60_000,
    );
    return Date.now() - since;
  };

  it('killed under load and restarted: nothing accepted is lost', async () => {
    system = await System.start({ ownBroker: true, workers: ['worker-1', 'worker-2'] });
    await new Promise((next) => setTimeout(next, QUEUES_ON_DISK_MS));
    const load = new Load(system, 30);
    await system.until('load flows', async () => load.accepted.length > 30);
    await system.broker.kill();
    const killedAt = Date.now();
    await system.until('submissions are refused', async () => load.refused > 0);
    const { status, headers } = await system.api.execute(delayFlow(1));
    expect(status).toBe(503);
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
    await system.broker.restart();
    const restartedAt = Date.now();
    const recoveryMs = await untilItWorksAgain(restartedAt);
    const ids = await load.stop();
    const states = await expectInvariants(system, ids);
    expect(states).toEqual({ completed: ids.length });
    reportFault('kill -9 the broker under load, restart', {
      executions: ids.length,
      recoveryMs,
      note: `away ${restartedAt - killedAt} ms`,
    });
  });

  it('restarted with delayed executions waiting: all run, none early', async () => {
    system = await System.start({ ownBroker: true, workers: ['worker-1'] });
    const ids = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        system.api.submit(delayFlow(1, { delayMs: 6_000 + 200 * index })),
      ),
    );
    await system.broker.restart();
    const restartedAt = Date.now();
    const recoveryMs = await untilItWorksAgain(restartedAt);
    await expectInvariants(system, ids);
    for (const [index, id] of ids.entries()) {
      const { body } = await system.api.execution(id);
      const waited = new Date(body.startedAt).getTime() - new Date(body.createdAt).getTime();
      expect(waited).toBeGreaterThanOrEqual(6_000 + 200 * index);
    }
    reportFault('graceful broker restart with delayed executions', { executions: ids.length, recoveryMs });
  });

  it('closes each connection of ours: consumers are back within 15 s and nothing is stuck', async () => {
    system = await System.start({ ownBroker: true, workers: ['worker-1', 'worker-2'] });
    const load = new Load(system, 20);
    await system.until('load flows', async () => load.accepted.length > 10);
    const listed = await system.broker.ctl(['list_connections', '-q', '--no-table-headers', 'pid']);
    const connections = listed.split('\n').filter((line) => line.startsWith('<'));
    expect(connections.length).toBe(9);
    for (const pid of connections) {
      await system.broker.ctl(['close_connection', pid, 'test']);
    }
    const closedAt = Date.now();
    const recoveryMs = await untilItWorksAgain(closedAt);
    expect(recoveryMs).toBeLessThan(15_000);
    const ids = await load.stop();
    await expectInvariants(system, ids);
    reportFault("each role's connection closed by the broker", { executions: ids.length, recoveryMs });
  });

  it('raises a memory alarm: 503 with Retry-After, and everything goes on after it', async () => {
    system = await System.start({ ownBroker: true, workers: ['worker-1'] });
    const before = await Promise.all(Array.from({ length: 10 }, () => system.api.submit(delayFlow(1_000))));
    await system.broker.ctl(['set_vm_memory_high_watermark', '0.00001']);
    await system.until('submissions are refused', async () => {
      const { status, headers } = await system.api.execute(delayFlow(1));
      return status === 503 && headers.get('retry-after') !== null;
    });
    const health = (await system.api.get('/orchestrator/health')).body;
    expect(health).toMatchObject({ broker: { state: 'blocked' } });
    expect(['degraded', 'critical']).toContain(health.status);
    await system.broker.ctl(['set_vm_memory_high_watermark', '0.8']);
    const clearedAt = Date.now();
    const recoveryMs = await untilItWorksAgain(clearedAt);
    await expectInvariants(system, before);
    reportFault('memory alarm raised and cleared', { executions: before.length, recoveryMs });
  });

  it('has a queue of ours with other arguments: the start fails and names queue and both argument sets', async () => {
    system = await System.start({ orchestrators: 0 });
    const { connect } = await import('amqplib');
    const connection = await connect(system.amqpUrl);
    const channel = await connection.createChannel();
    await channel.assertQueue('flow.results', { durable: true, arguments: { 'x-queue-type': 'classic' } });
    await connection.close();
    const part = system.spawnOrchestrator();
    expect(await part.exited).toBe(1);
    expect(part.output).toContain('flow.results');
    expect(part.output).toContain('x-delivery-limit');
    expect(part.output).toMatch(/inequivalent arg 'x-[a-z-]+'/);
    await system.startOrchestrator({ AMQP_PREFIX: 'other.' });
    reportFault('a queue declared beforehand with other arguments', { executions: 0 });
  });

  it('loses an exchange, a binding and queues to an operator: they are declared again and nothing is lost', async () => {
    system = await System.start({ workers: ['worker-1', 'worker-2'], ownBroker: true });
    const load = new Load(system, 20);
    await system.until('load flows', async () => load.accepted.length > 10);
    const { connect } = await import('amqplib');
    const connection = await connect(system.amqpUrl);
    const remove = async (what: (channel: import('amqplib').Channel) => Promise<unknown>): Promise<void> => {
      const channel = await connection.createChannel();
      await what(channel);
      await channel.close();
    };
    await remove((channel) => channel.unbindQueue('flow.ready.normal', 'flow.ready', 'normal'));
    await remove((channel) => channel.deleteExchange('flow.assign'));
    await remove((channel) => channel.deleteQueue('flow.worker.worker-1'));
    await remove((channel) => channel.deleteExchange('flow.results'));
    const removedAt = Date.now();
    await connection.close();
    const recoveryMs = await untilItWorksAgain(removedAt);
    const ids = await load.stop();
    await expectInvariants(system, ids, { timeoutMs: 90_000 });
    reportFault('exchange, binding and queue deleted by an operator', { executions: ids.length, recoveryMs });
  });
});
