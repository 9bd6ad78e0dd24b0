import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { sql } from 'kysely';
import { Client } from 'pg';
import type { ExecutionStore, NewExecution } from '../../src/store/execution-store.js';
import { postgresStore } from '../../src/store/kysely-execution-store.js';
import { postgresBackend } from '../../src/store/postgres-backend.js';
import {
  finished,
  heldExecutions,
  INDEXES_OF_LISTS,
  indexesIn,
  newExecution,
  recordOf,
  TestDatabase,
  until,
} from './store-adapters.js';

/** Until `analyze` has run, which is a minute later at best, PostgreSQL guesses that most rows are parked. */
describe('a PostgreSQL without statistics', () => {
  it('reads the few that it is asked for, and not the whole table', async () => {
    const database = await TestDatabase.create();
    try {
      const store = database.store();
      await store.open();
      const held = await heldExecutions(store, 2_000);
      await store.finish(held.slice(10).map((task) => finished(task)));
      expect(await store.parkedClasses()).toEqual([]);
      expect(await store.countOpen()).toMatchObject({ assigned: 10 });
      expect(await store.held()).toHaveLength(10);
      expect((await store.due(10, [])).tasks).toEqual([]);
      // The server counts what a connection did when that ends.
      await store.close();
      const [reads] = await until(
        () => database.query(READS_OF_EXECUTIONS) as Promise<{ written: number; scanned: number }[]>,
        ([counts]) => Number(counts?.written) >= 2_000,
      );
      expect(Number(reads!.scanned)).toBe(0);
    } finally {
      await database.drop();
    }
  });
});

describe('a connection to PostgreSQL', () => {
  it('has no query compiled, which takes a thousand times as long as to run it', async () => {
    const database = await TestDatabase.create();
    const { db } = postgresBackend({ url: database.url, poolSize: 1, onWarning: () => undefined });
    try {
      expect((await sql`show jit`.execute(db)).rows).toEqual([{ jit: 'off' }]);
    } finally {
      await db.destroy();
      await database.drop();
    }
  });
});

const READS_OF_EXECUTIONS = `
  select n_tup_ins as written, seq_tup_read as scanned from pg_stat_user_tables where relname = 'executions'`;

/** A sequence keeps its count when the insert is rolled back. */
const COUNT_INSERTS = `
  create sequence inserts;
  create function count_insert() returns trigger language plpgsql as
    $$ begin perform nextval('inserts'); return null; end $$;
  create trigger count_insert before insert on executions for each statement execute function count_insert()`;

async function insertsOf(database: TestDatabase): Promise<number> {
  const [row] = await database.query(
    'select case when is_called then last_value else 0 end::int as made from inserts',
  );
  return (row as { made: number }).made;
}

/** What only a shared database can show: replicas beside each other, and a server that goes away. */
describe('several stores on one PostgreSQL', () => {
  let database: TestDatabase;
  let stores: ExecutionStore[];

  beforeAll(async () => {
    database = await TestDatabase.create();
  });
  afterAll(() => database.drop());
  beforeEach(async () => {
    await database.clear();
    stores = Array.from({ length: 4 }, () => database.store());
    await Promise.all(stores.map((store) => store.open()));
  });
  afterEach(() => Promise.all(stores.map((store) => store.close())));

  it('open together on an empty database, and one of them makes the schema', async () => {
    const rows = await database.query('select name from kysely_migration');
    const names = (rows as { name: string }[]).map(({ name }) => name);
    expect(names).toContain('001-executions');
    expect(new Set(names).size).toBe(names.length);
    await Promise.all(stores.map((store) => store.ping()));
  });

  it('create each execution once when all are given the same ones in different orders', async () => {
    const items = Array.from({ length: 200 }, () => newExecution({ labels: { a: 'b' } }));
    const answers = await Promise.all(stores.map((store) => store.accept(shuffled(items))));
    expect(answers.flat().filter(({ kind }) => kind === 'created')).toHaveLength(200);
    expect((await stores[0]!.list({ labels: { a: 'b' } }, 500)).items).toHaveLength(200);
  });

  it('insert without looking for the same executions first, until one was there', async () => {
    await database.query(COUNT_INSERTS);
    const accept = async (items: NewExecution[], store = stores[0]!) => {
      const before = await insertsOf(database);
      const kinds = (await store.accept(items)).map(({ kind }) => kind);
      return { kinds, inserts: (await insertsOf(database)) - before };
    };
    const [known, labelled] = [newExecution(), newExecution({ labels: { a: 'b' } })];
    expect(await accept([known, labelled])).toEqual({ kinds: ['created', 'created'], inserts: 1 });

    const again = [known, newExecution(), newExecution({ labels: { a: 'b' } }), labelled];
    const kinds = ['existing', 'created', 'created', 'existing'];
    // The whole batch fails, and is inserted anew without what is there.
    expect(await accept(again)).toEqual({ kinds, inserts: 2 });
    expect((await stores[0]!.list({ labels: { a: 'b' } }, 10)).items).toHaveLength(2);
    expect(await accept([known, newExecution()])).toEqual({ kinds: ['existing', 'created'], inserts: 1 });
    // Another replica has not met a repetition yet.
    expect(await accept([known], stores[1])).toEqual({ kinds: ['existing'], inserts: 2 });
  });

  it('record each end once while they start and end the same executions', async () => {
    const items = Array.from({ length: 400 }, () => newExecution({ workerId: 'worker-1' }));
    await stores[0]!.accept(items);
    const tasks = items.map(({ executionId }) => ({ executionId, attempt: 1, workerId: 'worker-1' }));
    const recorded = await Promise.all(
      stores.map(async (store) => {
        const starts = batches(shuffled(tasks)).map((batch) => store.markRunning(batch));
        const ends = batches(shuffled(tasks)).map((batch) =>
          store.finish(batch.map((task) => finished(task))),
        );
        await Promise.all(starts);
        return (await Promise.all(ends)).flatMap((ids) => [...ids]);
      }),
    );
    expect(recorded.flat()).toHaveLength(400);
    expect(new Set(recorded.flat()).size).toBe(400);
  });

  it('give a lease to one of them, and let no write of an older epoch through', async () => {
    const leases = await Promise.all(
      stores.map((store, index) => store.acquireLease(`replica-${index}`, 60_000)),
    );
    const [{ holder, epoch }] = leases as [(typeof leases)[0]];
    expect(leases.every((lease) => lease.holder === holder && lease.epoch === epoch)).toBe(true);

    const item = newExecution();
    await stores[0]!.accept([item]);
    await stores[0]!.releaseLease(holder);
    const next = await stores[1]!.acquireLease('another', 60_000);
    expect(next.epoch).toBe(epoch + 1);
    const assignment = { executionId: item.executionId, attempt: 1, workerId: 'worker-1' };
    expect((await stores[0]!.assign(epoch, [assignment])).size).toBe(0);
    expect((await stores[1]!.assign(next.epoch, [assignment])).size).toBe(1);
  });

  it('expire each execution in one of them only', async () => {
    await stores[0]!.accept(Array.from({ length: 100 }, () => newExecution({ expiresAt: 1 })));
    const expired = await until(
      async () => (await Promise.all(stores.map((store) => store.expire(60)))).flat(),
      (ids) => ids.length > 0,
    );
    const rest = (await Promise.all(stores.map((store) => store.expire(60)))).flat();
    expect(new Set([...expired, ...rest]).size).toBe(100);
    expect([...expired, ...rest]).toHaveLength(100);
  });

  it('read each list from the ends of the indexes made for it, and nothing else', async () => {
    const [store] = stores as [ExecutionStore];
    const held = await heldExecutions(store, 5_000);
    await store.finish(held.slice(100).map((task) => finished(task)));
    await database.query('analyze executions');
    const queries = jest.spyOn(Client.prototype, 'query');
    for (const { filter } of INDEXES_OF_LISTS) await store.list(filter, 10);
    const asked = queries.mock.calls as unknown as [string, unknown[]][];
    queries.mockRestore();

    const client = new Client({ connectionString: database.url });
    await client.connect();
    const plans: string[] = [];
    for (const [text, values] of asked) {
      const { rows } = await client.query<{ 'QUERY PLAN': string }>(`explain ${text}`, values);
      plans.push(rows.map((row) => row['QUERY PLAN']).join('\n'));
    }
    await client.end();
    expect(plans.filter((plan) => plan.includes('Seq Scan'))).toEqual([]);
    expect(plans.map(indexesIn)).toEqual(INDEXES_OF_LISTS.map((list) => list.indexes));
  });

  it('get over connections that the server cut', async () => {
    const [store] = stores as [ExecutionStore];
    const item = newExecution();
    await store.accept([item]);
    await database.query(
      'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
    );
    const record = await until(
      () => recordOf(store, item.executionId).catch((error: unknown) => error),
      (answer) => !(answer instanceof Error) || answer.name !== 'StoreUnavailableError',
    );
    expect(record).toMatchObject({ executionId: item.executionId });
  });
});

describe('a PostgreSQL that cannot be reached', () => {
  it('is reported as unavailable, naming the place and not the password', async () => {
    const store = postgresStore({
      url: 'postgres://someone:top-secret@127.0.0.1:1/executions',
      poolSize: 1,
      onWarning: () => undefined,
    });
    const error = await store.open().catch((cause: unknown) => cause);
    expect(error).toMatchObject({ name: 'StoreUnavailableError', retryable: true });
    expect(String(error)).toContain('127.0.0.1:1');
    expect(allText(error)).not.toContain('top-secret');
  });

  it('is refused when the database does not exist, naming it', async () => {
    const server = new URL(process.env.TEST_DATABASE_URL!);
    server.pathname = '/no_such_database';
    const store = postgresStore({ url: server.href, poolSize: 1, onWarning: () => undefined });
    await expect(store.open()).rejects.toMatchObject({
      name: 'StoreSetupError',
      message: expect.stringContaining('no_such_database'),
    });
  });

  it('is refused, without showing it, when the URL cannot be read', async () => {
    const store = postgresStore({
      url: 'postgres://u:top-secret@h:x y/d',
      poolSize: 1,
      onWarning: () => undefined,
    });
    const error = await store.open().catch((cause: unknown) => cause);
    expect(error).toMatchObject({ name: 'StoreSetupError' });
    expect(String(error)).toContain('DATABASE_URL');
    expect(allText(error)).not.toContain('top-secret');
  });
});

function allText(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  const own =
    error instanceof Error ? `${error.message} ${error.stack} ${JSON.stringify(error)}` : String(error);
  return cause === undefined ? own : `${own} ${allText(cause)}`;
}

function shuffled<T>(items: T[]): T[] {
  return items
    .map((item) => ({ item, key: Math.random() }))
    .toSorted((a, b) => a.key - b.key)
    .map(({ item }) => item);
}

function batches<T>(items: T[]): T[][] {
  return Array.from({ length: Math.ceil(items.length / 50) }, (_, index) =>
    items.slice(index * 50, index * 50 + 50),
  );
}
