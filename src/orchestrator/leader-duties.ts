import {
  type BeforeApplicationShutdown,
  Injectable,
  Logger,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { QueueManagementService } from '../queue/queue-management.service.js';
import { ScalingService } from '../scaling/scaling.service.js';
import { ExecutionStore } from '../store/execution-store.js';
import { WorkerManagementService } from '../worker/worker-management.service.js';
import { DeadLetters } from './dead-letters.js';
import { Dispatcher } from './dispatcher.js';
import { Leadership } from './leadership.js';
import { ParkingLot } from './parking-lot.js';
import { Rescuer } from './rescuer.js';
import { Results } from './results.js';
import { Retention } from './retention.js';
import { Stager } from './stager.js';
import { runsAlone } from './suspects.js';
import { WorkerWatch } from './worker-watch.js';

interface Duty {
  start(): void;
  stop(): Promise<void>;
}

const BEGIN_RETRY_MS = 500;
/** From when on a step of a change of leadership is remarked on. */
const SLOW_MS = 5_000;

/**
 * What only the leader does, started when a term begins and stopped when it ends. The ledger is rebuilt from the
 * record before anything else, so that no worker is given more than it has slots for.
 */
@Injectable()
export class LeaderDuties implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly logger = new Logger(LeaderDuties.name);
  private readonly duties: Duty[];
  /** Beginnings and endings of terms, one after the other. */
  private changes: Promise<void> = Promise.resolve();
  private onDuty = false;

  constructor(
    private readonly leadership: Leadership,
    private readonly store: ExecutionStore,
    private readonly queues: QueueManagementService,
    private readonly workers: WorkerManagementService,
    private readonly parkingLot: ParkingLot,
    results: Results,
    dispatcher: Dispatcher,
    stager: Stager,
    watch: WorkerWatch,
    rescuer: Rescuer,
    deadLetters: DeadLetters,
    retention: Retention,
    private readonly scaling: ScalingService,
  ) {
    // Results first: they free slots. The others in the order in which a task meets them.
    this.duties = [results, stager, dispatcher, watch, rescuer, deadLetters, retention, scaling];
  }

  onApplicationBootstrap(): void {
    this.leadership.on('gained', (epoch) => this.change(() => this.begin(epoch)));
    this.leadership.on('lost', () => this.change(() => this.end()));
    this.leadership.start();
  }

  async beforeApplicationShutdown(): Promise<void> {
    // Workers that end with us still have reports to send, and every other duty is there to take them.
    this.change(() => this.scaling.shutdown());
    this.change(() => this.end());
    await this.changes;
    await this.leadership.stop();
    await this.changes;
  }

  private change(step: () => Promise<void>): void {
    this.changes = this.changes.then(step).catch((error: Error) => {
      this.logger.error(`a change of leadership failed: ${error.stack}`);
    });
  }

  private async begin(epoch: number): Promise<void> {
    while (this.leadership.mayAct && this.leadership.epoch === epoch) {
      try {
        await this.prepare(epoch);
        this.duties.forEach((duty) => duty.start());
        this.onDuty = true;
        return;
      } catch (error) {
        this.logger.warn(`the term of epoch ${epoch} cannot begin yet: ${(error as Error).message}`);
        await new Promise((resolve) => setTimeout(resolve, BEGIN_RETRY_MS));
      }
    }
  }

  private async prepare(epoch: number): Promise<void> {
    await this.watched('declaring the queues', this.queues.declare());
    const held = await this.watched('reading what workers hold', this.store.held());
    this.workers.pool.rebuild(
      epoch,
      held.map((execution) => ({ ...execution, solo: runsAlone(execution) })),
    );
    await this.watched('reading what is parked', this.parkingLot.load());
    await this.watched("declaring the workers' queues", this.workers.lead());
  }

  private async end(): Promise<void> {
    if (!this.onDuty) {
      return;
    }
    this.onDuty = false;
    // Each stops acting at once and then finishes what is under way, so none of them acts on behind a slow one.
    await Promise.all(
      this.duties.map((duty) => this.watched(`stopping ${duty.constructor.name}`, duty.stop())),
    );
    this.workers.follow();
  }

  /** Names what is slow: a leader that is held up would look like one that has nothing to do. */
  private async watched<T>(what: string, step: Promise<T>): Promise<T> {
    const sinceMs = performance.now();
    const timer = setInterval(() => {
      const tookS = Math.round((performance.now() - sinceMs) / 1_000);
      this.logger.warn(`${what} has taken ${tookS} s so far`);
    }, SLOW_MS);
    try {
      return await step;
    } finally {
      clearInterval(timer);
    }
  }
}
