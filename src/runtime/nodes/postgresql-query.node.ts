import type pg from 'pg';
import {
  ConnectionError,
  connectionUrl,
  loadDriver,
  type NamedConnections,
  OpenConnections,
  withoutSecrets,
} from './named-connections.js';
import {
  completed,
  defineNode,
  failed,
  messageOf,
  type NodeContext,
  type NodeHandler,
  type NodeOutcome,
} from './node-handler.js';

interface PostgresqlQueryConfig {
  connection: string;
  query: string;
  params?: unknown[];
  readOnly?: boolean;
  timeoutMs?: number;
  maxRows?: number;
}

interface Database {
  driver: typeof pg;
  pool: pg.Pool;
  url: string;
}

interface Rows {
  rows: Record<string, unknown>[];
  rowCount: number;
}

const SCHEMES = ['postgresql', 'postgres'];
const POOL_SIZE = 10;
const CONNECT_TIMEOUT_MS = 10_000;
const DEFAULT_TIMEOUT_MS = 60_000;
const DEFAULT_MAX_ROWS = 10_000;
/** Connection trouble, serialisation and deadlock, too few resources, operator intervention, lock not available. */
const RETRYABLE_STATES = /^(08|40|53|57|55P03)/;
/** `date` and `timestamp` know no zone: as text they stay what they are, as a `Date` they would move. */
const ZONELESS_TYPES = new Set([1082, 1114]);

const configSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['connection', 'query'],
  properties: {
    connection: { type: 'string', minLength: 1 },
    query: { type: 'string', minLength: 1 },
    params: { type: 'array', maxItems: 65_535 },
    readOnly: { type: 'boolean' },
    timeoutMs: { type: 'integer', minimum: 1, maximum: 86_400_000 },
    maxRows: { type: 'integer', minimum: 1, maximum: 1_000_000 },
  },
} as const;

class TooManyRows extends Error {}

/** One parameterised statement in a transaction of its own. Output: `{rows, rowCount}`. */
export function postgresqlQueryNode(connections: NamedConnections): {
  handler: NodeHandler;
  close: () => Promise<void>;
} {
  const databases = new OpenConnections<Database>(
    (name) => openDatabase(connections, name),
    ({ pool }) => pool.end(),
  );
  const handler = defineNode<PostgresqlQueryConfig>({
    type: 'postgresql-query',
    description: 'Runs one parameterised SQL statement on a PostgreSQL connection of the worker',
    configSchema,
    run: (context) => runStatement(context, databases),
  });
  return { handler, close: () => databases.close() };
}

async function openDatabase(connections: NamedConnections, name: string): Promise<Database> {
  const url = connectionUrl(connections, name, SCHEMES);
  const { default: driver } = await loadDriver('pg', () => import('pg'));
  const pool = new driver.Pool({
    connectionString: url,
    max: POOL_SIZE,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  // An idle connection that breaks is replaced by the pool; without a listener it would end the process.
  pool.on('error', ignore);
  return { driver, pool, url };
}

async function runStatement(
  { config, signal }: NodeContext<PostgresqlQueryConfig>,
  databases: OpenConnections<Database>,
): Promise<NodeOutcome> {
  let database: Database | undefined;
  try {
    database = await databases.get(config.connection);
    const client = await connect(database, config.connection);
    return completed(await inTransaction(database, client, config, signal));
  } catch (error) {
    return signal.aborted ? { kind: 'cancelled' } : failureOf(error, config, database?.url ?? '');
  }
}

/** The reasons for a failed connection may quote the URL's parts: only their codes are passed on. */
async function connect({ pool }: Database, name: string): Promise<pg.PoolClient> {
  try {
    return await pool.connect();
  } catch (error) {
    const code = (error as { code?: string }).code ?? 'no answer in time';
    throw Object.assign(new Error(`cannot connect to "${name}" (${code})`), { code });
  }
}

async function inTransaction(
  database: Database,
  client: pg.PoolClient,
  config: PostgresqlQueryConfig,
  signal: AbortSignal,
): Promise<Rows> {
  const { readOnly = false, timeoutMs = DEFAULT_TIMEOUT_MS } = config;
  client.on('error', ignore);
  let cancelling: Promise<void> | undefined;
  const onAbort = () => {
    cancelling = cancelStatement(database, client);
  };
  signal.addEventListener('abort', onAbort, { once: true });
  let clean = false;
  try {
    signal.throwIfAborted();
    const mode = readOnly ? 'READ ONLY' : 'READ WRITE';
    await client.query(`BEGIN ${mode}; SET LOCAL statement_timeout = ${Math.round(timeoutMs)}`);
    const rows = await readRows(database.driver, client, config, signal);
    await client.query('COMMIT');
    // Settings, temporary tables and advisory locks of one flow are not for the next one.
    await client.query('DISCARD ALL');
    clean = !signal.aborted;
    return rows;
  } finally {
    signal.removeEventListener('abort', onAbort);
    if (clean) client.off('error', ignore);
    // Anything but a clean end closes the connection: a server that still sends rows notices at once.
    client.release(!clean);
    await cancelling;
  }
}

function ignore(): void {}

/** Rows are counted as they come, so that an unbounded answer is stopped and not gathered first. */
function readRows(
  driver: typeof pg,
  client: pg.PoolClient,
  config: PostgresqlQueryConfig,
  signal: AbortSignal,
): Promise<Rows> {
  const { query: text, params = [], maxRows = DEFAULT_MAX_ROWS } = config;
  const rows: Record<string, unknown>[] = [];
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    // The extended protocol takes one statement only: nothing can follow a semicolon, such as a COMMIT.
    const statement = {
      text,
      values: params,
      queryMode: 'extended',
      types: { getTypeParser: typeParser(driver) },
    };
    const query = client.query(
      new driver.Query<Record<string, unknown>>(statement as unknown as pg.QueryConfig),
    );
    query.on('row', (row) => {
      if (rows.length < maxRows) rows.push(row);
      else reject(new TooManyRows());
    });
    query.on('error', reject);
    query.on('end', ({ rowCount }) => resolve({ rows, rowCount: rowCount ?? rows.length }));
  });
}

function typeParser(driver: typeof pg) {
  return (oid: number, format?: 'text' | 'binary'): unknown =>
    ZONELESS_TYPES.has(oid) ? (value: string) => value : driver.types.getTypeParser(oid, format as 'text');
}

/** Ends the statement of one connection over another: closing the first alone would leave a busy server at work. */
async function cancelStatement({ driver, url }: Database, client: pg.PoolClient): Promise<void> {
  const { processID } = client as unknown as { processID: number };
  const helper = new driver.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_TIMEOUT_MS });
  helper.on('error', ignore);
  try {
    await helper.connect();
    await helper.query('SELECT pg_cancel_backend($1)', [processID]);
  } catch {
    // The server's own statement_timeout ends it then.
  } finally {
    await helper.end().catch(ignore);
  }
}

function failureOf(
  error: unknown,
  { connection, maxRows = DEFAULT_MAX_ROWS }: PostgresqlQueryConfig,
  url: string,
): NodeOutcome {
  if (error instanceof ConnectionError) return failed('bad_connection', error.message, { retryable: false });
  if (error instanceof TooManyRows) {
    return failed('too_many_rows', `expected at most ${maxRows} rows (config.maxRows), got more`, {
      retryable: false,
    });
  }
  const { code } = error as { code?: unknown };
  const state = typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
  // Without an SQLSTATE it was not the server that spoke: the connection failed.
  const retryable = state === undefined || RETRYABLE_STATES.test(state);
  const message = `postgresql "${connection}": ${withoutSecrets(messageOf(error), url)}`;
  return failed('sql_failed', message, {
    retryable,
    details: state === undefined ? {} : { sqlState: state },
  });
}
