import { afterEach, describe, expect, it } from '@jest/globals';
import { type ApiClient, delayFlow } from '../support/api-client.js';
import { expectInvariants, Load, reportFault } from '../support/invariants.js';
import { System } from '../support/system.js';
import { TcpProxy } from '../support/tcp-proxy.js';

const LEASE = { LEASE_TTL_MS: '2000', LEASE_RENEW_INTERVAL_MS: '500', AMQP_HEARTBEAT_S: '1' };

interface Ways {
  broker: TcpProxy;
  database: TcpProxy;
}

describe('two replicas, of which the leader is cut off', () => {
  let system: System;
  let ways: Ways[] = [];

  afterEach(async () => {
    proxies(ways).forEach((proxy) => proxy.become('pass'));
    await system.stop();
    await Promise.all(proxies(ways).map((proxy) => proxy.close()));
    ways = [];
  });

  const start = async (): Promise<void> => {
    system = await System.start({ store: 'postgres', orchestrators: 0, env: LEASE });
    for (let index = 0; index < 2; index++) {
      const way = {
        broker: await TcpProxy.start(system.amqpUrl),
        database: await TcpProxy.start(system.databaseUrl),
      };
      ways.push(way);
      await system.startOrchestrator({
        AMQP_URL: way.broker.through(system.amqpUrl),
        DATABASE_URL: way.database.through(system.databaseUrl),
      });
    }
    await Promise.all(['worker-1', 'worker-2'].map((id) => system.startWorker(id)));
  };

  const leads = async (api: ApiClient): Promise<boolean> =>
    (await api.get('/orchestrator/health')).body.leader.isLeader;

  it.each([
    ['the broker', 'refuse', (way: Ways) => [way.broker]],
    ['the broker', 'hole', (way: Ways) => [way.broker]],
    ['the database', 'refuse', (way: Ways) => [way.database]],
    ['the database', 'hole', (way: Ways) => [way.database]],
    ['both', 'refuse', (way: Ways) => [way.broker, way.database]],
  ] as const)('from %s (%s): one leader acts, the other answers 503', async (what, mode, cutOff) => {
    await start();
    const load = new Load(system, 20, delayFlow(30, { retry: { maxAttempts: 10 } }));
    const leader = await system.leaderIndex();
    const old = system.apis[leader]!;
    const other = system.apis[1 - leader]!;
    await system.until('load flows', async () => load.accepted.length > 10);
    cutOff(ways[leader]!).forEach((proxy) => proxy.become(mode));
    const cutAt = Date.now();
    await system.until('the other replica leads', () => leads(other));
    const probe = await other.execute(delayFlow(1), '?waitMs=10000');
    expect(probe.body.state).toBe('completed');
    const recoveryMs = new Date(probe.body.assignedAt).getTime() - cutAt;
    expect(recoveryMs).toBeLessThan(10_000);
    expect(await leads(old)).toBe(false);
    await system.until('the replica that is cut off refuses', async () => {
      const { status, headers } = await old.execute(delayFlow(1));
      return status === 503 && headers.get('retry-after') !== null;
    });
    cutOff(ways[leader]!).forEach((proxy) => proxy.become('pass'));
    await system.until('the replica accepts again', async () => {
      return (await old.execute(delayFlow(1))).status === 202;
    });
    expect((await Promise.all([leads(old), leads(other)])).filter(Boolean)).toHaveLength(1);
    const ids = await load.stop();
    expect(await expectInvariants(system, ids)).toEqual({ completed: ids.length });
    reportFault(`the leader cut off from ${what} (${mode})`, { executions: ids.length, recoveryMs });
  });

  it('together with every other from the broker: one leads again as soon as it is back', async () => {
    await start();
    const load = new Load(system, 20);
    await system.until('load flows', async () => load.accepted.length > 10);
    ways.forEach((way) => way.broker.become('refuse'));
    await system.until('nobody leads', async () =>
      (await Promise.all(system.apis.map(leads))).every((isLeader) => !isLeader),
    );
    ways[0]!.broker.become('pass');
    const backAt = Date.now();
    await system.until('the one that has the broker leads', () => leads(system.apis[0]!));
    const probe = await system.apis[0]!.execute(delayFlow(1), '?waitMs=10000');
    expect(probe.body.state).toBe('completed');
    const recoveryMs = new Date(probe.body.assignedAt).getTime() - backAt;
    ways[1]!.broker.become('pass');
    const ids = await load.stop();
    expect(await expectInvariants(system, ids)).toEqual({ completed: ids.length });
    reportFault('both replicas cut off from the broker, one back', { executions: ids.length, recoveryMs });
  });
});

function proxies(ways: Ways[]): TcpProxy[] {
  return ways.flatMap(({ broker, database }) => [broker, database]);
}
