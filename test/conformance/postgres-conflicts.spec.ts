import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Client } from 'pg';
import type { Assignment, ExecutionStore } from '../../src/store/execution-store.js';
import {
  ended,
  finished,
  heldExecutions,
  queuedExecutions,
  recordOf,
  TestDatabase,
  until,
} from './store-adapters.js';

/** Writes that meet on the same rows: who waits, who is rolled back, and what either makes of it. */
describe('writes of several replicas on the same executions in PostgreSQL', () => {
  let database: TestDatabase;
  let store: ExecutionStore;
  let another: ExecutionStore;
  let client: Client;
  let deadlocksBefore: number;

  beforeAll(async () => {
    database = await TestDatabase.create();
  });
  afterAll(() => database.drop());
  beforeEach(async () => {
    await database.clear();
    [store, another] = [database.store(), database.store()];
    await store.open();
    await another.open();
    client = new Client({ connectionString: database.url });
    await client.connect();
    // It never finds a deadlock itself, so the store is the one that is rolled back.
    await client.query(`set deadlock_timeout = '10min'`);
    await client.query('begin');
    deadlocksBefore = await deadlocks();
  });
  afterEach(async () => {
    await client.end();
    await Promise.all([store.close(), another.close()]);
  });

  const change = (set: string, { executionId }: Pick<Assignment, 'executionId'>): Promise<unknown> =>
    client.query(`update executions set ${set} where execution_id = '${executionId}'`);

  const waiting = (count: number): Promise<unknown> =>
    until(
      () =>
        database.query(
          `select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        ),
      (pids) => pids.length === count,
    );

  const deadlocks = async (): Promise<number> => {
    const [row] = await database.query(
      'select deadlocks::int from pg_stat_database where datname = current_database()',
    );
    return (row as { deadlocks: number }).deadlocks;
  };

  it('run again what lost a deadlock: both come through', async () => {
    const tasks = await heldExecutions(store, 20);
    const [first, last] = [tasks[0]!, tasks.at(-1)!];
    await change('flow_id = flow_id', last);
    const recorded = store.finish(tasks.map((task) => finished(task, { result: `"${task.executionId}"` })));
    await waiting(1);
    await change(`flow_id = 'changed'`, first);
    await client.query('commit');

    expect((await recorded).size).toBe(20);
    await until(deadlocks, (count) => count > deadlocksBefore);
    for (const { executionId } of tasks)
      expect(await recordOf(store, executionId)).toMatchObject({
        state: 'completed',
        result: `"${executionId}"`,
        flowId: executionId === first.executionId ? 'changed' : 'flow',
      });
  });

  it('run again the whole of a transaction that lost one to another replica', async () => {
    const tasks = await heldExecutions(store, 3);
    const [one, two, three] = tasks as [Assignment, Assignment, Assignment];
    await store.cancel(one.executionId, 'no more');
    await change('flow_id = flow_id', two);
    const finishing = another.finish(tasks.map((task) => finished(task)));
    await waiting(1);
    // Its first statement takes the third, its second (for the cancelled ones) wants the first.
    const requeueing = store.requeue([ended(one), ended(three)]);
    await waiting(2);
    await client.query('rollback');

    const [recorded, requeued] = [await finishing, await requeueing];
    await until(deadlocks, (count) => count > deadlocksBefore);
    expect([...requeued]).toEqual(recorded.has(three.executionId) ? [] : [three.executionId]);
    expect(recorded.has(two.executionId)).toBe(true);
    for (const { executionId } of tasks) {
      const { state, attempt, pastAttempts } = await recordOf(store, executionId);
      const isRequeued = requeued.has(executionId);
      const other = isRequeued ? 'queued' : 'cancelled';
      expect(state).toBe(recorded.has(executionId) ? 'completed' : other);
      expect([attempt, pastAttempts.length]).toEqual(isRequeued ? [2, 1] : [1, 0]);
    }
  });

  it('look again at what was changed while they waited for it', async () => {
    const tasks = await heldExecutions(store, 6);
    const [, cancelled, wished, retried, taken] = tasks as [Assignment, ...Assignment[]];
    await change(`state = 'cancelled'`, cancelled!);
    await change('cancel_requested_at = 5', wished!);
    await change('attempt = 2', retried!);
    await change(`worker_id = 'worker-2'`, taken!);
    const recorded = store.finish(tasks.map((task) => finished(task, { result: `"${task.executionId}"` })));
    await waiting(1);
    await client.query('commit');

    const refused = [cancelled!, retried!, taken!].map(({ executionId }) => executionId);
    const ids = tasks.map(({ executionId }) => executionId).filter((id) => !refused.includes(id));
    expect([...(await recorded).keys()].toSorted()).toEqual(ids);
    for (const id of ids)
      expect(await recordOf(store, id)).toMatchObject({
        state: 'completed',
        result: `"${id}"`,
        cancelRequestedAt: id === wished!.executionId ? 5 : null,
      });
    for (const id of refused) expect(await recordOf(store, id)).toMatchObject({ result: null });
  });

  it('assign nothing that another assigned, or let expire, while they waited for it', async () => {
    const { epoch } = await store.acquireLease('replica', 60_000);
    const tasks = await queuedExecutions(store, 4);
    const [, theirs, late] = tasks as [(typeof tasks)[0], ...typeof tasks];
    await change(`state = 'assigned', worker_id = 'worker-2'`, theirs!);
    await change('expires_at = 1', late!);
    const assigned = store.assign(
      epoch,
      tasks.map((task) => ({ ...task, workerId: 'worker-1' })),
    );
    await waiting(1);
    await client.query('commit');
    expect([...(await assigned).keys()].toSorted()).toEqual([tasks[0]!.executionId, tasks[3]!.executionId]);
    expect(await recordOf(store, theirs!.executionId)).toMatchObject({ workerId: 'worker-2' });
    expect(await recordOf(store, late!.executionId)).toMatchObject({ state: 'queued', workerId: null });
  });

  it('assign nothing when the lease goes to another while they wait for it', async () => {
    const { epoch } = await store.acquireLease('replica', 60_000);
    const tasks = await queuedExecutions(store, 3);
    await client.query('update leases set epoch = epoch + 1');
    const assigned = store.assign(
      epoch,
      tasks.map((task) => ({ ...task, workerId: 'worker-1' })),
    );
    await waiting(1);
    await client.query('commit');
    expect((await assigned).size).toBe(0);
    for (const { executionId } of tasks)
      expect(await recordOf(store, executionId)).toMatchObject({ state: 'queued', workerId: null });
  });
});

describe('the plans of statements that PostgreSQL keeps', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await TestDatabase.create();
  });
  afterAll(() => database.drop());

  it('and are gone from a connection are made anew on another one: nothing is refused', async () => {
    const store = database.store(1);
    await store.open();
    const queries = jest.spyOn(Client.prototype, 'query');
    const before = await heldExecutions(store, 2);
    const connection = queries.mock.contexts.at(-1) as Client;
    queries.mockRestore();
    await store.finish(before.map((task) => finished(task)));
    await connection.query('deallocate all');
    const after = await heldExecutions(store, 2);
    expect((await store.finish(after.map((task) => finished(task)))).size).toBe(2);
    await expect(connection.query('select 1')).rejects.toThrow(/closed|not queryable/);
    await store.close();
  });

  it('follow the table as it grows', async () => {
    const [walkers, crowd, rounds] = [2, 4_000, 400];
    // One connection, so that all runs are of the same statements.
    const store = database.store(1);
    await store.open();
    for (let round = 0; round < 10; round += 1) {
      const few = await heldExecutions(store, walkers);
      await store.finish(few.map((task) => finished(task)));
    }
    // The last ones first: a walk ends where it meets the row.
    const tasks = (await heldExecutions(store, crowd)).toReversed();
    for (let round = 0; round < rounds; round += 1) {
      const few = tasks.slice(round * walkers, (round + 1) * walkers);
      expect((await store.finish(few.map((task) => finished(task)))).size).toBe(walkers);
    }
    // The server's counts are complete when the connection has ended.
    await store.close();
    const [row] = await until(
      () =>
        database.query(
          `select n_tup_upd::int as updated, (seq_tup_read + idx_tup_fetch)::int as walked
            from pg_stat_user_tables where relname = 'executions'`,
        ),
      ([counts]) => (counts as { updated: number }).updated >= walkers * (rounds + 10),
    );
    const { walked } = row as { walked: number };
    // For a hundred runs it may walk through all, which a plan of its first days would do each time.
    expect(walked).toBeLessThan(crowd * 150);
  });
});
