import { Injectable, Logger } from '@nestjs/common';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import { MessagingService } from '../messaging/messaging.service.js';
import { QueueManagementService } from '../queue/queue-management.service.js';
import { isMassLoss, judge, MASS_LOSS_GRACE_MS, selfDoubt, type Verdict } from '../worker/verdict.js';
import { WorkerManagementService } from '../worker/worker-management.service.js';
import type { WorkerRecord } from '../worker/worker-record.js';
import { Leadership } from './leadership.js';
import { Recovery } from './recovery.js';

/** The most queues looked at in one round: bounds what watching costs as the pool grows (0.35 ms each). */
const LOOKS_PER_ROUND = 20;
/** Longer than a channel takes to be made again on a connection that stands (25 to 50 ms). */
const LOOK_AGAIN_MS = 200;

/**
 * Watches over the pool while leading. In each round it looks whether the queues of workers that hold work still
 * have a consumer (a closed connection shows there within milliseconds), and judges heartbeats. The judgements are
 * pure (`worker/verdict.ts`); this drives them.
 */
@Injectable()
export class WorkerWatch {
  private readonly logger = new Logger(WorkerWatch.name);
  private active = false;
  private timer: NodeJS.Timeout | null = null;
  private round: Promise<void> = Promise.resolve();
  private plannedAtMs = 0;
  private linkUpAtMs = 0;
  private massLossSinceMs: number | null = null;
  private turn = 0;
  private unheardUntilMs = 0;
  /** Workers that hold work by the record and are not live, and since when we know. */
  private readonly strangers = new Map<string, number>();

  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly messaging: MessagingService,
    private readonly queues: QueueManagementService,
    private readonly workers: WorkerManagementService,
    private readonly leadership: Leadership,
    private readonly recovery: Recovery,
  ) {
    messaging.onConnect(() => {
      this.linkUpAtMs = performance.now();
    });
    workers.on('left', ({ workerId }) => {
      if (leadership.mayAct) {
        void recovery.recover(workerId, 'it said goodbye', true);
      }
    });
  }

  start(): void {
    this.active = true;
    this.strangers.clear();
    for (const { workerId, lifecycle } of this.workers.pool.all()) {
      if (lifecycle === 'gone') {
        void this.recovery.recover(workerId, 'it said goodbye while nobody led', true);
      }
    }
    this.schedule();
  }

  async stop(): Promise<void> {
    this.active = false;
    clearTimeout(this.timer ?? undefined);
    await this.round;
    await this.recovery.settled();
  }

  private schedule(): void {
    this.plannedAtMs = performance.now() + this.config.workerPollIntervalMs;
    this.timer = setTimeout(() => {
      this.round = this.runOnce()
        .catch((error: Error) => this.logger.warn(`the pool could not be watched: ${error.message}`))
        .finally(() => {
          if (this.active) {
            this.schedule();
          }
        });
    }, this.config.workerPollIntervalMs);
  }

  private async runOnce(): Promise<void> {
    const now = performance.now();
    const doubt = selfDoubt({
      loopDelayMs: now - this.plannedAtMs,
      linkAgeMs: now - this.linkUpAtMs,
      intervalMs: this.config.workerPollIntervalMs,
    });
    // Workers whose broker takes no messages cannot send heartbeats: nobody is judged until some have had time to come.
    if (this.messaging.blockedReason !== null) {
      this.unheardUntilMs = now + 2 * this.config.heartbeatIntervalMs;
    }
    if (doubt !== null || now < this.unheardUntilMs || !this.leadership.mayAct || !this.messaging.isUp) {
      return;
    }
    const live = this.workers.pool.live();
    const consumers = await this.lookAtQueues(live);
    // We may have been suspended while we looked.
    if (!this.leadership.mayAct) {
      return;
    }
    const verdicts = live.map((worker) => ({ worker, verdict: this.judgeOne(worker, consumers) }));
    this.act(verdicts, live.length);
    await this.recoverStrangers();
  }

  /** Queues of workers with work first; the idle ones and those beyond the bound take turns. */
  private async lookAtQueues(live: WorkerRecord[]): Promise<Map<string, number>> {
    const busy = live.filter(({ held }) => held > 0);
    const idle = live.filter(({ held }) => held === 0);
    const start = this.turn++ * LOOKS_PER_ROUND;
    const rotated = (workers: WorkerRecord[], count: number): WorkerRecord[] =>
      Array.from(
        { length: Math.min(count, workers.length) },
        (_, i) => workers[(start + i) % workers.length]!,
      );
    const chosen = [...rotated(busy, LOOKS_PER_ROUND), ...rotated(idle, 2)];
    const consumers = new Map<string, number>();
    for (const { workerId } of chosen) {
      // On a broker that is slow to answer, the end of a term does not wait for all of them.
      if (!this.active) {
        return new Map();
      }
      consumers.set(workerId, await this.consumersOf(workerId));
    }
    await this.lookAgain(consumers);
    return consumers;
  }

  /** A worker whose channel alone was closed consumes again in a moment: that is no loss. */
  private async lookAgain(consumers: Map<string, number>): Promise<void> {
    const missing = [...consumers].filter(([, count]) => count === 0);
    if (missing.length === 0) {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
    for (const [workerId] of missing) {
      consumers.set(workerId, await this.consumersOf(workerId));
    }
  }

  private async consumersOf(workerId: string): Promise<number> {
    return (await this.queues.depth(this.queues.names.workerQueue(workerId)))?.consumers ?? 0;
  }

  private judgeOne(worker: WorkerRecord, consumers: Map<string, number>): Verdict {
    const now = performance.now();
    const history = this.workers.history(worker.workerId);
    const { heartbeatIntervalMs, deadHeartbeats, suspectPhi } = this.config;
    const seen = consumers.get(worker.workerId) ?? null;
    worker.hasConsumed ||= seen !== null && seen > 0;
    return judge(
      {
        phi: history?.phi(now) ?? 0,
        silenceMs: history?.silenceMs(now) ?? 0,
        consumers: seen,
        hasConsumed: worker.hasConsumed,
        ageMs: Date.now() - worker.registeredAt.getTime(),
      },
      { suspectPhi, silenceLimitMs: deadHeartbeats * heartbeatIntervalMs },
    );
  }

  private act(verdicts: { worker: WorkerRecord; verdict: Verdict }[], poolSize: number): void {
    const lost = verdicts.filter(({ verdict }) => verdict.kind === 'lost');
    const believed = this.believes(lost.length, poolSize);
    for (const { worker, verdict } of verdicts) {
      const isSuspect = verdict.kind === 'suspect' || (verdict.kind === 'lost' && !believed);
      if (worker.suspect !== isSuspect) {
        this.workers.pool.setSuspect(worker, isSuspect);
        this.workers.emit('capacity');
      }
      if (verdict.kind === 'lost' && believed) {
        this.workers.pool.setLifecycle(worker, 'gone');
        void this.recovery.recover(worker.workerId, verdict.reason, false);
        this.workers.emit('lost', worker);
      }
    }
  }

  /** A loss of more than half the pool at once is believed only when it lasts. */
  private believes(lost: number, poolSize: number): boolean {
    if (!isMassLoss(lost, poolSize)) {
      this.massLossSinceMs = null;
      return true;
    }
    this.massLossSinceMs ??= performance.now();
    return performance.now() - this.massLossSinceMs > MASS_LOSS_GRACE_MS;
  }

  /** Holders that are not live: left over from before this term, or a recovery that failed half-way. */
  private async recoverStrangers(): Promise<void> {
    const now = performance.now();
    for (const workerId of this.workers.pool.ledger.holders()) {
      const known = this.workers.pool.get(workerId);
      if (known && known.lifecycle !== 'gone') {
        this.strangers.delete(workerId);
        continue;
      }
      const since = this.strangers.get(workerId) ?? now;
      this.strangers.set(workerId, since);
      const depth = await this.queues.depth(this.queues.names.workerQueue(workerId));
      const silent = now - since > this.config.deadHeartbeats * this.config.heartbeatIntervalMs;
      if (!depth || depth.consumers === 0 || silent) {
        this.strangers.delete(workerId);
        await this.recovery.recover(workerId, 'it is not there any more', false);
      }
    }
  }
}
