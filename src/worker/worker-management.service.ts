import { EventEmitter } from 'node:events';
import { Inject, Injectable, Logger } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import {
  CANCEL_TYPE,
  type CancelTaskMessage,
  DRAIN_TYPE,
  REGISTER_TYPE,
} from '../queue/contracts/control.js';
import type {
  WorkerGoodbyeMessage,
  WorkerHeartbeatMessage,
  WorkerRegistrationMessage,
} from '../queue/contracts/fleet.js';
import { QueueManagementService } from '../queue/queue-management.service.js';
import { HeartbeatHistory } from './phi-accrual.js';
import { type ClassState, WorkerPool } from './worker-pool.js';
import { loadRatio, notAssignableReason, type WorkerRecord } from './worker-record.js';
import type { WorkerView } from './worker-view.js';

export interface WorkerStats {
  total: number;
  /** May get a task now. */
  available: number;
  /** Holds at least one. */
  busy: number;
  /** 0..1, over live workers. */
  averageLoad: number;
}

const FORGET_SILENT_INTERVAL_MS = 1_000;

interface WorkerEvents {
  /** A worker became assignable, or one of its slots was freed. */
  capacity: [];
  /** The set of node types that live workers support may have grown. */
  capabilities: [];
  /** A worker ended on purpose: its queue is to be emptied and removed. */
  left: [WorkerRecord];
  /** A worker was given up: its recovery is under way. */
  lost: [WorkerRecord];
}

/**
 * The pool: registers workers, follows their heartbeats, gives each its queue, and answers who there is. Every
 * replica keeps it warm, since registrations and heartbeats go to all; only the leader declares queues and holds
 * slots in the ledger.
 */
@Injectable()
export class WorkerManagementService extends EventEmitter<WorkerEvents> {
  private readonly logger = new Logger(WorkerManagementService.name);
  private readonly histories = new Map<string, HeartbeatHistory>();
  private readonly askedAtMs = new Map<string, number>();
  private readonly recoveries = new Map<string, Promise<void>>();
  /** True while this replica is the leader. */
  private leading = false;

  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly queues: QueueManagementService,
    @Inject(WorkerPool) readonly pool: WorkerPool,
  ) {
    super();
  }

  /** The leader gives every worker it knows its queue. Those it does not know are asked when they are heard of. */
  async lead(): Promise<void> {
    this.leading = true;
    await Promise.all(this.pool.live().map((worker) => this.makeReady(worker)));
  }

  /** A replica that begins to listen has missed the registrations before: every worker is asked for its own again. */
  async meetThePool(): Promise<void> {
    await this.queues
      .askAllToRegister()
      .catch((error: Error) =>
        this.logger.warn(`the workers could not be asked to register: ${error.message}`),
      );
  }

  /**
   * A replica that does not lead judges nobody, but does not show workers for ever that have fallen silent.
   * The leader's watch sees to its own pool.
   */
  @Interval(FORGET_SILENT_INTERVAL_MS)
  forgetSilent(): void {
    if (this.leading) {
      return;
    }
    const limitMs = this.config.deadHeartbeats * this.config.heartbeatIntervalMs;
    for (const { workerId, lastHeartbeatAtMs } of this.pool.all()) {
      if (performance.now() - lastHeartbeatAtMs > limitMs) {
        this.forget(workerId);
      }
    }
  }

  /** Another replica leads now: the ledger is its business. */
  follow(): void {
    this.leading = false;
    this.pool.rebuild(0, []);
  }

  get isLeading(): boolean {
    return this.leading;
  }

  // ---- what workers say ----------------------------------------------------------------------------------------

  async onRegistration(registration: WorkerRegistrationMessage): Promise<void> {
    // What an earlier process of this name held needs no recovery: its messages went back to the worker's queue, and
    // the new process reports those that may have started as `interrupted`.
    const before = this.pool.get(registration.workerId);
    const isNewProcess = before?.registration.incarnation !== registration.incarnation;
    const worker = this.pool.register(registration);
    if (isNewProcess) {
      this.histories.set(
        worker.workerId,
        new HeartbeatHistory({ intervalMs: this.config.heartbeatIntervalMs }, performance.now()),
      );
      this.logger.log(
        `worker ${worker.workerId} on ${registration.hostname} registered: ` +
          `${registration.capacity.maxConcurrentFlows} slots, ${worker.signature}`,
      );
    }
    await this.makeReady(worker);
  }

  onHeartbeat(heartbeat: WorkerHeartbeatMessage): void {
    if (!this.pool.heartbeat(heartbeat)) {
      this.askToRegister(heartbeat.workerId);
      return;
    }
    this.histories.get(heartbeat.workerId)?.beat(performance.now());
    const worker = this.pool.get(heartbeat.workerId)!;
    if (!this.leading) {
      this.pool.assume(heartbeat.workerId, heartbeat.heldExecutionIds.length);
    }
    if (worker.lifecycle === 'joining') {
      void this.makeReady(worker);
    }
    this.emit('capacity');
  }

  onGoodbye(goodbye: WorkerGoodbyeMessage): void {
    const worker = this.pool.get(goodbye.workerId);
    if (worker?.registration.incarnation !== goodbye.incarnation) {
      return;
    }
    this.logger.log(`worker ${goodbye.workerId} said goodbye: ${goodbye.reason}`);
    this.pool.setLifecycle(worker, 'gone');
    this.emit('left', worker);
  }

  // ---- when its queue is gone ----------------------------------------------------------------------------------

  /** It gets no tasks until its queue stands. */
  suspend(workerId: string): void {
    const worker = this.pool.get(workerId);
    if (worker?.lifecycle === 'ready') {
      this.pool.setLifecycle(worker, 'joining');
    }
  }

  /**
   * Binds the queue of a suspended worker again. One that is gone altogether is left to the worker: the broker tells it,
   * and it registers. Declared at once, while word of its end is still on the way, it would leave the worker with a
   * consumer that gets nothing (seen on RabbitMQ 3.10).
   */
  async rebind(workerId: string): Promise<void> {
    const worker = this.pool.get(workerId);
    if (worker && (await this.queues.depth(this.queues.names.workerQueue(workerId)))) {
      await this.makeReady(worker);
    }
  }

  // ---- what workers are told -----------------------------------------------------------------------------------

  async cancelOnWorker(workerId: string, cancel: CancelTaskMessage): Promise<void> {
    await this.queues.sendControl(workerId, CANCEL_TYPE, cancel);
  }

  /** @returns false if there is no such worker */
  async drain(workerId: string, deadlineMs: number): Promise<boolean> {
    const worker = this.pool.get(workerId);
    if (!worker || worker.lifecycle === 'gone') {
      return false;
    }
    this.pool.setLifecycle(worker, 'draining');
    await this.queues.sendControl(workerId, DRAIN_TYPE, { deadlineMs, reason: 'an operator asked for it' });
    return true;
  }

  /** From now on it gets no new tasks; whoever runs it tells it to drain. */
  retire(workerId: string): void {
    const worker = this.pool.get(workerId);
    if (worker?.lifecycle === 'joining' || worker?.lifecycle === 'ready') {
      this.pool.setLifecycle(worker, 'draining');
    }
  }

  // ---- who there is --------------------------------------------------------------------------------------------

  list(): WorkerView[] {
    return [...this.pool.all()].map((worker) => this.view(worker));
  }

  find(workerId: string): WorkerView | null {
    const worker = this.pool.get(workerId);
    return worker && this.view(worker);
  }

  stats(): WorkerStats {
    const live = this.pool.live();
    const load = live.reduce((sum, worker) => sum + loadRatio(worker), 0);
    return {
      total: live.length,
      available: live.filter((worker) => this.reasonAgainst(worker) === null).length,
      busy: live.filter((worker) => worker.held > 0 || worker.load.activeFlows > 0).length,
      averageLoad: live.length === 0 ? 0 : Math.round((load / live.length) * 1_000) / 1_000,
    };
  }

  classState(requiredTypes: string): ClassState {
    return this.pool.classState(requiredTypes);
  }

  knownNodeTypes(): Set<string> {
    return this.pool.knownNodeTypes();
  }

  history(workerId: string): HeartbeatHistory | null {
    return this.histories.get(workerId) ?? null;
  }

  /** Removes a worker that is gone from sight. */
  forget(workerId: string): void {
    this.pool.forget(workerId);
    this.histories.delete(workerId);
    this.askedAtMs.delete(workerId);
  }

  /** While `recovery` runs, the worker's queue is being emptied: should it register again, it gets no task until then. */
  recovering(workerId: string, recovery: Promise<void>): void {
    this.recoveries.set(workerId, recovery);
    void recovery.finally(() => this.recoveries.delete(workerId));
  }

  /** Every replica that misses the registration asks; a heartbeat's length is enough between two times. */
  private askToRegister(workerId: string): void {
    const now = performance.now();
    if (now - (this.askedAtMs.get(workerId) ?? -Infinity) < this.config.heartbeatIntervalMs / 2) {
      return;
    }
    this.askedAtMs.set(workerId, now);
    this.queues
      .sendControl(workerId, REGISTER_TYPE, {})
      .catch((error: Error) =>
        this.logger.warn(`${workerId} could not be asked to register: ${error.message}`),
      );
  }

  private async makeReady(worker: WorkerRecord): Promise<void> {
    await this.recoveries.get(worker.workerId);
    try {
      if (this.leading) {
        await this.queues.declareWorkerQueue(worker.workerId);
      }
    } catch (error) {
      // It stays `joining`; its next heartbeat leads here again. One bad queue must not hold up the others.
      this.logger.warn(`worker ${worker.workerId} gets no tasks yet: ${(error as Error).message}`);
      return;
    }
    if (worker.lifecycle === 'joining' && this.pool.get(worker.workerId) === worker) {
      this.pool.setLifecycle(worker, 'ready');
    }
    this.emit('capabilities');
    this.emit('capacity');
  }

  private reasonAgainst(worker: WorkerRecord): string | null {
    return notAssignableReason(worker, this.config.workerLoadLimitPercent);
  }

  private view(worker: WorkerRecord): WorkerView {
    const ended = worker.tasksCompleted + worker.tasksFailed;
    const reason = this.reasonAgainst(worker);
    const { hostname, incarnation, capacity, supportedNodeTypes, workerClass, weight } = worker.registration;
    return {
      workerId: worker.workerId,
      hostname,
      incarnation,
      lifecycle: worker.lifecycle,
      status: worker.status,
      capacity,
      supportedNodeTypes,
      ...(workerClass !== undefined && { workerClass }),
      weight: weight ?? 1,
      currentLoad: worker.load,
      performance: {
        currentLoad: loadRatio(worker),
        tasksCompleted: worker.tasksCompleted,
        tasksInProgress: this.leading ? worker.held : worker.load.activeFlows,
        averageExecutionTimeMs: ended === 0 ? 0 : worker.busyMs / ended,
        errorRate: ended === 0 ? 0 : worker.tasksFailed / ended,
      },
      heldExecutionIds: this.leading
        ? this.pool.ledger.heldBy(worker.workerId).map(({ executionId }) => executionId)
        : worker.heldExecutionIds,
      registeredAt: worker.registeredAt.toISOString(),
      lastHeartbeatAt: worker.lastHeartbeatAt?.toISOString() ?? null,
      assignable: reason === null,
      ...(reason !== null && { notAssignableReason: reason }),
    };
  }
}
