import type { WorkerPool } from '../worker/worker-pool.js';
import type { WorkerExit, WorkerInstance } from './worker-driver.js';

interface Driven {
  /** In this term; wall clock. */
  seenAtMs: number;
  /** Wall clock; null = it has not registered yet. */
  registeredAtMs: number | null;
  /** It was live in the pool, and has not been since; wall clock. */
  missingSinceMs: number | null;
}

/** Longer than a worker needs to come back after its connection broke. */
const MISSING_LIMIT_MS = 30_000;
/** Longer than a worker needs to register where an image has to be fetched, or a machine to be started for it. */
const START_LIMIT_MS = 900_000;

/**
 * What a driver cannot say of the workers that it runs: when each joined the pool, and whether it is still in it. Also
 * which workers of the pool were the driver's: one whose process has ended is in the pool for a moment longer, and must
 * not be taken for somebody else's.
 */
export class DrivenWorkers {
  private readonly known = new Map<string, Driven>();

  has(workerId: string): boolean {
    return this.known.has(workerId);
  }

  /** To be told in each round. */
  look(instances: readonly WorkerInstance[], pool: WorkerPool, nowMs: number): void {
    const running = new Set(instances.map(({ workerId }) => workerId));
    for (const workerId of this.known.keys()) {
      if (!running.has(workerId) && pool.get(workerId) === null) {
        this.known.delete(workerId);
      }
    }
    for (const workerId of running) {
      const driven = this.of(workerId, nowMs);
      const record = pool.get(workerId);
      if (record && record.lifecycle !== 'gone') {
        driven.registeredAtMs ??= record.registeredAt.getTime();
        driven.missingSinceMs = null;
      } else if (driven.registeredAtMs !== null) {
        driven.missingSinceMs ??= nowMs;
      }
    }
  }

  /** The pool has it no more. */
  left(workerId: string, registeredAt: Date): void {
    const driven = this.known.get(workerId);
    if (driven) {
      driven.registeredAtMs ??= registeredAt.getTime();
    }
  }

  /**
   * It runs, and has been out of the pool for so long that it will not come (back): it hangs, is cut off, or looks for
   * another broker.
   */
  isStray(workerId: string, nowMs: number): boolean {
    const driven = this.known.get(workerId);
    if (!driven) {
      return false;
    }
    const { registeredAtMs, missingSinceMs, seenAtMs } = driven;
    return registeredAtMs === null
      ? nowMs - seenAtMs > START_LIMIT_MS
      : missingSinceMs !== null && nowMs - missingSinceMs > MISSING_LIMIT_MS;
  }

  /**
   * Its process has ended. Where a platform starts it again under its name, it is a new one.
   *
   * @returns how long before its end it had registered, ms; null = it never had
   */
  ended({ workerId }: WorkerExit, pool: WorkerPool, nowMs: number): number | null {
    const driven = this.of(workerId, nowMs);
    const registeredAtMs = driven.registeredAtMs ?? pool.get(workerId)?.registeredAt.getTime() ?? null;
    this.known.set(workerId, { seenAtMs: nowMs, registeredAtMs: null, missingSinceMs: null });
    return registeredAtMs === null ? null : Math.max(0, nowMs - registeredAtMs);
  }

  private of(workerId: string, nowMs: number): Driven {
    let driven = this.known.get(workerId);
    if (!driven) {
      this.known.set(workerId, (driven = { seenAtMs: nowMs, registeredAtMs: null, missingSinceMs: null }));
    }
    return driven;
  }
}
