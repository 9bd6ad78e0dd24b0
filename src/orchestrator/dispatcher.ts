import { Injectable, Logger } from '@nestjs/common';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import type { TaskEnvelope } from '../queue/task-encoding.js';
import { ExecutionStore } from '../store/execution-store.js';
import type { HeldTask } from '../worker/ledger.js';
import { WorkerManagementService } from '../worker/worker-management.service.js';
import { Metrics } from './api/metrics.js';
import { nextAlone, type Parking, priorityOrder, takeParkable, takeRunnable } from './dispatch-plan.js';
import { Leadership } from './leadership.js';
import { ParkingLot } from './parking-lot.js';
import { ReadyQueues } from './ready-queues.js';
import type { WaitingTask } from './ready-window.js';
import { TaskSender } from './task-sender.js';

interface Choice {
  task: WaitingTask;
  held: HeldTask;
}

/**
 * Gives each ready task to a worker. A pass takes everything out of the windows that can run now, records the
 * assignments in one fenced write, publishes each task to its worker's queue, and acks the source only after the
 * broker confirmed that. Passes run one after the other; whatever happens meanwhile (a new delivery, a freed slot, a
 * new worker) is seen by the next.
 */
@Injectable()
export class Dispatcher {
  private readonly logger = new Logger(Dispatcher.name);
  private decisions = 0;
  private active = false;
  private passing: Promise<void> | null = null;
  private wokenAgain = false;

  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly ready: ReadyQueues,
    private readonly workers: WorkerManagementService,
    private readonly store: ExecutionStore,
    private readonly leadership: Leadership,
    private readonly parkingLot: ParkingLot,
    private readonly sender: TaskSender,
    private readonly metrics: Metrics,
  ) {
    ready.on('arrived', () => this.wake());
    workers.on('capacity', () => this.wake());
    workers.on('capabilities', () => void this.parkingLot.release());
  }

  start(): void {
    this.active = true;
    this.ready.start(this.leadership.epoch);
  }

  /** Gives back what waits; what is being assigned is finished first. */
  async stop(): Promise<void> {
    this.active = false;
    await this.ready.pause();
    await this.passing;
    await this.ready.stop();
  }

  /**
   * The fast path: takes a slot for a task that was not published yet, if no task before it could have that slot.
   * After each pass, what is left in the windows cannot run on any worker that is free, so a free worker may be
   * taken; but while a window is full there may be more on the broker, and that comes first.
   */
  reserve(task: TaskEnvelope): HeldTask | null {
    const { pool } = this.workers;
    if (!this.mayPass || this.wokenAgain || !this.ready.showAll || pool.ledger.find(task.executionId)) {
      return null;
    }
    const worker = pool.pick(task.requiredTypes, task.solo);
    return worker && pool.hold(task.executionId, task.attempt, worker.workerId, task.solo);
  }

  wake(): void {
    if (!this.mayPass) {
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

  private get mayPass(): boolean {
    return this.active && this.leadership.mayAct && this.ready.canPassOn;
  }

  private async passes(): Promise<void> {
    // What arrives in the same turn of the event loop is decided together.
    await Promise.resolve();
    while (this.mayPass && this.wokenAgain) {
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
    const { windows } = this.ready;
    const isFree = (requiredTypes: string, solo: boolean): boolean => pool.canTake(requiredTypes, solo);
    const alone = nextAlone(windows, (types, others) => pool.shareWorkers(types, others));
    pool.keepFree(alone?.requiredTypes ?? null);
    const choices: Choice[] = [];
    for (;;) {
      const order = priorityOrder(this.decisions, this.config.lowPriorityShare);
      const task = takeRunnable(windows, order, isFree);
      const worker = task && pool.pick(task.requiredTypes, task.solo);
      if (!task || !worker) {
        return choices;
      }
      this.decisions++;
      windows[task.priority].inFlight++;
      // A second copy of a task that is held already must not take its slot away: the record will refuse it.
      if (pool.ledger.find(task.executionId)) {
        void this.ready.refuse(task);
      } else {
        const { executionId, attempt, solo } = task;
        choices.push({ task, held: pool.hold(executionId, attempt, worker.workerId, solo) });
      }
    }
  }

  private async assign(choices: Choice[]): Promise<void> {
    const { pool } = this.workers;
    let assigned: Set<string>;
    try {
      assigned = await this.store.assign(
        this.leadership.epoch,
        choices.map(({ held }) => held),
      );
    } catch (error) {
      this.logger.warn(`assignments could not be recorded: ${(error as Error).message}`);
      choices.forEach(({ task }) => pool.release(task.executionId, task.attempt));
      this.ready.putBack(choices.map(({ task }) => task));
      return;
    }
    await Promise.all(
      choices.map(async ({ task, held }) => {
        if (!assigned.has(task.executionId)) {
          pool.release(task.executionId, task.attempt);
          await this.ready.refuse(task);
          return;
        }
        this.metrics.assigned(performance.now() - task.sinceMs);
        await this.sender.send(task, task.delivery.content, held);
        this.ready.settle(task);
      }),
    );
  }

  private chooseParking(): Parking[] {
    const { pool } = this.workers;
    return takeParkable(this.ready.windows, {
      isEmpty: pool.live().length === 0,
      hasFreeSlot: pool.hasFreeSlot(),
      classState: (requiredTypes) => pool.classState(requiredTypes),
    });
  }

  private async park({ tasks, reason }: Parking): Promise<void> {
    tasks.forEach(({ priority }) => this.ready.windows[priority].inFlight++);
    let parked: Set<string>;
    try {
      parked = await this.store.park(tasks, reason);
    } catch (error) {
      this.logger.warn(`tasks could not be parked: ${(error as Error).message}`);
      this.ready.putBack(tasks);
      return;
    }
    for (const task of tasks) {
      if (parked.has(task.executionId)) {
        this.parkingLot.add(task.requiredTypes, reason);
        this.ready.settle(task);
      } else {
        await this.ready.refuse(task);
      }
    }
    // A worker that supports them may have registered while they were being parked.
    void this.parkingLot.release();
  }
}
