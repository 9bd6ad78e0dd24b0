import { setTimeout as delay } from 'node:timers/promises';
import { Injectable, Logger } from '@nestjs/common';
import { SchedulerRegistry } from '@nestjs/schedule';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import { PRIORITIES } from '../queue/priority.js';
import { QueueManagementService } from '../queue/queue-management.service.js';
import { ExecutionStore, type HeldExecution, type TaskRef } from '../store/execution-store.js';
import type { HeldTask } from '../worker/ledger.js';
import { WorkerManagementService } from '../worker/worker-management.service.js';
import type { WorkerRecord } from '../worker/worker-record.js';
import { Leadership } from './leadership.js';
import { ParkingLot } from './parking-lot.js';
import { ReadyQueues } from './ready-queues.js';
import { Recorder } from './recorder.js';
import { Stager } from './stager.js';
import { runsAlone } from './suspects.js';

const SWEEP_INTERVAL = 'rescuer';
const SWEEP_MS = 5_000;
/** A queued task may be on its way between the broker and the window for this long before it counts as missing. */
const MISSING_AFTER_MS = 30_000;
/** At the beginning of a term: how often, and how closely, workers are asked what they hold. */
const EARLY_LOOKS = 4;
const EARLY_LOOK_MS = 1_000;
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
  private readonly lacking = new Map<
    string,
    { assignmentSeq: number; count: number; heartbeatAtMs: number }
  >();
  /** Differences between ledger and record that the last sweep saw. */
  private doubted = new Set<string>();
  private sweeping: Promise<void> | null = null;
  private early: Promise<void> = Promise.resolve();
  private term = new AbortController();

  constructor(
    private readonly store: ExecutionStore,
    private readonly queues: QueueManagementService,
    private readonly workers: WorkerManagementService,
    private readonly ready: ReadyQueues,
    private readonly recorder: Recorder,
    private readonly leadership: Leadership,
    private readonly stager: Stager,
    private readonly parkingLot: ParkingLot,
    private readonly scheduler: SchedulerRegistry,
    private readonly config: OrchestratorConfigService,
  ) {}

  start(): void {
    this.lacking.clear();
    this.doubted.clear();
    this.term = new AbortController();
    this.early = this.lookEarly(this.term.signal).catch((error: Error) => {
      if (!this.term.signal.aborted) {
        this.logger.warn(`the look at what workers hold failed: ${error.message}`);
      }
    });
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
    this.term.abort();
    if (this.scheduler.doesExist('interval', SWEEP_INTERVAL)) {
      this.scheduler.deleteInterval(SWEEP_INTERVAL);
    }
    await Promise.all([this.sweeping, this.early]);
  }

  /**
   * What the leader before us wrote down as assigned and did not send anymore: the next heartbeats would show it, but
   * they may be far off, and its slots are taken meanwhile. A registration says as much as a heartbeat.
   */
  private async lookEarly(signal: AbortSignal): Promise<void> {
    for (let look = 0; look < EARLY_LOOKS; look++) {
      await this.workers.meetThePool();
      await delay(EARLY_LOOK_MS, undefined, { signal });
      await this.requeueUndelivered();
    }
  }

  private async sweep(): Promise<void> {
    if (!this.leadership.mayAct) {
      return;
    }
    // An exchange or a binding that an operator deleted is not missed by whoever publishes elsewhere.
    await this.queues.declare();
    await this.reconcile(await this.store.held());
    await this.requeueUndelivered();
    await this.requeueMissing();
    await this.parkingLot.load();
    void this.parkingLot.release();
  }

  /**
   * Brings ledger and record together again where they differ: an assignment of a leader before us that was written
   * at the end of its term; a slot whose execution has ended in a way that passed us by. Either is believed when two
   * sweeps in a row have seen it, since the record was read a moment before the ledger. And a cancel that is on
   * record but whose message may have been lost is sent again; the worker takes it any number of times.
   */
  private async reconcile(held: HeldExecution[]): Promise<void> {
    const { pool } = this.workers;
    const onRecord = new Set(held.map(({ executionId, attempt }) => `${executionId}:${attempt}`));
    const unknown = held.filter(({ executionId }) => pool.ledger.find(executionId) === null);
    const left = pool.ledger
      .holders()
      .flatMap((workerId) => pool.ledger.heldBy(workerId))
      .filter(({ executionId, attempt }) => !onRecord.has(`${executionId}:${attempt}`));
    for (const execution of unknown.filter((each) => this.doubted.has(doubtOf('adopt', each)))) {
      pool.hold(execution.executionId, execution.attempt, execution.workerId, runsAlone(execution));
    }
    for (const { executionId, attempt } of left.filter((each) =>
      this.doubted.has(doubtOf('release', each)),
    )) {
      pool.release(executionId, attempt);
      this.workers.emit('capacity');
    }
    this.doubted = new Set([
      ...unknown.map((each) => doubtOf('adopt', each)),
      ...left.map((each) => doubtOf('release', each)),
    ]);
    for (const { executionId, attempt, workerId } of held.filter(({ cancelRequested }) => cancelRequested)) {
      await this.workers.cancelOnWorker(workerId, { executionId, attempt, reason: 'cancelled on request' });
    }
  }

  /**
   * Given to a worker that, by its own word in two heartbeats since, has not got it, while nothing is left unread in
   * its queue or among the results: published never, or to nobody.
   */
  private async requeueUndelivered(): Promise<void> {
    for (const worker of this.workers.pool.live()) {
      const lacked = this.lackedBy(worker);
      if (lacked.length === 0) {
        continue;
      }
      if ((await this.unread(worker.workerId)) > 0) {
        // Heartbeats from before it reads the rest say nothing, and on a slow network they are late: counting begins anew.
        lacked.forEach(({ executionId }) => this.lacking.delete(executionId));
        continue;
      }
      const missing = lacked.filter(
        ({ executionId }) => this.lacking.get(executionId)!.count >= HEARTBEATS_WITHOUT,
      );
      for (const { executionId, attempt, workerId } of missing) {
        this.logger.warn(`${executionId} never arrived at worker ${workerId}: it is given out again`);
        this.lacking.delete(executionId);
        await this.recorder.lost({ executionId, attempt, workerId }, true, 'the task never arrived');
      }
    }
  }

  /** What at least one heartbeat since its assignment lacked. */
  private lackedBy(worker: WorkerRecord): HeldTask[] {
    const has = new Set(worker.heldExecutionIds);
    return this.workers.pool.ledger.heldBy(worker.workerId).filter(({ executionId, assignmentSeq }) => {
      const before = this.lacking.get(executionId);
      if (has.has(executionId)) {
        this.lacking.delete(executionId);
        return false;
      }
      if (before?.assignmentSeq !== assignmentSeq) {
        // The heartbeat at hand may be older than the assignment: counting begins with the next.
        this.lacking.set(executionId, { assignmentSeq, count: 0, heartbeatAtMs: worker.lastHeartbeatAtMs });
        return false;
      }
      if (before.heartbeatAtMs !== worker.lastHeartbeatAtMs) {
        before.count++;
        before.heartbeatAtMs = worker.lastHeartbeatAtMs;
      }
      return before.count > 0;
    });
  }

  private async requeueMissing(): Promise<void> {
    const depths = await this.queues.queueHealth();
    const waiting = depths.filter(({ priority }) => priority !== undefined && PRIORITIES.includes(priority));
    if (waiting.some(({ depth }) => depth > 0)) {
      return;
    }
    const olderThanMs = Math.max(MISSING_AFTER_MS, this.config.rescueAfterMs);
    const rescued = await this.store.requeueMissing(olderThanMs, this.ready.waitingIds());
    if (rescued > 0) {
      this.logger.warn(`${rescued} queued executions had no task on the broker: they are published again`);
      this.stager.kick();
    }
  }

  /** Messages that are ready for this worker or for us, and would tell more. */
  private async unread(workerId: string): Promise<number> {
    const queues = [this.queues.names.workerQueue(workerId), this.queues.names.results()];
    const depths = await Promise.all(queues.map((queue) => this.queues.depth(queue)));
    return depths.reduce((sum, depth) => sum + (depth?.messages ?? 0), 0);
  }
}

function doubtOf(what: 'adopt' | 'release', { executionId, attempt }: TaskRef): string {
  return `${what}:${executionId}:${attempt}`;
}
