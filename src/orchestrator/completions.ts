import { Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';
import { type ExecutionRecord, ExecutionStore } from '../store/execution-store.js';
import { SingleFlight } from '../queue/single-flight.js';

type Waiter = (record: ExecutionRecord | null) => void;

/** How often the record is asked about executions that others may have ended: one query for all waiters. */
const POLL_MS = 100;

/**
 * Waits for the ends of executions. On the leader an end is announced as it is recorded; a cancel on another
 * replica, or waiting on a replica that does not lead, is found by one poll for all waiters.
 */
@Injectable()
export class Completions implements OnApplicationShutdown {
  private readonly logger = new Logger(Completions.name);
  private readonly waiters = new Map<string, Set<Waiter>>();
  private readonly reads: SingleFlight<string, ExecutionRecord | null>;
  private timer: NodeJS.Timeout | null = null;

  constructor(store: ExecutionStore) {
    this.reads = new SingleFlight(async (ids) => {
      const records = new Map((await store.ended(ids)).map((record) => [record.executionId, record]));
      return ids.map((id) => records.get(id) ?? null);
    });
  }

  /** @returns the ended execution, or null if it has not ended within `waitMs` */
  wait(executionId: string, waitMs: number, signal?: AbortSignal): Promise<ExecutionRecord | null> {
    if (signal?.aborted) {
      return Promise.resolve(null);
    }
    return new Promise((resolve) => {
      const waiters = this.waiters.get(executionId) ?? new Set();
      const done: Waiter = (record) => {
        clearTimeout(timeout);
        signal?.removeEventListener('abort', giveUp);
        waiters.delete(done);
        if (waiters.size === 0) {
          this.waiters.delete(executionId);
        }
        resolve(record);
      };
      const giveUp = (): void => done(null);
      const timeout = setTimeout(giveUp, waitMs);
      signal?.addEventListener('abort', giveUp, { once: true });
      this.waiters.set(executionId, waiters.add(done));
      this.timer ??= setInterval(() => void this.poll(), POLL_MS);
      // It may have ended before anybody waited.
      void this.answer(executionId);
    });
  }

  /** This replica has just recorded the end of it. */
  ended(executionId: string): void {
    if (this.waiters.has(executionId)) {
      void this.answer(executionId);
    }
  }

  onApplicationShutdown(): void {
    clearInterval(this.timer ?? undefined);
    [...this.waiters.values()].flatMap((waiters) => [...waiters]).forEach((done) => done(null));
  }

  private async poll(): Promise<void> {
    if (this.waiters.size === 0) {
      clearInterval(this.timer ?? undefined);
      this.timer = null;
      return;
    }
    await Promise.all([...this.waiters.keys()].map((executionId) => this.answer(executionId)));
  }

  private async answer(executionId: string): Promise<void> {
    try {
      const record = await this.reads.add(executionId);
      if (record) {
        this.waiters.get(executionId)?.forEach((done) => done(record));
      }
    } catch (error) {
      this.logger.debug(`the end of ${executionId} could not be read: ${(error as Error).message}`);
    }
  }
}
