import { type RawBuilder, sql } from 'kysely';
import {
  asArrays,
  type BatchRows,
  Place,
  postgresBatch,
  type Row,
  type RowShape,
  sqliteBatch,
} from './batch-rows.js';

/**
 * Everything in which the SQL of the two databases differs. The queries themselves are written once.
 */
export interface StoreDialect {
  readonly name: 'postgres' | 'sqlite';
  /** The store's clock, epoch ms: the server's on PostgreSQL, this process's on SQLite, which has but one. */
  now(): RawBuilder<number>;
  /** A subquery of `rows`, given as one JSON parameter however many they are. */
  rows(shape: RowShape, rows: readonly Row[]): RawBuilder<unknown>;
  /** A subquery of one column with these texts, given as one JSON parameter, or with the place of such a one. */
  texts(values: readonly string[] | Place): RawBuilder<unknown>;
  /** How the statements that are compiled once are given their rows. */
  readonly batch: BatchRows;
  /** A text column as a JSON string. */
  jsonString(column: RawBuilder<unknown>): RawBuilder<string>;
  /**
   * A further CTE after `given`, the batch: locks its executions in the order of their ids, so that two replicas
   * with the same ones wait for each other instead of deadlocking (the order of a join is the planner's). Null where
   * nobody else writes.
   */
  readonly lockGiven: RawBuilder<unknown> | null;
  /** Keeps a row that was read from being changed before this transaction ends. */
  readonly forShare: RawBuilder<unknown>;
  readonly forUpdate: RawBuilder<unknown>;
  /** The same, passing over rows that another replica is changing right now. */
  readonly forUpdateSkipLocked: RawBuilder<unknown>;
}

function textsOf(values: readonly string[] | Place): string | Place {
  return values instanceof Place ? values : JSON.stringify(values);
}

export const postgres: StoreDialect = {
  name: 'postgres',
  now: () => postgresBatch.now,
  batch: postgresBatch,
  rows: (shape, rows) =>
    sql`select * from json_to_recordset(${JSON.stringify(rows)}::json) as r(${shape.postgres})`,
  texts: (values) => sql`select json_array_elements_text(${textsOf(values)}::json)`,
  jsonString: (column) => sql<string>`to_json(${column})::text`,
  lockGiven: sql`locked as materialized (
    select execution_id from executions where execution_id in (select execution_id from given)
    order by execution_id for no key update)`,
  forShare: sql`for share`,
  forUpdate: sql`for update`,
  forUpdateSkipLocked: sql`for update skip locked`,
};

/** One process and one connection write: there is nobody to lock a row against. */
const nothing = sql``;

export const sqlite: StoreDialect = {
  name: 'sqlite',
  now: () => sql<number>`${Date.now()}`,
  batch: sqliteBatch,
  rows: (shape, rows) => sql`select ${shape.sqlite} from json_each(${JSON.stringify(asArrays(shape, rows))})`,
  texts: (values) => sql`select value from json_each(${textsOf(values)})`,
  jsonString: (column) => sql<string>`json_quote(${column})`,
  lockGiven: null,
  forShare: nothing,
  forUpdate: nothing,
  forUpdateSkipLocked: nothing,
};
