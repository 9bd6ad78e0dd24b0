import { EventEmitter } from 'node:events';
import { Injectable, Logger } from '@nestjs/common';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import { PRIORITIES, type Priority } from '../queue/priority.js';
import { encodeTask, type RecordedTask, type TaskEnvelope } from '../queue/task-encoding.js';
import { ExecutionStore, type TaskContent } from '../store/execution-store.js';
import type { HeldTask } from '../worker/ledger.js';
import { WorkerManagementService } from '../worker/worker-management.service.js';
import type { WorkerRecord } from '../worker/worker-record.js';
import { Metrics } from './api/metrics.js';
import {
  isSlotNear,
  nextAlone,
  type Parking,
  priorityOrder,
  takeParkable,
  takeRunnable,
} from './dispatch-plan.js';
import { Leadership } from './leadership.js';
import { ParkingLot } from './parking-lot.js';
import { ReadyQueues } from './ready-queues.js';
import type { WaitingTask } from './ready-window.js';
import { type Assigned, TaskSender } from './task-sender.js';

/** While one write is under way the next may begin; what happens while both are gathers for a third. */
const WRITES_AT_ONCE = 2;

interface Choice {
  task: WaitingTask;
  held: HeldTask;
}

interface DispatcherEvents {
  /** A pass has left workers with room: what is not on record yet may have that. */
  spare: [];
}

/**
 * Gives each ready task to a worker. A pass takes everything out of the windows that can run now, records the
 * assignments in one fenced write, publishes the tasks to their workers' queues, and acks each source only after the
 * broker confirmed that. A pass takes its slots at once, so the next need not wait for its write, nor for the confirms;
 * whatever happens meanwhile (a new delivery, a freed slot, a new worker) is seen by the next.
 */
@Injectable()
export class Dispatcher extends EventEmitter<DispatcherEvents> {
  private readonly logger = new Logger(Dispatcher.name);
  private decisions = 0;
  private active = false;
  /** What passes have begun. */
  private readonly underWay = new Set<Promise<void>>();
  private writing = 0;
  /** Something has happened that no pass has seen. */
  private woken = false;
  private planned = false;

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
    super();
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
    while (this.underWay.size > 0) {
      await Promise.all(this.underWay);
    }
    await this.ready.stop();
  }

  /**
   * The fast path: takes a slot for a task that was not published yet, if no task before it could have that slot.
   * After each pass, what is left in the windows cannot run on any worker that is free, so a free worker may be
   * taken; but while a window is full there may be more on the broker, and that comes first.
   */
  reserve(task: TaskEnvelope): HeldTask | null {
    const { pool } = this.workers;
    if (!this.mayPass || this.woken || !this.ready.showAll || pool.ledger.find(task.executionId)) {
      return null;
    }
    const worker = this.pick(task);
    return worker && pool.hold(task.executionId, task.attempt, worker.workerId, task.solo);
  }

  /** Whether tasks of this class that are not on record yet may wait for slots, beside all `waiting` (see `isSlotNear`). */
  isWorthWaiting(requiredTypes: string, priority: Priority, waiting: number): boolean {
    return (
      this.mayPass &&
      this.ready.showAll &&
      isSlotNear({ requiredTypes, priority }, waiting, this.ready.windows, this.workers.pool)
    );
  }

  /** Whether a task that is about to be accepted may wait here, with nothing on the broker. */
  takes(priority: Priority): boolean {
    return this.mayPass && this.ready.takes(priority);
  }

  /** @returns false if this replica does not dispatch any more: the tasks have to be published */
  takeInLine(tasks: readonly RecordedTask[]): boolean {
    if (!this.mayPass) {
      return false;
    }
    this.ready.admit(tasks);
    return true;
  }

  /** What arrives in the same turn of the event loop is decided together. */
  wake(): void {
    if (!this.mayPass) {
      return;
    }
    this.woken = true;
    if (!this.planned) {
      this.planned = true;
      queueMicrotask(() => {
        this.planned = false;
        this.pass();
      });
    }
  }

  private get mayPass(): boolean {
    return this.active && this.leadership.mayAct && this.ready.canPassOn;
  }

  /** Never throws: nobody waits for it. */
  private pass(): void {
    try {
      while (this.mayPass && this.woken && this.writing < WRITES_AT_ONCE) {
        this.woken = false;
        this.decide();
      }
    } catch (error) {
      this.logger.error(`a dispatch pass failed: ${(error as Error).stack}`);
    }
  }

  private decide(): void {
    const choices = this.choose();
    if (choices.length > 0) {
      this.write(this.assign(choices));
    }
    for (const parking of this.chooseParking()) {
      this.write(this.park(parking));
    }
    if (this.workers.pool.hasRoom()) {
      this.emit('spare');
    }
  }

  private write(work: Promise<void>): void {
    this.writing++;
    const done = work
      .catch((error: Error) => this.logger.error(`a dispatch pass failed: ${error.stack}`))
      .finally(() => {
        this.writing--;
        this.pass();
      });
    this.track(done);
  }

  /** Every decision there is to make now. Each takes its slot at once, so that the next sees it taken. */
  private choose(): Choice[] {
    const { pool } = this.workers;
    const { windows } = this.ready;
    const isFree = (requiredTypes: string, solo: boolean): boolean =>
      pool.canTake(requiredTypes, solo, this.mayGoAhead(requiredTypes));
    const alone = nextAlone(windows, (types, others) => pool.shareWorkers(types, others));
    pool.keepFree(alone?.requiredTypes ?? null);
    const choices: Choice[] = [];
    for (;;) {
      const order = priorityOrder(this.decisions, this.config.lowPriorityShare);
      const task = takeRunnable(windows, order, isFree);
      const worker = task && this.pick(task);
      if (!task || !worker) {
        return choices;
      }
      this.decisions++;
      // A second copy of a task that is held already must not take its slot away: the record will refuse it.
      if (pool.ledger.find(task.executionId)) {
        this.track(this.ready.refuse(task));
      } else {
        const { executionId, attempt, solo } = task;
        choices.push({ task, held: pool.hold(executionId, attempt, worker.workerId, solo) });
      }
    }
  }

  private pick({ requiredTypes, solo, needsSlot }: TaskEnvelope): WorkerRecord | null {
    return this.workers.pool.pick(requiredTypes, solo, !needsSlot && this.mayGoAhead(requiredTypes));
  }

  /** Not while a task waits that needs a slot: with tasks ahead of them, its workers would never have one free. */
  private mayGoAhead(requiredTypes: string): boolean {
    const { pool } = this.workers;
    return !PRIORITIES.some((priority) =>
      this.ready.windows[priority].hasSlotted((types) => pool.shareWorkers(types, requiredTypes)),
    );
  }

  private async assign(choices: Choice[]): Promise<void> {
    const { pool } = this.workers;
    let assigned: Map<string, TaskContent | null>;
    try {
      assigned = await this.store.assign(this.leadership.epoch, choices.map(heldOf), withoutContent(choices));
    } catch (error) {
      this.logger.warn(`assignments could not be recorded: ${(error as Error).message}`);
      choices.forEach(({ task }) => pool.release(task.executionId, task.attempt));
      this.ready.putBack(choices.map(taskOf));
      return;
    }
    const taken: Choice[] = [];
    for (const choice of choices) {
      const { task } = choice;
      if (assigned.has(task.executionId)) {
        taken.push(choice);
      } else {
        pool.release(task.executionId, task.attempt);
        this.track(this.ready.refuse(task));
      }
    }
    this.ready.moved(taken.map(taskOf));
    this.send(taken, assigned);
  }

  /** Does not wait for the broker's confirms: the next pass may begin. Each source is acked after its own. */
  private send(choices: Choice[], contents: ReadonlyMap<string, TaskContent | null>): void {
    const now = performance.now();
    const assigned: Assigned<WaitingTask>[] = [];
    for (const { task, held } of choices) {
      this.metrics.assigned(now - task.sinceMs);
      assigned.push({ task, content: bytesOf(task, contents), held });
    }
    for (const { parcel, done } of this.sender.sendAll(assigned)) {
      this.track(done.then(() => this.settle(parcel)));
    }
  }

  private settle(choices: readonly Pick<Choice, 'task'>[]): void {
    for (const { task } of choices) {
      this.ready.settle(task);
    }
  }

  /** Is finished before this replica stops dispatching. @param work never rejects */
  track(work: Promise<void>): void {
    const tracked = work.finally(() => this.underWay.delete(tracked));
    this.underWay.add(tracked);
  }

  private chooseParking(): Parking[] {
    const { pool } = this.workers;
    return takeParkable(this.ready.windows, {
      isEmpty: pool.live().length === 0,
      hasRoom: pool.hasRoom(),
      classState: (requiredTypes) => pool.classState(requiredTypes),
    });
  }

  private async park({ tasks, reason }: Parking): Promise<void> {
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
        this.track(this.ready.refuse(task));
      }
    }
    // A worker that supports them may have registered while they were being parked.
    void this.parkingLot.release();
  }
}

function taskOf({ task }: Choice): WaitingTask {
  return task;
}

function heldOf({ held }: Choice): HeldTask {
  return held;
}

/** The executions of which only the record has the content. */
function withoutContent(choices: readonly Choice[]): Set<string> {
  const ids = new Set<string>();
  for (const { task } of choices) {
    if (task.content === null) {
      ids.add(task.executionId);
    }
  }
  return ids;
}

/** The bytes of its `TaskMessage`. @param contents what the record gave of those that wait without their content */
function bytesOf(task: WaitingTask, contents: ReadonlyMap<string, TaskContent | null>): Buffer {
  const { content } = task;
  if (content === null) {
    const { flowId, maxAttempts, timeoutMs, request } = contents.get(task.executionId)!;
    return encodeTask({ ...task, flowId, maxAttempts, timeoutMs, request });
  }
  return Buffer.isBuffer(content) ? content : encodeTask(content);
}
