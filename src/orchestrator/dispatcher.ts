import { Injectable, Logger } from '@nestjs/common';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import type { Consumer, Delivery } from '../messaging/consumer.js';
import { MessagingService } from '../messaging/messaging.service.js';
import { PRIORITIES, type Priority } from '../queue/priority.js';
import { QueueManagementService } from '../queue/queue-management.service.js';
import { readTaskEnvelope, type TaskEnvelope } from '../queue/task-encoding.js';
import { TASK_TYPE } from '../queue/contracts/task.js';
import {
  type ExecutionRecord,
  ExecutionStore,
  type Requeue,
  type TaskRef,
} from '../store/execution-store.js';
import type { HeldTask } from '../worker/ledger.js';
import { WorkerManagementService } from '../worker/worker-management.service.js';
import {
  nextAlone,
  type Parking,
  priorityOrder,
  takeParkable,
  takeRunnable,
  type Windows,
} from './dispatch-plan.js';
import { Leadership } from './leadership.js';
import { Metrics } from './api/metrics.js';
import { ParkingLot } from './parking-lot.js';
import { ReadyWindow, type WaitingTask } from './ready-window.js';
import { Stager } from './stager.js';

interface Choice {
  task: WaitingTask;
  held: HeldTask;
}

const LOOK_AGAIN_MS = 250;
const STORE_RETRY_MS = 500;

/**
 * Gives each ready task to a worker. Deliveries wait unacked in one window a priority; a pass takes everything that
 * can run now, records the assignments in one fenced write, publishes each task to its worker's queue, and acks the
 * source only after the broker confirmed that. Passes run one after the other; whatever happens meanwhile (a new
 * delivery, a freed slot, a new worker) is seen by the next.
 */
@Injectable()
export class Dispatcher {
  private readonly logger = new Logger(Dispatcher.name);
  private readonly windows: Windows;
  private readonly consumers = new Map<Priority, Consumer>();
  private decisions = 0;
  private active = false;
  private passing: Promise<void> | null = null;
  private wokenAgain = false;
  private holdTimer: NodeJS.Timeout | null = null;

  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly messaging: MessagingService,
    private readonly queues: QueueManagementService,
    private readonly workers: WorkerManagementService,
    private readonly store: ExecutionStore,
    private readonly leadership: Leadership,
    private readonly parkingLot: ParkingLot,
    private readonly stager: Stager,
    private readonly metrics: Metrics,
  ) {
    const window = (): ReadyWindow => new ReadyWindow(config.dispatchPrefetch);
    this.windows = { high: window(), normal: window(), low: window() };
    workers.on('capacity', () => this.wake());
    messaging.onUnblocked(() => this.wake());
    workers.on('capabilities', () => void this.parkingLot.release());
  }

  start(): void {
    this.active = true;
    for (const priority of PRIORITIES) {
      this.consumers.set(priority, this.consume(priority));
    }
    this.holdTimer = setInterval(() => this.giveBackLongHeld(), this.config.consumerHoldLimitMs / 4);
  }

  /** Gives back what waits; what is being assigned is finished first. */
  async stop(): Promise<void> {
    this.active = false;
    clearInterval(this.holdTimer ?? undefined);
    const consumers = [...this.consumers.values()];
    this.consumers.clear();
    await Promise.all(consumers.map((consumer) => consumer.pause().catch(() => undefined)));
    await this.passing;
    await Promise.all(consumers.map((consumer) => this.messaging.stopConsuming(consumer)));
    PRIORITIES.forEach((priority) => this.windows[priority].clear());
  }

  /** The executions whose tasks wait here. */
  waitingIds(): string[] {
    return PRIORITIES.flatMap((priority) => this.windows[priority].ids());
  }

  /**
   * The fast path: takes a slot for a task that was not published yet, if no task before it could have that slot.
   * After each pass, what is left in the windows cannot run on any worker that is free, so a free worker may be
   * taken; but while a window is full there may be more on the broker, and that comes first.
   */
  reserve(task: TaskEnvelope): HeldTask | null {
    if (!this.active || !this.leadership.mayAct || this.wokenAgain) {
      return null;
    }
    if (!PRIORITIES.every((priority) => this.windows[priority].showsAll)) {
      return null;
    }
    if (this.workers.pool.ledger.find(task.executionId)) {
      return null;
    }
    const worker = this.workers.pool.pick(task.requiredTypes, task.solo);
    return worker && this.workers.pool.hold(task.executionId, task.attempt, worker.workerId, task.solo);
  }

  /** Publishes a task whose assignment is on record; an undelivered one goes back to waiting. @returns true if it arrived */
  async send(task: TaskEnvelope, content: Buffer, held: HeldTask): Promise<boolean> {
    const { workerId, assignmentSeq } = held;
    try {
      const assignment = { workerId, assignmentSeq, epoch: this.leadership.epoch };
      const outcome = await this.queues.publishAssignment(task, content, assignment);
      if (outcome === 'routed') {
        return true;
      }
      this.logger.warn(`the queue of worker ${workerId} is missing: declaring it again`);
      await this.takeBack(held, false);
      await this.queues.declareWorkerQueue(workerId).catch((error: Error) => {
        this.logger.warn(`the queue of worker ${workerId} is not declared yet: ${error.message}`);
      });
    } catch (error) {
      // It may have arrived all the same, so the next attempt gets a new number, which shuts this one out.
      this.logger.warn(
        `${task.executionId} may not have reached worker ${workerId}: ${(error as Error).message}`,
      );
      await this.takeBack(held, true);
    }
    return false;
  }

  wake(): void {
    // While the broker takes no messages, an assignment could not be published: tasks wait here instead.
    if (!this.active || !this.leadership.mayAct || this.messaging.blockedReason !== null) {
      return;
    }
    this.wokenAgain = true;
    this.passing ??= this.passes()
      .catch((error: Error) => this.logger.error(`a dispatch pass failed: ${error.stack}`))
      .finally(() => {
        this.passing = null;
        if (this.wokenAgain) {
          this.wake();
        }
      });
  }

  private consume(priority: Priority): Consumer {
    const window = this.windows[priority];
    const queue = this.queues.names.readyQueue(priority);
    return this.messaging.consume({
      queue,
      prefetch: this.config.dispatchPrefetch,
      priority: this.leadership.epoch,
      purpose: `dispatcher of ${priority}`,
      onDelivery: (delivery) => this.receive(delivery, priority, queue),
      onLost: () => window.clear(),
    });
  }

  private receive(delivery: Delivery, priority: Priority, queue: string): void {
    const envelope =
      delivery.type === TASK_TYPE
        ? readTaskEnvelope(delivery)
        : `expected a message of type ${TASK_TYPE}, got ${delivery.type ?? 'no type'}`;
    if (typeof envelope === 'string') {
      void this.queues.bury(delivery, queue, envelope);
      return;
    }
    this.windows[priority].push({ ...envelope, priority, delivery, sinceMs: performance.now() });
    this.wake();
  }

  private async passes(): Promise<void> {
    // What arrives in the same turn of the event loop is decided together.
    await Promise.resolve();
    while (
      this.active &&
      this.wokenAgain &&
      this.leadership.mayAct &&
      this.messaging.blockedReason === null
    ) {
      this.wokenAgain = false;
      const choices = this.choose();
      if (choices.length > 0) {
        await this.assign(choices);
      }
      for (const parking of this.chooseParking()) {
        await this.park(parking);
      }
    }
  }

  /** Every decision there is to make now. Each takes its slot at once, so that the next sees it taken. */
  private choose(): Choice[] {
    const { pool } = this.workers;
    const isFree = (requiredTypes: string, solo: boolean): boolean => pool.canTake(requiredTypes, solo);
    const alone = nextAlone(this.windows, (types, others) => pool.shareWorkers(types, others));
    pool.keepFree(alone?.requiredTypes ?? null);
    const choices: Choice[] = [];
    for (;;) {
      const order = priorityOrder(this.decisions, this.config.lowPriorityShare);
      const task = takeRunnable(this.windows, order, isFree);
      const worker = task && pool.pick(task.requiredTypes, task.solo);
      if (!task || !worker) {
        return choices;
      }
      this.decisions++;
      this.windows[task.priority].inFlight++;
      // A second copy of a task that is held already must not take its slot away: the record will refuse it.
      if (pool.ledger.find(task.executionId)) {
        void this.settleRefused(task);
      } else {
        const { executionId, attempt, solo } = task;
        choices.push({ task, held: pool.hold(executionId, attempt, worker.workerId, solo) });
      }
    }
  }

  private async assign(choices: Choice[]): Promise<void> {
    let assigned: Set<string>;
    try {
      assigned = await this.store.assign(
        this.leadership.epoch,
        choices.map(({ held }) => held),
      );
    } catch (error) {
      this.logger.warn(`assignments could not be recorded: ${(error as Error).message}`);
      this.unchoose(choices);
      return;
    }
    await Promise.all(
      choices.map(async ({ task, held }) => {
        if (!assigned.has(task.executionId)) {
          this.workers.pool.release(task.executionId, task.attempt);
          await this.settleRefused(task);
          return;
        }
        this.metrics.assigned(performance.now() - task.sinceMs);
        await this.send(task, task.delivery.content, held);
        this.settle(task);
      }),
    );
  }

  /** The record has it in a worker's hands or waiting again: the message has done its work. */
  private settle(task: WaitingTask): void {
    task.delivery.ack();
    this.windows[task.priority].inFlight--;
  }

  private unchoose(choices: Choice[]): void {
    for (const { task } of choices) {
      this.workers.pool.release(task.executionId, task.attempt);
      this.windows[task.priority].inFlight--;
    }
    this.putBack(choices.map(({ task }) => task));
  }

  /**
   * The record would not assign or park this task. If it is cancelled, at another attempt or with a worker, the
   * message has done its work; if it is not on record at all, it is a dead letter. But if it still waits for just
   * this message (it was refused because our term ended, or because its slot was spoken for), it stays.
   */
  private async settleRefused(task: WaitingTask): Promise<void> {
    try {
      const record = await this.store.get(task.executionId);
      if (record === null) {
        const reason = `no execution ${task.executionId} is on record`;
        await this.queues.bury(task.delivery, this.queues.names.readyQueue(task.priority), reason);
      } else if (stillNeeds(record, task)) {
        this.putBack([task]);
      } else {
        task.delivery.ack();
      }
    } catch (error) {
      this.logger.warn(`${task.executionId} is looked at again: ${(error as Error).message}`);
      this.putBack([task]);
    } finally {
      this.windows[task.priority].inFlight--;
    }
  }

  private putBack(tasks: WaitingTask[]): void {
    tasks.toReversed().forEach((task) => this.windows[task.priority].putBack([task]));
    setTimeout(() => this.wake(), LOOK_AGAIN_MS);
  }

  /** Tries until the record takes it or this term ends; a next leader finds the assignment that never arrived. */
  private async takeBack(held: HeldTask, mayHaveStarted: boolean): Promise<void> {
    const requeue: Requeue = {
      executionId: held.executionId,
      attempt: held.attempt,
      workerId: held.workerId,
      countAttempt: mayHaveStarted,
      outcome: mayHaveStarted ? 'worker_lost' : 'handed_back',
      error: null,
      durationMs: null,
    };
    while (this.leadership.mayAct) {
      try {
        await this.store.requeue([requeue]);
        break;
      } catch (error) {
        this.logger.warn(`${held.executionId} is not requeued yet: ${(error as Error).message}`);
        await new Promise((resolve) => setTimeout(resolve, STORE_RETRY_MS));
      }
    }
    this.workers.pool.release(held.executionId, held.attempt);
    this.stager.kick();
  }

  private chooseParking(): Parking[] {
    const { pool } = this.workers;
    return takeParkable(this.windows, {
      isEmpty: pool.live().length === 0,
      hasFreeSlot: pool.hasFreeSlot(),
      classState: (requiredTypes) => pool.classState(requiredTypes),
    });
  }

  private async park({ tasks, reason }: Parking): Promise<void> {
    tasks.forEach(({ priority }) => this.windows[priority].inFlight++);
    const refs: TaskRef[] = tasks.map(({ executionId, attempt }) => ({ executionId, attempt }));
    let parked: Set<string>;
    try {
      parked = await this.store.park(refs, reason);
    } catch (error) {
      this.logger.warn(`tasks could not be parked: ${(error as Error).message}`);
      tasks.forEach(({ priority }) => this.windows[priority].inFlight--);
      this.putBack(tasks);
      return;
    }
    for (const task of tasks) {
      if (parked.has(task.executionId)) {
        this.parkingLot.add(task.requiredTypes, reason);
        this.settle(task);
      } else {
        await this.settleRefused(task);
      }
    }
    // A worker that supports them may have registered while they were being parked.
    void this.parkingLot.release();
  }

  /** Long-held deliveries would run into the broker's consumer timeout, which closes the channel: give them back first. */
  private giveBackLongHeld(): void {
    const limitMs = performance.now() - this.config.consumerHoldLimitMs;
    for (const [priority, consumer] of this.consumers) {
      const since = this.windows[priority].oldestSinceMs;
      if (since !== null && since < limitMs) {
        void consumer.recycle();
      }
    }
  }
}

/** Whether the record still waits for this very message, so that acking it would lose the execution. */
function stillNeeds(record: ExecutionRecord, task: WaitingTask): boolean {
  const { state, attempt, parkedReason, availableAt } = record;
  const waitsForIt = state === 'accepted' || (state === 'queued' && availableAt === null);
  return waitsForIt && attempt === task.attempt && parkedReason === null;
}
