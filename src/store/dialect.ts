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
  /**
   * The column by which a row that was found in an index is read: SQLite's indexes have the row's place in them,
   * PostgreSQL has no index on that.
   */
  readonly key: 'seq' | 'execution_id';
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
   * Whether other replicas write at the same time. The rows of a batch are then given in the order of their ids, and
   * under all but the smallest tables' plans locked in it, so that two replicas with the same ones wait for each
   * other. Where a plan takes another order and they do deadlock, the session runs the one that lost again: to lock
   * the rows beforehand would cost each batch a fifth of its time.
   */
  readonly isShared: boolean;
  /**
   * The code of the error when a row that is inserted is there already, where it pays to insert without looking first; null =
   * looking costs next to nothing.
   */
  readonly repetitionCode: string | null;
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
  key: 'execution_id',
  now: () => postgresBatch.now,
  batch: postgresBatch,
  rows: (shape, rows) =>
    sql`select * from json_to_recordset(${JSON.stringify(rows)}::json) as r(${shape.postgres})`,
  texts: (values) => sql`select json_array_elements_text(${textsOf(values)}::json)`,
  jsonString: (column) => sql<string>`to_json(${column})::text`,
  isShared: true,
  repetitionCode: '23505',
  forShare: sql`for share`,
  forUpdate: sql`for update`,
  forUpdateSkipLocked: sql`for update skip locked`,
};

/** One process and one connection write: there is nobody to lock a row against. */
const nothing = sql``;

export const sqlite: StoreDialect = {
  name: 'sqlite',
  key: 'seq',
  now: () => sql<number>`${Date.now()}`,
  batch: sqliteBatch,
  rows: (shape, rows) => sql`select ${shape.sqlite} from json_each(${JSON.stringify(asArrays(shape, rows))})`,
  texts: (values) => sql`select value from json_each(${textsOf(values)})`,
  jsonString: (column) => sql<string>`json_quote(${column})`,
  isShared: false,
  repetitionCode: null,
  forShare: nothing,
  forUpdate: nothing,
  forUpdateSkipLocked: nothing,
};
