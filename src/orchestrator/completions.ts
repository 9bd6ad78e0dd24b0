import { Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';
import { type ExecutionRecord, ExecutionStore } from '../store/execution-store.js';
import { SingleFlight } from '../queue/single-flight.js';
import { Shutdown } from './api/shutdown.js';

/** One who waits for the end of an execution. */
export interface Wait {
  /** Resolves to the ended execution, or to null when the time is over or nobody waits any more. */
  readonly ended: Promise<ExecutionRecord | null>;
  /** Looks at the record now: for an execution that may have ended before. */
  look(): void;
  giveUp(): void;
}

type Waiter = (record: ExecutionRecord | null) => void;

const NOBODY: ReadonlySet<string> = new Set();
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

  constructor(store: ExecutionStore, shutdown: Shutdown) {
    this.reads = new SingleFlight(async (ids) => {
      const records = new Map((await store.ended(ids)).map((record) => [record.executionId, record]));
      return ids.map((id) => records.get(id) ?? null);
    });
    shutdown.signal.addEventListener('abort', () => this.giveUpAll(), { once: true });
  }

  /** Begins to wait, best before the execution is submitted: then its end cannot come before. */
  wait(executionId: string, waitMs: number): Wait {
    let done: Waiter = () => undefined;
    const ended = new Promise<ExecutionRecord | null>((resolve) => {
      const waiters = this.waiters.get(executionId) ?? new Set();
      done = (record) => {
        clearTimeout(timeout);
        waiters.delete(done);
        if (waiters.size === 0 && this.waiters.get(executionId) === waiters) {
          this.waiters.delete(executionId);
        }
        resolve(record);
      };
      const timeout = setTimeout(() => done(null), waitMs);
      this.waiters.set(executionId, waiters.add(done));
    });
    this.timer ??= setInterval(() => void this.poll(), POLL_MS);
    return { ended, look: () => void this.answer(executionId), giveUp: () => done(null) };
  }

  /** Of these executions, those whose end somebody here waits for. */
  awaited(executions: readonly { executionId: string }[]): ReadonlySet<string> {
    if (this.waiters.size === 0) {
      return NOBODY;
    }
    const ids = new Set<string>();
    for (const { executionId } of executions) {
      if (this.waiters.has(executionId)) {
        ids.add(executionId);
      }
    }
    return ids;
  }

  /** This replica has just recorded their ends. @param records by execution id; null = it has not been read */
  ended(records: ReadonlyMap<string, ExecutionRecord | null>): void {
    if (this.waiters.size === 0) {
      return;
    }
    for (const [executionId, record] of records) {
      if (record) {
        this.tell(executionId, record);
      } else if (this.waiters.has(executionId)) {
        void this.answer(executionId);
      }
    }
  }

  onApplicationShutdown(): void {
    clearInterval(this.timer ?? undefined);
    this.giveUpAll();
  }

  private giveUpAll(): void {
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
        this.tell(executionId, record);
      }
    } catch (error) {
      this.logger.debug(`the end of ${executionId} could not be read: ${(error as Error).message}`);
    }
  }

  private tell(executionId: string, record: ExecutionRecord): void {
    [...(this.waiters.get(executionId) ?? [])].forEach((done) => done(record));
  }
}
