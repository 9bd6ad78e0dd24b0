import { beforeAll, describe, expect, it } from '@jest/globals';
import { EventQueue } from '../../../scripts/scaling/event-queue.mjs';
import { markdownTable } from '../../../scripts/scaling/report.mjs';
import { LeastBusy } from '../../../src/worker/selection/least-busy.js';
import { RoundRobin } from '../../../src/worker/selection/round-robin.js';
import type { Strategy } from '../../../src/worker/selection/selection.js';
import { Weighted } from '../../../src/worker/selection/weighted.js';
import { WorkerPool } from '../../../src/worker/worker-pool.js';
import { heartbeat, registration, seededRandom } from '../../support/workers.js';

/**
 * Why a worker is chosen by the ledger and not by the load that it reports: a report is up to 15 s old, so that for
 * 15 s everything goes to the worker that was least busy at its start. In simulated time, on the real pool.
 */

const SLOTS = 5;
const HEARTBEAT_MS = 15_000;
/** A third of the workers is half as fast, a third twice as fast. */
const SPEEDS = Array.from({ length: 21 }, (_, index) => [0.5, 1, 2][index % 3]!);
/** On a worker of speed 1. */
const [SHORT_MS, LONG_MS, LONG_SHARE] = [500, 10_000, 0.1];
const MEAN_MS = SHORT_MS + LONG_SHARE * (LONG_MS - SHORT_MS);
const UTILIZATION = 0.8;
const TASKS = 30_000;

interface Task {
  id: string;
  atMs: number;
  durationMs: number;
}

/** The same for every way of choosing. */
function arrivals(seed: number): Task[] {
  const random = seededRandom(seed);
  const capacityPerMs = (SPEEDS.reduce((sum, speed) => sum + speed, 0) * SLOTS) / MEAN_MS;
  let atMs = 0;
  return Array.from({ length: TASKS }, (_, index) => {
    atMs -= Math.log(1 - random()) / (capacityPerMs * UTILIZATION);
    return { id: `task-${index}`, atMs, durationMs: random() < LONG_SHARE ? LONG_MS : SHORT_MS };
  });
}

interface SimulatedWorker {
  workerId: string;
  speed: number;
  running: number;
  /** What it was given and has no slot for. */
  backlog: Task[];
  /** Flows that it had when it last reported, those that waited in it too. */
  reported: number;
}

/** Gives the next task to a worker, or to none yet. */
type Choose = (workers: readonly SimulatedWorker[], pool: WorkerPool) => string | null;

const byPool: Choose = (_, pool) => pool.pick('delay')?.workerId ?? null;

/** The naive way: the smallest load of the last heartbeats, ties at random; among `eligible` ones. */
function byReport(seed: number, eligible: (workerId: string, pool: WorkerPool) => boolean): Choose {
  const random = seededRandom(seed);
  return (workers, pool) => {
    const candidates = workers.filter(({ workerId }) => eligible(workerId, pool));
    const least = Math.min(...candidates.map(({ reported }) => reported));
    const best = candidates.filter(({ reported }) => reported === least);
    return best[Math.floor(random() * best.length)]?.workerId ?? null;
  };
}

type Happening =
  | { kind: 'arrive'; task: Task }
  | { kind: 'end'; task: Task; worker: SimulatedWorker }
  | { kind: 'report'; worker: SimulatedWorker }
  | { kind: 'measure' };

interface Outcome {
  p50WaitMs: number;
  p99WaitMs: number;
  /** Standard deviation of held / slots over the workers, mean of all seconds. */
  spread: number;
}

function simulate(tasks: Task[], strategy: Strategy, choose: Choose): Outcome {
  let nowMs = 0;
  const pool = new WorkerPool({ strategy, loadLimitPercent: 80, now: () => nowMs });
  const workers = SPEEDS.map((speed, index): SimulatedWorker => {
    const workerId = `w${index}`;
    pool.setLifecycle(pool.register(registration({ workerId, slots: SLOTS, weight: speed })), 'ready');
    return { workerId, speed, running: 0, backlog: [], reported: 0 };
  });
  const events = new EventQueue<Happening>();
  const [waitsMs, spreads, waiting]: [number[], number[], Task[]] = [[], [], []];

  const begin = (task: Task, worker: SimulatedWorker): void => {
    worker.running++;
    waitsMs.push(nowMs - task.atMs);
    events.push(nowMs + task.durationMs / worker.speed, { kind: 'end', task, worker });
  };
  const dispatch = (): void => {
    for (let next = waiting[0]; next; next = waiting[0]) {
      const chosen = choose(workers, pool);
      if (chosen === null) {
        return;
      }
      waiting.shift();
      pool.hold(next.id, 1, chosen);
      const worker = workers.find(({ workerId }) => workerId === chosen)!;
      if (worker.running < SLOTS) {
        begin(next, worker);
      } else {
        worker.backlog.push(next);
      }
    }
  };
  const handle = (event: Happening): void => {
    if (event.kind === 'arrive') {
      waiting.push(event.task);
    } else if (event.kind === 'end') {
      event.worker.running--;
      pool.release(event.task.id, 1);
      const own = event.worker.backlog.shift();
      if (own) {
        begin(own, event.worker);
      }
    } else if (event.kind === 'report') {
      const { worker } = event;
      worker.reported = worker.running + worker.backlog.length;
      const currentLoad = { ...heartbeat({ workerId: '' }).currentLoad, activeFlows: worker.running };
      pool.heartbeat(heartbeat({ workerId: worker.workerId, currentLoad }));
      events.push(nowMs + HEARTBEAT_MS, event);
    } else {
      spreads.push(deviation(workers.map(({ workerId }) => pool.get(workerId)!.held / SLOTS)));
      events.push(nowMs + 1_000, event);
    }
  };

  tasks.forEach((task) => events.push(task.atMs, { kind: 'arrive', task }));
  workers.forEach((worker, index) =>
    events.push((index * HEARTBEAT_MS) / workers.length, { kind: 'report', worker }),
  );
  events.push(0, { kind: 'measure' });
  while (waitsMs.length < tasks.length) {
    const next = events.pop()!;
    nowMs = next.atMs;
    handle(next.value);
    dispatch();
  }
  const sorted = waitsMs.toSorted((a, b) => a - b);
  const at = (q: number): number => sorted[Math.floor(q * (sorted.length - 1))]!;
  return { p50WaitMs: at(0.5), p99WaitMs: at(0.99), spread: mean(spreads) };
}

const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

function deviation(values: number[]): number {
  const middle = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - middle) ** 2)));
}

describe('choosing a worker, with heartbeats 15 s apart', () => {
  const NAIVE = 'smallest reported load';
  const NAIVE_WITH_SLOTS = 'the same, full workers left out';
  const hasSlot = (workerId: string, pool: WorkerPool): boolean => pool.get(workerId)!.held < SLOTS;
  const outcomes = new Map<string, Outcome>();
  const of = (name: string): Outcome => outcomes.get(name)!;

  beforeAll(() => {
    const tasks = arrivals(7);
    const random = seededRandom(3);
    outcomes.set('least_busy', simulate(tasks, new LeastBusy(random), byPool));
    outcomes.set('round_robin', simulate(tasks, new RoundRobin(), byPool));
    outcomes.set('weighted', simulate(tasks, new Weighted(), byPool));
    outcomes.set(
      NAIVE,
      simulate(
        tasks,
        new RoundRobin(),
        byReport(5, () => true),
      ),
    );
    outcomes.set(NAIVE_WITH_SLOTS, simulate(tasks, new RoundRobin(), byReport(5, hasSlot)));
    const rows = [...outcomes].map(([name, { p50WaitMs, p99WaitMs, spread }]) => [
      name,
      `${p50WaitMs.toFixed(0)} ms`,
      `${p99WaitMs.toFixed(0)} ms`,
      spread.toFixed(2),
    ]);
    const head = ['chosen by', 'p50 wait', 'p99 wait', 'spread of held / slots'];
    process.stdout.write(`\n${markdownTable([head, ...rows], 1)}\n`);
  });

  it('least_busy makes tasks wait a tenth, or less, of what the smallest reported load does', () => {
    expect(of('least_busy').p99WaitMs).toBeLessThan(of(NAIVE).p99WaitMs / 10);
  });

  it('and spreads them far more evenly, with slots or without', () => {
    expect(of('least_busy').spread).toBeLessThan(of(NAIVE).spread / 5);
    expect(of('least_busy').spread).toBeLessThan(of(NAIVE_WITH_SLOTS).spread / 2);
  });

  it.each(['round_robin', 'weighted'])(
    'and more evenly than %s, which is more even than reports too',
    (other) => {
      expect(of('least_busy').spread).toBeLessThan(of(other).spread);
      expect(of(other).spread).toBeLessThan(of(NAIVE_WITH_SLOTS).spread);
    },
  );
});
