import { Injectable, Logger } from '@nestjs/common';
import { MessagingService } from '../messaging/messaging.service.js';
import { QueueManagementService } from '../queue/queue-management.service.js';
import { CANCEL_TYPE, DRAIN_TYPE, REGISTER_TYPE } from '../queue/contracts/control.js';
import { carriedTasks } from '../queue/task-encoding.js';
import { WorkerManagementService } from '../worker/worker-management.service.js';
import type { Delivery } from '../messaging/consumer.js';
import { Recorder } from './recorder.js';

interface Untouched {
  deliveries: Delivery[];
  /** `executionId:attempt` of tasks that no consumer ever got. */
  keys: Set<string>;
}

const CONTROL_TYPES: readonly unknown[] = [CANCEL_TYPE, DRAIN_TYPE, REGISTER_TYPE];
/** How often, and how far apart, a queue is looked at that is to be deleted: as long as a worker takes to end. */
const LOOKS = 30;
const LOOK_MS = 100;

/**
 * What happens to the work of a worker that is gone. Its queue is unbound and emptied, which tells the tasks that
 * nobody has seen from those that may have started; everything it held is requeued in the record (an attempt is
 * counted where it may have started); only then are the messages acked and the queue deleted.
 */
@Injectable()
export class Recovery {
  private readonly logger = new Logger(Recovery.name);
  private readonly untouchedBefore = new Map<string, Set<string>>();
  private readonly underWay = new Map<string, Promise<void>>();

  constructor(
    private readonly messaging: MessagingService,
    private readonly queues: QueueManagementService,
    private readonly workers: WorkerManagementService,
    private readonly recorder: Recorder,
  ) {}

  /** Recovers once for all who ask at the same time. @param onPurpose nothing it held counts as started */
  recover(workerId: string, reason: string, onPurpose: boolean): Promise<void> {
    const running = this.underWay.get(workerId);
    if (running) {
      return running;
    }
    const run = this.run(workerId, reason, onPurpose)
      .catch((error: Error) => this.logger.error(`worker ${workerId} is not recovered yet: ${error.message}`))
      .finally(() => this.underWay.delete(workerId));
    this.underWay.set(workerId, run);
    this.workers.recovering(workerId, run);
    return run;
  }

  async settled(): Promise<void> {
    await Promise.all(this.underWay.values());
  }

  private async run(workerId: string, reason: string, onPurpose: boolean): Promise<void> {
    const held = this.workers.pool.ledger.heldBy(workerId);
    this.logger.warn(`recovering ${held.length} executions of worker ${workerId}: ${reason}`);
    const queue = this.queues.names.workerQueue(workerId);
    await this.messaging.admin.unbind(queue, this.queues.names.assign(), workerId);
    // A recovery that failed half-way gave its messages back, and they look touched now.
    const keys = this.untouchedBefore.get(workerId) ?? new Set();
    const untouched: Untouched = { deliveries: [], keys };
    try {
      await this.empty(queue, untouched);
      await Promise.all(
        held.map(({ executionId, attempt }) => {
          const mayHaveStarted = !onPurpose && !untouched.keys.has(`${executionId}:${attempt}`);
          return this.recorder.lost({ executionId, attempt, workerId }, mayHaveStarted, reason);
        }),
      );
    } catch (error) {
      untouched.deliveries.forEach((delivery) => delivery.requeue());
      this.untouchedBefore.set(workerId, keys);
      throw error;
    }
    this.untouchedBefore.delete(workerId);
    untouched.deliveries.forEach((delivery) => delivery.ack());
    await this.retire(workerId, queue);
  }

  private async empty(queue: string, untouched: Untouched): Promise<void> {
    for (;;) {
      const delivery = await this.messaging.admin.take(queue);
      if (!delivery) {
        return;
      }
      untouched.deliveries.push(delivery);
      if (!delivery.redelivered) {
        carriedTasks(delivery).forEach(({ executionId, attempt }) =>
          untouched.keys.add(`${executionId}:${attempt}`),
        );
      }
    }
  }

  /** Deletes the queue unless a new process of the same name has begun to use it. */
  private async retire(workerId: string, queue: string): Promise<void> {
    if (this.isBack(workerId)) {
      await this.queues.declareWorkerQueue(workerId);
      return;
    }
    if (await this.isUnused(workerId, queue)) {
      await this.messaging.admin.deleteQueue(queue);
    }
    if (this.isBack(workerId)) {
      await this.queues.declareWorkerQueue(workerId);
    } else {
      this.workers.forget(workerId);
    }
  }

  /**
   * Nobody consumes from it, and nothing is in it: control messages that came after it was emptied go. A worker says
   * goodbye before it lets go of its queue, so it is looked at several times.
   */
  private async isUnused(workerId: string, queue: string): Promise<boolean> {
    for (let look = 0; look < LOOKS && !this.isBack(workerId); look++) {
      const depth = await this.queues.depth(queue);
      if (!depth || (depth.consumers === 0 && depth.messages === 0)) {
        return depth !== null;
      }
      if (depth.consumers === 0) {
        await this.dropControl(queue);
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    return false;
  }

  private async dropControl(queue: string): Promise<void> {
    const delivery = await this.messaging.admin.take(queue);
    if (delivery && CONTROL_TYPES.includes(delivery.type)) {
      delivery.ack();
    } else {
      delivery?.requeue();
    }
  }

  private isBack(workerId: string): boolean {
    const worker = this.workers.pool.get(workerId);
    return worker !== null && worker.lifecycle !== 'gone';
  }
}
