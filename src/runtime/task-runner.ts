import { Logger } from '@nestjs/common';
import type { Delivery } from '../messaging/consumer.js';
import type { CancelTaskMessage } from '../queue/contracts/control.js';
import {
  type Failure,
  INTERRUPTED_CODE,
  type NodeTimelineEntry,
  type TaskReport,
} from '../queue/contracts/reports.js';
import { HIGHEST_ATTEMPT, ID_PATTERN } from '../queue/contracts/flow.js';
import { TASK_TYPE, type TaskMessage } from '../queue/contracts/task.js';
import { decodeTasks, type ReceivedTask } from '../queue/contracts/wire.js';
import { RecentKeys } from '../queue/recent-keys.js';
import { readTaskEnvelope } from '../queue/task-encoding.js';
import { fitsInto } from '../queue/text-bytes.js';
import { Announcer, type Begun } from './announcer.js';
import { isoNow } from './engine/iso-clock.js';
import { type AbortSource, LazyAbort } from './engine/lazy-abort.js';
import type { FlowOutcome } from './engine/run-flow.js';
import type { Outbox } from './outbox.js';
import { WaitingLine } from './waiting-line.js';

/** Why a running task is told to stop. */
export type StopReason = 'cancelled' | 'handed_back';

export interface TaskRunnerOptions {
  maxConcurrentFlows: number;
  resultLimitBytes: number;
  outbox: Outbox;
  run: (task: TaskMessage, signal: AbortSource) => Promise<FlowOutcome>;
}

interface Held extends Begun {
  executionId: string;
  attempt: number;
  /** Of both. */
  key: string;
  /** The newest that it came in: only the tag of that one can be acked. */
  parcel: Parcel;
  /** Until it begins. */
  task: TaskMessage | undefined;
  sizeBytes: number;
  /** By `performance.now()`; 0 = it found a slot. */
  waitsSinceMs: number;
  /** Its end is reported, and the same attempt may come again before that is confirmed. */
  mayComeAgain: boolean;
  aborter: LazyAbort;
  startedAt: string;
}

type End = Pick<TaskReport, 'kind' | 'result' | 'error' | 'snoozeMs' | 'timeline'>;
type Times = Pick<TaskReport, 'startedAt' | 'finishedAt' | 'durationMs'>;

/** After these the same attempt may be given out again, here too, so it must not pass for one that came twice. */
const KEEPS_ITS_NUMBER: ReadonlySet<string> = new Set(['snoozed', 'handed_back']);
/** How many ended or cancelled attempts are remembered, in case their message comes (again). */
const MEMORY = 2_000;

/**
 * The tasks of this worker: runs up to `maxConcurrentFlows`, keeps the rest in order for a moment, and acks a task only
 * when the broker has confirmed the report of its end.
 */
export class TaskRunner {
  private readonly logger = new Logger(TaskRunner.name);
  private readonly held = new Map<string, Held>();
  private readonly line = new WaitingLine<Held>((held) => this.report(held, { kind: 'handed_back' }));
  private readonly ended = new RecentKeys(MEMORY);
  private readonly cancelledAhead = new RecentKeys(MEMORY);
  private readonly announcer = new Announcer(
    () => this.held.values(),
    (held) => this.announce(held),
  );
  private running = 0;
  private draining = false;
  private idleWaiters: (() => void)[] = [];
  /** The highest `x-assignment-seq` seen. */
  lastAssignmentSeq = 0;

  constructor(private readonly options: TaskRunnerOptions) {}

  get activeFlows(): number {
    return this.running;
  }

  get queuedTasks(): number {
    return this.line.length;
  }

  heldExecutionIds(): string[] {
    return [...this.held.values()].map(({ executionId }) => executionId);
  }

  /** Takes a `flow.task` or a `flow.tasks` delivery. */
  receive(delivery: Delivery): void {
    let received: ReceivedTask[];
    try {
      received = decodeTasks(delivery);
    } catch (error) {
      this.refuse(delivery, (error as Error).message);
      return;
    }
    const parcel = new Parcel(delivery, received.length);
    for (const { task, problem } of received) {
      if (problem === null) {
        this.take(task, parcel);
      } else {
        // The headers of a batch say nothing of its members.
        const named = delivery.type === TASK_TYPE ? readIdentity(delivery) : null;
        this.refuseTask(named ?? identityOf(task), parcel, problem);
      }
    }
  }

  private take(task: TaskMessage, parcel: Parcel): void {
    const { executionId, attempt } = task;
    const key = keyOf(executionId, attempt);
    const known = this.held.get(key);
    if (known && (parcel.delivery.redelivered || !known.mayComeAgain)) {
      // The one before it may still be open, and waits for this task no longer.
      known.parcel.done();
      known.parcel = parcel;
      return;
    }
    if (this.ended.has(key)) {
      parcel.done();
      return;
    }
    const held: Held = {
      executionId,
      attempt,
      key,
      parcel,
      task,
      sizeBytes: parcel.bytesPerTask,
      waitsSinceMs: 0,
      mayComeAgain: false,
      aborter: new LazyAbort(),
      isRunning: false,
      isAnnounced: false,
      startedAt: '',
      startMs: 0,
    };
    this.held.set(key, held);
    if (parcel.delivery.redelivered) {
      // Whoever had it before is gone, and may have begun. The orchestrator decides on another attempt.
      this.report(held, { kind: 'failed', error: INTERRUPTED });
    } else if (this.cancelledAhead.take(key)) {
      this.report(held, { kind: 'cancelled' });
    } else if (this.draining) {
      this.report(held, { kind: 'handed_back' });
    } else if (this.running < this.options.maxConcurrentFlows) {
      this.begin(held);
    } else if (!this.line.push(held)) {
      this.report(held, { kind: 'handed_back' });
    }
  }

  cancel({ executionId, attempt }: CancelTaskMessage): void {
    const key = keyOf(executionId, attempt);
    const held = this.held.get(key);
    if (held?.isRunning) {
      held.aborter.abort('cancelled' satisfies StopReason);
    } else if (held && this.line.remove(held)) {
      this.report(held, { kind: 'cancelled' });
    } else if (!held && !this.ended.has(key)) {
      this.cancelledAhead.add(key);
    }
  }

  /** From now on nothing is begun: what waits and what still comes is handed back. */
  drain(): void {
    this.draining = true;
    for (const held of this.line.takeAll()) {
      this.report(held, { kind: 'handed_back' });
    }
  }

  /** Aborts what still runs; it is handed back. */
  stopRunning(): void {
    for (const held of this.held.values()) {
      if (held.isRunning) {
        held.aborter.abort('handed_back' satisfies StopReason);
      }
    }
  }

  /** Resolves when nothing is held. */
  idle(): Promise<void> {
    return this.held.size === 0
      ? Promise.resolve()
      : new Promise((resolve) => this.idleWaiters.push(resolve));
  }

  private begin(held: Held): void {
    this.running++;
    held.isRunning = true;
    held.startedAt = isoNow();
    held.startMs = performance.now();
    this.announcer.begun();
    void this.options.run(held.task!, held.aborter).then((outcome) => this.finish(held, outcome));
    held.task = undefined;
  }

  private finish(held: Held, outcome: FlowOutcome): void {
    const { startedAt, startMs, aborter } = held;
    // Before the next begins: what that does at once is not this one's time.
    const durationMs = Math.round((performance.now() - startMs) * 1_000) / 1_000;
    const times = { startedAt, finishedAt: isoNow(), durationMs };
    held.isRunning = false;
    this.running--;
    const next = this.line.shift();
    if (next) {
      this.begin(next);
    }
    this.report(held, endOf(outcome, aborter.reason as StopReason | undefined), times);
  }

  private announce({ executionId, attempt, startedAt }: Held): void {
    this.send({ executionId, attempt, kind: 'started', startedAt }).catch((error: Error) =>
      this.logger.debug(`${executionId}: ${error.message}`),
    );
  }

  /** Reports the end of an attempt and acks its task once that is confirmed. */
  private report(held: Held, end: End, times?: Times): void {
    const { executionId, attempt } = held;
    held.mayComeAgain = KEEPS_ITS_NUMBER.has(end.kind);
    const sent = this.send({ executionId, attempt, ...end, ...times });
    void this.settle(held, sent);
  }

  /** Until the broker has confirmed it, the text of a report is kept, and not what it was made of. */
  private send(report: TaskReport): Promise<unknown> {
    try {
      return this.options.outbox.add(this.encode(report));
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  private async settle(held: Held, sent: Promise<unknown>): Promise<void> {
    try {
      await sent;
      if (!held.mayComeAgain) {
        this.ended.add(held.key);
      }
      held.parcel.done(held.mayComeAgain);
    } catch (error) {
      this.logger.warn(`${held.executionId}: ${(error as Error).message}`);
    }
    if (this.held.get(held.key) === held) {
      this.held.delete(held.key);
    }
    if (this.held.size === 0) {
      this.idleWaiters.splice(0).forEach((resolve) => resolve());
    }
  }

  private encode(report: TaskReport): string {
    const text = JSON.stringify(report);
    const { resultLimitBytes } = this.options;
    if (fitsInto(resultLimitBytes, text)) {
      return text;
    }
    const { timeline, result, error, ...rest } = report;
    const resultBytes = result ? Buffer.byteLength(JSON.stringify(result)) : 0;
    if (resultBytes <= resultLimitBytes) {
      // The result fits; what does not is the story of how it came about.
      return JSON.stringify({
        ...rest,
        result,
        error: error && shortened(error),
        timeline: summaryOf(timeline),
      });
    }
    const message =
      `the result has ${resultBytes} bytes, the limit is ${resultLimitBytes} (RESULT_LIMIT_BYTES): ` +
      'write large data to a store and return where it is';
    const failure: Failure = { code: 'result_too_large', message, retryable: false };
    return JSON.stringify({ ...rest, kind: 'failed', error: failure, timeline: summaryOf(timeline) });
  }

  /** A message that cannot be read. If it can be told which task it is, that fails; otherwise it is a dead letter. */
  private refuse(delivery: Delivery, reason: string): void {
    const identity = readIdentity(delivery);
    if (identity === null) {
      this.logger.warn(`rejected a message: ${reason}`);
      delivery.reject();
    } else {
      this.refuseTask(identity, new Parcel(delivery, 1), reason);
    }
  }

  private refuseTask(identity: TaskIdentity | null, parcel: Parcel, reason: string): void {
    if (identity === null) {
      this.logger.warn(`nobody can tell which task this is: ${reason}`);
      parcel.spoil();
      parcel.done();
      return;
    }
    const { executionId, attempt } = identity;
    const error: Failure = { code: 'bad_task', message: reason, retryable: false };
    const text = JSON.stringify({ executionId, attempt, kind: 'failed', error } satisfies TaskReport);
    this.options.outbox
      .add(text)
      .then(() => parcel.done())
      .catch((failure: Error) => this.logger.warn(`${executionId}: ${failure.message}`));
  }
}

/** One delivery, acked when each of its tasks is done with; a dead letter then if nobody was told about one of them. */
class Parcel {
  readonly bytesPerTask: number;
  private isSpoilt = false;
  private isUrgent = false;

  constructor(
    readonly delivery: Delivery,
    private left: number,
  ) {
    this.bytesPerTask = delivery.content.length / left;
  }

  spoil(): void {
    this.isSpoilt = true;
  }

  /** @param mayComeAgain the attempt may be given out anew: a copy of this message would pass for it */
  done(mayComeAgain = false): void {
    this.isUrgent ||= mayComeAgain;
    if (--this.left > 0) {
      return;
    }
    if (this.isSpoilt) {
      this.delivery.reject();
    } else {
      this.delivery.ack(this.isUrgent);
    }
  }
}

type TaskIdentity = Pick<TaskMessage, 'executionId' | 'attempt'>;

/** Which task a message says it is in its headers. */
function readIdentity(delivery: Delivery): TaskIdentity | null {
  const envelope = readTaskEnvelope(delivery);
  return typeof envelope === 'string' ? null : envelope;
}

const ID = new RegExp(ID_PATTERN);

/** Which task a body says it is, however wrong the rest of it may be. */
function identityOf(task: unknown): TaskIdentity | null {
  const { executionId, attempt } = (task ?? {}) as Record<string, unknown>;
  const isAttempt = Number.isInteger(attempt) && Number(attempt) >= 1 && Number(attempt) <= HIGHEST_ATTEMPT;
  return typeof executionId === 'string' && ID.test(executionId) && isAttempt
    ? { executionId, attempt: Number(attempt) }
    : null;
}

const INTERRUPTED: Failure = {
  code: INTERRUPTED_CODE,
  message: 'the process that had this task ended before it reported',
  retryable: true,
};

/** What an outcome means on the wire; an abort is a cancel or a hand-back, by its reason. */
export function endOf(outcome: FlowOutcome, reason: StopReason | undefined): End {
  if (outcome.kind === 'cancelled') {
    return { kind: reason ?? 'cancelled', timeline: outcome.timeline };
  }
  return outcome;
}

const SHORT_TIMELINE = 200;
const SHORT_MESSAGE = 2_000;

function summaryOf(timeline: NodeTimelineEntry[] | undefined): NodeTimelineEntry[] | undefined {
  return timeline
    ?.slice(-SHORT_TIMELINE)
    .map((entry) => ({ ...entry, error: entry.error && shortened(entry.error) }));
}

function shortened({ code, message, retryable, nodeId }: Failure): Failure {
  return { code, message: message.slice(0, SHORT_MESSAGE), retryable, nodeId };
}

function keyOf(executionId: string, attempt: number): string {
  return `${executionId}:${attempt}`;
}
