/**
 * `node fill-record.mjs sqlite|postgres <folder or database URL> <rows>`: makes the record's tables and fills them with
 * executions that ended within the last six days, straight by SQL. A process of its own, since SQLite's calls block.
 */
import { closeSync, fsyncSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { payload } from '../payload.mjs';

const CHUNK = 100_000;
const SPREAD_MS = 6 * 24 * 3_600 * 1_000;
const TOLD_EVERY = 5;
const FLOW = {
  name: 'Bench',
  version: 1,
  nodes: [{ id: 'n1', type: 'log', config: { level: 'debug' } }],
  connections: [],
};

/** Ids that sort before those of today. @param {number} index from 0 */
export function filledId(index) {
  return `${ID_PREFIX}${index.toString(16).padStart(12, '0')}`;
}
const ID_PREFIX = '01a00000-0000-7000-8000-';

/**
 * @typedef {object} Dialect
 * @property {string} hex of the number `i`, 12 digits
 * @property {(from: number, to: number) => string} series a table `seq` with the column `i`, both ends included
 *
 * @param {Dialect} dialect
 * @param {{ from: number, to: number, rows: number, now: number }} range
 */
function insertSql({ hex, series }, { from, to, rows, now }) {
  const createdAt = `${now - SPREAD_MS} + (i * ${Math.floor((SPREAD_MS / rows) * 1_000)} / 1000)`;
  const literal = (/** @type {object} */ value) => `'${JSON.stringify(value)}'`;
  const timeline = [
    { nodeId: 'n1', type: 'log', state: 'completed', tries: 1, finishedAt: '2026-01-01T00:00:00.000Z' },
  ];
  /** @type {Record<string, string>} */
  const columns = {
    execution_id: `'${ID_PREFIX}' || ${hex}`,
    flow_id: `'filled-' || (i % 100)`,
    state: `'completed'`,
    priority: '1',
    attempt: '1',
    max_attempts: '3',
    attempts_per_series: '3',
    timeout_ms: '1500000',
    created_at: createdAt,
    queued_at: createdAt,
    assigned_at: createdAt,
    started_at: `${createdAt} + 3`,
    finished_at: `${createdAt} + 5`,
    duration_ms: '2.5',
    worker_id: `'worker-' || (1 + i % 2)`,
    request_hash: `'filled-' || ${hex}`,
    required_types: `'log'`,
    timeline: literal(timeline),
    request: literal({ flowId: 'filled', flowData: FLOW, inputs: payload(0) }),
    result: literal({ n1: payload(0) }),
  };
  return `${series(from, to)} insert into executions (${Object.keys(columns).join(', ')})
    select ${Object.values(columns).join(', ')} from seq`;
}

/** @type {Dialect} */
const SQLITE = {
  hex: `printf('%012x', i)`,
  series: (from, to) =>
    `with recursive seq(i) as (select ${from} union all select i + 1 from seq where i < ${to})`,
};
/** @type {Dialect} */
const POSTGRES = {
  hex: `lpad(to_hex(i), 12, '0')`,
  series: (from, to) => `with seq as (select generate_series(${from}::bigint, ${to}::bigint) as i)`,
};

/**
 * @param {Dialect} dialect
 * @param {number} rows
 * @param {(sql: string) => unknown} execute
 */
async function fill(dialect, rows, execute) {
  const now = Date.now();
  for (let from = 0, chunk = 1; from < rows; from += CHUNK, chunk++) {
    const to = Math.min(rows, from + CHUNK) - 1;
    await execute(insertSql(dialect, { from, to, rows, now }));
    if (chunk % TOLD_EVERY === 0 || to === rows - 1) console.log(`  ${to + 1} of ${rows} rows`);
  }
}

/**
 * @param {string} folder
 * @param {number} rows
 */
async function fillSqlite(folder, rows) {
  const { sqliteStore } = await import('../../dist/store/kysely-execution-store.js');
  const { default: Database } = await import('libsql');
  const file = join(folder, 'flow-orchestrator.db');
  const store = sqliteStore(file);
  await store.open();
  await store.close();
  const database = new Database(file);
  database.exec('pragma journal_mode = OFF; pragma synchronous = OFF; pragma cache_size = -524288');
  await fill(SQLITE, rows, (sql) => database.exec(sql));
  database.exec('analyze');
  database.close();
  // Otherwise the first commits of the run would wait until all of this is on the disk.
  const descriptor = openSync(file, 'r+');
  fsyncSync(descriptor);
  closeSync(descriptor);
}

/**
 * @param {string} url
 * @param {number} rows
 */
async function fillPostgres(url, rows) {
  const { postgresStore } = await import('../../dist/store/kysely-execution-store.js');
  const { default: pg } = await import('pg');
  const store = postgresStore({ url, poolSize: 1, onWarning: console.log });
  await store.open();
  await store.close();
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query('set synchronous_commit = off');
  await fill(POSTGRES, rows, (sql) => client.query(sql));
  // What autovacuum does in the course of days.
  await client.query('vacuum (analyze) executions');
  await client.query('checkpoint');
  await client.end();
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [store, target = '', rows] = process.argv.slice(2);
  if (store === 'postgres') await fillPostgres(target, Number(rows));
  else await fillSqlite(target, Number(rows));
}
