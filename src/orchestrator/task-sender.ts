import { Injectable, Logger } from '@nestjs/common';
import { type AssignedTask, QueueManagementService } from '../queue/queue-management.service.js';
import type { TaskEnvelope } from '../queue/task-encoding.js';
import { ExecutionStore, type Requeue } from '../store/execution-store.js';
import type { HeldTask } from '../worker/ledger.js';
import { WorkerManagementService } from '../worker/worker-management.service.js';
import { Leadership } from './leadership.js';
import { Stager } from './stager.js';

/** A task whose assignment is on record. */
export interface Assigned<T extends TaskEnvelope = TaskEnvelope> {
  task: T;
  /** The bytes of its `TaskMessage`. */
  content: Buffer;
  held: HeldTask;
}

const STORE_RETRY_MS = 500;
/** What travels to a worker in one message at most. */
const PARCEL_TASKS = 100;
const PARCEL_BYTES = 1_048_576;

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

  /**
   * Publishes tasks whose assignments are on record: what goes to the same worker in as few messages as it takes. Those
   * that did not arrive wait again.
   * @returns the messages; each `done` resolves, and never rejects, when all is known and recorded of its tasks
   */
  sendAll<T extends TaskEnvelope>(
    assigned: readonly Assigned<T>[],
  ): { parcel: readonly Assigned<T>[]; done: Promise<void> }[] {
    const takesBatches = (workerId: string): boolean =>
      this.workers.pool.get(workerId)?.registration.takesBatches ?? false;
    return parcelsOf(assigned, takesBatches).map((parcel) => ({ parcel, done: this.send(parcel) }));
  }

  private async send(parcel: readonly Assigned[]): Promise<void> {
    const held = parcel.map(heldOf);
    const { workerId } = held[0]!;
    try {
      const sent = await this.queues.publishAssignment(
        workerId,
        this.leadership.epoch,
        parcel.map(assignedTask),
      );
      if (sent === 'unroutable') {
        await this.replaceQueue(workerId, held);
      }
    } catch (error) {
      // They may have arrived all the same, so the next attempts get new numbers, which shut these out.
      const which = held.map(({ executionId }) => executionId).join(', ');
      this.logger.warn(`worker ${workerId} may not have got ${which}: ${(error as Error).message}`);
      await this.takeBack(held, true);
    }
  }

  private async replaceQueue(workerId: string, held: HeldTask[]): Promise<void> {
    this.logger.warn(`the queue of worker ${workerId} is missing or not bound`);
    this.workers.suspend(workerId);
    await this.takeBack(held, false);
    await this.workers.rebind(workerId).catch((error: Error) => {
      this.logger.warn(`the queue of worker ${workerId} is not declared yet: ${error.message}`);
    });
  }

  /** Tries until the record takes it or this term ends; a next leader finds the assignments that never arrived. */
  private async takeBack(held: HeldTask[], mayHaveStarted: boolean): Promise<void> {
    const requeues = held.map(({ executionId, attempt, workerId }): Requeue => ({
      executionId,
      attempt,
      workerId,
      countAttempt: mayHaveStarted,
      outcome: mayHaveStarted ? 'worker_lost' : 'handed_back',
      error: null,
      durationMs: null,
    }));
    while (this.leadership.mayAct) {
      try {
        await this.store.requeue(requeues);
        break;
      } catch (error) {
        this.logger.warn(`${held.length} tasks are not requeued yet: ${(error as Error).message}`);
        await new Promise((resolve) => setTimeout(resolve, STORE_RETRY_MS));
      }
    }
    held.forEach((task) => this.workers.pool.release(task.executionId, task.attempt, task.workerId));
    this.stager.kick();
  }
}

function heldOf({ held }: Assigned): HeldTask {
  return held;
}

function assignedTask({ task, content, held: { assignmentSeq } }: Assigned): AssignedTask {
  return { task, content, assignmentSeq };
}

/** Cuts tasks into messages: by worker, in order, each within the limits; one a task where a worker takes no batches. */
export function parcelsOf<T extends TaskEnvelope>(
  assigned: readonly Assigned<T>[],
  takesBatches: (workerId: string) => boolean,
): Assigned<T>[][] {
  const parcels: Assigned<T>[][] = [];
  const open = new Map<string, { parcel: Assigned<T>[]; bytes: number }>();
  for (const each of assigned) {
    const { workerId } = each.held;
    const last = each.task.solo ? undefined : open.get(workerId);
    const bytes = each.content.length;
    if (last && last.parcel.length < PARCEL_TASKS && last.bytes + bytes <= PARCEL_BYTES) {
      last.parcel.push(each);
      last.bytes += bytes;
      continue;
    }
    const parcel = [each];
    parcels.push(parcel);
    if (takesBatches(workerId) && !each.task.solo) {
      open.set(workerId, { parcel, bytes });
    }
  }
  return parcels;
}
