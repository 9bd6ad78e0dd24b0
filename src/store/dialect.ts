import { type RawBuilder, sql } from 'kysely';

/**
 * Everything in which the SQL of the two databases differs. The queries themselves are written once.
 */
export interface StoreDialect {
  readonly name: 'postgres' | 'sqlite';
  /** The store's clock, epoch ms: the server's on PostgreSQL, this process's on SQLite, which has but one. */
  now(): RawBuilder<number>;
  /** A subquery of `rows`, given as one JSON parameter however many they are. */
  rows(shape: RowShape, rows: readonly Row[]): RawBuilder<unknown>;
  /** A subquery of one column with these texts, given as one JSON parameter. */
  texts(values: readonly string[]): RawBuilder<unknown>;
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

type ColumnType = 'text' | 'integer' | 'bigint' | 'double precision';

/** How rows are unpacked from JSON: names and types of their columns, rendered once for both dialects. */
export interface RowShape {
  readonly columns: readonly string[];
  readonly postgres: RawBuilder<unknown>;
  readonly sqlite: RawBuilder<unknown>;
}

export function rowShape(columns: Record<string, ColumnType>): RowShape {
  const entries = Object.entries(columns);
  return {
    columns: Object.keys(columns),
    postgres: sql.raw(entries.map(([name, type]) => `${name} ${type}`).join(', ')),
    sqlite: sql.raw(entries.map(([name], position) => `value ->> ${position} as ${name}`).join(', ')),
  };
}

export type Row = Record<string, string | number | null>;

/** SQLite reads a value by its position in half the time it needs to find it by name. */
function asArrays(shape: RowShape, rows: readonly Row[]): unknown[][] {
  return rows.map((row) => shape.columns.map((column) => row[column]));
}

export const postgres: StoreDialect = {
  name: 'postgres',
  now: () => sql<number>`floor(extract(epoch from clock_timestamp()) * 1000)::bigint`,
  rows: (shape, rows) =>
    sql`select * from json_to_recordset(${JSON.stringify(rows)}::json) as r(${shape.postgres})`,
  texts: (values) => sql`select json_array_elements_text(${JSON.stringify(values)}::json)`,
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
  rows: (shape, rows) => sql`select ${shape.sqlite} from json_each(${JSON.stringify(asArrays(shape, rows))})`,
  texts: (values) => sql`select value from json_each(${JSON.stringify(values)})`,
  jsonString: (column) => sql<string>`json_quote(${column})`,
  lockGiven: null,
  forShare: nothing,
  forUpdate: nothing,
  forUpdateSkipLocked: nothing,
};
