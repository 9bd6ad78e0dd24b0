/**
 * A worker is given tasks ahead when its tasks are short: one that waits as long as this is behind long ones instead, and
 * another worker may have a slot for it.
 */
const PATIENCE_MS = 200;

/** The tasks that wait in a worker for a slot, in order. What waits too long is given up. One timer serves all. */
export class WaitingLine<Task extends { waitsSinceMs: number }> {
  private readonly tasks: Task[] = [];
  private timer: NodeJS.Timeout | null = null;

  constructor(private readonly giveUp: (task: Task) => void) {}

  get length(): number {
    return this.tasks.length;
  }

  push(task: Task): void {
    task.waitsSinceMs = performance.now();
    this.tasks.push(task);
    this.lookIn(PATIENCE_MS);
  }

  shift(): Task | undefined {
    return this.tasks.shift();
  }

  /** @returns false if it does not wait here */
  remove(task: Task): boolean {
    const index = this.tasks.indexOf(task);
    if (index >= 0) {
      this.tasks.splice(index, 1);
    }
    return index >= 0;
  }

  takeAll(): Task[] {
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
      this.tasks.shift();
      this.giveUp(task);
    }
  }
}
