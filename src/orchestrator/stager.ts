import { Injectable, Logger } from '@nestjs/common';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import { QueueManagementService } from '../queue/queue-management.service.js';
import { type DueTask, ExecutionStore, type TaskRef } from '../store/execution-store.js';
import { Leadership } from './leadership.js';

const BATCH = 200;

/**
 * Publishes every waiting execution whose time has come: the end of a delay or of a retry's wait, a requeue after a
 * lost worker, a replay, and (the rescuer) an acceptance that crashed between its row and its publish. All of them
 * are rows with an `availableAt` in the past, so one loop with one timer serves all.
 */
@Injectable()
export class Stager {
  private readonly logger = new Logger(Stager.name);
  private active = false;
  private running: Promise<void> | null = null;
  private again = false;
  private timer: NodeJS.Timeout | null = null;

  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly store: ExecutionStore,
    private readonly queues: QueueManagementService,
    private readonly leadership: Leadership,
  ) {}

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
    const { tasks, nextInMs } = await this.store.due(BATCH, []);
    if (tasks.length > 0) {
      const published = await Promise.all(tasks.map((task) => this.publish(task)));
      await this.store.markQueued(published.filter((task) => task !== null));
      this.again ||= tasks.length === BATCH && published.some((task) => task !== null);
    }
    return Math.max(1, Math.min(nextInMs ?? Infinity, this.config.rescueIntervalMs));
  }

  private async publish(task: DueTask): Promise<TaskRef | null> {
    try {
      const outcome = await this.queues.publishFlowExecution(task);
      return outcome === 'routed' ? task : null;
    } catch (error) {
      this.logger.warn(
        `${task.executionId} could not be published: ${(error as Error).message}; trying again`,
      );
      return null;
    }
  }
}
