import { EventEmitter } from 'node:events';
import { Injectable, Logger } from '@nestjs/common';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import { MessagingService } from '../messaging/messaging.service.js';
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
 * Whether a replica may hold the lease, or try for it. One that has been without the broker for as long as a lease
 * lasts cannot do what a leader is for, and leaves it to a replica that can. The embedded store has no other replica
 * to leave it to. A broker that is merely restarted is back sooner, and the term goes on.
 */
export function mayStand(replica: { brokerAwayMs: number; leaseTtlMs: number; isShared: boolean }): boolean {
  return !replica.isShared || replica.brokerAwayMs < replica.leaseTtlMs;
}

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
    private readonly messaging: MessagingService,
  ) {
    super();
    // Nobody need wait for the next turn when the broker is back: where there is one replica, it leads at once.
    messaging.onUp(() => this.renewNow());
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
    return { isLeader: this.mayAct, leader: this.lease?.holder || null, epoch: this.epoch };
  }

  /** Only for one that does not lead: a renewal that is under way comes first. */
  private renewNow(): void {
    if (this.stopped || this.leading) {
      return;
    }
    clearTimeout(this.timer ?? undefined);
    this.renewing = this.renewing.then(() => {
      clearTimeout(this.timer ?? undefined);
      return this.stopped ? undefined : this.renew();
    });
  }

  private async renew(): Promise<void> {
    try {
      await (this.mayStand() ? this.compete() : this.giveWay());
    } catch (error) {
      this.logger.warn(`the lease could not be renewed: ${(error as Error).message}`);
    }
    if (!this.stopped) {
      this.timer = setTimeout(() => {
        this.renewing = this.renew();
      }, this.config.leaseRenewIntervalMs);
    }
  }

  private mayStand(): boolean {
    const { leaseTtlMs, databaseUrl } = this.config;
    return mayStand({ brokerAwayMs: this.messaging.awayMs, leaseTtlMs, isShared: databaseUrl !== '' });
  }

  private async compete(): Promise<void> {
    const askedAtMs = performance.now();
    this.take(await this.store.acquireLease(this.config.instanceId, this.config.leaseTtlMs), askedAtMs);
  }

  /** Who leads meanwhile is not known here: asking the store would be competing. */
  private async giveWay(): Promise<void> {
    const isOurs = this.lease?.holder === this.config.instanceId;
    this.stepDown('the broker has been away for longer than a lease lasts');
    if (isOurs) {
      await this.store.releaseLease(this.config.instanceId);
    }
    // The epoch stays: what is still under way was begun in it.
    this.lease &&= { ...this.lease, holder: '' };
  }

  private take(lease: Lease, askedAtMs: number): void {
    const isNewTerm = lease.epoch !== this.lease?.epoch;
    this.lease = lease;
    if (lease.holder !== this.config.instanceId) {
      this.stepDown(`${lease.holder} leads with epoch ${lease.epoch}`);
      return;
    }
    if (isNewTerm) {
      this.stepDown('a new term begins');
    }
    this.mayActUntilMs = askedAtMs + this.config.leaseTtlMs * (1 - SAFETY_SHARE);
    this.armDeadline();
    if (!this.leading) {
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
