import type { WorkerLoad, WorkerRegistrationMessage, WorkerStatus } from '../queue/contracts/fleet.js';
import type { TaskReport } from '../queue/contracts/reports.js';
import type { EndRate } from './end-rate.js';

/** `joining`: registered, its queue is not declared yet. `draining`: finishes what it has. `gone`: left or lost. */
export type Lifecycle = 'joining' | 'ready' | 'draining' | 'gone';

/** Tasks that one worker gets together. */
export interface Run {
  given: number;
  /** Then it is over, and when its time is. */
  most: number;
  /** Monotonic, ms. */
  untilMs: number;
}

/** One worker as the orchestrator sees it. */
export interface WorkerRecord {
  readonly workerId: string;
  registration: WorkerRegistrationMessage;
  /** The sorted node types joined with `,`: workers with the same one are interchangeable and form a group. */
  signature: string;
  lifecycle: Lifecycle;
  /** True while its heartbeats are overdue or its queue has no consumer, and no verdict is given yet. */
  suspect: boolean;
  status: WorkerStatus;
  load: WorkerLoad;
  /** Its queue has been seen with a consumer since it registered. */
  hasConsumed: boolean;
  /** Slots taken, by the ledger. */
  held: number;
  /** What it holds has it to itself. */
  alone: boolean;
  /** It gets nothing more until it is empty, and then a task that has to be alone. */
  keptFree: boolean;
  /** Our monotonic clock, ms. */
  lastHeartbeatAtMs: number;
  /** Wall clock, for people. */
  registeredAt: Date;
  lastHeartbeatAt: Date | null;
  lastAssignmentSeq: number;
  heldExecutionIds: string[];
  tasksCompleted: number;
  tasksFailed: number;
  busyMs: number;
  /** It handed back a task for want of a slot, and has neither ended one since nor said that it has a slot. */
  late: boolean;
  /** How long its latest tasks ran: what tells whether it is given tasks ahead. */
  meanRunMs: number;
  /** How much of its time each of them took, as those side by side share it: what tells how many it is given together. */
  meanShareMs: number;
  /** Of its tasks. */
  ends: EndRate;
  /** When the last of them was heard of, by our monotonic clock; -Infinity = none yet. */
  lastEndAtMs: number;
  /** When it was last picked, counted in picks: what `round_robin` goes by. */
  lastPick: number;
  /** The last that `least_busy` began to give it; null = a single task. */
  run: Run | null;
  /** The share of its slots that `least_busy` goes by, and by what it chooses among equals: as of when it got or lost a task. */
  shareTaken: number;
  tieBreak: number;
  /** Where it is in its group's heap; -1 = it is not. */
  place: number;
  /** Current weight of smooth weighted round robin. */
  currentWeight: number;
}

export const NO_LOAD: WorkerLoad = {
  activeFlows: 0,
  activeNodes: 0,
  memoryUsagePercent: 0,
  cpuUsagePercent: 0,
  queuedTasks: 0,
};

export function signatureOf(nodeTypes: string[]): string {
  return [...new Set(nodeTypes)].toSorted().join(',');
}

/**
 * A slot's way round, from one task to the next over the orchestrator, under load: what a slot is given ahead is to keep it
 * busy so long, and not much longer. A task that takes as long or longer by itself is not short.
 */
const ROUND_MS = 25;
/** What a worker counts for that nobody knows yet. It takes some 120 short tasks to come down from there. */
export const UNKNOWN_RUN_MS = 1_000;
/** The weight of the newest in the moving average. */
const RUN_WEIGHT = 1 / 32;

/**
 * Notes that a task ended, and how long it ran.
 * @param durationMs null = it failed or was cancelled: that says how fast the worker fails, and one that fails at once would
 * get the most
 * @param shareMs of the worker's time
 */
export function learnRun(
  worker: WorkerRecord,
  durationMs: number | null,
  shareMs: number,
  nowMs: number,
): void {
  worker.late = false;
  worker.ends.count(nowMs);
  worker.lastEndAtMs = nowMs;
  if (durationMs !== null) {
    worker.meanRunMs += (durationMs - worker.meanRunMs) * RUN_WEIGHT;
    worker.meanShareMs += (shareMs - worker.meanShareMs) * RUN_WEIGHT;
  }
}

/** What a report says of the time that its attempt took. */
type Ran = Pick<TaskReport, 'durationMs' | 'startedAt' | 'finishedAt'>;

/**
 * What each of the tasks that were reported together took of their worker's time, ms; 0 = nobody says how long they ran. Each
 * one's own duration counts the work of those that ran beside it, too. So it is the time in which all of them were done, by the
 * worker's clock, if that goes right: no shorter than the longest, no longer than one after the other.
 */
export function shareOfEach(ends: readonly Ran[]): number {
  let count = 0;
  let sumMs = 0;
  let longestMs = 0;
  let from = '';
  let to = '';
  for (const { durationMs, startedAt = '', finishedAt = '' } of ends) {
    if (durationMs !== undefined) {
      count++;
      sumMs += durationMs;
      longestMs = Math.max(longestMs, durationMs);
      from = count === 1 || startedAt < from ? startedAt : from;
      to = finishedAt > to ? finishedAt : to;
    }
  }
  const spanMs = Date.parse(to) - Date.parse(from);
  // NaN: one of them says no time.
  const doneMs = Number.isNaN(spanMs) ? longestMs : Math.max(longestMs, Math.min(sumMs, spanMs));
  return doneMs / Math.max(1, count);
}

export function freeSlots(worker: WorkerRecord): number {
  return worker.registration.capacity.maxConcurrentFlows - worker.held;
}

/** How many more it may be given: its free slots or, once these are taken, what it may have ahead. */
export function room(worker: WorkerRecord): number {
  const free = freeSlots(worker);
  const ahead = worker.registration.capacity.maxConcurrentFlows * aheadOfSlot(worker);
  return free > 0 ? free : Math.max(0, free + ahead);
}

/** How many short tasks it may have ahead of each slot. */
function aheadOfSlot({ registration, meanRunMs }: WorkerRecord): number {
  return Math.min(registration.takesAhead ?? 0, Math.floor(ROUND_MS / meanRunMs));
}

/** max(flows held / slots, active nodes / node limit), 0..1. Slots by the ledger: a heartbeat may be 15 s old. */
export function loadRatio(worker: WorkerRecord): number {
  const { maxConcurrentFlows, maxConcurrentNodes } = worker.registration.capacity;
  return Math.min(
    1,
    Math.max(worker.held / maxConcurrentFlows, worker.load.activeNodes / maxConcurrentNodes),
  );
}

/** Why this worker gets no task now; null if it may get one. */
export function notAssignableReason(worker: WorkerRecord, loadLimitPercent: number): string | null {
  const reason = unfitReason(worker, loadLimitPercent);
  return reason === null && worker.keptFree
    ? 'it is kept free for a flow that has to run alone, since its workers were lost before'
    : reason;
}

/** May it get a task that has to be alone? */
export function mayRunAlone(worker: WorkerRecord, loadLimitPercent: number): boolean {
  return worker.held === 0 && unfitReason(worker, loadLimitPercent) === null;
}

/** May it be emptied for a task that has to be alone? Full or not: it will be empty in time. */
export function canBeKeptFree(worker: WorkerRecord, loadLimitPercent: number): boolean {
  return !worker.alone && stateReason(worker, loadLimitPercent) === null;
}

/**
 * May it get a task for which it has no slot yet? A short task is over before word of its end is back here and the next
 * one there; what waits at the worker meanwhile keeps its slots busy. A long one would wait where it is, while slots
 * elsewhere become free.
 */
export function mayGetAhead(worker: WorkerRecord, loadLimitPercent: number): boolean {
  return room(worker) > 0 && hasShortTasks(worker, loadLimitPercent);
}

/** How many of its short tasks it could end in a second, by their time alone; 0 = they are not short, or it gets none. */
export function shortTasksPerS(worker: WorkerRecord, loadLimitPercent: number): number {
  const { maxConcurrentFlows } = worker.registration.capacity;
  const ended = (maxConcurrentFlows * 1_000) / Math.max(1, worker.meanRunMs);
  return hasShortTasks(worker, loadLimitPercent) ? ended : 0;
}

/** Its tasks are over in moments, and it may get more when it has room. */
function hasShortTasks(worker: WorkerRecord, loadLimitPercent: number): boolean {
  return (
    aheadOfSlot(worker) > 0 &&
    !worker.alone &&
    !worker.late &&
    !worker.keptFree &&
    stateReason(worker, loadLimitPercent) === null
  );
}

function unfitReason(worker: WorkerRecord, loadLimitPercent: number): string | null {
  const reason = stateReason(worker, loadLimitPercent);
  if (reason !== null) {
    return reason;
  }
  if (worker.alone) {
    return 'it runs a flow alone, since the workers of its earlier attempts were lost';
  }
  if (worker.late) {
    return 'it handed back a task for which it had no slot, and has ended none since';
  }
  if (freeSlots(worker) <= 0) {
    return `all its ${worker.registration.capacity.maxConcurrentFlows} slots are taken`;
  }
  return null;
}

/** What speaks against the worker whatever it holds. */
function stateReason(worker: WorkerRecord, loadLimitPercent: number): string | null {
  if (worker.lifecycle !== 'ready') {
    return `it is ${worker.lifecycle}`;
  }
  if (worker.suspect) {
    return 'it is suspected to be lost';
  }
  if (worker.status === 'critical') {
    return 'it reports the status critical';
  }
  if (worker.load.memoryUsagePercent >= loadLimitPercent) {
    return `its memory is at ${Math.round(worker.load.memoryUsagePercent)} %, the limit is ${loadLimitPercent} %`;
  }
  if (worker.load.cpuUsagePercent >= loadLimitPercent) {
    return `its CPU is at ${Math.round(worker.load.cpuUsagePercent)} %, the limit is ${loadLimitPercent} %`;
  }
  return null;
}
