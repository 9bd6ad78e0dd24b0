/** A task that runs, or has run. */
export interface Begun {
  isRunning: boolean;
  /** By `performance.now()`. */
  startMs: number;
  isAnnounced: boolean;
}

/**
 * A task that ends sooner than this is never announced as running: its end says when it began. Most tasks are short,
 * and announcing each would double the messages and make its end wait for the announcement's confirm.
 */
const ANNOUNCE_AFTER_MS = 25;

/** Says of tasks that they run, once they have for a moment. One timer serves all. */
export class Announcer<Task extends Begun> {
  private timer: NodeJS.Timeout | null = null;

  /** @param tasks all that may run */
  constructor(
    private readonly tasks: () => Iterable<Task>,
    private readonly announce: (task: Task) => void,
  ) {}

  /** A task has begun. */
  begun(): void {
    this.timer ??= setTimeout(() => this.look(), ANNOUNCE_AFTER_MS);
  }

  /** Announces what has run long enough, and looks again when the next one will have. */
  private look(): void {
    this.timer = null;
    const now = performance.now();
    let nextMs = Infinity;
    for (const task of this.tasks()) {
      if (!task.isRunning || task.isAnnounced) continue;
      const restMs = task.startMs + ANNOUNCE_AFTER_MS - now;
      if (restMs > 0) {
        nextMs = Math.min(nextMs, restMs);
      } else {
        task.isAnnounced = true;
        this.announce(task);
      }
    }
    if (nextMs < Infinity) {
      this.timer = setTimeout(() => this.look(), nextMs);
    }
  }
}
