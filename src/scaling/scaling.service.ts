import { EventEmitter } from 'node:events';
import { Injectable, Logger } from '@nestjs/common';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import { type WorkerClass, workerClassesOf } from '../config/worker-class.js';
import { ExecutionStore } from '../store/execution-store.js';
import { WorkerManagementService } from '../worker/worker-management.service.js';
import { type Census, takeCensus } from './census.js';
import { ClassScaling, type ClassStatus, type Proposal } from './class-scaling.js';
import { allSettings, type ClassSettings } from './class-settings.js';
import { DemandReader } from './demand-reader.js';
import { Dispatching } from './dispatching.js';
import { DrivenWorkers } from './driven-workers.js';
import { Trouble } from './trouble.js';
import { type PoolWish, WorkerDriver, type WorkerExit } from './worker-driver.js';

interface ScalingEvents {
  /** The size of a class was changed by a decision. */
  scaled: [{ workerClass: string; direction: 'up' | 'down' }];
  /** The process of this worker, which the driver ran, has ended. */
  ended: [string];
}

/** From the beginning of a term: workers that are there have been asked to register, and need a moment to do so. */
const SETTLE_MS = 1_000;
/** However much happens, rounds are no closer than this. */
const ROUND_GAP_MS = 50;
/** Of the time to stop, the workers' share; the rest is for everything else that stops. */
const STOP_SHARE = 0.8;
/** For the goodbyes of workers that have ended: their queues go before we do. */
const GOODBYE_MS = 2_000;
/** Longer than a message needs that was sent. */
const LOOK_MS = 50;

/**
 * Keeps the pool at its size, while leading. Each round looks at what there is and what waits, decides on the size of
 * each class (`decision.ts`), writes a change down, chooses who leaves where there are too many, and tells the driver
 * what to run. A missing worker is replaced by the next round whatever the cooldown: its size did not change.
 *
 * The record comes before the driver, and each round starts from the record and from what runs: so a leader that takes
 * over in the middle of a change goes on with it.
 */
@Injectable()
export class ScalingService extends EventEmitter<ScalingEvents> {
  readonly classes: readonly [WorkerClass, ...WorkerClass[]];
  private readonly logger = new Logger('Scaling');
  private readonly driverTrouble = new Trouble(this.logger);
  private readonly roundTrouble = new Trouble(this.logger);
  private scalings = new Map<string, ClassScaling>();
  private censuses = new Map<string, Census>();
  private driven = new DrivenWorkers();
  private active = false;
  private driving = false;
  private settledAtMs = 0;
  /** Of this term; wall clock. */
  private startedAtMs = 0;
  private timer: NodeJS.Timeout | null = null;
  /** When the next round begins. */
  private dueAtMs = 0;
  private round: Promise<void> | null = null;
  private wokenAgain = false;

  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly store: ExecutionStore,
    private readonly workers: WorkerManagementService,
    private readonly driver: WorkerDriver,
    private readonly dispatching: Dispatching,
    private readonly demand: DemandReader,
  ) {
    super();
    this.classes = workerClassesOf(config);
    driver.on('exit', (exit) => this.onExit(exit));
    for (const event of ['left', 'lost'] as const) {
      workers.on(event, ({ workerId, registeredAt }) => {
        this.driven.left(workerId, registeredAt);
        this.wake();
      });
    }
  }

  // ---- the term ------------------------------------------------------------------------------------------------

  start(): void {
    this.scalings = new Map(this.classes.map(({ name }) => [name, new ClassScaling(this.config)]));
    this.censuses = new Map();
    this.driven = new DrivenWorkers();
    this.active = true;
    this.startedAtMs = Date.now();
    this.settledAtMs = performance.now() + SETTLE_MS;
    void this.workers.meetThePool();
    this.schedule(0);
  }

  /** What runs, runs on. */
  async stop(): Promise<void> {
    await this.pause();
    await this.driver
      .stop()
      .catch((error: Error) => this.logger.warn(`the driver did not stop: ${error.message}`));
  }

  /** The orchestrator ends for good: the driver's own workers end too, those of a leader. */
  async shutdown(): Promise<void> {
    if (!this.active) {
      return;
    }
    const ending = [...this.censuses.values()].flatMap(({ serving }) => serving);
    await this.pause();
    try {
      await this.driver.shutdown(this.config.shutdownTimeoutMs * STOP_SHARE);
      await this.untilGone(ending.map(({ workerId }) => workerId));
    } catch (error) {
      this.logger.warn(`the workers could not be asked to end: ${(error as Error).message}`);
    }
  }

  /** Waits for the goodbyes of those that drain, and for their recovery. Where the driver leaves its workers, none does. */
  private async untilGone(workerIds: string[]): Promise<void> {
    const deadline = performance.now() + GOODBYE_MS;
    const isLeaving = (workerId: string): boolean => {
      const worker = this.workers.pool.get(workerId);
      return worker?.lifecycle === 'draining' || worker?.lifecycle === 'gone';
    };
    do {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    } while (performance.now() < deadline && workerIds.some(isLeaving));
  }

  /** A round at once: something has changed. Does nothing outside a term. */
  wake(): void {
    if (!this.active) {
      return;
    }
    if (this.round) {
      this.wokenAgain = true;
    } else if (this.dueAtMs > performance.now() + ROUND_GAP_MS) {
      this.schedule(ROUND_GAP_MS);
    }
  }

  private async pause(): Promise<void> {
    this.active = false;
    clearTimeout(this.timer ?? undefined);
    await this.round;
    this.driving = false;
    this.driverTrouble.clear();
    this.roundTrouble.clear();
  }

  // ---- rounds --------------------------------------------------------------------------------------------------

  private schedule(delayMs: number): void {
    clearTimeout(this.timer ?? undefined);
    this.dueAtMs = Math.max(performance.now() + delayMs, this.settledAtMs);
    this.timer = setTimeout(() => this.begin(), this.dueAtMs - performance.now());
  }

  private begin(): void {
    this.wokenAgain = false;
    this.round = this.runOnce()
      .then(() => this.roundTrouble.clear())
      .catch((error: Error) => this.roundTrouble.note(`the pool could not be looked at: ${error.message}`))
      .finally(() => {
        this.round = null;
        if (this.active) {
          this.schedule(this.wokenAgain ? ROUND_GAP_MS : this.config.scalingIntervalMs);
        }
      });
  }

  private async runOnce(): Promise<void> {
    if (!this.dispatching.mayAct) {
      return;
    }
    const isDriverUp = await this.lookAtWorkers();
    const [records, demands] = await Promise.all([
      this.store.scalingRecords(),
      this.demand.read(this.classes, this.censuses),
    ]);
    const settings = allSettings(this.classes, records);
    const nowMs = performance.now();
    const proposals = new Map(
      this.classes.map(({ name }) => {
        const round = { settings: settings.get(name)!, census: this.censuses.get(name)!, nowMs };
        return [name, this.scalings.get(name)!.propose({ ...round, demand: demands.get(name)! })];
      }),
    );
    const sizes = await this.record(settings, proposals, nowMs);
    if (isDriverUp && this.active && this.dispatching.mayAct) {
      await this.drive(sizes, nowMs);
    }
  }

  /** @returns false if the driver could not be asked: then it is told nothing either, as it would be told wrong */
  private async lookAtWorkers(): Promise<boolean> {
    const instances = await this.askDriver();
    const isDriverUp = instances !== undefined;
    this.driven.look(instances ?? [], this.workers.pool, Date.now());
    this.censuses = takeCensus(this.classes, this.workers.pool.all(), {
      instances: isDriverUp ? instances : [],
      has: (workerId) => isDriverUp && this.driven.has(workerId),
      isStray: (workerId) => this.driven.isStray(workerId, Date.now()),
    });
    for (const [name, { serving }] of this.censuses) {
      const oldest = serving.map(({ startedAtMs }) => startedAtMs).toSorted((a, b) => a - b)[0] ?? null;
      this.scalings.get(name)!.livedSince(oldest, performance.now());
    }
    return isDriverUp;
  }

  private async askDriver(): Promise<Awaited<ReturnType<WorkerDriver['instances']>> | undefined> {
    try {
      if (!this.driving) {
        await this.driver.start();
        this.driving = true;
      }
      // Whoever runs the workers by hand ends them by hand: none of them is taken for a driver's own.
      return this.config.workerDriver === 'none' ? [] : await this.driver.instances();
    } catch (error) {
      this.driverTrouble.note(`the driver ${this.config.workerDriver}: ${(error as Error).message}`);
      return undefined;
    }
  }

  /** Writes changes down. @returns the size of each class by the record, with its reason */
  private async record(
    settings: ReadonlyMap<string, ClassSettings>,
    proposals: ReadonlyMap<string, Proposal>,
    nowMs: number,
  ): Promise<Map<string, { desired: number; reason: string }>> {
    const changes = [...proposals].filter(([, { isChange }]) => isChange);
    const written = await this.store.recordScaling(
      this.dispatching.epoch,
      changes.map(([workerClass, { desired, reason }]) => {
        return { workerClass, desired, reason, revision: settings.get(workerClass)!.revision };
      }),
    );
    const sizes = new Map<string, { desired: number; reason: string }>();
    for (const [name, proposal] of proposals) {
      const { desired, reason } = settings.get(name)!;
      if (!proposal.isChange || written.has(name)) {
        this.scalings.get(name)!.settle(proposal, nowMs);
        sizes.set(name, { desired: proposal.desired, reason: proposal.isChange ? proposal.reason : reason });
        this.tell(name, proposal);
      } else if (desired !== null) {
        // Somebody was faster: the next round goes by what is on record now.
        sizes.set(name, { desired, reason });
        this.wokenAgain = true;
      }
    }
    return sizes;
  }

  private tell(workerClass: string, { decision: { action }, entry }: Proposal): void {
    if (action !== 'none') {
      this.logger.log(`${workerClass}: ${entry.from} → ${entry.to} workers: ${entry.reason}`);
      this.emit('scaled', { workerClass, direction: action });
    }
  }

  private async drive(
    sizes: ReadonlyMap<string, { desired: number; reason: string }>,
    nowMs: number,
  ): Promise<void> {
    const wishes = this.classes.flatMap((workerClass): PoolWish[] => {
      const size = sizes.get(workerClass.name);
      if (!size) {
        return [];
      }
      const { instances, retire, chosen } = this.scalings
        .get(workerClass.name)!
        .plan(this.censuses.get(workerClass.name)!, size.desired, nowMs);
      chosen.forEach((workerId) => this.workers.retire(workerId));
      return [{ workerClass, instances, retire, reason: size.reason }];
    });
    try {
      await this.driver.reconcile(wishes);
      this.driverTrouble.clear();
    } catch (error) {
      this.driverTrouble.note(`the driver ${this.config.workerDriver}: ${(error as Error).message}`);
    }
  }

  // ---- what happens to workers ---------------------------------------------------------------------------------

  private onExit(exit: WorkerExit): void {
    if (!this.active) {
      return;
    }
    const { workerId, workerClass, retiring, code, signal, livedMs } = exit;
    const registeredForMs = this.driven.ended(exit, this.workers.pool, Date.now());
    const how = signal === null ? `with ${code}` : `by ${signal}`;
    const said = `worker ${workerId} ended ${how} after ${Math.round(livedMs)} ms`;
    this.logger[retiring || code === 0 ? 'log' : 'warn'](said);
    this.emit('ended', workerId);
    this.strike(workerId, workerClass);
    const scaling = this.scalings.get(workerClass);
    // What ended before this term, or was started before it and never met, says nothing about starts now.
    const isOfThisTerm = registeredForMs !== null || Date.now() - livedMs >= this.startedAtMs;
    if (isOfThisTerm && scaling?.ended(exit, registeredForMs, performance.now())) {
      const { backOff } = scaling.status(performance.now());
      this.logger.warn(
        `${workerClass}: workers end at their start; none is launched for ${backOff?.leftMs} ms`,
      );
    }
    this.wake();
  }

  /**
   * A round that is under way must not count on it: during a back-off it would ask for one more than run, and so launch
   * another one.
   */
  private strike(workerId: string, workerClass: string): void {
    const census = this.censuses.get(workerClass);
    if (census) {
      census.serving = census.serving.filter((instance) => instance.workerId !== workerId);
    }
  }

  // ---- for people ----------------------------------------------------------------------------------------------

  /** Null outside a term: another replica knows. `starting`: launched, and not in the pool yet. */
  statusOf(workerClass: string): (ClassStatus & { starting: number }) | null {
    const scaling = this.active ? this.scalings.get(workerClass) : undefined;
    const serving = this.censuses.get(workerClass)?.serving ?? [];
    const starting = serving.filter(({ workerId }) => this.workers.pool.get(workerId) === null).length;
    return scaling ? { ...scaling.status(performance.now()), starting } : null;
  }

  /** What keeps the driver, or the rounds, from doing what they should; null = nothing. */
  get problem(): string | null {
    return this.driverTrouble.message ?? this.roundTrouble.message;
  }
}
