import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { sql } from 'kysely';
import Database from 'libsql';
import { errorCode, StoreInUseError } from '../../src/store/errors.js';
import { sqliteStore } from '../../src/store/kysely-execution-store.js';
import { sqliteBackend } from '../../src/store/sqlite-backend.js';
import { SqliteClient } from '../../src/store/sqlite-client.js';
import {
  ended,
  finished,
  heldExecutions,
  INDEXES_OF_LISTS,
  indexesIn,
  newExecution,
  recordOf,
} from './store-adapters.js';

/** A line of SQLite's plan. */
interface Step {
  id: number;
  parent: number;
  detail: string;
}
const RANGE = 'CO-ROUTINE one_range';

/** What only a file can show: who else has it, and what it holds after it was closed. */
describe('the SQLite store', () => {
  let folder: string;
  let file: string;
  let other: ChildProcess | null = null;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'store-'));
    file = join(folder, 'data', 'flow-orchestrator.db');
  });
  afterEach(async () => {
    if (other !== null && other.exitCode === null && other.signalCode === null) {
      other.kill('SIGKILL');
      await once(other, 'exit');
    }
    other = null;
    await rm(folder, { recursive: true, force: true });
  });

  /** Runs code in a second process that has opened the file as the store does. */
  async function inAnotherProcess(code: string): Promise<string> {
    const program = `import Database from 'libsql';
      const open = () => {
        const db = new Database(${JSON.stringify(file)});
        db.exec('pragma locking_mode = EXCLUSIVE; pragma journal_mode = WAL; begin exclusive; commit');
        return db;
      };
      ${code}`;
    other = spawn(process.execPath, ['--input-type=module', '--eval', program], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const [said] = (await Promise.race([once(other.stdout!, 'data'), once(other, 'exit')])) as [
      Buffer | number,
    ];
    return String(said).trim();
  }

  it('refuses a file that another process has open, and says which and what to do', async () => {
    const first = sqliteStore(file);
    await first.open();
    await first.close();
    expect(await inAnotherProcess(`open(); console.log('open'); process.stdin.resume();`)).toBe('open');

    const store = sqliteStore(file);
    const error = await store.open().catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(StoreInUseError);
    expect(String(error)).toContain(file);
    expect(String(error)).toMatch(/in use by another process.*DATABASE_URL/);

    other!.kill('SIGKILL');
    await once(other!, 'exit');
    await store.open();
    await store.ping();
    await store.close();
  });

  it('lets no other process into the file while it is open', async () => {
    const store = sqliteStore(file);
    await store.open();
    const said = await inAnotherProcess(
      `try { open(); console.log('open') } catch (error) { console.log(error.code) }`,
    );
    expect(said).toBe('SQLITE_BUSY');
    await store.close();
  });

  it('keeps the record over a restart, and starts a new term at once', async () => {
    const first = sqliteStore(file);
    await first.open();
    const { epoch } = await first.acquireLease('process-1', 60_000);
    const [held] = await heldExecutions(first, 1);
    await first.close();

    const second = sqliteStore(file);
    await second.open();
    expect(await second.held()).toMatchObject([held!]);
    expect(await second.acquireLease('process-2', 60_000)).toMatchObject({
      holder: 'process-2',
      epoch: epoch + 1,
    });
    await second.close();

    const third = sqliteStore(file);
    await third.open();
    expect(await third.acquireLease('process-2', 60_000)).toMatchObject({ epoch: epoch + 2 });
    await third.close();
  });

  it('lets nothing into a transaction that is not part of it: what is rolled back takes nobody along', async () => {
    const { db } = await sqliteBackend(file);
    await sql`create table notes (id integer)`.execute(db);
    const note = (executor: typeof db, id: number) =>
      sql`insert into notes values (${sql.lit(id)})`.execute(executor);
    const ids = Array.from({ length: 20 }, (_, index) => index);
    await Promise.all(
      ids.map(async (id) => {
        const begun = db.transaction().execute(async (trx) => {
          await note(trx, 1_000 + id);
          await note(trx, 2_000 + id);
          if (id % 2 === 1) throw new Error('rolled back');
        });
        await Promise.all([note(db, id), begun.catch(() => undefined)]);
      }),
    );
    const { rows } = await sql<{ id: number }>`select id from notes order by id`.execute(db);
    const even = ids.filter((id) => id % 2 === 0);
    const kept = [...ids, ...even.map((id) => 1_000 + id), ...even.map((id) => 2_000 + id)];
    expect(rows.map(({ id }) => id)).toEqual(kept);
    await db.destroy();
  });

  it('does a group of writes again, as a whole, when a batch in it is taken in part, and says which rows', async () => {
    const client = await SqliteClient.open(file);
    const execute = (text: string): ReturnType<SqliteClient['execute']> =>
      client.execute([{ text, parameters: [] }]);
    await execute('create table notes (id integer primary key, times integer)');
    await execute('create table counts (n integer)');
    await execute('insert into counts values (0)');
    const insert = (...pieces: number[][]): Promise<unknown> =>
      client
        .execute(
          pieces.map((ids) => ({
            text: `insert into notes select value, 1 from json_each(?) where true on conflict do nothing`,
            parameters: [JSON.stringify(ids)],
          })),
          { count: pieces.flat().length, returning: 'returning id' },
        )
        .then(
          ({ rows }) => rows[0],
          (error: unknown) => errorCode(error),
        );
    const add = (): Promise<number> => execute('update counts set n = n + 1').then(({ changes }) => changes);
    // Those behind it gather while it is busy, and share a commit.
    const busy = execute(
      'with recursive up(n) as (select 1 union all select n + 1 from up where n < 300000) select max(n) from up',
    );
    const answers = await Promise.all([
      insert([1, 2, 3]),
      add(),
      insert([3, 4, 5]),
      execute('insert into notes values (1, 1)').catch((error: unknown) => errorCode(error)),
      insert([1, 2]),
      insert([2]),
      insert([6]),
      insert([6, 7], [8, 1]),
      insert([9], ['no number' as unknown as number]),
      add(),
    ]);
    await busy;
    expect(answers).toEqual([
      { taken: 3, ids: expect.anything() },
      1,
      { taken: 2, ids: [4, 5] },
      'SQLITE_CONSTRAINT_PRIMARYKEY',
      { taken: 0, ids: expect.anything() },
      { taken: 0, ids: null },
      { taken: 1, ids: null },
      { taken: 2, ids: [7, 8] },
      'SQLITE_MISMATCH',
      1,
    ]);
    const { rows } = await execute('select group_concat(id) as ids, (select n from counts) as n from notes');
    expect(rows).toEqual([{ ids: '1,2,3,4,5,6,7,8', n: 2 }]);

    // A caller's own transaction is not undone: it is asked at once.
    await execute('begin immediate');
    expect(await add()).toBe(1);
    expect(await insert([8, 9])).toEqual({ taken: 1, ids: [9] });
    await execute('commit');
    expect((await execute('select n from counts')).rows).toEqual([{ n: 3 }]);

    // By itself, too, what is given as one takes effect as one.
    expect(await insert([10], ['no number' as unknown as number])).toBe('SQLITE_MISMATCH');
    expect(await insert([10, 11], [12])).toEqual({ taken: 3, ids: null });
    expect((await execute('select max(id) as id from notes')).rows).toEqual([{ id: 12 }]);
    await client.close();
  });

  it('has what it answered after its process was killed', async () => {
    const first = sqliteStore(file);
    await first.open();
    const item = newExecution();
    await first.accept([item]);
    await first.close();
    const said = await inAnotherProcess(`
      const db = open();
      db.exec("update executions set flow_id = 'changed'");
      console.log('written');
      process.stdin.resume();`);
    expect(said).toBe('written');
    other!.kill('SIGKILL');
    await once(other!, 'exit');
    const second = sqliteStore(file);
    await second.open();
    expect((await recordOf(second, item.executionId)).flowId).toBe('changed');
    await second.close();
  });

  it('says what is wrong with a file that is not a database', async () => {
    const path = join(folder, 'text.db');
    await writeFile(path, 'this is not a database, whatever its name says. '.repeat(100));
    await expect(sqliteStore(path).open()).rejects.toMatchObject({
      name: 'StoreSetupError',
      message: expect.stringContaining(path),
    });
  });

  it.each([
    ['although its statistics say that nearly all are in one state', true],
    ['although it has no statistics', false],
  ])('never reads all executions, %s', async (_, isAnalyzed) => {
    const filled = sqliteStore(file);
    await filled.open();
    const held = await heldExecutions(filled, 2_000);
    await filled.finish(held.slice(1).map((task) => finished(task)));
    await filled.close();
    if (isAnalyzed) await analyze(file);

    const store = sqliteStore(file);
    await store.open();
    const statements = jest.spyOn(SqliteClient.prototype, 'execute');
    expect(await store.held()).toHaveLength(1);
    // By itself too large for one parameter a value.
    const large = JSON.stringify('x'.repeat(600_000));
    const batches = [1, 20, 200, 256, 600].map((size) => held.slice(0, size));
    await Promise.all([
      ...batches.flatMap((batch) => [
        store.accept(batch.map(({ executionId }) => newExecution({ executionId }))),
        store.markQueued(batch),
        store.postpone(batch, 1),
        store.assign(1, batch),
        store.markRunning(batch),
        store.finish(
          batch.slice(1).map((task) => finished(task)),
          new Set([batch[0]!.executionId]),
        ),
        store.park(batch, 'pool_full'),
        store.requeue(batch.slice(1).map((task) => ended(task))),
      ]),
      store.accept([newExecution({ request: large })]),
      store.finish([finished(held[1]!, { result: large })]),
      store.countOpen(),
      store.due(10, []),
      store.ended(['unknown']),
      store.countAhead('unknown', 10),
      store.list({}, 10),
      store.list({ flowId: 'unknown' }, 10),
      store.list({ states: ['running'], workerId: 'unknown' }, 10),
      store.parkedClasses(),
      store.expire(10),
      store.requeueMissing(1_000, []),
    ]);
    const asked = new Set(statements.mock.calls.flatMap(([given]) => given.map(({ text }) => text)));
    statements.mockRestore();
    await store.close();
    expect(asked.size).toBeGreaterThanOrEqual(10);
    expect([...asked].filter((text) => text.includes('value ->> 0 as execution_id'))).toHaveLength(2);

    const database = new Database(file);
    // The partial indexes hold only what waits.
    const wholeReads =
      /^SCAN (?!.* USING (COVERING )?INDEX executions_(due|queued|parked|expiring)).*\b(executions|other)\b/;
    const plans = [...asked].map((text) => {
      const steps = database.prepare(`explain query plan ${text}`).all() as { detail: string }[];
      return { text, scans: steps.filter(({ detail }) => wholeReads.test(detail)) };
    });
    database.close();
    expect(plans.filter(({ scans }) => scans.length > 0)).toEqual([]);
  });

  it('reads each list from the ends of the indexes made for it, and no row or order besides', async () => {
    const filled = sqliteStore(file);
    await filled.open();
    const held = await heldExecutions(filled, 2_000);
    await filled.finish(held.slice(10).map((task) => finished(task)));
    await filled.close();
    await analyze(file);

    const store = sqliteStore(file);
    await store.open();
    const statements = jest.spyOn(SqliteClient.prototype, 'execute');
    for (const { filter } of INDEXES_OF_LISTS) await store.list(filter, 10);
    const asked = statements.mock.calls.flatMap(([given]) => given.map(({ text }) => text));
    statements.mockRestore();
    await store.close();

    const database = new Database(file);
    const indexes = asked.map((text) => {
      const steps = database.prepare(`explain query plan ${text}`).all() as Step[];
      const ranges = new Set(steps.filter(({ detail }) => detail === RANGE).map(({ id }) => id));
      const within = steps.filter(({ parent }) => ranges.has(parent)).map(({ detail }) => detail);
      expect(within).toHaveLength(ranges.size);
      expect(within.filter((detail) => !/^SEARCH .* COVERING INDEX/.test(detail))).toEqual([]);
      return indexesIn(steps.map(({ detail }) => detail).join('\n'));
    });
    database.close();
    expect(indexes).toEqual(INDEXES_OF_LISTS.map((list) => list.indexes));
  });
});

async function analyze(file: string): Promise<void> {
  const { db } = await sqliteBackend(file);
  await sql`analyze`.execute(db);
  await db.destroy();
}
