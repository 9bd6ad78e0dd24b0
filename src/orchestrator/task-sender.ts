import { Injectable, Logger } from '@nestjs/common';
import { QueueManagementService } from '../queue/queue-management.service.js';
import type { TaskEnvelope } from '../queue/task-encoding.js';
import { ExecutionStore, type Requeue } from '../store/execution-store.js';
import type { HeldTask } from '../worker/ledger.js';
import { WorkerManagementService } from '../worker/worker-management.service.js';
import { Leadership } from './leadership.js';
import { Stager } from './stager.js';

const STORE_RETRY_MS = 500;

/** The last step of every assignment, by the dispatcher or on the fast path: onto the worker's queue. */
@Injectable()
export class TaskSender {
  private readonly logger = new Logger(TaskSender.name);

  constructor(
    private readonly queues: QueueManagementService,
    private readonly store: ExecutionStore,
    private readonly workers: WorkerManagementService,
    private readonly leadership: Leadership,
    private readonly stager: Stager,
  ) {}

  /** Publishes a task whose assignment is on record; one that did not arrive waits again. Never rejects. */
  async send(task: TaskEnvelope, content: Buffer, held: HeldTask): Promise<void> {
    const { workerId, assignmentSeq } = held;
    try {
      const assignment = { workerId, assignmentSeq, epoch: this.leadership.epoch };
      if ((await this.queues.publishAssignment(task, content, assignment)) === 'unroutable') {
        await this.replaceQueue(held);
      }
    } catch (error) {
      // It may have arrived all the same, so the next attempt gets a new number, which shuts this one out.
      this.logger.warn(
        `${task.executionId} may not have reached worker ${workerId}: ${(error as Error).message}`,
      );
      await this.takeBack(held, true);
    }
  }

  private async replaceQueue(held: HeldTask): Promise<void> {
    this.logger.warn(`the queue of worker ${held.workerId} is missing or not bound`);
    this.workers.suspend(held.workerId);
    await this.takeBack(held, false);
    await this.workers.rebind(held.workerId).catch((error: Error) => {
      this.logger.warn(`the queue of worker ${held.workerId} is not declared yet: ${error.message}`);
    });
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
}
