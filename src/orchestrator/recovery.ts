import { Injectable, Logger } from '@nestjs/common';
import { MessagingService } from '../messaging/messaging.service.js';
import { QueueManagementService } from '../queue/queue-management.service.js';
import { readTaskEnvelope } from '../queue/task-encoding.js';
import { TASK_TYPE } from '../queue/contracts/task.js';
import { WorkerManagementService } from '../worker/worker-management.service.js';
import type { Delivery } from '../messaging/consumer.js';
import { Recorder } from './recorder.js';

interface Untouched {
  deliveries: Delivery[];
  /** `executionId:attempt` of tasks that no consumer ever got. */
  keys: Set<string>;
}

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
      const envelope = delivery.type === TASK_TYPE ? readTaskEnvelope(delivery) : null;
      if (envelope && typeof envelope !== 'string' && !delivery.redelivered) {
        untouched.keys.add(`${envelope.executionId}:${envelope.attempt}`);
      }
    }
  }

  /** Deletes the queue unless a new process of the same name has begun to use it. */
  private async retire(workerId: string, queue: string): Promise<void> {
    if (this.isBack(workerId)) {
      await this.queues.declareWorkerQueue(workerId);
      return;
    }
    const depth = await this.queues.depth(queue);
    if (depth && depth.consumers === 0 && depth.messages === 0) {
      await this.messaging.admin.deleteQueue(queue);
    }
    this.workers.forget(workerId);
  }

  private isBack(workerId: string): boolean {
    const worker = this.workers.pool.get(workerId);
    return worker !== null && worker.lifecycle !== 'gone';
  }
}
