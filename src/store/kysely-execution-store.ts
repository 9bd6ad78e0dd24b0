import { sql } from 'kysely';
import { ExecutionAcceptance } from './acceptance.js';
import type { Backend } from './backend.js';
import { DeadLetters } from './dead-letters.js';
import { ExecutionList } from './execution-list.js';
import { ExecutionQueries } from './execution-queries.js';
import {
  type Acceptance,
  type Assignment,
  type Cancellation,
  type DeadLetter,
  type DecidedSize,
  type DueTask,
  type ExecutionFilter,
  type ExecutionPage,
  type ExecutionRecord,
  ExecutionStore,
  type FinishedAttempt,
  type HeldExecution,
  type HeldTaskRef,
  type Lease,
  type NewDeadLetter,
  type NewExecution,
  type ParkedClass,
  type ParkedReason,
  type Requeue,
  type Retry,
  type ScalingChange,
  type ScalingRecord,
  type TaskContent,
  type TaskRef,
} from './execution-store.js';
import { Leases } from './leases.js';
import { OccasionalWrites } from './occasional-writes.js';
import type { PostgresOptions } from './postgres-backend.js';
import { postgres, sqlite } from './dialect.js';
import { ScalingRecords } from './scaling-records.js';
import { StoreSession } from './store-session.js';
import { TransitionWrites } from './transition-writes.js';
import type { ExecutionState } from './transitions.js';
import { Upkeep } from './upkeep.js';

// Each loads its own driver only: the other one's is never needed in this process.

/** A record in PostgreSQL, shared by any number of orchestrators. */
export function postgresStore(options: PostgresOptions): ExecutionStore {
  const connect = async (): Promise<Backend> => {
    const { postgresBackend } = await import('./postgres-backend.js');
    return postgresBackend(options);
  };
  return new KyselyExecutionStore(new StoreSession(postgres, connect));
}

/** A record in one SQLite file, which belongs to one process. */
export function sqliteStore(file: string): ExecutionStore {
  const connect = async (): Promise<Backend> => {
    const { sqliteBackend } = await import('./sqlite-backend.js');
    return sqliteBackend(file);
  };
  return new KyselyExecutionStore(new StoreSession(sqlite, connect));
}

/** The port on both databases: each verb is one line here, and lives where its room is. */
class KyselyExecutionStore extends ExecutionStore {
  private readonly acceptance: ExecutionAcceptance;
  private readonly transitions: TransitionWrites;
  private readonly occasional: OccasionalWrites;
  private readonly queries: ExecutionQueries;
  private readonly lists: ExecutionList;
  private readonly letters: DeadLetters;
  private readonly upkeep: Upkeep;
  private readonly scaling: ScalingRecords;
  private readonly leases: Leases;

  constructor(private readonly session: StoreSession) {
    super();
    this.acceptance = new ExecutionAcceptance(session);
    this.transitions = new TransitionWrites(session);
    this.occasional = new OccasionalWrites(session);
    this.queries = new ExecutionQueries(session);
    this.lists = new ExecutionList(session);
    this.letters = new DeadLetters(session);
    this.upkeep = new Upkeep(session);
    this.scaling = new ScalingRecords(session);
    this.leases = new Leases(session);
  }

  async open(): Promise<void> {
    await this.session.open();
    if (this.session.dialect.name === 'sqlite') await this.leases.endAbandoned();
  }
  close(): Promise<void> {
    return this.session.close();
  }
  async ping(): Promise<void> {
    await this.session.rows(sql`select 1`);
  }

  accept(items: NewExecution[]): Promise<Acceptance[]> {
    return this.acceptance.accept(items);
  }
  markQueued(tasks: TaskRef[]): Promise<void> {
    return this.transitions.markQueued(tasks);
  }
  assign(
    epoch: number,
    assignments: Assignment[],
    wanted?: ReadonlySet<string>,
  ): Promise<Map<string, TaskContent | null>> {
    return this.transitions.assign(epoch, assignments, wanted);
  }
  markRunning(tasks: HeldTaskRef[]): Promise<void> {
    return this.transitions.markRunning(tasks);
  }
  finish(
    ends: FinishedAttempt[],
    wanted?: ReadonlySet<string>,
  ): Promise<Map<string, ExecutionRecord | null>> {
    return this.transitions.finish(ends, wanted);
  }
  retryLater(retries: Retry[]): Promise<Set<string>> {
    return this.transitions.retryLater(retries);
  }
  requeue(requeues: Requeue[]): Promise<Set<string>> {
    return this.transitions.requeue(requeues);
  }
  park(tasks: TaskRef[], reason: ParkedReason): Promise<Set<string>> {
    return this.transitions.park(tasks, reason);
  }

  unpark(requiredTypes: string[], limit: number): Promise<number> {
    return this.occasional.unpark(requiredTypes, limit);
  }
  cancel(executionId: string, reason: string): Promise<Cancellation | null> {
    return this.occasional.cancel(executionId, reason);
  }
  replay(executionIds: string[]): Promise<Set<string>> {
    return this.occasional.replay(executionIds);
  }
  postpone(tasks: TaskRef[], byMs: number): Promise<void> {
    return this.transitions.postpone(tasks, byMs);
  }
  expire(limit: number): Promise<string[]> {
    return this.occasional.expire(limit);
  }
  requeueMissing(olderThanMs: number, known: string[]): Promise<number> {
    return this.occasional.requeueMissing(olderThanMs, known);
  }

  parkedClasses(): Promise<ParkedClass[]> {
    return this.queries.parkedClasses();
  }
  due(limit: number, except: string[]): Promise<{ tasks: DueTask[]; nextInMs: number | null }> {
    return this.queries.due(limit, except);
  }
  held(): Promise<HeldExecution[]> {
    return this.queries.held();
  }
  get(executionId: string): Promise<ExecutionRecord | null> {
    return this.queries.get(executionId);
  }
  ended(executionIds: string[]): Promise<ExecutionRecord[]> {
    return this.queries.ended(executionIds);
  }
  list(filter: ExecutionFilter, limit: number, cursor?: string): Promise<ExecutionPage> {
    return this.lists.list(filter, limit, cursor);
  }
  countAhead(executionId: string, atMost: number): Promise<number> {
    return this.queries.countAhead(executionId, atMost);
  }
  countOpen(): Promise<Record<ExecutionState, number>> {
    return this.queries.countOpen();
  }

  addDeadLetters(letters: NewDeadLetter[]): Promise<void> {
    return this.letters.add(letters);
  }
  listDeadLetters(
    limit: number,
    cursor?: string,
  ): Promise<{ items: DeadLetter[]; nextCursor: string | null }> {
    return this.letters.list(limit, cursor);
  }
  getDeadLetter(id: string): Promise<DeadLetter | null> {
    return this.letters.get(id);
  }
  deleteDeadLetter(id: string): Promise<boolean> {
    return this.letters.delete(id);
  }

  prune(olderThanMs: number, limit: number): Promise<number> {
    return this.upkeep.prune(olderThanMs, limit);
  }

  scalingRecords(): Promise<ScalingRecord[]> {
    return this.scaling.all();
  }
  recordScaling(epoch: number, decided: DecidedSize[]): Promise<Set<string>> {
    return this.scaling.decide(epoch, decided);
  }
  changeScaling(workerClass: string, change: ScalingChange): Promise<ScalingRecord> {
    return this.scaling.change(workerClass, change);
  }

  acquireLease(holder: string, ttlMs: number): Promise<Lease> {
    return this.leases.acquire(holder, ttlMs);
  }
  releaseLease(holder: string): Promise<void> {
    return this.leases.release(holder);
  }
}
