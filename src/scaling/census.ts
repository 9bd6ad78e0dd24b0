import type { WorkerClass } from '../config/worker-class.js';
import { loadRatio, type WorkerRecord } from '../worker/worker-record.js';
import type { WorkerInstance } from './worker-driver.js';

/** Who there is of one class. */
export interface Census {
  /** In the pool, and neither draining nor gone. */
  live: WorkerRecord[];
  /** Of those: they have their queue. */
  ready: number;
  /** In the pool and on their way out. */
  draining: number;
  /** Live, and the driver does not run them. */
  foreign: number;
  /** Of the driver, and to stay as far as is known: live, or on their way up. */
  serving: WorkerInstance[];
  /** Of the driver, and to end whatever size is wanted: they are asked to already, are draining, or are strays. */
  ending: string[];
}

/** What tells the driver's workers from others, and the quick from the dead. */
export interface Driven {
  /** Null = the driver cannot know: then every live worker is taken for one of its own. */
  instances: readonly WorkerInstance[] | null;
  /** The driver runs it, or did a moment ago. */
  has(workerId: string): boolean;
  /** Its process runs, but the pool lost it. */
  isStray(workerId: string): boolean;
}

/** The class of a worker: one that names none, or none that is known, belongs to the first. */
export function classOf(name: string | undefined, classes: readonly WorkerClass[]): string {
  return classes.some((workerClass) => workerClass.name === name) ? name! : classes[0]!.name;
}

/** One census a class, by name, in the order of the configuration. */
export function takeCensus(
  classes: readonly WorkerClass[],
  workers: Iterable<WorkerRecord>,
  driven: Driven,
): Map<string, Census> {
  const pool = new Map([...workers].map((worker) => [worker.workerId, worker]));
  const instances = driven.instances ?? [...pool.values()].filter(isInPool).map(asInstance(classes));
  const running = new Set(instances.map(({ workerId }) => workerId));
  return new Map(
    classes.map(({ name }) => {
      const members = [...pool.values()].filter(
        ({ registration }) => classOf(registration.workerClass, classes) === name,
      );
      // A process that has ended stays in the pool until somebody notices.
      const isDead = (workerId: string): boolean => driven.has(workerId) && !running.has(workerId);
      const live = members.filter(({ lifecycle, workerId }) => isLive(lifecycle) && !isDead(workerId));
      const own = instances.filter((instance) => classOf(instance.workerClass, classes) === name);
      const isEnding = ({ workerId, retiring, workerClass }: WorkerInstance): boolean =>
        retiring ||
        workerClass !== name ||
        driven.isStray(workerId) ||
        pool.get(workerId)?.lifecycle === 'draining';
      const serving = own.filter((instance) => !isEnding(instance));
      return [
        name,
        {
          live,
          ready: live.filter(({ lifecycle }) => lifecycle === 'ready').length,
          draining: members.filter(({ lifecycle }) => lifecycle === 'draining').length,
          foreign: live.filter(({ workerId }) => !running.has(workerId)).length,
          serving,
          ending: own.filter(isEnding).map(({ workerId }) => workerId),
        },
      ];
    }),
  );
}

export function averageLoad({ live }: Census): number {
  return live.length === 0 ? 0 : live.reduce((sum, worker) => sum + loadRatio(worker), 0) / live.length;
}

function asInstance(classes: readonly WorkerClass[]): (worker: WorkerRecord) => WorkerInstance {
  return ({ workerId, registration, registeredAt, lifecycle }) => ({
    workerId,
    workerClass: classOf(registration.workerClass, classes),
    retiring: lifecycle === 'draining',
    startedAtMs: registeredAt.getTime(),
  });
}

function isLive(lifecycle: WorkerRecord['lifecycle']): boolean {
  return lifecycle === 'joining' || lifecycle === 'ready';
}

function isInPool({ lifecycle }: WorkerRecord): boolean {
  return lifecycle !== 'gone';
}
