import { EventEmitter } from 'node:events';
import { Injectable, Logger } from '@nestjs/common';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import type { Consumer, Delivery } from '../messaging/consumer.js';
import { MessagingService } from '../messaging/messaging.service.js';
import { TASK_TYPE } from '../queue/contracts/task.js';
import { PRIORITIES, type Priority } from '../queue/priority.js';
import { QueueManagementService } from '../queue/queue-management.service.js';
import { readTaskEnvelope, type RecordedTask } from '../queue/task-encoding.js';
import { type ExecutionRecord, ExecutionStore, type TaskRef } from '../store/execution-store.js';
import type { Windows } from './dispatch-plan.js';
import { ReadyWindow, type WaitingTask } from './ready-window.js';

const LOOK_AGAIN_MS = 250;

/**
 * The three ready queues as the dispatcher sees them: what was delivered waits unacked in one window a priority, and
 * with it what intake left there without a message of its own (`admit`). A task that leaves its window is in flight
 * until it is settled in one of three ways: done with (`settle`), back in its place (`putBack`), or refused by the
 * record (`refuse`).
 */
@Injectable()
export class ReadyQueues extends EventEmitter<{ arrived: [] }> {
  readonly windows: Windows;
  private readonly logger = new Logger(ReadyQueues.name);
  private readonly consumers = new Map<Priority, Consumer>();
  private holdTimer: NodeJS.Timeout | null = null;

  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly messaging: MessagingService,
    private readonly queues: QueueManagementService,
    private readonly store: ExecutionStore,
  ) {
    super();
    const window = (): ReadyWindow => new ReadyWindow(config.dispatchPrefetch);
    this.windows = { high: window(), normal: window(), low: window() };
    queues.inHand = (priority) => this.windows[priority].ownWaiting;
    messaging.onUnblocked(() => this.emit('arrived'));
  }

  start(epoch: number): void {
    for (const priority of PRIORITIES) {
      this.consumers.set(priority, this.consume(priority, epoch));
    }
    this.holdTimer = setInterval(() => this.giveBackLongHeld(), this.config.consumerHoldLimitMs / 4);
  }

  /** No new deliveries; those in hand can still be settled until `stop`. */
  async pause(): Promise<void> {
    clearInterval(this.holdTimer ?? undefined);
    await Promise.all(
      [...this.consumers.values()].map((consumer) => consumer.pause().catch(() => undefined)),
    );
  }

  /** What waits goes back to the broker; what is not there is due at once, so that the next leader publishes it. */
  async stop(): Promise<void> {
    const consumers = [...this.consumers.values()];
    this.consumers.clear();
    await Promise.all(consumers.map((consumer) => this.messaging.stopConsuming(consumer)));
    const own = PRIORITIES.flatMap((priority) => this.windows[priority].clear());
    await this.store
      .postpone(own, 0)
      .catch((error: Error) =>
        this.logger.warn(`${own.length} tasks wait for the rescuer: ${error.message}`),
      );
  }

  /** Whether a task that is about to be accepted may wait here instead of on the broker. */
  takes(priority: Priority): boolean {
    return this.windows[priority].takesOwn;
  }

  /**
   * Takes tasks in that are on record and not on the broker. The record has them due in `RESCUE_AFTER_MS`, which the
   * stager puts off for as long as they are here: if this process dies, the next leader publishes them.
   */
  admit(tasks: readonly RecordedTask[]): void {
    const sinceMs = performance.now();
    for (const task of tasks) {
      const { executionId, attempt, requiredTypes, solo, needsSlot, priority } = task;
      const window = this.windows[priority];
      const content = window.takesContent ? task : null;
      window.push({
        executionId,
        attempt,
        requiredTypes,
        solo,
        needsSlot,
        priority,
        content,
        delivery: null,
        sinceMs,
      });
    }
    this.emit('arrived');
  }

  /** All that wait here without a message and, by the record, with nobody else. */
  ownTasks(): TaskRef[] {
    return PRIORITIES.flatMap((priority) => this.windows[priority].ownTasks());
  }

  /** The record has them with a worker: if they become due from now on, they have to be published. */
  moved(tasks: readonly WaitingTask[]): void {
    for (const task of tasks) {
      this.windows[task.priority].disown(task);
    }
  }

  /** False while the broker takes no messages: a task could not be passed on, so it waits here instead. */
  get canPassOn(): boolean {
    return this.messaging.blockedReason === null;
  }

  /** No window is full, so as far as can be known nothing is hidden behind one on the broker. */
  get showAll(): boolean {
    return PRIORITIES.every((priority) => this.windows[priority].showsAll);
  }

  /** The executions whose tasks wait here. */
  waitingIds(): string[] {
    return PRIORITIES.flatMap((priority) => this.windows[priority].ids());
  }

  /** The record has it with a worker, or waiting for another message: this one has done its work. */
  settle(task: WaitingTask): void {
    task.delivery?.ack();
    this.windows[task.priority].settled(task);
  }

  /** They could not be passed on now: back to the front, and looked at again in a moment. */
  putBack(tasks: WaitingTask[]): void {
    for (const task of tasks.toReversed()) {
      this.windows[task.priority].putBack(task);
    }
    setTimeout(() => this.emit('arrived'), LOOK_AGAIN_MS);
  }

  /**
   * The record would not assign or park this task. If it is cancelled, at another attempt or with a worker, the
   * message has done its work; if it is not on record at all, it is a dead letter. But if it still waits for just
   * this message (it was refused because our term ended, or because its slot was spoken for), it stays.
   */
  async refuse(task: WaitingTask): Promise<void> {
    try {
      const record = await this.store.get(task.executionId);
      if (record === null && task.delivery !== null) {
        const reason = `no execution ${task.executionId} is on record`;
        await this.queues.bury(task.delivery, this.queues.names.readyQueue(task.priority), reason);
        this.windows[task.priority].settled(task);
      } else if (record !== null && stillNeeds(record, task)) {
        this.putBack([task]);
        return;
      } else {
        this.settle(task);
      }
      // The slot that was meant for it is free for the next.
      this.emit('arrived');
    } catch (error) {
      this.logger.warn(`${task.executionId} is looked at again: ${(error as Error).message}`);
      this.putBack([task]);
    }
  }

  private consume(priority: Priority, epoch: number): Consumer {
    const window = this.windows[priority];
    const queue = this.queues.names.readyQueue(priority);
    return this.messaging.consume({
      queue,
      prefetch: this.config.dispatchPrefetch,
      priority: epoch,
      purpose: `dispatcher of ${priority}`,
      onDelivery: (delivery) => this.receive(delivery, priority, queue),
      onLost: () => window.clearDeliveries(),
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
    const { content } = delivery;
    this.windows[priority].push({ ...envelope, priority, content, delivery, sinceMs: performance.now() });
    this.emit('arrived');
  }

  /** Long-held deliveries would run into the broker's consumer timeout, which closes the channel: give them back first. */
  private giveBackLongHeld(): void {
    const limitMs = performance.now() - this.config.consumerHoldLimitMs;
    for (const [priority, consumer] of this.consumers) {
      const since = this.windows[priority].oldestDeliveryMs;
      if (since !== null && since < limitMs) {
        void consumer.recycle();
      }
    }
  }
}

/** Whether the record still waits for this very message, so that acking it would lose the execution. */
function stillNeeds(record: ExecutionRecord, task: WaitingTask): boolean {
  const { state, attempt, parkedReason, availableAt } = record;
  const waitsForIt =
    state === 'accepted' || (state === 'queued' && (availableAt === null || task.delivery === null));
  return waitsForIt && attempt === task.attempt && parkedReason === null;
}
