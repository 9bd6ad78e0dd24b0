import { Injectable, Logger } from '@nestjs/common';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import { QueueManagementService } from '../queue/queue-management.service.js';
import { SingleFlight } from '../queue/single-flight.js';
import { type DueTask, ExecutionStore, type TaskRef } from '../store/execution-store.js';
import { Leadership } from './leadership.js';
import { ReadyQueues } from './ready-queues.js';
import { needsSlot, runsAlone } from './suspects.js';

const BATCH = 200;
/** Short enough a write that those of the dispatcher hardly wait for it. */
const POSTPONED_AT_ONCE = 1_000;

/**
 * Publishes every waiting execution whose time has come: the end of a delay or of a retry's wait, a requeue after a
 * lost worker, a replay, and (the rescuer) an acceptance that crashed between its row and its publish. All of them
 * are rows with an `availableAt` in the past, so one loop with one timer serves all. What waits with the dispatcher
 * without a message is due as well, from time to time, so that it would not be lost with this process: it is put off.
 */
@Injectable()
export class Stager {
  private readonly logger = new Logger(Stager.name);
  private active = false;
  private running: Promise<void> | null = null;
  private again = false;
  private timer: NodeJS.Timeout | null = null;
  private readonly unpublished = new Set<string>();
  private readonly queued: SingleFlight<TaskRef, void>;

  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly store: ExecutionStore,
    private readonly queues: QueueManagementService,
    private readonly leadership: Leadership,
    private readonly ready: ReadyQueues,
  ) {
    this.queued = new SingleFlight(async (tasks) => {
      await store.markQueued(tasks);
      return tasks.map((): void => undefined);
    });
  }

  start(): void {
    this.active = true;
    this.kick();
  }

  async stop(): Promise<void> {
    this.active = false;
    clearTimeout(this.timer ?? undefined);
    await this.running;
  }

  /** Something may be due sooner than planned. On a replica that does not lead, the leader's next round finds it. */
  kick(): void {
    if (!this.active) {
      return;
    }
    this.again = true;
    this.running ??= this.rounds().finally(() => {
      this.running = null;
      if (this.again) {
        this.kick();
      }
    });
  }

  private async rounds(): Promise<void> {
    clearTimeout(this.timer ?? undefined);
    let nextInMs = this.config.rescueIntervalMs;
    while (this.active && this.again) {
      this.again = false;
      try {
        nextInMs = await this.runOnce();
      } catch (error) {
        nextInMs = this.config.rescueIntervalMs;
        this.logger.warn(`due executions could not be published: ${(error as Error).message}; trying again`);
      }
    }
    if (this.active) {
      this.timer = setTimeout(() => this.kick(), nextInMs);
    }
  }

  /** @returns in how many ms to look again */
  private async runOnce(): Promise<number> {
    if (!this.leadership.mayAct || !this.queues.isDeclared) {
      return this.config.rescueIntervalMs;
    }
    await this.store.expire(BATCH);
    const { tasks, nextInMs } = await this.store.due(BATCH, [...this.unpublished]);
    if (tasks.length > 0) {
      const own = this.ready.ownTasks();
      // What waits with the dispatcher must not be published, however due it is.
      const others = without(tasks, own);
      if (others.length < tasks.length) {
        await this.putOff(own);
      }
      await Promise.all(others.map((task) => this.publish(task)));
      this.again ||= tasks.length === BATCH;
    } else {
      this.unpublished.clear();
    }
    return Math.max(1, Math.min(nextInMs ?? Infinity, this.config.rescueIntervalMs));
  }

  /** All of them, not those alone that are due just now: reading thousands, a few at a time, would cost far more. */
  private async putOff(own: TaskRef[]): Promise<void> {
    for (let from = 0; from < own.length; from += POSTPONED_AT_ONCE) {
      const some = own.slice(from, from + POSTPONED_AT_ONCE);
      await this.store.postpone(some, this.config.rescueAfterMs);
    }
  }

  /** One that cannot be published does not hold up those behind it: it is left out until the others are through. */
  private async publish(task: DueTask): Promise<void> {
    try {
      const recorded = { ...task, solo: runsAlone(task), needsSlot: needsSlot(task) };
      if ((await this.queues.publishFlowExecution(recorded)) === 'routed') {
        await this.queued.add(task);
        return;
      }
      this.logger.warn(`the ready queue of ${task.priority} is missing: declaring it again`);
      await this.queues.declare();
    } catch (error) {
      this.logger.warn(
        `${task.executionId} could not be published: ${(error as Error).message}; trying again`,
      );
    }
    this.unpublished.add(task.executionId);
  }
}

/** Those tasks that are not among `others`, of which there may be thousands. */
function without(tasks: readonly DueTask[], others: readonly TaskRef[]): DueTask[] {
  const left = new Map(tasks.map((task) => [task.executionId, task]));
  for (const { executionId, attempt } of others) {
    if (left.get(executionId)?.attempt === attempt) {
      left.delete(executionId);
    }
  }
  return [...left.values()];
}
