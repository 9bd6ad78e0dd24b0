import { Injectable, Logger } from '@nestjs/common';
import { SchedulerRegistry } from '@nestjs/schedule';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import { PRIORITIES } from '../queue/priority.js';
import { QueueManagementService } from '../queue/queue-management.service.js';
import { ExecutionStore } from '../store/execution-store.js';
import { WorkerManagementService } from '../worker/worker-management.service.js';
import type { WorkerRecord } from '../worker/worker-record.js';
import { Dispatcher } from './dispatcher.js';
import { Leadership } from './leadership.js';
import { Recorder } from './recorder.js';
import { Stager } from './stager.js';

const SWEEP_INTERVAL = 'rescuer';
const SWEEP_MS = 5_000;
/** A queued task may be on its way between the broker and the window for this long before it counts as missing. */
const MISSING_AFTER_MS = 30_000;
/** In how many different heartbeats in a row a worker must lack a task that it was given. */
const HEARTBEATS_WITHOUT = 2;

/**
 * Finds executions that have fallen between: on record as with a worker that has not got them, or as queued while
 * the queues are empty (an operator purged one). Nothing here is needed while nothing breaks.
 */
@Injectable()
export class Rescuer {
  private readonly logger = new Logger(Rescuer.name);
  /** Per held execution: the heartbeats that lacked it. */
  private readonly lacking = new Map<string, { count: number; heartbeatAtMs: number }>();
  private sweeping: Promise<void> | null = null;

  constructor(
    private readonly store: ExecutionStore,
    private readonly queues: QueueManagementService,
    private readonly workers: WorkerManagementService,
    private readonly dispatcher: Dispatcher,
    private readonly recorder: Recorder,
    private readonly leadership: Leadership,
    private readonly stager: Stager,
    private readonly scheduler: SchedulerRegistry,
    private readonly config: OrchestratorConfigService,
  ) {}

  start(): void {
    this.lacking.clear();
    const interval = setInterval(() => {
      this.sweeping ??= this.sweep()
        .catch((error: Error) => this.logger.warn(`the sweep failed: ${error.message}`))
        .finally(() => {
          this.sweeping = null;
        });
    }, SWEEP_MS);
    this.scheduler.addInterval(SWEEP_INTERVAL, interval);
  }

  async stop(): Promise<void> {
    if (this.scheduler.doesExist('interval', SWEEP_INTERVAL)) {
      this.scheduler.deleteInterval(SWEEP_INTERVAL);
    }
    await this.sweeping;
  }

  private async sweep(): Promise<void> {
    if (!this.leadership.mayAct) {
      return;
    }
    await this.adoptUnknown();
    await this.requeueUndelivered();
    await this.requeueMissing();
  }

  /**
   * Held by the record and not in the ledger: written by a leader before us, at the end of its term. And a cancel that
   * is on record but whose message may have been lost is sent again; the worker takes it any number of times.
   */
  private async adoptUnknown(): Promise<void> {
    for (const { executionId, attempt, workerId, cancelRequested } of await this.store.held()) {
      if (!this.workers.pool.ledger.find(executionId)) {
        this.workers.pool.hold(executionId, attempt, workerId);
      }
      if (cancelRequested) {
        await this.workers.cancelOnWorker(workerId, { executionId, attempt, reason: 'cancelled on request' });
      }
    }
  }

  /** Given to a worker that, by its own word in two heartbeats since, has not got it. */
  private async requeueUndelivered(): Promise<void> {
    const missing = this.workers.pool.live().flatMap((worker) => this.lackedBy(worker));
    if (missing.length === 0 || (await this.unreadResults()) > 0) {
      return;
    }
    for (const { executionId, attempt, workerId } of missing) {
      this.logger.warn(`${executionId} never arrived at worker ${workerId}: it is given out again`);
      this.lacking.delete(executionId);
      await this.recorder.lost({ executionId, attempt, workerId }, true, 'the task never arrived');
    }
  }

  private lackedBy(worker: WorkerRecord): { executionId: string; attempt: number; workerId: string }[] {
    const has = new Set(worker.heldExecutionIds);
    return this.workers.pool.ledger.heldBy(worker.workerId).filter(({ executionId, assignmentSeq }) => {
      if (has.has(executionId) || worker.lastAssignmentSeq < assignmentSeq) {
        this.lacking.delete(executionId);
        return false;
      }
      const before = this.lacking.get(executionId) ?? { count: 0, heartbeatAtMs: -1 };
      const isNewHeartbeat = before.heartbeatAtMs !== worker.lastHeartbeatAtMs;
      const now = { count: before.count + (isNewHeartbeat ? 1 : 0), heartbeatAtMs: worker.lastHeartbeatAtMs };
      this.lacking.set(executionId, now);
      return now.count >= HEARTBEATS_WITHOUT;
    });
  }

  private async requeueMissing(): Promise<void> {
    const depths = await this.queues.queueHealth();
    const waiting = depths.filter(({ priority }) => priority !== undefined && PRIORITIES.includes(priority));
    if (waiting.some(({ depth }) => depth > 0)) {
      return;
    }
    const olderThanMs = Math.max(MISSING_AFTER_MS, this.config.rescueAfterMs);
    const rescued = await this.store.requeueMissing(olderThanMs, this.dispatcher.waitingIds());
    if (rescued > 0) {
      this.logger.warn(`${rescued} queued executions had no task on the broker: they are published again`);
      this.stager.kick();
    }
  }

  private async unreadResults(): Promise<number> {
    return (await this.queues.depth(this.queues.names.results()))?.messages ?? 0;
  }
}
