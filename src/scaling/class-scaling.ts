import { afterExit, afterHealthy, isEarlyCrash, launchesAllowedAtMs, NO_BACK_OFF } from './back-off.js';
import { averageLoad, type Census } from './census.js';
import type { ClassSettings } from './class-settings.js';
import {
  decide,
  NO_MEMORY,
  type PoolSample,
  type ScalingDecision,
  type ScalingMemory,
  type ScalingPolicy,
} from './decision.js';
import { DecisionLog, type LoggedDecision } from './decision-log.js';
import type { ClassDemand } from './demand.js';
import { measured, NO_THROUGHPUT, type WorkerCounters } from './throughput.js';
import { type PlannedWish, planWish } from './wish.js';
import type { WorkerExit } from './worker-driver.js';

/** What a round goes by, of one class. */
export interface ClassRound {
  settings: ClassSettings;
  census: Census;
  demand: ClassDemand;
  /** Monotonic. */
  nowMs: number;
}

/** A size that was decided on, until the record has it. */
export interface Proposal {
  desired: number;
  reason: string;
  /** The record has another size, or none. */
  isChange: boolean;
  decision: ScalingDecision;
  memory: ScalingMemory;
  entry: LoggedDecision;
}

/** How long a worker lives before its class counts as well; the length is `back-off.ts`'s. */
const HEALTHY_AGE_MS = 600_000;

/** One class of workers through one term: what its decisions have to remember. No I/O, no timers. */
export class ClassScaling {
  private readonly log = new DecisionLog();
  private memory: ScalingMemory = NO_MEMORY;
  private backOff = NO_BACK_OFF;
  private throughput = NO_THROUGHPUT;
  /** The size on record as of the last round; null before the first. */
  private known: number | null = null;
  private cooldownUntilMs = 0;

  constructor(private readonly policy: ScalingPolicy) {}

  // ---- size ----------------------------------------------------------------------------------------------------

  /** Decides on the size. Nothing is settled before `settle`. */
  propose(round: ClassRound): Proposal {
    const { settings, census, demand, nowMs } = round;
    this.meet(settings, census, nowMs);
    this.measure(census, demand, nowMs);
    const sample: PoolSample = {
      nowMs,
      desired: settings.desired ?? census.live.length,
      liveWorkers: census.live.length,
      averageLoad: averageLoad(census),
      ...demand,
      workerTasksPerS: this.throughput.tasksPerS,
      minWorkers: settings.minWorkers,
      maxWorkers: settings.maxWorkers,
      paused: settings.paused,
    };
    const { decision, memory } = decide(sample, this.policy, this.memory);
    const isChange = decision.desired !== settings.desired;
    const reason =
      decision.action === 'none' && isChange
        ? `${decision.desired} workers were there at the beginning`
        : decision.reason;
    return {
      desired: decision.desired,
      reason,
      isChange,
      decision,
      memory,
      entry: entryOf(sample, decision, reason),
    };
  }

  /** The record has the size. */
  settle({ desired, decision, memory, entry }: Proposal, nowMs: number): void {
    this.memory = memory;
    this.known = desired;
    this.cooldownUntilMs = nowMs + decision.cooldownLeftMs;
    this.log.add(entry);
  }

  /** Somebody may have set the size since the last round: then its cooldown begins, and its window too. */
  private meet(settings: ClassSettings, census: Census, nowMs: number): void {
    const { desired, desiredAgeMs, reason } = settings;
    if (desired === null || desired === this.known) {
      return;
    }
    if (this.known === null) {
      this.memory = { ...NO_MEMORY, lastChangeAtMs: nowMs - (desiredAgeMs ?? 0) };
    } else {
      this.memory = { lastChangeAtMs: nowMs, recommendations: [{ atMs: nowMs, desired }] };
      this.log.add(manualEntry(this.known, desired, reason, settings, census));
    }
    this.known = desired;
  }

  // ---- wish ----------------------------------------------------------------------------------------------------

  plan(census: Census, desired: number, nowMs: number): PlannedWish {
    return planWish(census, desired, nowMs >= (launchesAllowedAtMs(this.backOff) ?? 0));
  }

  // ---- crashes -------------------------------------------------------------------------------------------------

  /**
   * @param registeredForMs null = it had never registered
   * @returns true if a back-off began
   */
  ended(exit: WorkerExit, registeredForMs: number | null, nowMs: number): boolean {
    const before = this.backOff;
    const crashed = isEarlyCrash({ ...exit, registeredForMs });
    this.backOff = afterExit(before, { crashed, nowMs });
    return this.backOff !== before;
  }

  /** Of the workers that the driver runs: when the first of them was started, wall clock. */
  livedSince(oldestStartMs: number | null, nowMs: number): void {
    if (oldestStartMs !== null && Date.now() - oldestStartMs >= HEALTHY_AGE_MS) {
      this.backOff = afterHealthy(this.backOff, nowMs);
    }
  }

  // ---- for people ----------------------------------------------------------------------------------------------

  status(nowMs: number): ClassStatus {
    const launchesAt = launchesAllowedAtMs(this.backOff);
    const isBackingOff = launchesAt !== null && launchesAt > nowMs;
    return {
      desired: this.known,
      cooldownLeftMs: Math.max(0, Math.round(this.cooldownUntilMs - nowMs)),
      workerTasksPerS: this.throughput.tasksPerS,
      backOff: isBackingOff
        ? { crashes: this.backOff.crashes, leftMs: Math.round(launchesAt - nowMs) }
        : null,
      decisions: this.log.newest,
    };
  }

  private measure({ live }: Census, { queuedTasks }: ClassDemand, nowMs: number): void {
    this.throughput = measured(this.throughput, live.map(countersOf), nowMs, queuedTasks > 0);
  }
}

/** What the leader knows of a class beyond the record. */
export interface ClassStatus {
  /** Null before the first round. */
  desired: number | null;
  cooldownLeftMs: number;
  /** Of one busy worker; null = not known yet. */
  workerTasksPerS: number | null;
  /** Null = workers may be launched. */
  backOff: { crashes: number; leftMs: number } | null;
  /** Newest first. */
  decisions: readonly LoggedDecision[];
}

function countersOf(worker: Census['live'][number]): WorkerCounters {
  const { workerId, registration, tasksCompleted, tasksFailed, busyMs } = worker;
  return {
    workerId,
    incarnation: registration.incarnation,
    tasks: tasksCompleted + tasksFailed,
    busyMs,
    slots: registration.capacity.maxConcurrentFlows,
  };
}

function entryOf(sample: PoolSample, decision: ScalingDecision, reason: string): LoggedDecision {
  const { nowMs: _, desired, ...numbers } = sample;
  const { action, rule, wanted, heldBackBy } = decision;
  return {
    at: new Date().toISOString(),
    action,
    rule,
    from: desired,
    to: decision.desired,
    reason,
    wanted,
    heldBackBy,
    numbers: { ...numbers, averageLoad: Math.round(numbers.averageLoad * 1_000) / 1_000 },
  };
}

function manualEntry(
  from: number,
  to: number,
  reason: string,
  { minWorkers, maxWorkers, paused }: ClassSettings,
  census: Census,
): LoggedDecision {
  return {
    at: new Date().toISOString(),
    action: to > from ? 'up' : 'down',
    rule: 'manual',
    from,
    to,
    reason,
    wanted: to,
    heldBackBy: [],
    numbers: {
      liveWorkers: census.live.length,
      averageLoad: Math.round(averageLoad(census) * 1_000) / 1_000,
      queuedTasks: 0,
      unmetTasks: 0,
      workerTasksPerS: null,
      minWorkers,
      maxWorkers,
      paused,
    },
  };
}
