import { Injectable } from '@nestjs/common';
import type { WorkerClass } from '../config/worker-class.js';
import { QueueManagementService } from '../queue/queue-management.service.js';
import { ExecutionStore } from '../store/execution-store.js';
import type { Census } from './census.js';
import { attributeDemand, type ClassDemand, type ClassSupply } from './demand.js';
import { Dispatching } from './dispatching.js';

/** Finds out what waits, wherever it waits: on the broker, in the dispatcher's hands, in the record. */
@Injectable()
export class DemandReader {
  /** Node types of the worker of each class that registered last: they stay known when there is no worker left. */
  private readonly learned = new Map<string, readonly string[]>();

  constructor(
    private readonly queues: QueueManagementService,
    private readonly store: ExecutionStore,
    private readonly dispatching: Dispatching,
  ) {}

  /** @throws if broker or database are away */
  async read(
    classes: readonly WorkerClass[],
    census: ReadonlyMap<string, Census>,
  ): Promise<ReadonlyMap<string, ClassDemand>> {
    const [health, parked] = await Promise.all([this.queues.queueHealth(), this.store.parkedClasses()]);
    const behindWindows = health
      .filter(({ priority }) => priority !== undefined)
      .reduce((sum, { depth }) => sum + depth, 0);
    const supplies = classes.map((workerClass) => this.supplyOf(workerClass, census.get(workerClass.name)!));
    return attributeDemand({ windows: this.dispatching.waitingKinds(), behindWindows, parked }, supplies);
  }

  private supplyOf(workerClass: WorkerClass, { live }: Census): ClassSupply {
    const newest = live.reduce<Census['live'][number] | null>(
      (last, worker) => (last === null || worker.registeredAt > last.registeredAt ? worker : last),
      null,
    );
    if (newest) {
      this.learned.set(workerClass.name, newest.registration.supportedNodeTypes);
    }
    const distinct = new Map(
      live.map((worker) => [worker.signature, worker.registration.supportedNodeTypes]),
    );
    return {
      workerClass,
      learnedNodeTypes: this.learned.get(workerClass.name) ?? null,
      liveNodeTypes: [...distinct.values()],
    };
  }
}
