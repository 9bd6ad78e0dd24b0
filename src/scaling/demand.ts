import type { WorkerClass } from '../config/worker-class.js';

/** Waiting tasks of one kind. */
export interface WaitingKind {
  /** The node types that a worker has to support, joined with `,`. */
  requiredTypes: string;
  count: number;
}

export interface WaitingWork {
  /** What the orchestrator has in hand. */
  windows: readonly WaitingKind[];
  /** Tasks in the ready queues behind the windows: those on the broker that were not delivered. */
  behindWindows: number;
  /** What waits in the record alone. Why it was parked does not matter here: who is live now decides. */
  parked: readonly WaitingKind[];
}

export interface ClassSupply {
  workerClass: WorkerClass;
  /** What workers of the class support, by the last that registered; null = none was seen yet. */
  learnedNodeTypes: readonly string[] | null;
  /** What each live worker of it supports; equal ones may be given once. */
  liveNodeTypes: readonly (readonly string[])[];
}

export interface ClassDemand {
  /** Waiting, and some live worker, of whatever class, could run it. */
  queuedTasks: number;
  /** Waiting, and no live worker can run it. */
  unmetTasks: number;
}

interface Candidate {
  name: string;
  types: ReadonlySet<string> | 'all';
}

/**
 * Which class has to grow for what waits. Each task counts for one class: of those whose workers could run it, the most
 * special one, which is the one with the fewest configured node types (none configured = all, the least special; of
 * equals the first). So a general class does not grow for work that has workers of its own. What no class could run
 * counts for none.
 *
 * What lies behind the windows is taken to be of the same kinds in the same proportions as what is in them; while
 * nothing is in them, it counts for the least special class.
 *
 * @returns one entry a class, by name
 */
export function attributeDemand(
  work: WaitingWork,
  supplies: readonly ClassSupply[],
): ReadonlyMap<string, ClassDemand> {
  const candidates = mostSpecialFirst(supplies);
  const live = supplies.flatMap(({ liveNodeTypes }) => liveNodeTypes.map((types) => new Set(types)));
  const demands = new Map(
    supplies.map(({ workerClass: { name } }) => [name, { queuedTasks: 0, unmetTasks: 0 }]),
  );
  const count = (candidate: Candidate | undefined, tasks: number, isRunnable: boolean): void => {
    const demand = candidate && demands.get(candidate.name);
    if (demand) {
      demand[isRunnable ? 'queuedTasks' : 'unmetTasks'] += tasks;
    }
  };
  const { kinds, ofUnknownKind } = withThoseBehind(work);
  for (const { requiredTypes, count: tasks } of [...kinds, ...work.parked]) {
    const required = requiredTypes.split(',');
    const isRunnable = live.some((types) => covers(types, required));
    count(
      candidates.find(({ types }) => covers(types, required)),
      tasks,
      isRunnable,
    );
  }
  count(candidates.at(-1), ofUnknownKind, live.length > 0);
  return demands;
}

/** Classes that may have no worker at all are left out: they can take nothing. */
function mostSpecialFirst(supplies: readonly ClassSupply[]): Candidate[] {
  return supplies
    .filter(({ workerClass }) => workerClass.maxWorkers > 0)
    .toSorted((a, b) => breadth(a) - breadth(b))
    .map(({ workerClass: { name, nodeTypes }, learnedNodeTypes }) => ({
      name,
      types: learnedNodeTypes ? new Set(learnedNodeTypes) : nodeTypes.length > 0 ? new Set(nodeTypes) : 'all',
    }));
}

/** By what is configured, so that the order does not change when a worker registers. */
function breadth({ workerClass: { nodeTypes } }: ClassSupply): number {
  return nodeTypes.length > 0 ? nodeTypes.length : Number.MAX_SAFE_INTEGER;
}

function covers(types: ReadonlySet<string> | 'all', required: readonly string[]): boolean {
  return types === 'all' || required.every((type) => types.has(type));
}

/** Spreads those behind over the kinds in the windows; running totals are rounded, so that none is lost or made. */
function withThoseBehind({ windows, behindWindows }: WaitingWork): {
  kinds: WaitingKind[];
  ofUnknownKind: number;
} {
  const seen = windows.reduce((sum, { count }) => sum + count, 0);
  if (seen === 0) {
    return { kinds: [], ofUnknownKind: behindWindows };
  }
  let before = 0;
  const kinds = windows.map(({ requiredTypes, count }) => {
    const share = (tasks: number): number => Math.round((behindWindows * tasks) / seen);
    const behind = share(before + count) - share(before);
    before += count;
    return { requiredTypes, count: count + behind };
  });
  return { kinds, ofUnknownKind: 0 };
}
