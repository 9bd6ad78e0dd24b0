import type { Delivery } from '../messaging/consumer.js';
import type { Priority } from '../queue/priority.js';
import type { TaskEnvelope } from '../queue/task-encoding.js';

/** A task that was delivered to the dispatcher and waits there for a slot, unacked. */
export interface WaitingTask extends TaskEnvelope {
  priority: Priority;
  delivery: Delivery;
  /** Our monotonic clock, ms. */
  sinceMs: number;
}

/**
 * What the dispatcher has in hand of one priority, oldest first. `capacity` is the consumer's prefetch: when waiting
 * and in-flight tasks reach it, there may be more behind them on the broker.
 */
export class ReadyWindow {
  private tasks: WaitingTask[] = [];
  /** Taken for dispatch and not yet acked. */
  inFlight = 0;

  constructor(readonly capacity: number) {}

  get size(): number {
    return this.tasks.length;
  }

  /** Nothing is hidden behind it on the broker, as far as can be known. */
  get showsAll(): boolean {
    return this.tasks.length + this.inFlight < this.capacity;
  }

  get oldestSinceMs(): number | null {
    return this.tasks[0]?.sinceMs ?? null;
  }

  push(task: WaitingTask): void {
    this.tasks.push(task);
  }

  /** Puts tasks back that could not be assigned after all, before those that came later. */
  putBack(tasks: WaitingTask[]): void {
    this.tasks.unshift(...tasks);
  }

  /** Takes out the oldest task that `wanted` accepts. */
  takeFirst(wanted: (task: WaitingTask) => boolean): WaitingTask | null {
    const index = this.tasks.findIndex(wanted);
    return index < 0 ? null : this.tasks.splice(index, 1)[0]!;
  }

  /** Takes out every task that `wanted` accepts, oldest first. */
  takeAll(wanted: (task: WaitingTask) => boolean): WaitingTask[] {
    const taken = this.tasks.filter(wanted);
    if (taken.length > 0) {
      this.tasks = this.tasks.filter((task) => !taken.includes(task));
    }
    return taken;
  }

  some(wanted: (task: WaitingTask) => boolean): boolean {
    return this.tasks.some(wanted);
  }

  /** Oldest first. */
  waiting(): readonly WaitingTask[] {
    return this.tasks;
  }

  ids(): string[] {
    return this.tasks.map(({ executionId }) => executionId);
  }

  /** The channel is gone: the broker delivers all of it again. */
  clear(): void {
    this.tasks = [];
  }
}
