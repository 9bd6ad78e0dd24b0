import { Injectable, Logger } from '@nestjs/common';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import type { Failure, TaskReport } from '../queue/contracts/reports.js';
import { SingleFlight } from '../queue/single-flight.js';
import { fitsInto } from '../queue/text-bytes.js';
import {
  type ExecutionRecord,
  ExecutionStore,
  type FinishedAttempt,
  type HeldTaskRef,
  type Requeue,
  type Retry,
  type TaskRef,
} from '../store/execution-store.js';
import { type TerminalState } from '../store/transitions.js';
import { WriteGate } from '../store/write-gate.js';
import { WorkerManagementService } from '../worker/worker-management.service.js';
import { shareOfEach } from '../worker/worker-record.js';
import { Metrics } from './api/metrics.js';
import { afterFailure, namingWorker, tooLarge } from './attempt-end.js';
import { Completions } from './completions.js';
import { Leadership } from './leadership.js';
import { Stager } from './stager.js';

const STORE_RETRY_MS = 500;

/**
 * Puts what became of an attempt on record, once: every write is a compare-and-set on execution, attempt and worker,
 * batched while the one before is under way. The slot is free as soon as the worker has said that it is done with the
 * task, so the next assignment shares a commit with this end; whether the record takes the end changes nothing there.
 */
@Injectable()
export class Recorder {
  private readonly logger = new Logger(Recorder.name);
  private readonly starts: SingleFlight<HeldTaskRef, void>;
  private readonly ends: Write<FinishedAttempt>;
  private readonly retries: Write<Retry>;
  private readonly requeues: Write<Requeue>;
  /** Resolves when each end that was reported so far is on record, or refused by it. */
  private earlierEnds: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly store: ExecutionStore,
    private readonly gate: WriteGate,
    private readonly workers: WorkerManagementService,
    completions: Completions,
    private readonly leadership: Leadership,
    private readonly stager: Stager,
    private readonly metrics: Metrics,
  ) {
    this.starts = new SingleFlight(async (items) => {
      await this.persist(() => store.markRunning(items));
      return items.map((): void => undefined);
    });
    this.ends = this.flightOf(
      async (items) => {
        const recorded = await store.finish(items, completions.awaited(items));
        completions.ended(recorded);
        return recorded;
      },
      (end, isRecorded) => this.ended(end, isRecorded),
    );
    const tell = (task: HeldTaskRef, isRecorded: boolean): void => void (isRecorded || this.stale(task));
    this.retries = this.flightOf<Retry>((items) => store.retryLater(items), tell);
    this.requeues = this.flightOf<Requeue>((items) => store.requeue(items), tell);
  }

  /**
   * What a worker says in one message goes on record together. Not an `async` method: that would hold the reports until
   * all is on record, parsed results next to their texts.
   * @throws when this replica stops leading before all of it is on record
   */
  record(reports: readonly TaskReport[], workerId: string): Promise<unknown> {
    const completed: FinishedAttempt[] = [];
    const others: (() => Promise<void>)[] = [];
    const shareMs = shareOfEach(reports.filter(tellsItsTime));
    let isAnyFree = false;
    for (const report of reports) {
      const task: HeldTaskRef = { executionId: report.executionId, attempt: report.attempt, workerId };
      // One that had to be alone is over by the record, too, before its worker gets the next.
      const isAlone = this.workers.pool.ledger.soloOf(workerId) === task.executionId;
      this.learn(workerId, report, shareMs);
      if (report.kind !== 'started' && !isAlone) {
        isAnyFree = this.release(task) || isAnyFree;
      }
      const result = report.kind === 'completed' ? JSON.stringify(report.result) : null;
      if (result !== null && fitsInto(this.config.resultLimitBytes, result)) {
        completed.push(finishedAttempt(report, workerId, 'completed', result, null));
      } else {
        others.push(() => this.recordOther(task, report, isAlone));
      }
    }
    if (isAnyFree) {
      this.workers.emit('capacity');
    }
    return Promise.all([this.finish(completed), ...others.map((other) => other())]);
  }

  private async recordOther(task: HeldTaskRef, report: TaskReport, isAlone: boolean): Promise<void> {
    await this.write(task, report);
    if (report.kind !== 'started' && isAlone) {
      this.free(task);
    }
  }

  private async write(task: HeldTaskRef, report: TaskReport): Promise<void> {
    const { workerId } = task;
    switch (report.kind) {
      case 'started':
        return this.starts.add(task);
      case 'completed':
        return this.failed(task, report, tooLarge(report.result, this.config.resultLimitBytes));
      case 'cancelled':
        return this.finish([finishedAttempt(report, workerId, 'cancelled', null, report.error ?? CANCELLED)]);
      case 'failed':
        return this.failed(task, report, namingWorker(report.error!, workerId));
      case 'snoozed':
        return this.snoozed(task, report);
      case 'handed_back':
        return this.handedBack(task, report.durationMs ?? null);
    }
  }

  /** The worker is gone. @param mayHaveStarted then the attempt counts */
  async lost(task: HeldTaskRef, mayHaveStarted: boolean, reason: string): Promise<void> {
    if (mayHaveStarted) {
      const message = `worker ${task.workerId} was lost: ${reason}`;
      await this.failed(task, null, { code: 'worker_lost', message, retryable: true });
    } else {
      await this.handedBack(task, null);
    }
    // Not before it is on record: a recovery that fails half-way goes by what is held.
    this.free(task);
  }

  private async failed(task: HeldTaskRef, report: TaskReport | null, error: Failure): Promise<void> {
    // The first word of an attempt counts: what is decided here must not overtake an end that was reported before.
    await this.earlierEnds;
    const record = await this.persist(() => this.store.get(task.executionId));
    if (!record || record.attempt !== task.attempt) {
      return this.stale(task);
    }
    const end = afterFailure(failedAttempt(record, error), this.config.retryTiersMs, Math.random());
    switch (end.kind) {
      case 'cancel':
        return this.finish([finishedAttempt(report ?? task, task.workerId, 'cancelled', null, CANCELLED)]);
      case 'fail':
        return this.finish([finishedAttempt(report ?? task, task.workerId, 'failed', null, error)]);
      case 'bury':
        return this.finish([finishedAttempt(report ?? task, task.workerId, 'dead', null, end.error)]);
      case 'retry': {
        const ended = { ...task, error, countAttempt: true, durationMs: report?.durationMs ?? null };
        await (end.delayMs === 0
          ? this.requeue({ ...ended, outcome: 'worker_lost' })
          : this.retry({ ...ended, outcome: 'failed', delayMs: end.delayMs }));
      }
    }
  }

  private async snoozed(task: HeldTaskRef, { snoozeMs = 0, durationMs }: TaskReport): Promise<void> {
    const end = { error: null, countAttempt: false, outcome: 'snoozed' as const };
    await this.retry({ ...task, ...end, delayMs: snoozeMs, durationMs: durationMs ?? null });
  }

  /** One whose cancel was asked for is not given out again: the record ends it as cancelled instead. */
  private async handedBack(task: HeldTaskRef, durationMs: number | null): Promise<void> {
    await this.requeue({ ...task, error: null, countAttempt: false, outcome: 'handed_back', durationMs });
  }

  private finish(attempts: FinishedAttempt[]): Promise<void> {
    if (attempts.length === 0) {
      return Promise.resolve();
    }
    const recorded = this.ends(attempts);
    this.earlierEnds = recorded.catch(() => undefined);
    return recorded;
  }

  private ended(end: FinishedAttempt, isRecorded: boolean): void {
    const { state, workerId, durationMs } = end;
    if (isRecorded) {
      this.metrics.recorded(state, durationMs);
      this.countFor(workerId, state, durationMs ?? 0);
    } else {
      this.stale(end);
    }
    // Once more: the rescuer may have taken it again, as the record still had it there.
    this.free(end);
  }

  private async retry(retry: Retry): Promise<void> {
    await this.retries([retry]);
    this.stager.kick();
  }

  private async requeue(requeue: Requeue): Promise<void> {
    await this.requeues([requeue]);
    this.stager.kick();
  }

  private stale({ executionId, attempt, workerId }: HeldTaskRef): void {
    this.logger.debug(`attempt ${attempt} of ${executionId} on ${workerId} is stale: not recorded`);
  }

  private free(task: HeldTaskRef): void {
    if (this.release(task)) {
      this.workers.emit('capacity');
    }
  }

  /** Frees the slot, if it is this attempt on this worker that has it. */
  private release({ executionId, attempt, workerId }: HeldTaskRef): boolean {
    return this.workers.pool.release(executionId, attempt, workerId) !== null;
  }

  /** What decides whether the worker is given tasks ahead, and how many together. */
  private learn(workerId: string, report: TaskReport, shareMs: number): void {
    const { kind, durationMs } = report;
    if (kind === 'handed_back') {
      this.workers.pool.wasLate(workerId);
    } else if (durationMs !== undefined) {
      this.workers.pool.ran(workerId, tellsItsTime(report) ? durationMs : null, shareMs);
    }
  }

  private countFor(workerId: string, state: TerminalState, durationMs: number): void {
    const worker = this.workers.pool.get(workerId);
    if (worker) {
      worker[state === 'completed' ? 'tasksCompleted' : 'tasksFailed']++;
      worker.busyMs += durationMs;
    }
  }

  /**
   * A batched write. If the record cannot take the batch, each item is tried on its own, so that one that is broken does
   * not stop its neighbours.
   *
   * @param tell is told of each item whether the record took it
   */
  private flightOf<T extends { executionId: string }>(
    write: (items: T[]) => Promise<Ids>,
    tell: (item: T, isRecorded: boolean) => void,
  ): Write<T> {
    const fly = async (items: T[]): Promise<(boolean | Error)[]> => {
      try {
        return areIn(await this.persist(() => write(items)), items);
      } catch (error) {
        if (items.length === 1 || (error as Error).name === 'StoreUnavailableError') {
          throw error;
        }
        return Promise.all(
          items.map((item) => write([item]).then((ids) => ids.has(item.executionId), asError)),
        );
      }
    };
    const flight = new SingleFlight(fly, { depart: this.gate.pass });
    return async (items) => {
      const answers = await flight.addAll(items);
      let failure: Error | null = null;
      for (let index = 0; index < items.length; index++) {
        const answer = answers[index]!;
        if (answer instanceof Error) {
          failure ??= answer;
        } else {
          tell(items[index]!, answer);
        }
      }
      if (failure !== null) {
        throw failure;
      }
    };
  }

  /** Tries until the store takes it: what a worker has done must not be lost to a restart of the database. */
  private async persist<T>(write: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await write();
      } catch (error) {
        if ((error as Error).name !== 'StoreUnavailableError' || !this.leadership.mayAct) {
          throw error;
        }
        this.logger.warn(`the record is away (${(error as Error).message}); trying again`);
        await new Promise((resolve) => setTimeout(resolve, STORE_RETRY_MS));
      }
    }
  }
}

/** @throws when all else is recorded and told, if of some it cannot be known */
type Write<T> = (items: readonly T[]) => Promise<void>;

interface Ids {
  has(executionId: string): boolean;
}

function areIn(ids: Ids, items: readonly { executionId: string }[]): boolean[] {
  const answers: boolean[] = [];
  for (const { executionId } of items) {
    answers.push(ids.has(executionId));
  }
  return answers;
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

/** @param report may be no more than the attempt, when its worker has said nothing */
function finishedAttempt(
  { executionId, attempt, timeline, durationMs }: TaskRef & Partial<TaskReport>,
  workerId: string,
  state: TerminalState,
  result: string | null,
  error: Failure | null,
): FinishedAttempt {
  return {
    executionId,
    attempt,
    workerId,
    state,
    result,
    error,
    timeline: timeline ?? null,
    durationMs: durationMs ?? null,
  };
}

const CANCELLED: Failure = { code: 'cancelled', message: 'cancelled on request', retryable: false };

/** One that failed or was cancelled says nothing of how long tasks take: it may have waited until its time was over. */
function tellsItsTime({ kind }: TaskReport): boolean {
  return kind === 'completed' || kind === 'snoozed';
}

function failedAttempt(record: ExecutionRecord, error: Failure): Parameters<typeof afterFailure>[0] {
  return {
    error,
    attempt: record.attempt,
    maxAttempts: record.maxAttempts,
    retriesSoFar: record.pastAttempts.filter(({ outcome }) => outcome === 'failed').length,
    backoff: record.backoff,
    cancelRequested: record.cancelRequestedAt !== null,
  };
}
