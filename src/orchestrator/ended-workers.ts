import { Injectable } from '@nestjs/common';
import { QueueManagementService } from '../queue/queue-management.service.js';
import { ScalingService } from '../scaling/scaling.service.js';
import { WorkerManagementService } from '../worker/worker-management.service.js';
import { Leadership } from './leadership.js';
import { Recovery } from './recovery.js';

/** Longer than a goodbye, and the last reports, are on their way. */
const GOODBYE_MS = 5_000;

/**
 * A worker that a driver launched does not come back under its name, so its queue has to go with it. Mostly its goodbye,
 * or its loss, sees to that. This is for those whose end the pool never heard of. Where a platform does start it again
 * under its name, the worker gets its queue anew when it registers.
 */
@Injectable()
export class EndedWorkers {
  constructor(
    private readonly scaling: ScalingService,
    private readonly workers: WorkerManagementService,
    private readonly queues: QueueManagementService,
    private readonly leadership: Leadership,
    private readonly recovery: Recovery,
  ) {
    this.scaling.on('ended', (workerId) => {
      setTimeout(() => void this.clear(workerId).catch(() => undefined), GOODBYE_MS).unref();
    });
  }

  private async clear(workerId: string): Promise<void> {
    const worker = this.workers.pool.get(workerId);
    const isInPool = worker !== null && worker.lifecycle !== 'gone';
    // One that is still in the pool is given up by the watch, which knows more of it.
    if (isInPool || !this.leadership.mayAct) {
      return;
    }
    if (await this.queues.depth(this.queues.names.workerQueue(workerId))) {
      await this.recovery.recover(workerId, 'its process has ended', false);
    }
  }
}
