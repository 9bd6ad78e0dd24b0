import { room, type WorkerRecord } from '../worker-record.js';
import type { Selection, Strategy } from './selection.js';

/**
 * `weighted`: smooth weighted round robin (as nginx does it) with weight = room × static weight. Each pick
 * adds every candidate's weight to its current one, takes the highest, and takes the sum off it again: weights
 * 5, 1, 1 give a a b a c a a instead of a a a a a b c. Weights change with every assignment, so a pick looks at every
 * candidate; that is a few additions each.
 */
export class Weighted implements Strategy {
  createSelection(): Selection {
    return new WorkerSet();
  }

  pick(selections: Selection[]): WorkerRecord | null {
    let best: WorkerRecord | null = null;
    let sum = 0;
    for (const selection of selections as WorkerSet[]) {
      for (const worker of selection.workers) {
        const weight = room(worker) * (worker.registration.weight ?? 1);
        worker.currentWeight += weight;
        sum += weight;
        if (best === null || worker.currentWeight > best.currentWeight) {
          best = worker;
        }
      }
    }
    if (best) {
      best.currentWeight -= sum;
    }
    return best;
  }
}

class WorkerSet implements Selection {
  readonly workers = new Set<WorkerRecord>();

  get size(): number {
    return this.workers.size;
  }
  add(worker: WorkerRecord): void {
    this.workers.add(worker);
  }
  touch(): void {
    // Every pick reads the weights afresh.
  }
  remove(worker: WorkerRecord): void {
    if (this.workers.delete(worker)) {
      worker.currentWeight = 0;
    }
  }
  peek(): WorkerRecord | null {
    return this.workers.values().next().value ?? null;
  }
}
