/** Replays an arrival trace on simulated workers of one class, in simulated time. No I/O, no clock. */
import { EventQueue } from './event-queue.mjs';

/**
 * @typedef {object} Task
 * @property {number} atMs when it arrives
 * @property {number} durationMs
 *
 * @typedef {object} Pool
 * @property {number} slots a worker
 * @property {number} bootMs from the wish for a worker until it takes tasks
 * @property {number} minWorkers
 * @property {number} maxWorkers
 *
 * @typedef {object} Observation what a scaler sees
 * @property {number} nowMs
 * @property {number} desired asked for so far
 * @property {number} liveWorkers
 * @property {number} averageLoad of them, 0..1
 * @property {number} waiting
 * @property {number} running
 * @property {number | null} workerTasksPerS slots / mean duration of the last 200 tasks that ended
 *
 * @typedef {object} Scaler
 * @property {string} name
 * @property {number} intervalMs
 * @property {(seen: Observation) => number} next the size to ask for
 *
 * @typedef {object} Outcome
 * @property {number} underWorkerS workers that were missing, summed over the seconds
 * @property {number} overWorkerS workers that were too many, summed over the seconds
 * @property {number} p50WaitS from arrival to start
 * @property {number} p99WaitS
 * @property {number} ups
 * @property {number} downs
 * @property {number} workerHours of all that ran, from the wish for them to their end
 *
 * @typedef {{ state: 'starting' | 'live' | 'draining' | 'gone', held: number }} Worker
 * @typedef {{ kind: 'end', worker: Worker, task: Task } | { kind: 'ready', worker: Worker } | { kind: 'arrive', task: Task } | { kind: 'scale' } | { kind: 'second' }} Event
 */

const RECENT_TASKS = 200;

/**
 * Workers take tasks first in, first out, the least busy one first. A smaller size first stops those that are still
 * starting, then drains the least busy.
 *
 * Each second, an oracle's size is ceil((running + waiting) / slots), within the bounds. It knows no boot time. Missing
 * is what it has more than live and draining workers; too many is what all that run, starting ones too, are more.
 *
 * @param {{ tasks: Task[], untilMs: number, startWorkers: number }} trace
 * @param {Scaler} scaler
 * @param {Pool} pool
 * @returns {Outcome}
 */
export function simulate(trace, scaler, pool) {
  const run = new Run(trace, pool);
  for (const task of trace.tasks) run.events.push(task.atMs, { kind: 'arrive', task });
  run.events.push(0, { kind: 'second' });
  run.events.push(0, { kind: 'scale' });
  for (let next = run.events.pop(); next; next = run.events.pop()) {
    run.nowMs = next.atMs;
    run.handle(next.value, scaler);
  }
  return run.outcome();
}

class Run {
  nowMs = 0;
  /** @type {EventQueue<Event>} */
  events = new EventQueue();
  /** @type {Worker[]} */
  workers = [];
  /** @type {Task[]} */
  waiting = [];
  firstWaiting = 0;
  running = 0;
  /** @type {number[]} */
  waitsMs = [];
  /** @type {number[]} */
  recentMs = [];
  underWorkerS = 0;
  overWorkerS = 0;
  paidWorkerS = 0;
  ups = 0;
  downs = 0;

  /**
   * @param {{ tasks: Task[], untilMs: number, startWorkers: number }} trace
   * @param {Pool} pool
   */
  constructor({ tasks, untilMs, startWorkers }, pool) {
    this.pool = pool;
    this.untilMs = untilMs;
    this.unfinished = tasks.length;
    this.desired = Math.min(pool.maxWorkers, Math.max(pool.minWorkers, startWorkers));
    this.workers = Array.from({ length: this.desired }, () => ({ state: 'live', held: 0 }));
  }

  /**
   * @param {Event} event
   * @param {Scaler} scaler
   */
  handle(event, scaler) {
    if (event.kind === 'arrive') this.waiting.push(event.task);
    if (event.kind === 'ready' && event.worker.state === 'starting') event.worker.state = 'live';
    if (event.kind === 'end') this.end(event.worker, event.task);
    if (event.kind === 'second') this.measure();
    if (event.kind === 'scale') this.resize(scaler.next(this.observe()));
    if (event.kind === 'second') this.again(event, 1_000);
    if (event.kind === 'scale') this.again(event, scaler.intervalMs);
    this.assign();
  }

  /**
   * Until the end of the trace and of its last task.
   *
   * @param {Event} event
   * @param {number} afterMs
   */
  again(event, afterMs) {
    if (this.nowMs < this.untilMs || this.unfinished > 0) this.events.push(this.nowMs + afterMs, event);
  }

  get waitingCount() {
    return this.waiting.length - this.firstWaiting;
  }

  /** @param {Worker['state'][]} states */
  in(...states) {
    return this.workers.filter(({ state }) => states.includes(state));
  }

  assign() {
    while (this.waitingCount > 0) {
      const worker = leastBusy(this.in('live'));
      if (!worker || worker.held >= this.pool.slots) return;
      const task = /** @type {Task} */ (this.waiting[this.firstWaiting++]);
      worker.held++;
      this.running++;
      this.waitsMs.push(this.nowMs - task.atMs);
      this.events.push(this.nowMs + task.durationMs, { kind: 'end', worker, task });
    }
  }

  /**
   * @param {Worker} worker
   * @param {Task} task
   */
  end(worker, task) {
    worker.held--;
    this.running--;
    this.unfinished--;
    this.recentMs.push(task.durationMs);
    if (this.recentMs.length > RECENT_TASKS) this.recentMs.shift();
    if (worker.state === 'draining' && worker.held === 0) this.remove(worker);
  }

  /** @returns {Observation} */
  observe() {
    const live = this.in('live');
    const held = live.reduce((sum, worker) => sum + worker.held, 0);
    const { slots } = this.pool;
    return {
      nowMs: this.nowMs,
      desired: this.desired,
      liveWorkers: live.length,
      averageLoad: live.length === 0 ? 0 : held / (live.length * slots),
      waiting: this.waitingCount,
      running: this.running,
      workerTasksPerS:
        this.recentMs.length === 0 ? null : (slots * 1_000) / (sum(this.recentMs) / this.recentMs.length),
    };
  }

  /** @param {number} size */
  resize(size) {
    if (size > this.desired) this.ups++;
    if (size < this.desired) this.downs++;
    this.desired = size;
    for (let missing = size - this.in('starting', 'live').length; missing > 0; missing--) this.start();
    for (let excess = this.in('starting', 'live').length - size; excess > 0; excess--) {
      this.retire(this.in('starting').at(-1) ?? /** @type {Worker} */ (leastBusy(this.in('live'))));
    }
  }

  start() {
    /** @type {Worker} */
    const worker = { state: 'starting', held: 0 };
    this.workers.push(worker);
    this.events.push(this.nowMs + this.pool.bootMs, { kind: 'ready', worker });
  }

  /** @param {Worker} worker */
  retire(worker) {
    worker.state = 'draining';
    if (worker.held === 0) this.remove(worker);
  }

  /** @param {Worker} worker */
  remove(worker) {
    worker.state = 'gone';
    this.workers.splice(this.workers.indexOf(worker), 1);
  }

  measure() {
    const { slots, minWorkers, maxWorkers } = this.pool;
    const asked = Math.ceil((this.running + this.waitingCount) / slots);
    const needed = Math.min(maxWorkers, Math.max(minWorkers, asked));
    this.underWorkerS += Math.max(0, needed - this.in('live', 'draining').length);
    this.overWorkerS += Math.max(0, this.workers.length - needed);
    this.paidWorkerS += this.workers.length;
  }

  /** @returns {Outcome} */
  outcome() {
    const waits = this.waitsMs.toSorted((a, b) => a - b);
    return {
      underWorkerS: this.underWorkerS,
      overWorkerS: this.overWorkerS,
      p50WaitS: quantile(waits, 0.5) / 1_000,
      p99WaitS: quantile(waits, 0.99) / 1_000,
      ups: this.ups,
      downs: this.downs,
      workerHours: this.paidWorkerS / 3_600,
    };
  }
}

/**
 * @param {Worker[]} workers
 * @returns {Worker | null} the first of those that hold least
 */
function leastBusy(workers) {
  return workers.reduce(
    (best, worker) => (best === null || worker.held < best.held ? worker : best),
    /** @type {Worker | null} */ (null),
  );
}

/** @param {number[]} values */
function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

/**
 * The nearest-rank quantile.
 *
 * @param {number[]} sorted
 * @param {number} q
 */
function quantile(sorted, q) {
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? 0;
}
