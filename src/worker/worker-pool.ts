import type { WorkerHeartbeatMessage, WorkerRegistrationMessage } from '../queue/contracts/fleet.js';
import { EndRate } from './end-rate.js';
import { type HeldTask, Ledger } from './ledger.js';
import type { Selection, Strategy } from './selection/selection.js';
import {
  canBeKeptFree,
  freeSlots,
  learnRun,
  type Lifecycle,
  mayGetAhead,
  mayRunAlone,
  NO_LOAD,
  notAssignableReason,
  shortTasksPerS,
  signatureOf,
  UNKNOWN_RUN_MS,
  type WorkerRecord,
} from './worker-record.js';

/** Can a task of some class run? `none`: no live worker supports it; `full`: some do, and none has room. */
export type ClassState = 'free' | 'full' | 'none';

/** Workers that support exactly the same node types. */
interface Group {
  types: Set<string>;
  members: Set<WorkerRecord>;
  /** Those with a free slot. */
  free: Selection;
  /** Those without, that may get tasks ahead. */
  ahead: Selection;
}

export interface WorkerPoolOptions {
  strategy: Strategy;
  /** Memory or CPU at or above this, and the worker gets nothing new. */
  loadLimitPercent: number;
  /** Monotonic, ms. */
  now: () => number;
}

/** Bounds the memory that distinct combinations of node types can take. */
const CLASS_CACHE_LIMIT = 10_000;

/**
 * The pool as the dispatcher uses it: who is there, who holds what, who gets the next task. Workers are grouped by
 * the set of node types they support. A class of tasks (its required node types) maps to the groups that cover it,
 * worked out once per class; a pick then compares one candidate a group. No I/O, no timers.
 */
export class WorkerPool {
  readonly ledger = new Ledger();
  private readonly workers = new Map<string, WorkerRecord>();
  private readonly groups = new Map<string, Group>();
  private readonly groupsByClass = new Map<string, Group[]>();
  private keptFree: WorkerRecord | null = null;

  constructor(private readonly options: WorkerPoolOptions) {}

  get(workerId: string): WorkerRecord | null {
    return this.workers.get(workerId) ?? null;
  }

  all(): IterableIterator<WorkerRecord> {
    return this.workers.values();
  }

  /** Registered and not gone. */
  live(): WorkerRecord[] {
    return [...this.workers.values()].filter((worker) => worker.lifecycle !== 'gone');
  }

  /** Adds the worker, or brings its record up to date; a new incarnation starts with a clean record. */
  register(registration: WorkerRegistrationMessage): WorkerRecord {
    const { workerId } = registration;
    const known = this.workers.get(workerId);
    if (known) {
      this.leaveGroup(known);
    }
    const sameProcess = known?.registration.incarnation === registration.incarnation;
    const worker: WorkerRecord =
      known && sameProcess
        ? { ...known, registration }
        : {
            workerId,
            registration,
            signature: '',
            lifecycle: 'joining',
            suspect: false,
            hasConsumed: false,
            status: 'healthy',
            load: NO_LOAD,
            held: 0,
            alone: false,
            keptFree: false,
            lastHeartbeatAtMs: 0,
            registeredAt: new Date(),
            lastHeartbeatAt: null,
            lastAssignmentSeq: 0,
            heldExecutionIds: [],
            tasksCompleted: 0,
            tasksFailed: 0,
            busyMs: 0,
            late: false,
            meanRunMs: UNKNOWN_RUN_MS,
            meanShareMs: UNKNOWN_RUN_MS,
            ends: new EndRate(),
            lastEndAtMs: -Infinity,
            lastPick: 0,
            run: null,
            shareTaken: 0,
            tieBreak: 0,
            place: -1,
            currentWeight: 0,
          };
    worker.signature = signatureOf(registration.supportedNodeTypes);
    worker.heldExecutionIds = registration.heldExecutionIds;
    worker.held = this.ledger.count(workerId);
    worker.alone = this.ledger.soloOf(workerId) !== null;
    worker.keptFree = false;
    worker.lastHeartbeatAtMs = this.options.now();
    if (worker.lifecycle === 'gone') {
      // It lost its queue when it was given up, so it begins anew.
      worker.lifecycle = 'joining';
      worker.hasConsumed = false;
      worker.registeredAt = new Date();
    }
    this.workers.set(workerId, worker);
    this.joinGroup(worker);
    return worker;
  }

  /** @returns false if this incarnation of the worker is not registered: it has to register first */
  heartbeat(heartbeat: WorkerHeartbeatMessage): boolean {
    const worker = this.workers.get(heartbeat.workerId);
    if (!worker || worker.lifecycle === 'gone' || worker.registration.incarnation !== heartbeat.incarnation) {
      return false;
    }
    worker.status = heartbeat.status;
    worker.load = heartbeat.currentLoad;
    worker.late &&= heartbeat.currentLoad.activeFlows >= worker.registration.capacity.maxConcurrentFlows;
    worker.lastAssignmentSeq = heartbeat.lastAssignmentSeq;
    worker.heldExecutionIds = heartbeat.heldExecutionIds;
    worker.lastHeartbeatAtMs = this.options.now();
    worker.lastHeartbeatAt = new Date();
    if (heartbeat.draining && worker.lifecycle !== 'draining') {
      worker.lifecycle = 'draining';
    }
    this.refresh(worker);
    return true;
  }

  /** What a replica that does not lead knows of a worker's slots: the worker's own word. */
  assume(workerId: string, held: number): void {
    const worker = this.workers.get(workerId);
    if (worker) {
      worker.held = held;
      this.refresh(worker);
    }
  }

  setLifecycle(worker: WorkerRecord, lifecycle: Lifecycle): void {
    worker.lifecycle = lifecycle;
    this.refresh(worker);
    if (lifecycle === 'gone') {
      this.leaveGroup(worker);
    }
  }

  setSuspect(worker: WorkerRecord, suspect: boolean): void {
    worker.suspect = suspect;
    this.refresh(worker);
  }

  /** Forgets a worker that is gone. */
  forget(workerId: string): void {
    const worker = this.workers.get(workerId);
    if (worker) {
      this.leaveGroup(worker);
      this.workers.delete(workerId);
    }
  }

  /**
   * The strategy's choice for a task of this class, or null; for a solo task, an empty worker. Nothing is held yet.
   * @param mayGoAhead whether a worker without a free slot will do
   */
  pick(requiredTypes: string, solo = false, mayGoAhead = true): WorkerRecord | null {
    if (solo) {
      const empty = this.capable(requiredTypes).filter((worker) => mayRunAlone(worker, this.loadLimit));
      return empty.find(({ keptFree }) => keptFree) ?? empty[0] ?? null;
    }
    const { strategy } = this.options;
    const groups = this.groupsFor(requiredTypes);
    const withSlot = strategy.pick(groups.map(({ free }) => free));
    return withSlot === null && mayGoAhead ? strategy.pick(groups.map(({ ahead }) => ahead)) : withSlot;
  }

  /** Some worker could take a task of this class at once. */
  canTake(requiredTypes: string, solo: boolean, mayGoAhead = true): boolean {
    return solo
      ? this.pick(requiredTypes, true) !== null
      : this.groupsFor(requiredTypes).some(
          ({ free, ahead }) => free.size > 0 || (mayGoAhead && ahead.size > 0),
        );
  }

  /**
   * From now on one worker gets nothing but a solo task of this class: the one with the least to finish. Without it no
   * worker would ever be empty under load. Null ends that.
   */
  keepFree(requiredTypes: string | null): void {
    const before = this.keptFree;
    const candidates = requiredTypes === null ? [] : this.capable(requiredTypes);
    this.keptFree = candidates
      .filter((worker) => canBeKeptFree(worker, this.loadLimit))
      .reduce<WorkerRecord | null>(
        (best, worker) =>
          best === null || worker.held < best.held || (worker.held === best.held && worker === before)
            ? worker
            : best,
        null,
      );
    for (const worker of new Set([before, this.keptFree])) {
      if (worker) {
        worker.keptFree = worker === this.keptFree;
        this.refresh(worker);
      }
    }
  }

  /** A worker could take tasks of the one class as well as of the other. */
  shareWorkers(requiredTypes: string, otherTypes: string): boolean {
    const others = this.groupsFor(otherTypes);
    return this.groupsFor(requiredTypes).some((group) => others.includes(group));
  }

  classState(requiredTypes: string): ClassState {
    const groups = this.groupsFor(requiredTypes);
    if (groups.length === 0) {
      return 'none';
    }
    return groups.some(hasRoom) ? 'free' : 'full';
  }

  /** How many tasks of this class its workers could end in a second, as far as they run short tasks. */
  shortTasksPerS(requiredTypes: string): number {
    let tasks = 0;
    for (const { members } of this.groupsFor(requiredTypes)) {
      for (const worker of members) {
        tasks += shortTasksPerS(worker, this.loadLimit);
      }
    }
    return tasks;
  }

  /** How many tasks its workers have ended in a second, by the last half to whole second. */
  endedPerS(requiredTypes: string): number {
    const nowMs = this.options.now();
    let tasks = 0;
    for (const { members } of this.groupsFor(requiredTypes)) {
      for (const { ends } of members) {
        tasks += ends.perS(nowMs);
      }
    }
    return tasks;
  }

  /** Some worker could take a task of some class. */
  hasRoom(): boolean {
    return [...this.groups.values()].some(hasRoom);
  }

  knownNodeTypes(): Set<string> {
    return new Set([...this.groups.values()].flatMap(({ types }) => [...types]));
  }

  hold(executionId: string, attempt: number, workerId: string, solo = false): HeldTask {
    const previous = this.ledger.find(executionId);
    const task = this.ledger.hold(executionId, attempt, workerId, solo);
    if (previous && previous.workerId !== workerId) {
      this.recount(previous.workerId);
    }
    this.recount(workerId);
    return task;
  }

  release(executionId: string, attempt?: number, workerId?: string): HeldTask | null {
    const task = this.ledger.release(executionId, attempt, workerId);
    if (task) {
      this.recount(task.workerId);
    }
    return task;
  }

  /**
   * A task of this worker ended.
   * @param durationMs null = not to be learned from
   * @param shareMs of the worker's time; default: it ran alone
   */
  ran(workerId: string, durationMs: number | null, shareMs = durationMs ?? 0): void {
    const worker = this.workers.get(workerId);
    if (!worker) {
      return;
    }
    const wasLate = worker.late;
    learnRun(worker, durationMs, shareMs, this.options.now());
    if (wasLate) {
      this.refresh(worker);
    }
  }

  /**
   * A worker had no slot for a task for long: it gets none until it has one, and none ahead until its tasks are short
   * again. The ledger may think that it has slots: a worker that was given up for lost comes back with what it ran.
   */
  wasLate(workerId: string): void {
    const worker = this.workers.get(workerId);
    if (worker) {
      worker.late = true;
      worker.meanRunMs = UNKNOWN_RUN_MS;
      worker.meanShareMs = UNKNOWN_RUN_MS;
      this.refresh(worker);
    }
  }

  /** Begins a leader's term with what the record says is held. */
  rebuild(epoch: number, held: Omit<HeldTask, 'assignmentSeq'>[]): void {
    this.keepFree(null);
    this.ledger.reset(epoch);
    held.forEach(({ executionId, attempt, workerId, solo }) =>
      this.ledger.hold(executionId, attempt, workerId, solo),
    );
    // All of them: a replica that did not lead went by what workers said of their slots.
    [...this.workers.keys()].forEach((workerId) => this.recount(workerId));
  }

  private recount(workerId: string): void {
    const worker = this.workers.get(workerId);
    if (worker) {
      worker.held = this.ledger.count(workerId);
      worker.alone = this.ledger.soloOf(workerId) !== null;
      this.refresh(worker);
    }
  }

  /** Puts the worker where it now belongs in its group's selection. */
  private refresh(worker: WorkerRecord): void {
    const group = this.groups.get(worker.signature);
    if (!group?.members.has(worker)) {
      return;
    }
    if (freeSlots(worker) > 0 && notAssignableReason(worker, this.loadLimit) === null) {
      group.ahead.remove(worker);
      group.free.add(worker);
      return;
    }
    group.free.remove(worker);
    if (mayGetAhead(worker, this.loadLimit)) {
      group.ahead.add(worker);
    } else {
      group.ahead.remove(worker);
    }
  }

  private joinGroup(worker: WorkerRecord): void {
    let group = this.groups.get(worker.signature);
    if (!group) {
      group = {
        types: new Set(worker.signature.split(',')),
        members: new Set(),
        free: this.options.strategy.createSelection(),
        ahead: this.options.strategy.createSelection(),
      };
      this.groups.set(worker.signature, group);
      this.groupsByClass.clear();
    }
    group.members.add(worker);
    this.refresh(worker);
  }

  private leaveGroup(worker: WorkerRecord): void {
    const group = this.groups.get(worker.signature);
    if (!group) {
      return;
    }
    group.members.delete(worker);
    group.free.remove(worker);
    group.ahead.remove(worker);
    if (group.members.size === 0) {
      this.groups.delete(worker.signature);
      this.groupsByClass.clear();
    }
  }

  private get loadLimit(): number {
    return this.options.loadLimitPercent;
  }

  private capable(requiredTypes: string): WorkerRecord[] {
    return this.groupsFor(requiredTypes).flatMap(({ members }) => [...members]);
  }

  private groupsFor(requiredTypes: string): Group[] {
    let groups = this.groupsByClass.get(requiredTypes);
    if (!groups) {
      const required = requiredTypes.split(',');
      groups = [...this.groups.values()].filter(({ types }) => required.every((type) => types.has(type)));
      if (this.groupsByClass.size >= CLASS_CACHE_LIMIT) {
        this.groupsByClass.clear();
      }
      this.groupsByClass.set(requiredTypes, groups);
    }
    return groups;
  }
}

function hasRoom({ free, ahead }: Group): boolean {
  return free.size > 0 || ahead.size > 0;
}
