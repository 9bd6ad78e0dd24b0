import { sql } from 'kysely';
import type { Acceptance, NewExecution } from './execution-store.js';
import { type Row, rowShape } from './batch-rows.js';
import { BatchStatement } from './batch-statement.js';
import { areDistinct, labelKey, priorityRank, storableJson, toJson } from './rows.js';
import { errorCode, StoreUnavailableError } from './errors.js';
import type { Executor, StoreSession } from './store-session.js';
import { type ExecutionState, TRANSITIONS } from './transitions.js';

type Existing = Extract<Acceptance, { kind: 'existing' }>;

const NEW_ROW = rowShape({
  execution_id: 'text',
  flow_id: 'text',
  state: 'text',
  priority: 'integer',
  max_attempts: 'integer',
  timeout_ms: 'bigint',
  delay_ms: 'bigint',
  rescue_after_ms: 'bigint',
  expires_at: 'bigint',
  worker_id: 'text',
  request_hash: 'text',
  required_types: 'text',
  backoff: 'text',
  labels: 'text',
  request: 'text',
});
const LABEL_ROW = rowShape({ label: 'text', execution_id: 'text' });

const ACCEPTED_STATE: ExecutionState = 'accepted';
const ACCEPTED = sql.raw(`'${ACCEPTED_STATE}'`);

/** A row may vanish between an insert that met it and the look at it (`prune`); then it is new after all. */
const ROUNDS = 3;

const CREATED: Acceptance = { kind: 'created' };

const INSERT = sql`
  insert into executions (
    execution_id, flow_id, state, priority, attempt, max_attempts, attempts_per_series, timeout_ms, created_at,
    available_at, expires_at, queued_at, assigned_at, worker_id, request_hash, required_types, backoff, labels, request
  )
  select execution_id, flow_id, state, priority,
    1, max_attempts, max_attempts, timeout_ms, now,
    case when worker_id is not null then null when delay_ms > 0 then now + delay_ms else now + rescue_after_ms end,
    expires_at, case when state <> ${ACCEPTED} then now end, case when worker_id is not null then now end,
    worker_id, request_hash, required_types, backoff, labels, request
  from given cross join clock
  where given.execution_id is not null`;
/** Passes over what is on record. */
const INSERT_MISSING = sql`${INSERT} on conflict (execution_id) do nothing`;
/** Once something was on record, more of it is expected for so long: requests are repeated after an outage. */
const REPETITIONS_MS = 60_000;

/** The first write of an execution: what makes a 202 true. */
export class ExecutionAcceptance {
  /** Fails as a whole if one is on record. */
  private readonly all: BatchStatement<NewExecution>;
  private readonly missing: BatchStatement<NewExecution>;
  private expectsRepetitionsUntilMs = -Infinity;

  constructor(private readonly session: StoreSession) {
    this.all = new BatchStatement(session, NEW_ROW, toRow, { with: [], write: INSERT });
    this.missing = new BatchStatement(session, NEW_ROW, toRow, { with: [], write: INSERT_MISSING });
  }

  async accept(items: NewExecution[]): Promise<Acceptance[]> {
    const firsts = areDistinct(items) ? null : firstOfEach(items);
    const existing = new Map<string, Existing>();
    let open = firsts === null ? items : [...firsts.values()];
    for (let round = 0; open.length > 0; round += 1) {
      if (round === ROUNDS)
        throw new StoreUnavailableError('executions came and went while they were being accepted');
      const created = await this.insert(open);
      if (created === null) break;
      const met = open.filter(({ executionId }) => !created.has(executionId));
      await this.read(met, existing);
      open = met.filter(({ executionId }) => !existing.has(executionId));
    }
    const acceptances: Acceptance[] = [];
    for (const item of items) {
      const first = firsts?.get(item.executionId) ?? item;
      acceptances.push(existing.get(item.executionId) ?? (item === first ? CREATED : repetitionOf(first)));
    }
    return acceptances;
  }

  /**
   * Nearly always all are new. Where to look for each first is a tenth to a fifth of the write, that is done only if one was
   * there already, and for a while after that.
   * @returns the ids that are new; null = all
   */
  private async insert(items: NewExecution[]): Promise<Set<string> | null> {
    const { repetitionCode } = this.session.dialect;
    if (repetitionCode !== null && performance.now() >= this.expectsRepetitionsUntilMs) {
      try {
        return await this.write(items, async (trx) => {
          await this.all.run(items, {}, trx);
          return null;
        });
      } catch (error) {
        if (errorCode(error) !== repetitionCode) throw error;
      }
    }
    const created = await this.write(items, (trx) => this.missing.take(items, {}, trx));
    if (created !== null) this.expectsRepetitionsUntilMs = performance.now() + REPETITIONS_MS;
    return created;
  }

  /** Labels need a second statement, so only a batch that has any pays for a transaction. */
  private write(
    items: NewExecution[],
    insert: (trx?: Executor) => Promise<Set<string> | null>,
  ): Promise<Set<string> | null> {
    const labelled = items.filter(isLabelled);
    if (labelled.length === 0) return insert();
    return this.session.transaction(async (trx) => {
      const created = await insert(trx);
      await this.insertLabels(
        trx,
        labelled.filter(({ executionId }) => created?.has(executionId) ?? true),
      );
      return created;
    });
  }

  private async insertLabels(trx: Executor, items: NewExecution[]): Promise<void> {
    if (items.length === 0) return;
    const rows = items.flatMap(({ executionId, labels }) =>
      Object.entries(labels).map(([name, value]) => ({
        label: labelKey(name, value),
        execution_id: executionId,
      })),
    );
    await sql`
      insert into execution_labels (label, created_at, seq, execution_id)
      select label, created_at, seq, executions.execution_id
      from (${this.session.dialect.rows(LABEL_ROW, rows)}) as fresh
      join executions on executions.execution_id = fresh.execution_id
      where true
      on conflict do nothing`.execute(trx);
  }

  private async read(items: NewExecution[], into: Map<string, Existing>): Promise<void> {
    if (items.length === 0) return;
    const { session } = this;
    const ids = session.dialect.texts(items.map(({ executionId }) => executionId));
    const found = await session.run((db) =>
      db
        .selectFrom('executions')
        .select(['execution_id', 'request_hash', 'state', 'attempt'])
        .where('execution_id', 'in', sql<string>`(${ids})`)
        .execute(),
    );
    for (const { execution_id, request_hash, state, attempt } of found) {
      into.set(execution_id, { kind: 'existing', requestHash: request_hash, state, attempt });
    }
  }
}

function firstOfEach(items: NewExecution[]): Map<string, NewExecution> {
  const firsts = new Map<string, NewExecution>();
  for (const item of items) if (!firsts.has(item.executionId)) firsts.set(item.executionId, item);
  return firsts;
}

function isLabelled({ labels }: NewExecution): boolean {
  return hasAny(labels);
}

function hasAny(labels: Record<string, string>): boolean {
  for (const _ in labels) return true;
  return false;
}

function initialState({ workerId, isInLine }: NewExecution): ExecutionState {
  if (workerId !== null) return TRANSITIONS.assign.to;
  return isInLine ? TRANSITIONS.queue.to : ACCEPTED_STATE;
}

/** What a later item of a batch is told when an earlier one with its id has just been inserted. */
function repetitionOf(first: NewExecution): Existing {
  return { kind: 'existing', requestHash: first.requestHash, state: initialState(first), attempt: 1 };
}

function toRow(item: NewExecution): Row {
  return {
    execution_id: item.executionId,
    flow_id: item.flowId,
    state: initialState(item),
    priority: priorityRank(item.priority),
    max_attempts: item.maxAttempts,
    timeout_ms: item.timeoutMs,
    delay_ms: item.delayMs,
    rescue_after_ms: item.rescueAfterMs,
    expires_at: item.expiresAt,
    worker_id: item.workerId,
    request_hash: item.requestHash,
    required_types: item.requiredTypes,
    backoff: toJson(item.backoff),
    labels: hasAny(item.labels) ? JSON.stringify(item.labels) : null,
    request: storableJson(item.request),
  };
}
