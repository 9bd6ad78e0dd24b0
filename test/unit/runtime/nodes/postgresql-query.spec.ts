import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { postgresqlQueryNode } from '../../../../src/runtime/nodes/postgresql-query.node.js';
import { node, run } from '../harness.js';

interface Postgres {
  createDatabase(name: string): Promise<string>;
  dropDatabase(name: string): Promise<void>;
  stop(): Promise<void>;
}

const database = `nodes_${process.pid}`;
let dataDir: string;
let server: Postgres;
let url: string;
let observer: Client;
let postgres: ReturnType<typeof postgresqlQueryNode>;

beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'flow-pg-'));
  const { providePostgres } = (await import(
    new URL('../../../../scripts/postgres.mjs', import.meta.url).href
  )) as {
    providePostgres(options: { dataDir: string; log: (message: string) => void }): Promise<Postgres>;
  };
  server = await providePostgres({ dataDir, log: () => {} });
  url = await server.createDatabase(database);
  observer = new Client({ connectionString: url });
  await observer.connect();
  const refused = new URL(url);
  refused.username = 'nobody';
  refused.password = 'geh%40im';
  refused.port = '1';
  postgres = postgresqlQueryNode({ main: url, refused: refused.href, mongo: 'mongodb://u:geheim@h/db' });
}, 120_000);

afterAll(async () => {
  await postgres?.close();
  await observer?.end();
  await server?.dropDatabase(database);
  await server?.stop();
  rmSync(dataDir, { recursive: true, force: true });
}, 60_000);

async function query(
  text: string,
  more: Record<string, unknown> = {},
  settings: { signal?: AbortSignal; inputs?: Record<string, unknown> } = {},
) {
  const config = { connection: 'main', query: text, ...more };
  const outcome = await run([node('q', 'postgresql-query', { config })], [], {
    handlers: [postgres.handler],
    ...settings,
  });
  return outcome.kind === 'completed' ? { kind: 'completed', output: outcome.result['q'] } : outcome;
}

/** Waits for the server to say that a statement runs. */
async function untilRunning(marker: string): Promise<void> {
  const text = `SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE $1`;
  while ((await observer.query(text, [`%${marker}%`])).rowCount === 0);
}

describe('postgresql-query', () => {
  it('takes parameters, and gives rows as JSON', async () => {
    expect(
      await query(
        'SELECT $1::int AS n, $2::text AS t, $3::jsonb AS j, $4::int[] AS a',
        {
          params: [{ $expr: '$inputs.n + 1' }, "'; DROP TABLE x; --", { k: [1] }, [1, 2]],
        },
        { inputs: { n: 41 } },
      ),
    ).toEqual({
      kind: 'completed',
      output: { rows: [{ n: 42, t: "'; DROP TABLE x; --", j: { k: [1] }, a: [1, 2] }], rowCount: 1 },
    });
    expect(
      await query(`SELECT date '2026-03-01' AS d, timestamp '2026-03-01 02:03:04' AS ts,
        timestamptz '2026-03-01 00:00:00Z' AS tz, 9007199254740993 AS big, 1.10 AS num, '\\x6869'::bytea AS bytes, null AS none`),
    ).toMatchObject({
      output: {
        rows: [
          {
            d: '2026-03-01',
            ts: '2026-03-01 02:03:04',
            tz: '2026-03-01T00:00:00.000Z',
            big: '9007199254740993',
            num: '1.10',
            bytes: 'aGk=',
            none: null,
          },
        ],
      },
    });
  });

  it('commits what it writes, and counts', async () => {
    expect(await query('CREATE TABLE items (id int PRIMARY KEY, name text)')).toMatchObject({
      output: { rows: [], rowCount: 0 },
    });
    expect(
      await query(`INSERT INTO items SELECT n, 'item ' || n FROM generate_series(1, 5) n`),
    ).toMatchObject({ output: { rows: [], rowCount: 5 } });
    expect((await observer.query('SELECT count(*)::int AS n FROM items')).rows).toEqual([{ n: 5 }]);
    expect(await query('DELETE FROM items WHERE id = $1 RETURNING name', { params: [5] })).toMatchObject({
      output: { rows: [{ name: 'item 5' }], rowCount: 1 },
    });
  });

  it('writes nothing under readOnly, and takes one statement only', async () => {
    expect(await query('DELETE FROM items', { readOnly: true })).toMatchObject({
      error: { code: 'sql_failed', retryable: false, details: { sqlState: '25006' } },
    });
    expect(await query('COMMIT; DELETE FROM items', { readOnly: true })).toMatchObject({
      error: { details: { sqlState: '42601' } },
    });
    expect(await query('SELECT 1; SELECT 2')).toMatchObject({ error: { details: { sqlState: '42601' } } });
    expect((await observer.query('SELECT count(*)::int AS n FROM items')).rows).toEqual([{ n: 4 }]);
  });

  it('leaves nothing of one flow to the next on the same connection', async () => {
    await query(`SELECT set_config('app.secret', 'x', false), pg_advisory_lock(7)`);
    expect(await query(`SELECT current_setting('app.secret', true) AS secret`)).toMatchObject({
      output: { rows: [{ secret: expect.not.stringContaining('x') }] },
    });
    expect((await observer.query(`SELECT pg_try_advisory_lock(7) AS free`)).rows).toEqual([{ free: true }]);
    await query('BEGIN');
    expect(await query('SELECT 1 AS one')).toMatchObject({ kind: 'completed' });
  });

  it('limits the rows, and stops the statement', async () => {
    expect(await query('SELECT n FROM generate_series(1, 3) n', { maxRows: 3 })).toMatchObject({
      output: { rowCount: 3 },
    });
    expect(await query('SELECT 1 FROM pg_proc a, pg_proc b, pg_proc c', { maxRows: 3 })).toMatchObject({
      error: {
        code: 'too_many_rows',
        retryable: false,
        message: 'expected at most 3 rows (config.maxRows), got more',
      },
    });
  });

  it('times out in the server, retryably', async () => {
    expect(await query('SELECT pg_sleep(60)', { timeoutMs: 50 })).toMatchObject({
      error: { code: 'sql_failed', retryable: true, details: { sqlState: '57014' } },
    });
  });

  it('cancels the statement in the server when it is aborted', async () => {
    const cancel = new AbortController();
    const running = query('SELECT pg_sleep(600) /* to be cancelled */', {}, { signal: cancel.signal });
    await untilRunning('to be cancelled');
    cancel.abort();
    expect(await running).toMatchObject({ kind: 'cancelled' });
    const left = `SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%to be' || ' cancelled%' AND pid <> pg_backend_pid()`;
    expect((await observer.query(left)).rowCount).toBe(0);
    expect(await query('SELECT 1 AS one')).toMatchObject({ kind: 'completed' });
  });

  it.each([
    [`DO $$ BEGIN RAISE SQLSTATE '40001'; END $$`, '40001', true],
    [`DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$`, '40P01', true],
    [`DO $$ BEGIN RAISE SQLSTATE '53300'; END $$`, '53300', true],
    [`DO $$ BEGIN RAISE SQLSTATE '55P03'; END $$`, '55P03', true],
    [`DO $$ BEGIN RAISE SQLSTATE '08006'; END $$`, '08006', true],
    [`DO $$ BEGIN RAISE SQLSTATE '55006'; END $$`, '55006', false],
    ['SELECT 1/0', '22012', false],
    ['SELEC 1', '42601', false],
    ['INSERT INTO items VALUES (1)', '23505', false],
  ])('%s: SQLSTATE %s, retryable: %s', async (text, sqlState, retryable) => {
    expect(await query(text)).toMatchObject({
      error: { code: 'sql_failed', retryable, details: { sqlState } },
    });
  });

  it('is retryable when its session is ended by the operator', async () => {
    const running = query('SELECT pg_sleep(600) /* to be terminated */');
    await untilRunning('to be terminated');
    await observer.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%to be terminated%' AND pid <> pg_backend_pid()`,
    );
    expect(await running).toMatchObject({ error: { code: 'sql_failed', retryable: true } });
  });

  it('knows connections by name only and never shows a URL', async () => {
    const outcomes = [
      await query('SELECT 1', { connection: 'nope' }),
      await query('SELECT 1', { connection: 'mongo' }),
      await query('SELECT 1', { connection: 'refused' }),
    ];
    expect(outcomes).toMatchObject([
      {
        error: {
          code: 'bad_connection',
          retryable: false,
          message: expect.stringContaining('(main, mongo, refused), got "nope"'),
        },
      },
      { error: { code: 'bad_connection', retryable: false } },
      {
        error: {
          code: 'sql_failed',
          retryable: true,
          message: 'postgresql "refused": cannot connect to "refused" (ECONNREFUSED)',
        },
      },
    ]);
    expect(JSON.stringify(outcomes)).not.toMatch(/geheim|geh%40im|geh@im|postgres(ql)?:\/\//);
  });
});
