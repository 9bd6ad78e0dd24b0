/**
 * What is still to happen in simulated time: the earliest first, and of those at one moment the one that was planned
 * first. A binary heap.
 *
 * @template T
 */
export class EventQueue {
  /** @type {{ atMs: number, order: number, value: T }[]} */
  heap = [];
  planned = 0;

  /**
   * @param {number} atMs
   * @param {T} value
   */
  push(atMs, value) {
    const { heap } = this;
    let index = heap.push({ atMs, order: this.planned++, value }) - 1;
    while (index > 0 && this.precedes(index, (index - 1) >> 1)) index = this.swap(index, (index - 1) >> 1);
  }

  /** @returns {{ atMs: number, value: T } | undefined} */
  pop() {
    const { heap } = this;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    heap[0] = last;
    for (let index = 0; ;) {
      const left = 2 * index + 1;
      const child = left + 1 < heap.length && this.precedes(left + 1, left) ? left + 1 : left;
      if (child >= heap.length || !this.precedes(child, index)) return first;
      index = this.swap(index, child);
    }
  }

  /**
   * @param {number} a
   * @param {number} b
   */
  precedes(a, b) {
    const [one, other] = [this.heap[a], this.heap[b]];
    return one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order);
  }

  /**
   * @param {number} from
   * @param {number} to
   * @returns {number} `to`
   */
  swap(from, to) {
    [this.heap[from], this.heap[to]] = [this.heap[to], this.heap[from]];
    return to;
  }
}
