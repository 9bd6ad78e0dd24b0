import type { WorkerRecord } from '../worker-record.js';
import type { Selection } from './selection.js';

/** Orders a before b if negative. Keys change only between `touch`es. */
export type Precedes = (a: WorkerRecord, b: WorkerRecord) => number;

/**
 * Binary heap that knows where each worker sits, so that a change of one costs O(log n) and a choice O(1): a
 * decision among 1,000 workers is hardly dearer than one among 10.
 */
export class WorkerHeap implements Selection {
  private readonly heap: WorkerRecord[] = [];

  constructor(private readonly compare: Precedes) {}

  get size(): number {
    return this.heap.length;
  }

  add(worker: WorkerRecord): void {
    if (this.has(worker)) {
      this.touch(worker);
      return;
    }
    this.heap.push(worker);
    this.siftUp(this.heap.length - 1);
  }

  touch(worker: WorkerRecord): void {
    if (this.has(worker)) {
      this.siftDown(this.siftUp(worker.place));
    }
  }

  remove(worker: WorkerRecord): void {
    if (!this.has(worker)) {
      return;
    }
    const index = worker.place;
    const last = this.heap.pop()!;
    worker.place = -1;
    if (last !== worker) {
      this.place(last, index);
      this.siftDown(this.siftUp(index));
    }
  }

  peek(): WorkerRecord | null {
    return this.heap[0] ?? null;
  }

  /** A strategy may ask the heap of another group than the worker's. */
  private has(worker: WorkerRecord): boolean {
    return this.heap[worker.place] === worker;
  }

  private siftUp(start: number): number {
    let index = start;
    const worker = this.heap[index]!;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (this.compare(this.heap[parent]!, worker) <= 0) {
        break;
      }
      this.place(this.heap[parent]!, index);
      index = parent;
    }
    this.place(worker, index);
    return index;
  }

  private siftDown(start: number): void {
    let index = start;
    const worker = this.heap[index]!;
    for (;;) {
      const left = 2 * index + 1;
      if (left >= this.heap.length) {
        break;
      }
      const right = left + 1;
      const child =
        right < this.heap.length && this.compare(this.heap[right]!, this.heap[left]!) < 0 ? right : left;
      if (this.compare(worker, this.heap[child]!) <= 0) {
        break;
      }
      this.place(this.heap[child]!, index);
      index = child;
    }
    this.place(worker, index);
  }

  private place(worker: WorkerRecord, index: number): void {
    this.heap[index] = worker;
    worker.place = index;
  }
}
