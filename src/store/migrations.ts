import { type CreateTableBuilder, type Kysely, type Migration, type MigrationProvider, sql } from 'kysely';
import { literals, NOT_HELD } from './transition-sql.js';
import type { StoreDialect } from './dialect.js';
import { WAITING_STATES } from './transitions.js';

/**
 * The schema, step by step. A migration that was released is never changed: add another one. They live in code, so
 * that a bundle needs no files beside it.
 */
export function migrationsFor(dialect: StoreDialect): MigrationProvider {
  return {
    getMigrations: () =>
      Promise.resolve({
        '001-executions': createSchema(dialect),
        '002-scaling': createScaling(dialect),
      } satisfies Record<string, Migration>),
  };
}

function createScaling(dialect: StoreDialect): Migration {
  const text = dialect.name === 'postgres' ? sql`text collate "C"` : sql`text`;
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema
        .createTable('scaling')
        .addColumn('worker_class', text, (c) => c.primaryKey().notNull())
        .addColumn('desired', 'integer')
        .addColumn('desired_at', 'bigint')
        .addColumn('min_workers', 'integer')
        .addColumn('max_workers', 'integer')
        .addColumn('paused', 'smallint', (c) => c.notNull().defaultTo(0))
        .addColumn('reason', text, (c) => c.notNull().defaultTo(''))
        .addColumn('revision', 'bigint', (c) => c.notNull())
        .addColumn('updated_at', 'bigint', (c) => c.notNull())
        .execute();
    },
  };
}

function createSchema(dialect: StoreDialect): Migration {
  const onPostgres = dialect.name === 'postgres';
  // Byte order on both sides: cursors compare ids, and the default collation of a PostgreSQL is anybody's guess.
  const text = onPostgres ? sql`text collate "C"` : sql`text`;
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await executionsTable(db, text, onPostgres).execute();
      await labelsTable(db, text, onPostgres).execute();
      await db.schema
        .createTable('dead_letters')
        .addColumn('id', onPostgres ? 'bigserial' : 'integer', (c) =>
          onPostgres ? c.primaryKey() : c.primaryKey().autoIncrement(),
        )
        .addColumn('at', 'bigint', (c) => c.notNull())
        .addColumn('letter', text, (c) => c.notNull())
        .execute();
      await db.schema
        .createTable('leases')
        .addColumn('name', text, (c) => c.primaryKey())
        .addColumn('holder', text, (c) => c.notNull())
        .addColumn('epoch', 'bigint', (c) => c.notNull())
        .addColumn('ends_at', 'bigint', (c) => c.notNull())
        .execute();
      for (const index of indexes()) await sql.raw(index).execute(db);
      if (onPostgres) await sql.raw(AUTOVACUUM).execute(db);
    },
  };
}

/** Small columns first, the bulky ones last: SQLite reads a row's columns from the left and stops at the last one asked for. */
function executionsTable(
  db: Kysely<unknown>,
  text: ReturnType<typeof sql>,
  onPostgres: boolean,
): CreateTableBuilder<string, string> {
  return db.schema
    .createTable('executions')
    .addColumn('seq', onPostgres ? 'bigserial' : 'integer', (c) =>
      onPostgres ? c.notNull() : c.primaryKey().notNull(),
    )
    .addColumn('execution_id', text, (c) => (onPostgres ? c.primaryKey() : c.unique()).notNull())
    .addColumn('flow_id', text, (c) => c.notNull())
    .addColumn('state', text, (c) => c.notNull())
    .addColumn('priority', 'smallint', (c) => c.notNull())
    .addColumn('attempt', 'integer', (c) => c.notNull())
    .addColumn('max_attempts', 'integer', (c) => c.notNull())
    .addColumn('attempts_per_series', 'integer', (c) => c.notNull())
    .addColumn('timeout_ms', 'bigint', (c) => c.notNull())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('available_at', 'bigint')
    .addColumn('expires_at', 'bigint')
    .addColumn('queued_at', 'bigint')
    .addColumn('assigned_at', 'bigint')
    .addColumn('started_at', 'bigint')
    .addColumn('finished_at', 'bigint')
    .addColumn('cancel_requested_at', 'bigint')
    .addColumn('duration_ms', 'double precision')
    .addColumn('worker_id', text)
    .addColumn('parked_reason', text)
    .addColumn('request_hash', text, (c) => c.notNull())
    .addColumn('required_types', text, (c) => c.notNull())
    .addColumn('backoff', text)
    .addColumn('labels', text)
    .addColumn('cancel_error', text)
    .addColumn('error', text)
    .addColumn('past_attempts', text)
    .addColumn('timeline', text)
    .addColumn('request', text, (c) => c.notNull())
    .addColumn('result', text);
}

function labelsTable(
  db: Kysely<unknown>,
  text: ReturnType<typeof sql>,
  onPostgres: boolean,
): CreateTableBuilder<string, string> {
  const table = db.schema
    .createTable('execution_labels')
    .addColumn('label', text, (c) => c.notNull())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('seq', 'bigint', (c) => c.notNull())
    .addColumn('execution_id', text, (c) => c.notNull())
    .addPrimaryKeyConstraint('execution_labels_pk', ['label', 'created_at', 'seq']);
  return onPostgres ? table : table.modifyEnd(sql`without rowid`);
}

/**
 * Every write of a state moves its row in every index that holds it (PostgreSQL cannot keep it in place, as indexes
 * look at the state), so each of these has a query that would scan the table without it. They end with `seq` and not
 * with the id, which would be half of each entry: with it a flow cost SQLite a quarter more.
 * - by_state: lists with and without a state (one short range per state and priority, merged), `held`, `countOpen`, `prune`
 * - by_flow, by_worker: lists of one flow or worker. Without what workers hold, as every execution would be put into both
 *   for that and out again; lists look through by_state for it, which has the two columns so that no row need be read
 * - due, queued, parked, expiring: partial, and small: they hold only what waits
 */
function indexes(): string[] {
  return [
    `create index executions_by_state on executions (state, priority, created_at, seq, flow_id, worker_id)`,
    `create index executions_by_flow on executions (flow_id, state, created_at, seq) where ${NOT_HELD}`,
    `create index executions_by_worker on executions (worker_id, state, created_at, seq)
       where worker_id is not null and ${NOT_HELD}`,
    `create index executions_due on executions (available_at, seq) where available_at is not null`,
    `create index executions_queued on executions (priority, created_at, seq)
       where state = 'queued' and parked_reason is null`,
    `create index executions_parked on executions (substr(required_types, 1, 200), priority, created_at, seq)
       where parked_reason is not null`,
    `create index executions_expiring on executions (expires_at)
       where expires_at is not null and state in (${literals(WAITING_STATES)})`,
  ];
}

/** A row is updated three or four times within seconds: vacuum by a small share, so that dead entries do not pile up in the partial indexes. */
const AUTOVACUUM = `alter table executions set (
  autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 0.05,
  autovacuum_vacuum_cost_delay = 0)`;
