import { performance } from 'node:perf_hooks';

/** Longest stretch of work without a turn of the event loop, in ms: heartbeats and timers wait no longer. */
const SLICE_MS = 12;

/**
 * Promises alone never let timers and sockets have their turn, and a flow over a big array is promises for
 * seconds. Long work asks `due()` now and then, and awaits `take()` when it is.
 */
export class Breath {
  private sliceStartedAt = 0;
  private measuring = false;

  due(): boolean {
    if (!this.measuring) {
      this.measuring = true;
      this.sliceStartedAt = performance.now();
      setImmediate(() => (this.measuring = false));
      return false;
    }
    return performance.now() - this.sliceStartedAt > SLICE_MS;
  }

  take(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }
}
