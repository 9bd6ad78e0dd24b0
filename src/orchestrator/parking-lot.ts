import { Injectable, Logger } from '@nestjs/common';
import { ExecutionStore, type ParkedReason } from '../store/execution-store.js';
import { WorkerManagementService } from '../worker/worker-management.service.js';
import { Stager } from './stager.js';

/** How many parked executions come back at a time for a class whose workers were full. */
const REFILL = 32;
const ALL = 1_000_000;

/**
 * Executions that cannot run at present and would block others if they stayed on the broker. They wait in the
 * record, and come back when a worker that supports them registers, or when one of theirs has a free slot.
 */
@Injectable()
export class ParkingLot {
  private readonly logger = new Logger(ParkingLot.name);
  private readonly classes = new Map<string, ParkedReason>();
  private releasing = false;
  private again = false;

  constructor(
    private readonly store: ExecutionStore,
    private readonly workers: WorkerManagementService,
    private readonly stager: Stager,
  ) {
    workers.on('capacity', () => {
      if (this.classes.size > 0) {
        void this.release();
      }
    });
  }

  /** Reads what an earlier leader parked, or what slipped through here. */
  async load(): Promise<void> {
    for (const { requiredTypes, reason } of await this.store.parkedClasses()) {
      this.classes.set(requiredTypes, reason);
    }
  }

  add(requiredTypes: string, reason: ParkedReason): void {
    this.classes.set(requiredTypes, reason);
  }

  /** Brings back what can run by now. */
  async release(): Promise<void> {
    this.again = true;
    if (this.releasing) {
      return;
    }
    this.releasing = true;
    try {
      while (this.again) {
        this.again = false;
        for (const [requiredTypes, reason] of this.classes) {
          await this.releaseClass(requiredTypes, reason);
        }
      }
    } catch (error) {
      this.logger.warn(`parked executions could not be brought back: ${(error as Error).message}`);
    } finally {
      this.releasing = false;
    }
  }

  private async releaseClass(requiredTypes: string, reason: ParkedReason): Promise<void> {
    const state = this.workers.classState(requiredTypes);
    if (state === 'none' || (state === 'full' && reason === 'pool_full')) {
      return;
    }
    const limit = reason === 'pool_full' ? REFILL : ALL;
    // Before the write, so that what is parked while it is under way is not forgotten.
    this.classes.delete(requiredTypes);
    let released = limit;
    try {
      released = await this.store.unpark([requiredTypes], limit);
    } finally {
      if (released === limit) {
        this.classes.set(requiredTypes, reason);
      }
    }
    if (released > 0) {
      this.logger.log(`${released} parked executions of ${requiredTypes} wait for a slot now`);
      this.stager.kick();
    }
  }
}
