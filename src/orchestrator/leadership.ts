import { EventEmitter } from 'node:events';
import { Injectable, Logger } from '@nestjs/common';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import { ExecutionStore, type Lease } from '../store/execution-store.js';

export interface LeadershipStatus {
  isLeader: boolean;
  /** Instance id of the replica that leads; null while nobody is known to. */
  leader: string | null;
  epoch: number;
}

/** The leader stops acting this share of the lease before its end, so that clocks and calls have room to be slow. */
const SAFETY_SHARE = 0.2;

/**
 * Who dispatches: one replica at a time, by a lease in the store. Its end is counted on our own monotonic clock from
 * **before** the call that renewed it, so that a slow answer shortens it and never lengthens it; a process that was
 * stopped (SIGSTOP) finds its deadline passed the moment it runs again.
 */
@Injectable()
export class Leadership extends EventEmitter<{ gained: [number]; lost: [] }> {
  private readonly logger = new Logger(Leadership.name);
  private lease: Lease | null = null;
  private leading = false;
  private mayActUntilMs = 0;
  private stopped = true;
  private timer: NodeJS.Timeout | null = null;
  private deadlineTimer: NodeJS.Timeout | null = null;
  private renewing: Promise<void> = Promise.resolve();

  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly store: ExecutionStore,
  ) {
    super();
  }

  start(): void {
    this.stopped = false;
    this.renewing = this.renew();
  }

  /** Gives the lease up, so that another replica need not wait for its end. */
  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer ?? undefined);
    await this.renewing;
    const held = this.leading;
    this.stepDown('this process stops');
    if (held) {
      await this.store
        .releaseLease(this.config.instanceId)
        .catch((error: Error) => this.logger.warn(`the lease could not be released: ${error.message}`));
    }
  }

  /** True while this replica may act as the leader, to the millisecond. */
  get mayAct(): boolean {
    return this.leading && performance.now() < this.mayActUntilMs;
  }

  get epoch(): number {
    return this.lease?.epoch ?? 0;
  }

  status(): LeadershipStatus {
    return { isLeader: this.mayAct, leader: this.lease?.holder ?? null, epoch: this.epoch };
  }

  private async renew(): Promise<void> {
    const askedAtMs = performance.now();
    try {
      const lease = await this.store.acquireLease(this.config.instanceId, this.config.leaseTtlMs);
      this.take(lease, askedAtMs);
    } catch (error) {
      this.logger.warn(`the lease could not be renewed: ${(error as Error).message}`);
    }
    if (!this.stopped) {
      this.timer = setTimeout(() => {
        this.renewing = this.renew();
      }, this.config.leaseRenewIntervalMs);
    }
  }

  private take(lease: Lease, askedAtMs: number): void {
    const isNewTerm = lease.epoch !== this.lease?.epoch;
    this.lease = lease;
    if (lease.holder !== this.config.instanceId) {
      this.stepDown(`${lease.holder} leads with epoch ${lease.epoch}`);
      return;
    }
    this.mayActUntilMs = askedAtMs + this.config.leaseTtlMs * (1 - SAFETY_SHARE);
    this.armDeadline();
    if (!this.leading || isNewTerm) {
      this.stepDown('a new term begins');
      this.leading = true;
      this.logger.log(`leading with epoch ${lease.epoch}`);
      this.emit('gained', lease.epoch);
    }
  }

  private armDeadline(): void {
    clearTimeout(this.deadlineTimer ?? undefined);
    this.deadlineTimer = setTimeout(
      () => this.stepDown('the lease was not renewed in time'),
      Math.max(0, this.mayActUntilMs - performance.now()),
    );
  }

  private stepDown(reason: string): void {
    if (!this.leading) {
      return;
    }
    clearTimeout(this.deadlineTimer ?? undefined);
    this.leading = false;
    this.mayActUntilMs = 0;
    this.logger.log(`no longer leading: ${reason}`);
    this.emit('lost');
  }
}
