/**
 * A worker is given tasks ahead when its tasks are short: one that waits as long as this is behind long ones instead, and
 * another worker may have a slot for it.
 */
const PATIENCE_MS = 200;
/** As text; parsed, they take about three times as much. */
const MOST_BYTES = 33_554_432;

interface Waiting {
  /** By `performance.now()`. */
  waitsSinceMs: number;
  sizeBytes: number;
}

/** The tasks that wait in a worker for a slot, in order. What waits too long is given up. One timer serves all. */
export class WaitingLine<Task extends Waiting> {
  private readonly tasks: Task[] = [];
  private sizeBytes = 0;
  private timer: NodeJS.Timeout | null = null;

  constructor(private readonly giveUp: (task: Task) => void) {}

  get length(): number {
    return this.tasks.length;
  }

  /** @returns false if too much waits already: many short tasks may be large */
  push(task: Task): boolean {
    if (this.sizeBytes >= MOST_BYTES) {
      return false;
    }
    task.waitsSinceMs = performance.now();
    this.sizeBytes += task.sizeBytes;
    this.tasks.push(task);
    this.lookIn(PATIENCE_MS);
    return true;
  }

  shift(): Task | undefined {
    const task = this.tasks.shift();
    this.sizeBytes -= task?.sizeBytes ?? 0;
    return task;
  }

  /** @returns false if it does not wait here */
  remove(task: Task): boolean {
    const index = this.tasks.indexOf(task);
    if (index >= 0) {
      this.tasks.splice(index, 1);
      this.sizeBytes -= task.sizeBytes;
    }
    return index >= 0;
  }

  takeAll(): Task[] {
    this.sizeBytes = 0;
    return this.tasks.splice(0);
  }

  private lookIn(delayMs: number): void {
    this.timer ??= setTimeout(() => this.look(), delayMs).unref();
  }

  private look(): void {
    this.timer = null;
    const now = performance.now();
    for (let task = this.tasks[0]; task !== undefined; task = this.tasks[0]) {
      const restMs = task.waitsSinceMs + PATIENCE_MS - now;
      if (restMs > 0) {
        this.lookIn(restMs);
        return;
      }
      this.shift();
      this.giveUp(task);
    }
  }
}
