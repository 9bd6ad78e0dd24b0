import { type RawBuilder, sql } from 'kysely';
import type { DecidedSize, ScalingChange, ScalingRecord } from './execution-store.js';
import { rowShape } from './batch-rows.js';
import { LEADER_LEASE } from './leases.js';
import type { StoreSession } from './store-session.js';

const DECIDED_ROW = rowShape({
  worker_class: 'text',
  desired: 'integer',
  reason: 'text',
  revision: 'bigint',
});

interface ScalingRow {
  worker_class: string;
  desired: number | null;
  desired_age_ms: number | null;
  min_workers: number | null;
  max_workers: number | null;
  paused: number;
  reason: string;
  revision: number;
  updated_at: number;
}

/** The size each worker class shall have: decided by the leader, bounded, paused and overruled by people at any replica. */
export class ScalingRecords {
  constructor(private readonly session: StoreSession) {}

  async all(): Promise<ScalingRecord[]> {
    const rows = await this.session.rows(
      sql<ScalingRow>`select ${this.columns} from scaling order by worker_class`,
    );
    return rows.map(toRecord);
  }

  async decide(epoch: number, decided: DecidedSize[]): Promise<Set<string>> {
    if (decided.length === 0) return new Set();
    const { dialect } = this.session;
    const given = decided
      .toSorted((a, b) => (a.workerClass < b.workerClass ? -1 : 1))
      .map(({ workerClass, desired, reason, revision }) => ({
        worker_class: workerClass,
        desired,
        reason,
        revision: revision + 1,
      }));
    // The lease is read with a lock: once another replica has a higher epoch, no write of a lower one can commit.
    const rows = await this.session.rows(sql<{ worker_class: string }>`
      with clock as materialized (select ${dialect.now()} as now), fence as materialized (
        select 1 as held from leases where name = ${LEADER_LEASE} and epoch = ${epoch} ${dialect.forShare}),
        given as (${dialect.rows(DECIDED_ROW, given)})
      insert into scaling (worker_class, desired, desired_at, reason, revision, updated_at)
      select worker_class, desired, now, reason, revision, now from given cross join clock cross join fence where true
      on conflict (worker_class) do update set desired = excluded.desired, desired_at = excluded.desired_at,
        reason = excluded.reason, revision = excluded.revision, updated_at = excluded.updated_at
      where scaling.revision = excluded.revision - 1
      returning worker_class`);
    return new Set(rows.map((row) => row.worker_class));
  }

  async change(workerClass: string, change: ScalingChange): Promise<ScalingRecord> {
    const { names, values } = columnsOf(change, this.session.dialect.now());
    const set = names.map((name) => sql`${sql.ref(name)} = ${sql.ref(`excluded.${name}`)}`);
    const [row] = await this.session.rows(sql<ScalingRow>`
      insert into scaling (worker_class, revision, updated_at, ${sql.join(names.map((name) => sql.ref(name)))})
      values (${workerClass}, 1, ${this.session.dialect.now()}, ${sql.join(values)})
      on conflict (worker_class) do update set revision = scaling.revision + 1, updated_at = excluded.updated_at,
        ${sql.join(set)}
      returning ${this.columns}`);
    return toRecord(row!);
  }

  private get columns(): RawBuilder<unknown> {
    return sql`worker_class, desired, ${this.session.dialect.now()} - desired_at as desired_age_ms, min_workers,
      max_workers, paused, reason, revision, updated_at`;
  }
}

function columnsOf(
  change: ScalingChange,
  now: RawBuilder<number>,
): { names: string[]; values: (RawBuilder<unknown> | string | number | null)[] } {
  if ('desired' in change) {
    return { names: ['desired', 'desired_at', 'reason'], values: [change.desired, now, change.reason] };
  }
  return 'paused' in change
    ? { names: ['paused'], values: [change.paused ? 1 : 0] }
    : { names: ['min_workers', 'max_workers'], values: [change.minWorkers, change.maxWorkers] };
}

function toRecord(row: ScalingRow): ScalingRecord {
  return {
    workerClass: row.worker_class,
    desired: row.desired,
    desiredAgeMs: row.desired_age_ms === null ? null : Math.max(0, row.desired_age_ms),
    minWorkers: row.min_workers,
    maxWorkers: row.max_workers,
    paused: row.paused === 1,
    reason: row.reason,
    revision: row.revision,
    updatedAt: row.updated_at,
  };
}
