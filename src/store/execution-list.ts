import { type RawBuilder, sql } from 'kysely';
import { type ExecutionFilter, type ExecutionPage, InvalidCursorError } from './execution-store.js';
import { PRIORITIES } from '../queue/priority.js';
import { eachRange, type Range, rangesOf, rangesWithin } from './ranges.js';
import { labelKey, priorityRank, SUMMARY_COLUMNS, type SummaryRow, toSummary } from './rows.js';
import type { StoreSession } from './store-session.js';
import { isIn } from './transition-sql.js';
import { EXECUTION_STATES, isHeld } from './transitions.js';

interface Position {
  created_at: number;
  seq: number;
}

type ListedRow = SummaryRow & Position;

const LISTED = sql.join([...SUMMARY_COLUMNS, 'seq'].map((column) => sql.ref(`executions.${column}`)));

/** The list of executions, newest first, a page at a time. */
export class ExecutionList {
  constructor(private readonly session: StoreSession) {}

  async list(filter: ExecutionFilter, limit: number, cursor?: string): Promise<ExecutionPage> {
    const after = cursor === undefined ? null : readCursor(cursor);
    if (filter.states?.length === 0) return { items: [], nextCursor: null };
    // One more than asked for tells whether there is another page.
    const key = sql.id(this.session.dialect.key);
    const found = await this.session.rows(page(key, filter, limit + 1, after));
    const rows = found.slice(0, limit);
    const last = rows.at(-1);
    return {
      items: rows.map(toSummary),
      nextCursor: found.length > limit && last !== undefined ? writeCursor(last) : null,
    };
  }
}

/**
 * A cross join keeps SQLite from turning the two sides around.
 *
 * @param key the column by which the rows are read once it is known which
 */
function page(
  key: RawBuilder<unknown>,
  filter: ExecutionFilter,
  limit: number,
  after: Position | null,
): RawBuilder<ListedRow> {
  const [first, ...others] = Object.entries(filter.labels ?? {}).map(([name, value]) =>
    labelKey(name, value),
  );
  const keys =
    first === undefined
      ? byStates(key, filter, limit, after)
      : byLabel(key, first, others, filter, limit, after);
  return sql<ListedRow>`
    select ${LISTED} from (${keys}) as keys cross join executions where executions.${key} = keys.key
    order by executions.created_at desc, executions.seq desc limit ${limit}`;
}

function byStates(
  key: RawBuilder<unknown>,
  filter: ExecutionFilter,
  limit: number,
  after: Position | null,
): RawBuilder<unknown> {
  const conditions = [...columnFilters(filter), ...timeFilters('executions', filter, after)];
  const ranges = eachRange(
    rangesFor(filter),
    (range) => sql`
      select executions.${key} as key, executions.created_at, executions.seq from executions
      where ${all([range, ...conditions])} order by executions.created_at desc, executions.seq desc limit ${limit}`,
  );
  // Merged before the rows are read: SQLite would else read those of each range, of which nearly all are left out.
  return sql`
    select key from (${ranges}) as ranges order by created_at desc, seq desc limit ${limit}`;
}

/**
 * Which of the indexes leads depends on the filter; each has the state in it, so that every range is one of its own.
 * What workers hold is only in the one by state: that is looked through for one flow or worker, which takes about 5 ms
 * for 50,000 executions, and there are no more than slots.
 */
function rangesFor({ states, flowId, workerId, priority }: ExecutionFilter): Range[] {
  const distinct = [...new Set(states ?? EXECUTION_STATES)];
  const priorities = priority === undefined ? PRIORITIES : [priority];
  if (flowId === undefined && workerId === undefined) return rangesOf(distinct, priorities);
  return [
    ...rangesWithin(
      distinct.filter((state) => !isHeld(state)),
      priority,
    ),
    ...rangesOf(distinct.filter(isHeld), priorities),
  ];
}

/** The first label's own table is in the order of the list. */
function byLabel(
  key: RawBuilder<unknown>,
  label: string,
  others: string[],
  filter: ExecutionFilter,
  limit: number,
  after: Position | null,
): RawBuilder<unknown> {
  const alsoLabelled = others.map(
    (other) => sql<boolean>`exists (
      select 1 from execution_labels as other
      where other.label = ${other} and other.created_at = labelled.created_at
        and other.seq = labelled.seq)`,
  );
  const conditions = [
    sql<boolean>`labelled.label = ${label}`,
    sql<boolean>`executions.${key} = labelled.${key}`,
    ...timeFilters('labelled', filter, after),
    ...alsoLabelled,
    ...columnFilters(filter),
    ...(filter.states === undefined ? [] : [isIn(filter.states)]),
    ...(filter.priority === undefined
      ? []
      : [sql<boolean>`executions.priority = ${priorityRank(filter.priority)}`]),
  ];
  return sql`
    select labelled.${key} as key from execution_labels as labelled cross join executions
    where ${all(conditions)}
    order by labelled.created_at desc, labelled.seq desc limit ${limit}`;
}

function columnFilters({ flowId, workerId }: ExecutionFilter): RawBuilder<boolean>[] {
  return [
    ...(flowId === undefined ? [] : [sql<boolean>`executions.flow_id = ${flowId}`]),
    ...(workerId === undefined ? [] : [sql<boolean>`executions.worker_id = ${workerId}`]),
  ];
}

function timeFilters(table: string, filter: ExecutionFilter, after: Position | null): RawBuilder<boolean>[] {
  const createdAt = sql.ref(`${table}.created_at`);
  const seq = sql.ref(`${table}.seq`);
  return [
    ...(filter.createdAfter === undefined ? [] : [sql<boolean>`${createdAt} >= ${filter.createdAfter}`]),
    ...(filter.createdBefore === undefined ? [] : [sql<boolean>`${createdAt} < ${filter.createdBefore}`]),
    ...(after === null ? [] : [sql<boolean>`(${createdAt}, ${seq}) < (${after.created_at}, ${after.seq})`]),
  ];
}

function all(conditions: RawBuilder<boolean>[]): RawBuilder<unknown> {
  return sql.join(conditions, sql` and `);
}

function writeCursor({ created_at, seq }: Position): string {
  return Buffer.from(JSON.stringify([created_at, seq])).toString('base64url');
}

function readCursor(cursor: string): Position {
  try {
    const [createdAt, seq] = JSON.parse(Buffer.from(cursor, 'base64url').toString()) as unknown[];
    if (Number.isSafeInteger(createdAt) && Number.isSafeInteger(seq)) {
      return { created_at: createdAt as number, seq: seq as number };
    }
  } catch {
    // Falls through: whatever is wrong with it, the answer is the same.
  }
  throw new InvalidCursorError(
    `the cursor cannot be read: expected the nextCursor of the page before, got ${JSON.stringify(cursor.slice(0, 80))}`,
  );
}
