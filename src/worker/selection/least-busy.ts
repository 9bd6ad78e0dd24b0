import type { WorkerRecord } from '../worker-record.js';
import type { Random, Selection, Strategy } from './selection.js';
import { WorkerHeap } from './worker-heap.js';

/** What a worker does in this time counts as one. About as long as a task is on its way to a worker. */
const RUN_MS = 10;
/** A worker that has ended nothing for so long may be stuck: what it has counts in full. */
const FLOWING_MS = 25;

/**
 * `least_busy`: the smallest share of slots taken, by the ledger, so the choice is exact however old the heartbeats
 * are. Ties break at random: without that, equal workers would always be filled in the same order.
 *
 * Tasks that are over in moments go by the run: as many as take their worker `RUN_MS` together, by its moving average,
 * count as one, and the worker that has some of its run gets the rest of it. What is decided together for one worker
 * travels in one message, there and back, and a message costs all who handle it more than such tasks do. Nobody waits for
 * longer than that by it, and tasks of `RUN_MS` or more are given out one by one. So is everything to a worker of which no
 * end came lately: it may be stuck with what it has.
 */
export class LeastBusy implements Strategy {
  /** @param now monotonic, ms */
  constructor(
    private readonly random: Random,
    private readonly now: () => number = () => performance.now(),
  ) {}

  createSelection(): Selection {
    const heap = new WorkerHeap(this.compare);
    return {
      get size() {
        return heap.size;
      },
      add: (worker) => {
        this.rank(worker);
        heap.add(worker);
      },
      touch: (worker) => {
        this.rank(worker);
        heap.touch(worker);
      },
      remove: (worker) => heap.remove(worker),
      peek: () => heap.peek(),
    };
  }

  pick(selections: Selection[]): WorkerRecord | null {
    return firstOf(selections, this.compare);
  }

  /** Noted here, since a heap's order must not change but by a touch, and the moving average does at any time. */
  private rank(worker: WorkerRecord): void {
    const isFlowing = this.now() - worker.lastEndAtMs <= FLOWING_MS;
    const run = isFlowing ? Math.max(1, Math.floor(RUN_MS / worker.meanRunMs)) : 1;
    const begun = worker.held % run;
    worker.shareTaken = (worker.held - begun) / worker.registration.capacity.maxConcurrentFlows;
    worker.tieBreak = this.random() - begun;
  }

  private readonly compare = (a: WorkerRecord, b: WorkerRecord): number =>
    a.shareTaken - b.shareTaken || a.tieBreak - b.tieBreak;
}

/** The best of the groups' best. */
export function firstOf(
  selections: Selection[],
  compare: (a: WorkerRecord, b: WorkerRecord) => number,
): WorkerRecord | null {
  let best: WorkerRecord | null = null;
  for (const selection of selections) {
    const candidate = selection.peek();
    if (candidate && (best === null || compare(candidate, best) < 0)) {
      best = candidate;
    }
  }
  return best;
}
