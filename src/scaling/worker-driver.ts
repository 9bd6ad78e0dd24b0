import { EventEmitter } from 'node:events';
import type { WorkerClass } from '../config/worker-class.js';

/** How many workers of a class the driver shall run, and why. */
export interface PoolWish {
  workerClass: WorkerClass;
  /** Instances the driver shall have, those it is retiring not counted. 0 and more. */
  instances: number;
  /** For people: logs, webhooks, annotations. */
  reason: string;
  /**
   * Workers to end gracefully (SIGTERM: they drain, hand back what does not end in time, and exit), the least busy
   * first. They get no new tasks already. Named in each round until they are gone.
   */
  retire: readonly string[];
}

/** One worker process, container or pod that a driver runs. */
export interface WorkerInstance {
  /** The `workerId` that it registers, or has registered, under. */
  workerId: string;
  /** Name of its class. */
  workerClass: string;
  /** Asked to end, and not ended yet. */
  retiring: boolean;
  /** Wall clock, ms. */
  startedAtMs: number;
}

/** An instance that ended, whoever ended it. */
export interface WorkerExit {
  workerId: string;
  workerClass: string;
  /** It was asked to end by this driver. */
  retiring: boolean;
  code: number | null;
  signal: string | null;
  /** From its start to its end, ms. */
  livedMs: number;
}

/**
 * What starts and ends workers: the port behind `WORKER_DRIVER`. Only the leader drives. A driver decides nothing: it
 * makes what runs match the wish, and says what it sees.
 */
export abstract class WorkerDriver extends EventEmitter<{ exit: [WorkerExit] }> {
  /** A term begins: takes over what earlier orchestrators started and left. */
  abstract start(): Promise<void>;

  /** The term ends: what runs, runs on; from now on nothing is started or ended, and `reconcile` does nothing. */
  abstract stop(): Promise<void>;

  /**
   * Brings what runs to the wish. Called each round with the whole of it, so it is idempotent, and what failed is tried
   * again by the next call. It does not wait for workers to register or to drain.
   * @throws Error that says what could not be reached or done
   */
  abstract reconcile(wishes: readonly PoolWish[]): Promise<void>;

  /**
   * What it runs at this moment; null if it cannot know. Those that were adopted are among them.
   * @throws Error that says what could not be reached
   */
  abstract instances(): Promise<WorkerInstance[] | null>;

  /**
   * The orchestrator ends for good: what is the driver's own ends gracefully too; resolves when it is gone, or
   * `timeoutMs` from now, and kills nobody. It ends the term: call it instead of `stop`. Outside a term it does
   * nothing, since what runs is another leader's.
   */
  abstract shutdown(timeoutMs: number): Promise<void>;
}
