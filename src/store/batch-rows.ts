import { type RawBuilder, sql } from 'kysely';
import { KEPT } from './kept-statements.js';
import { binaryArray, type ColumnType } from './postgres-arrays.js';

/** How rows get into a statement, and how it is told which of them it took: in this the two databases differ most. */

/** How rows are unpacked: names and types of their columns, rendered once for both databases. */
export interface RowShape {
  readonly columns: readonly string[];
  readonly types: Readonly<Record<string, ColumnType>>;
  readonly postgres: RawBuilder<unknown>;
  readonly sqlite: RawBuilder<unknown>;
}

export function rowShape(columns: Record<string, ColumnType>): RowShape {
  const entries = Object.entries(columns);
  return {
    columns: Object.keys(columns),
    types: columns,
    postgres: sql.raw(entries.map(([name, type]) => `${name} ${type}`).join(', ')),
    sqlite: sql.raw(entries.map(([name], position) => `value ->> ${position} as ${name}`).join(', ')),
  };
}

export type Row = Record<string, string | number | null>;

/** SQLite reads a value by its position in half the time it needs to find it by name. */
export function asArrays(shape: RowShape, rows: readonly Row[]): unknown[][] {
  return rows.map((row) => shape.columns.map((column) => row[column]));
}

/** Where a statement that is compiled once takes a value that differs from run to run. */
export class Place {
  constructor(readonly name: string) {}
}

/** Where it takes the rows of its batch, or one column of them. */
export class GivenPlace extends Place {}

const GIVEN = new GivenPlace('given');

/** How many rows of a batch were taken, and which, unless it is all or none. */
export interface Taken {
  taken: number;
  ids: string[] | null;
}

/** Rows of a batch that one statement is given. */
export interface Piece {
  rows: readonly Row[];
  /** For how many rows that statement is compiled: few texts are to serve all numbers. */
  room: number;
}

/** How a statement that is compiled once is given the rows of a batch. */
export interface BatchRows {
  /** The store's clock. */
  readonly now: RawBuilder<number>;
  /** What a statement that is compiled once begins with. */
  readonly mark: RawBuilder<unknown>;
  /** How many statements the batch takes, and which rows go to each. */
  piecesOf(rows: readonly Row[]): Piece[];
  /** The CTE `given` with the places of the rows. */
  given(shape: RowShape, room: number): RawBuilder<unknown>;
  /** Adds what belongs into such a place. */
  give(parameters: unknown[], place: GivenPlace, shape: RowShape, rows: readonly Row[], room: number): void;
  /** The statement that answers which executions it took, from its CTEs and the write. No row = none. */
  taking(ctes: RawBuilder<unknown>, write: RawBuilder<unknown>, room: number): RawBuilder<Taken>;
}

export const postgresBatch: BatchRows = {
  now: sql<number>`floor(extract(epoch from clock_timestamp()) * 1000)::bigint`,
  mark: sql.raw(KEPT),
  piecesOf: (rows) => [{ rows, room: rows.length > 1 ? Infinity : 1 }],
  // An array a column, in binary form: to unpack JSON costs the server up to 4 µs a row more, and to make it this process.
  given: (shape, room) =>
    room === 1
      ? sql`given as (select ${sql.join(placesOf(shape, (place, name, type) => sql`${place}::${type} as ${name}`))})`
      : sql`given as (
          select * from unnest(${sql.join(placesOf(shape, (place, _name, type) => sql`${place}::${type}[]`))})
            as r(${sql.raw(shape.columns.join(', '))}))`,
  give: (parameters, { name }, { types }, rows, room) =>
    parameters.push(room === 1 ? rows[0]![name] : binaryArray(types[name]!, rows, name)),
  // One row as the answer: to read hundreds costs this process more than to give them.
  taking: (ctes, write, room) =>
    room === 1
      ? sql<Taken>`with ${ctes} ${write} returning 1 as taken, null as ids`
      : sql<Taken>`with ${ctes}, taken as (${write} returning executions.execution_id)
          select count(*)::int as taken,
            case when count(*) < ${new Place('count')}::int then json_agg(execution_id) end as ids
          from taken`,
};

/**
 * A statement takes one parameter a value: to unpack rows from JSON costs as much again as to insert them. One for more
 * rows than this would itself be large.
 */
const MOST_ROWS = 256;
/**
 * A statement keeps its parameters until it runs again, which one for a rare size may never do. A row that is larger by
 * itself goes as JSON, for which there is one statement.
 */
const MOST_CHARACTERS = 524_288;

export const sqliteBatch: BatchRows = {
  now: sql<number>`${new Place('now')}`,
  mark: sql``,
  piecesOf: (rows) => {
    const pieces: Piece[] = [];
    let start = 0;
    let characters = 0;
    for (let index = 0; index < rows.length; index++) {
      const more = charactersIn(rows[index]!);
      if (index - start === MOST_ROWS || (index > start && characters + more > MOST_CHARACTERS)) {
        pieces.push(pieceOf(rows.slice(start, index), characters));
        start = index;
        characters = 0;
      }
      characters += more;
    }
    pieces.push(pieceOf(start === 0 ? rows : rows.slice(start), characters));
    return pieces;
  },
  given: (shape, room) =>
    room === Infinity
      ? sql`given as (select ${shape.sqlite} from json_each(${GIVEN}))`
      : sql`given (${sql.raw(shape.columns.join(', '))}) as (values (${GIVEN}${sql.raw(restOfValues(shape, room))})`,
  give: (parameters, _place, shape, rows, room) => {
    if (room === Infinity) {
      parameters.push(JSON.stringify(asArrays(shape, rows)));
      return;
    }
    for (const row of rows) for (const column of shape.columns) parameters.push(row[column]);
    for (let left = (room - rows.length) * shape.columns.length; left > 0; left -= 1) parameters.push(null);
  },
  // Which, the thread asks where it is not all or none: see `SqliteFile.take`.
  taking: (ctes, write) => sql<Taken>`with ${ctes} ${write}`,
};

function placesOf(
  { columns, types }: RowShape,
  write: (place: GivenPlace, name: RawBuilder<unknown>, type: RawBuilder<unknown>) => RawBuilder<unknown>,
): RawBuilder<unknown>[] {
  return columns.map((name) => write(new GivenPlace(name), sql.id(name), sql.raw(types[name]!)));
}

function pieceOf(rows: readonly Row[], characters: number): Piece {
  return { rows, room: characters > MOST_CHARACTERS ? Infinity : 2 ** Math.ceil(Math.log2(rows.length)) };
}

function charactersIn(row: Row): number {
  let characters = 0;
  for (const column in row) {
    const value = row[column];
    if (typeof value === 'string') characters += value.length;
  }
  return characters;
}

/** All but the first `?` of rows that are given one parameter a value. */
function restOfValues({ columns }: RowShape, room: number): string {
  const rest = ',?'.repeat(columns.length - 1);
  return `${rest})${`,(?${rest})`.repeat(room - 1)}`;
}
