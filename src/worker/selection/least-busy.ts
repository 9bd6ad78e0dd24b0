import type { Run, WorkerRecord } from '../worker-record.js';
import type { Random, Selection, Strategy } from './selection.js';
import { WorkerHeap } from './worker-heap.js';

/** What a worker does in this time counts as one. About as long as a slot's way round takes under load. */
const RUN_MS = 25;
/** What comes within this time is given out together. */
const MOMENT_MS = 5;
/** A worker that has ended nothing for so long may be stuck: what it has counts in full. Several take turns with their runs. */
const FLOWING_MS = 100;
/** Breaks ties for the worker that has a run under way: below all that is drawn. */
const IN_RUN = -1;

/**
 * `least_busy`: the smallest share of slots taken, by the ledger, so the choice is exact however old the heartbeats
 * are. Ties break at random: without that, equal workers would always be filled in the same order.
 *
 * Tasks that are over in moments go by the run: what comes within `MOMENT_MS` goes to one worker, as many as take it
 * `RUN_MS` by its moving average; then the shares are compared again. What is decided together for one worker travels in
 * one message, there and back, and a message costs all who handle it more than such tasks do. Unless they take longer than
 * the ones before them, nobody waits for longer than that by it. Tasks that last more than half of it are given out one by
 * one, whatever they take of the worker, and so is everything to a worker of which no end came lately: it may be stuck.
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
      peek: () => {
        let best = heap.peek();
        // A run that is over was not over when its worker was ranked, so it stands before others that come first now.
        while (best !== null && best.tieBreak === IN_RUN && !this.isInRun(best)) {
          this.rank(best);
          heap.touch(best);
          best = heap.peek();
        }
        return best;
      },
    };
  }

  pick(selections: Selection[]): WorkerRecord | null {
    const worker = firstOf(selections, this.compare);
    if (worker !== null && this.isInRun(worker)) {
      worker.run!.given++;
    } else if (worker !== null) {
      worker.run = this.runFrom(worker);
    }
    return worker;
  }

  /** While its run goes on, a worker counts as it did before. */
  private rank(worker: WorkerRecord): void {
    const isInRun = this.isInRun(worker);
    const held = worker.held - (isInRun ? worker.run!.given : 0);
    worker.shareTaken = held / worker.registration.capacity.maxConcurrentFlows;
    worker.tieBreak = isInRun ? IN_RUN : this.random();
  }

  private isInRun({ run }: WorkerRecord): boolean {
    return run !== null && run.given < run.most && this.now() <= run.untilMs;
  }

  /** Null = it gets one task, and then the shares are compared again. */
  private runFrom({ lastEndAtMs, meanRunMs, meanShareMs }: WorkerRecord): Run | null {
    const now = this.now();
    const isFlowing = now - lastEndAtMs <= FLOWING_MS;
    const most = isFlowing && meanRunMs <= RUN_MS / 2 ? Math.floor(RUN_MS / meanShareMs) : 1;
    return most > 1 ? { given: 1, most, untilMs: now + MOMENT_MS } : null;
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
