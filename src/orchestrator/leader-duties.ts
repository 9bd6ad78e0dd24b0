import {
  type BeforeApplicationShutdown,
  Injectable,
  Logger,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { QueueManagementService } from '../queue/queue-management.service.js';
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
  ) {
    // Results first: they free slots. The others in the order in which a task meets them.
    this.duties = [results, stager, dispatcher, watch, rescuer, deadLetters, retention];
  }

  onApplicationBootstrap(): void {
    this.leadership.on('gained', (epoch) => this.change(() => this.begin(epoch)));
    this.leadership.on('lost', () => this.change(() => this.end()));
    this.leadership.start();
  }

  async beforeApplicationShutdown(): Promise<void> {
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
    await this.queues.declare();
    const held = await this.store.held();
    this.workers.pool.rebuild(
      epoch,
      held.map((execution) => ({ ...execution, solo: runsAlone(execution) })),
    );
    await this.parkingLot.load();
    await this.workers.lead();
  }

  private async end(): Promise<void> {
    if (!this.onDuty) {
      return;
    }
    this.onDuty = false;
    // Each stops acting at once and then finishes what is under way, so none of them acts on behind a slow one.
    await Promise.all(this.duties.map((duty) => duty.stop()));
    this.workers.follow();
  }
}
