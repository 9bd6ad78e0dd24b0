import { Injectable, Logger } from '@nestjs/common';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import { MessagingService } from '../messaging/messaging.service.js';
import { QueueManagementService } from '../queue/queue-management.service.js';
import { SingleFlight } from '../queue/single-flight.js';
import { encodeTask, type RecordedTask } from '../queue/task-encoding.js';
import {
  type Acceptance,
  ExecutionStore,
  type NewExecution,
  type TaskRef,
} from '../store/execution-store.js';
import { WriteGate } from '../store/write-gate.js';
import type { HeldTask } from '../worker/ledger.js';
import { WorkerManagementService } from '../worker/worker-management.service.js';
import { Admission } from './admission.js';
import { Dispatcher } from './dispatcher.js';
import { type Assigned, TaskSender } from './task-sender.js';

/** Why nothing is accepted at present. */
export interface Refusal {
  reason: string;
  retryAfterS: number;
}

interface Accepted {
  acceptance: Acceptance;
  /** What the answer waits for, now that its row is written: never rejects; null = nothing. */
  onItsWay: Promise<void> | null;
}

/** Where a task goes once its row is written. */
type Place = HeldTask | 'line' | 'broker';

const RETRY_AFTER_S = 5;
/** The count is that old at most, and corrected by what was accepted since. */
const BACKLOG_AGE_MS = 1_000;

/**
 * Takes executions in: row first, then publish, then the answer. A crash in between leaves a row that becomes due by
 * itself. Where the task could start at once, its slot is taken before the row is written, the row is born
 * `assigned`, and the task goes straight to its worker: one write and one hop. The answer waits for the broker's confirm
 * only if the flow has a single attempt: if this process dies in between, the next leader counts that as begun, and gives
 * the task out again while it has attempts left. Where it cannot start, and nothing waits on the broker that came before
 * it, it is born `queued` and waits with the dispatcher, which is this process: one hop as well. Only what exceeds the
 * dispatcher's window, or is accepted by a replica that does not lead, goes by a ready queue.
 */
@Injectable()
export class Intake {
  private readonly logger = new Logger(Intake.name);
  private readonly admission: Admission<Place, Accepted>;
  private readonly queued: SingleFlight<TaskRef, void>;
  private backlog = { count: 0, readAtMs: -Infinity };

  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly messaging: MessagingService,
    private readonly queues: QueueManagementService,
    private readonly store: ExecutionStore,
    gate: WriteGate,
    private readonly dispatcher: Dispatcher,
    private readonly sender: TaskSender,
    private readonly workers: WorkerManagementService,
  ) {
    this.admission = new Admission({
      mayWait: (execution) => this.mayWait(execution),
      reserve: (execution) => this.reserve(execution),
      queue: (execution) => this.queue(execution),
      accept: (executions, places) => this.accept(executions, places),
      pass: gate.pass,
      isWorthWaiting: (requiredTypes, priority, waiting) =>
        dispatcher.isWorthWaiting(requiredTypes, priority, waiting),
    });
    workers.on('capacity', () => this.admission.wake());
    dispatcher.on('spare', () => this.admission.wake());
    this.queued = new SingleFlight(async (tasks) => {
      await store.markQueued(tasks);
      return tasks.map((): void => undefined);
    });
  }

  /** Null = executions are accepted. */
  refusal(): Refusal | null {
    const { blockedReason, isUp, lastError } = this.messaging;
    if (!isUp) {
      return { reason: `the broker is away${lastError ? `: ${lastError}` : ''}`, retryAfterS: RETRY_AFTER_S };
    }
    if (blockedReason !== null) {
      return { reason: `the broker takes no messages: ${blockedReason}`, retryAfterS: RETRY_AFTER_S };
    }
    if (!this.queues.isDeclared) {
      return { reason: 'the queues are not declared yet', retryAfterS: 1 };
    }
    if (performance.now() - this.backlog.readAtMs >= BACKLOG_AGE_MS) {
      void this.readBacklog();
    }
    if (this.backlog.count >= this.config.backlogLimit) {
      return {
        reason: `${this.backlog.count} executions are waiting or running, the limit is ${this.config.backlogLimit} (BACKLOG_LIMIT)`,
        retryAfterS: RETRY_AFTER_S,
      };
    }
    return null;
  }

  /**
   * Resolves when they are on record and their tasks are on their way (or their delays are running). Never rejects: an
   * execution whose write failed is answered with the error, and may or may not be on record.
   */
  async submit(executions: readonly NewExecution[]): Promise<(Acceptance | Error)[]> {
    const answers = await this.admission.submit(executions);
    const ways = waysOf(answers);
    if (ways !== null) {
      await Promise.all(ways);
    }
    return answers.map(acceptanceOf);
  }

  /** How many wait for a slot and are not on record yet, by class. */
  waitingKinds(): { requiredTypes: string; count: number }[] {
    return this.admission.waitingKinds();
  }

  private async accept(items: NewExecution[], places: Place[]): Promise<Accepted[]> {
    let answers: Acceptance[];
    try {
      answers = await this.store.accept(items);
    } catch (error) {
      places.forEach((place) => this.giveUp(place));
      throw error;
    }
    const assigned: Assigned[] = [];
    const waiting: RecordedTask[] = [];
    for (let index = 0; index < answers.length; index++) {
      const place = places[index]!;
      if (answers[index]!.kind !== 'created') {
        this.giveUp(place);
      } else if (place === 'line') {
        waiting.push(firstTask(items[index]!));
      } else if (place !== 'broker') {
        assigned.push(firstAssignment(items[index]!, place));
      }
    }
    const sent = Promise.all(this.sender.sendAll(assigned).map(({ done }) => done)).then(() => undefined);
    this.dispatcher.track(sent);
    const isInLine = waiting.length > 0 && this.dispatcher.takeInLine(waiting);
    const accepted: Accepted[] = [];
    for (let index = 0; index < answers.length; index++) {
      const acceptance = answers[index]!;
      const isNew = acceptance.kind === 'created';
      this.backlog.count += Number(isNew);
      const onItsWay = isNew ? this.wayOf(items[index]!, places[index]!, sent, isInLine) : null;
      accepted.push({ acceptance, onItsWay });
    }
    return accepted;
  }

  /** Publishes its task if nobody has it. @returns what the answer waits for; null = nothing */
  private wayOf(
    execution: NewExecution,
    place: Place,
    sent: Promise<void>,
    isInLine: boolean,
  ): Promise<void> | null {
    if (typeof place !== 'string') {
      return execution.maxAttempts === 1 ? sent : null;
    }
    const isCaredFor = place === 'line' ? isInLine : execution.delayMs > 0;
    return isCaredFor ? null : this.publish(execution);
  }

  /**
   * Whether it may wait for a slot before its row is written. One that is delayed, or a repeated request whose task has a
   * slot, needs none; one of a single attempt gets none ahead, and in line it is seen to that it gets one.
   */
  private mayWait({ executionId, delayMs, maxAttempts }: NewExecution): boolean {
    return delayMs === 0 && maxAttempts > 1 && this.workers.pool.ledger.find(executionId) === null;
  }

  /** Takes a slot for its task, and has its row say so; one that needs none, or has expired while it waited, gets none. */
  private reserve(execution: NewExecution): Place | null {
    if (needsNoSlot(execution) || this.workers.pool.ledger.find(execution.executionId)) {
      return this.queue(execution);
    }
    const held = this.dispatcher.reserve(firstTask(execution));
    execution.workerId = held?.workerId ?? null;
    return held;
  }

  /** Decides where its task goes without a slot, and has its row say so. */
  private queue(execution: NewExecution): Place {
    execution.isInLine = execution.delayMs === 0 && this.dispatcher.takes(execution.priority);
    return execution.isInLine ? 'line' : 'broker';
  }

  private async publish(execution: NewExecution): Promise<void> {
    const task = firstTask(execution);
    try {
      if ((await this.queues.publishFlowExecution(task)) === 'routed') {
        this.queued
          .add(task)
          .catch((error: Error) =>
            this.logger.warn(`${task.executionId} is not marked as queued: ${error.message}`),
          );
        return;
      }
      this.logger.warn(`the ready queue of ${task.priority} is missing`);
      await this.queues.declare();
    } catch (error) {
      // It is on record, so it is accepted: the stager publishes it when RESCUE_AFTER_MS is over.
      this.logger.warn(`${task.executionId} is accepted and not published yet: ${(error as Error).message}`);
    }
  }

  private giveUp(place: Place): void {
    if (typeof place !== 'string') {
      this.workers.pool.release(place.executionId, place.attempt);
      this.workers.emit('capacity');
    }
  }

  private async readBacklog(): Promise<void> {
    this.backlog.readAtMs = performance.now();
    try {
      const counts = await this.store.countOpen();
      this.backlog.count = Object.values(counts).reduce((sum, count) => sum + count, 0) - counts.dead;
    } catch (error) {
      this.logger.debug(`the backlog could not be counted: ${(error as Error).message}`);
    }
  }
}

/** What the answers wait for; null = nothing. */
function waysOf(answers: readonly (Accepted | Error)[]): Set<Promise<void>> | null {
  let ways: Set<Promise<void>> | null = null;
  for (const answer of answers) {
    if (!(answer instanceof Error) && answer.onItsWay !== null) {
      ways ??= new Set();
      ways.add(answer.onItsWay);
    }
  }
  return ways;
}

function acceptanceOf(answer: Accepted | Error): Acceptance | Error {
  return answer instanceof Error ? answer : answer.acceptance;
}

/** Delayed, or expired: the record has to see to that. */
function needsNoSlot({ delayMs, expiresAt }: NewExecution): boolean {
  return delayMs > 0 || (expiresAt !== null && expiresAt <= Date.now());
}

function firstAssignment(execution: NewExecution, held: HeldTask): Assigned {
  const task = firstTask(execution);
  return { task, content: encodeTask(task), held };
}

function firstTask(execution: NewExecution): RecordedTask {
  return {
    executionId: execution.executionId,
    flowId: execution.flowId,
    attempt: 1,
    maxAttempts: execution.maxAttempts,
    priority: execution.priority,
    requiredTypes: execution.requiredTypes,
    request: execution.request,
    timeoutMs: execution.timeoutMs,
    solo: false,
    needsSlot: execution.maxAttempts === 1,
  };
}
