import { type RawBuilder, sql } from 'kysely';
import { type Row, rowShape } from './batch-rows.js';
import { labelKey } from './rows.js';
import { eachRange, rangesOf } from './ranges.js';
import type { Executor, StoreSession } from './store-session.js';
import { isIn } from './transition-sql.js';
import { TERMINAL_STATES } from './transitions.js';

const LABEL_ROW = rowShape({ label: 'text', created_at: 'bigint', seq: 'bigint' });

interface Pruned {
  seq: number;
  created_at: number;
  labels: string | null;
}

/** Deletes what is long over. */
export class Upkeep {
  constructor(private readonly session: StoreSession) {}

  prune(olderThanMs: number, limit: number): Promise<number> {
    const before = sql<number>`(select cast(${this.session.dialect.now()} as bigint) - ${olderThanMs})`;
    return this.session.transaction(async (trx) => {
      const executions = await this.pruneExecutions(trx, before, limit);
      return executions + (await pruneLetters(trx, before, limit - executions));
    });
  }

  /**
   * Nothing ends before it was created, so the old ends of the list's own ranges hold every candidate: no index on
   * `finished_at` to keep up with each write.
   */
  private async pruneExecutions(trx: Executor, before: RawBuilder<number>, limit: number): Promise<number> {
    const ended = sql`finished_at < ${before}`;
    const ranges = eachRange(
      rangesOf(TERMINAL_STATES),
      (range) => sql`
      select execution_id, created_at from executions
      where ${range} and created_at < ${before} and ${ended} order by created_at limit ${limit}`,
    );
    const { rows } = await sql<Pruned>`
      delete from executions
      where ${isIn(TERMINAL_STATES)} and ${ended} and execution_id in (
        select execution_id from (${ranges}) as candidates order by created_at limit ${limit})
      returning seq, created_at, labels`.execute(trx);
    const labels = rows.flatMap(labelRows);
    if (labels.length > 0) {
      const given = this.session.dialect.rows(LABEL_ROW, labels);
      await sql`
        delete from execution_labels where (label, created_at, seq) in (
          select label, created_at, seq from (${given}) as pruned)`.execute(trx);
    }
    return rows.length;
  }
}

/** Letters are never changed, so the lowest ids are the oldest: no index on `at`, and no walk past the young ones. */
async function pruneLetters(trx: Executor, before: RawBuilder<number>, limit: number): Promise<number> {
  if (limit === 0) return 0;
  const { rows } = await sql`
    delete from dead_letters where id in (
      select id from (select id, at from dead_letters order by id limit ${limit}) as oldest where at < ${before})
    returning id`.execute(trx);
  return rows.length;
}

function labelRows({ labels, created_at, seq }: Pruned): Row[] {
  const entries = labels === null ? [] : Object.entries(JSON.parse(labels) as Record<string, string>);
  return entries.map(([name, value]) => ({ label: labelKey(name, value), created_at, seq }));
}
