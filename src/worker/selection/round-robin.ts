import type { WorkerRecord } from '../worker-record.js';
import { firstOf } from './least-busy.js';
import type { Selection, Strategy } from './selection.js';
import { WorkerHeap } from './worker-heap.js';

/** `round_robin`: the worker whose last turn is longest ago. A worker that was full keeps its place in the round. */
export class RoundRobin implements Strategy {
  private turn = 0;

  createSelection(): Selection {
    return new WorkerHeap(longestAgo);
  }

  pick(selections: Selection[]): WorkerRecord | null {
    const worker = firstOf(selections, longestAgo);
    if (worker) {
      worker.lastPick = ++this.turn;
      selections.forEach((selection) => selection.touch(worker));
    }
    return worker;
  }
}

function longestAgo(a: WorkerRecord, b: WorkerRecord): number {
  return a.lastPick - b.lastPick || (a.workerId < b.workerId ? -1 : 1);
}
