import { type RawBuilder, sql } from 'kysely';
import { type ExecutionFilter, type ExecutionPage, InvalidCursorError } from './execution-store.js';
import { PRIORITIES } from '../queue/priority.js';
import { eachRange, type Range, rangesOf, rangesWithin } from './ranges.js';
import { labelKey, priorityRank, SUMMARY_COLUMNS, type SummaryRow, toSummary } from './rows.js';
import type { StoreSession } from './store-session.js';
import { isIn } from './transition-sql.js';
import { EXECUTION_STATES, isHeld } from './transitions.js';

interface Position {
  createdAt: number;
  executionId: string;
}

const SUMMARY = sql.join(SUMMARY_COLUMNS.map((column) => sql.ref(`executions.${column}`)));

/** The list of executions, newest first, a page at a time. */
export class ExecutionList {
  constructor(private readonly session: StoreSession) {}

  async list(filter: ExecutionFilter, limit: number, cursor?: string): Promise<ExecutionPage> {
    const after = cursor === undefined ? null : readCursor(cursor);
    if (filter.states?.length === 0) return { items: [], nextCursor: null };
    // One more than asked for tells whether there is another page.
    const found = await this.session.rows(page(filter, limit + 1, after));
    const items = found.slice(0, limit).map(toSummary);
    const last = items.at(-1);
    return { items, nextCursor: found.length > limit && last !== undefined ? writeCursor(last) : null };
  }
}

/** A cross join keeps SQLite from turning the two sides around. */
function page(filter: ExecutionFilter, limit: number, after: Position | null): RawBuilder<SummaryRow> {
  const [first, ...others] = Object.entries(filter.labels ?? {}).map(([name, value]) =>
    labelKey(name, value),
  );
  const keys =
    first === undefined ? byStates(filter, limit, after) : byLabel(first, others, filter, limit, after);
  return sql<SummaryRow>`
    select ${SUMMARY} from (${keys}) as keys cross join executions where executions.execution_id = keys.execution_id
    order by executions.created_at desc, executions.execution_id desc limit ${limit}`;
}

function byStates(filter: ExecutionFilter, limit: number, after: Position | null): RawBuilder<unknown> {
  const conditions = [...columnFilters(filter), ...timeFilters('executions', filter, after)];
  const ranges = eachRange(
    rangesFor(filter),
    (range) => sql`
      select executions.execution_id, executions.created_at from executions where ${all([range, ...conditions])}
      order by executions.created_at desc, executions.execution_id desc limit ${limit}`,
  );
  // Merged before the rows are read: SQLite would else read those of each range, of which nearly all are left out.
  return sql`
    select execution_id from (${ranges}) as ranges order by created_at desc, execution_id desc limit ${limit}`;
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
        and other.execution_id = labelled.execution_id)`,
  );
  const conditions = [
    sql<boolean>`labelled.label = ${label}`,
    sql<boolean>`executions.execution_id = labelled.execution_id`,
    ...timeFilters('labelled', filter, after),
    ...alsoLabelled,
    ...columnFilters(filter),
    ...(filter.states === undefined ? [] : [isIn(filter.states)]),
    ...(filter.priority === undefined
      ? []
      : [sql<boolean>`executions.priority = ${priorityRank(filter.priority)}`]),
  ];
  return sql`
    select labelled.execution_id from execution_labels as labelled cross join executions
    where ${all(conditions)}
    order by labelled.created_at desc, labelled.execution_id desc limit ${limit}`;
}

function columnFilters({ flowId, workerId }: ExecutionFilter): RawBuilder<boolean>[] {
  return [
    ...(flowId === undefined ? [] : [sql<boolean>`executions.flow_id = ${flowId}`]),
    ...(workerId === undefined ? [] : [sql<boolean>`executions.worker_id = ${workerId}`]),
  ];
}

function timeFilters(table: string, filter: ExecutionFilter, after: Position | null): RawBuilder<boolean>[] {
  const createdAt = sql.ref(`${table}.created_at`);
  const id = sql.ref(`${table}.execution_id`);
  return [
    ...(filter.createdAfter === undefined ? [] : [sql<boolean>`${createdAt} >= ${filter.createdAfter}`]),
    ...(filter.createdBefore === undefined ? [] : [sql<boolean>`${createdAt} < ${filter.createdBefore}`]),
    ...(after === null
      ? []
      : [sql<boolean>`(${createdAt}, ${id}) < (${after.createdAt}, ${after.executionId})`]),
  ];
}

function all(conditions: RawBuilder<boolean>[]): RawBuilder<unknown> {
  return sql.join(conditions, sql` and `);
}

function writeCursor({ createdAt, executionId }: Position): string {
  return Buffer.from(JSON.stringify([createdAt, executionId])).toString('base64url');
}

function readCursor(cursor: string): Position {
  try {
    const [createdAt, executionId] = JSON.parse(Buffer.from(cursor, 'base64url').toString()) as unknown[];
    if (Number.isSafeInteger(createdAt) && typeof executionId === 'string' && !executionId.includes('\0')) {
      return { createdAt: createdAt as number, executionId };
    }
  } catch {
    // Falls through: whatever is wrong with it, the answer is the same.
  }
  throw new InvalidCursorError(
    `the cursor cannot be read: expected the nextCursor of the page before, got ${JSON.stringify(cursor.slice(0, 80))}`,
  );
}
