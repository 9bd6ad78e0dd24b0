import { Kysely, PostgresDialect, type PostgresPool, type PostgresPoolClient } from 'kysely';
import { Pool, types } from 'pg';
import type { Backend } from './backend.js';
import { postgres } from './dialect.js';
import { type ErrorKind, errorCode, StoreSetupError } from './errors.js';
import { KeptStatements } from './kept-statements.js';
import type { StoreDatabase } from './schema.js';

export interface PostgresOptions {
  /** `postgres://user:password@host:port/database?…`. Never shown in a message. */
  url: string;
  /** The most connections this process holds. */
  poolSize: number;
  /** Told when an idle connection breaks; the pool replaces it by itself. */
  onWarning: (message: string) => void;
}

const CONNECT_TIMEOUT_MS = 5_000;
const STATEMENT_TIMEOUT_MS = 30_000;
/** A little later than the server's own limit: it ends a wait for a server that has gone silent. */
const ANSWER_TIMEOUT_MS = STATEMENT_TIMEOUT_MS + 5_000;
const INT8_OID = 20;
/**
 * Every query here has an index made for it. Without statistics (the first minute of a database) PostgreSQL takes a
 * condition that hardly any row meets for one that most do, and reads the whole table. And a bitmap scan looks at all that
 * has left a state since the last vacuum, each time anew, where an index scan does so once and marks it as gone. A plan that
 * looks dear, as one does that has to scan all the same, would be compiled: 44 ms each time for a query of 0.03.
 */
const READ_BY_INDEX = '-c enable_seqscan=off -c enable_bitmapscan=off -c jit=off';

export function postgresBackend(options: PostgresOptions): Backend {
  const target = describeTarget(options.url);
  const pool = createPool(options, options.poolSize, STATEMENT_TIMEOUT_MS);
  return {
    dialect: postgres,
    db: new Kysely<StoreDatabase>({ dialect: new PostgresDialect({ pool: guarded(pool) }) }),
    // Its own connection without a statement timeout: a migration, or the wait for another replica's, may take long.
    migrator: () =>
      new Kysely<StoreDatabase>({
        dialect: new PostgresDialect({ pool: guarded(createPool(options, 1, 0)) }),
      }),
    kindOf,
    describe: () => target,
  };
}

function createPool({ url, onWarning }: PostgresOptions, max: number, statementTimeoutMs: number): Pool {
  const pool = new Pool({
    connectionString: url,
    max,
    application_name: 'flow-orchestrator',
    // With the connection, not by a statement: behind a pooler that would stay with a server connection of others.
    options: READ_BY_INDEX,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: statementTimeoutMs,
    query_timeout: statementTimeoutMs === 0 ? undefined : ANSWER_TIMEOUT_MS,
    idle_in_transaction_session_timeout: STATEMENT_TIMEOUT_MS,
    idleTimeoutMillis: 30_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    types: { getTypeParser },
  });
  // Without listeners, a connection that breaks while idle or between two statements would end the process.
  pool.on('error', (error) => onWarning(`a connection to PostgreSQL broke: ${error.message}`));
  pool.on('connect', (client) => client.on('error', () => undefined));
  return pool;
}

/** Every bigint of the store is a time, a count or an epoch: exact as a number. */
function getTypeParser(oid: number, format?: 'text' | 'binary'): unknown {
  return oid === INT8_OID ? Number : types.getTypeParser(oid, format as 'text');
}

function describeTarget(text: string): string {
  if (!URL.canParse(text)) {
    // Neither the URL nor the parser's error is quoted: both hold the password.
    throw new StoreSetupError(
      'DATABASE_URL cannot be read: expected postgres://user:password@host:port/database, with special characters ' +
        'in the password percent-encoded',
    );
  }
  const url = new URL(text);
  const host = url.hostname || (url.searchParams.get('host') ?? 'localhost');
  return `PostgreSQL at ${decodeURIComponent(host)}:${url.port || '5432'}, database ${url.pathname.slice(1) || '(default)'}`;
}

/**
 * Throws a connection away instead of reusing it once something other than a plain SQL error happened on it: after
 * a timeout on our side the server may still be busy with the old statement.
 */
function guarded(pool: Pool): PostgresPool {
  const kept = new KeptStatements();
  return {
    connect: async () => {
      const client = await pool.connect();
      let broken = false;
      const query = async (text: string, values: readonly unknown[]): Promise<unknown> => {
        try {
          return await kept.query(client, text, [...values]);
        } catch (error) {
          if (!SQLSTATE.test(errorCode(error)) || kindOf(error) === 'unavailable' || isPlanLost(error)) {
            broken = true;
          }
          throw error;
        }
      };
      return { query, release: () => client.release(broken) } as PostgresPoolClient;
    },
    end: () => pool.end(),
  };
}

const SQLSTATE = /^[0-9A-Z]{5}$/;

/** By class of SQLSTATE: 08 connection, 53 resources, 57 operator (shutdown, cancel), 58 system. */
function kindOf(error: unknown): ErrorKind {
  const code = errorCode(error);
  if (code === '40001' || code === '40P01' || isPlanLost(error)) return 'conflict';
  // 25006: a standby after a failover; 25P03: the server ended an idle transaction; 55P03: a lock not to be had.
  if (code === '25006' || code === '25P03' || code === '55P03') return 'unavailable';
  if (SQLSTATE.test(code)) return /^(?:08|53|57|58)/.test(code) ? 'unavailable' : 'other';
  // A certificate for another name does not change by itself, nor does a number that is too large.
  if (/^E(?!RR_TLS_CERT|RR_OUT_OF_RANGE)[A-Z_]+$/.test(code)) return 'unavailable';
  return error instanceof Error && CLIENT_SIDE.test(error.message) ? 'unavailable' : 'other';
}

/**
 * The connection's kept statements are not what we take them for: a pooler gave it another server, or a column has changed
 * its type. Nothing was written, and a new connection prepares anew.
 */
function isPlanLost(error: unknown): boolean {
  const code = errorCode(error);
  return (
    code === '26000' ||
    code === '42P05' ||
    (code === '0A000' && error instanceof Error && error.message.includes('cached plan'))
  );
}

/** What `pg` itself reports, without a code, when a connection fails it. */
const CLIENT_SIDE =
  /connection terminated|timeout exceeded when trying to connect|query read timeout|connection error|not queryable|connection ended/i;
