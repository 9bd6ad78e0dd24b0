import type { WorkerRecord } from '../worker-record.js';
import type { Random, Selection, Strategy } from './selection.js';
import { WorkerHeap } from './worker-heap.js';

/**
 * `least_busy`: the smallest share of slots taken, by the ledger, so the choice is exact however old the heartbeats
 * are. Ties break at random: without that, equal workers would always be filled in the same order.
 */
export class LeastBusy implements Strategy {
  constructor(private readonly random: Random) {}

  createSelection(): Selection {
    const heap = new WorkerHeap(this.compare);
    return {
      get size() {
        return heap.size;
      },
      add: (worker) => {
        worker.tieBreak = this.random();
        heap.add(worker);
      },
      touch: (worker) => {
        worker.tieBreak = this.random();
        heap.touch(worker);
      },
      remove: (worker) => heap.remove(worker),
      peek: () => heap.peek(),
    };
  }

  pick(selections: Selection[]): WorkerRecord | null {
    return firstOf(selections, this.compare);
  }

  private readonly compare = (a: WorkerRecord, b: WorkerRecord): number =>
    shareTaken(a) - shareTaken(b) || a.tieBreak - b.tieBreak;
}

function shareTaken(worker: WorkerRecord): number {
  return worker.held / worker.registration.capacity.maxConcurrentFlows;
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
