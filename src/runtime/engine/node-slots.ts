/**
 * How many nodes a worker runs at once over all its flows. Waiters are served in order; a flow has one waiter
 * at most however many of its nodes are ready, so that a wide flow cannot crowd out the others.
 */
export class NodeSlots {
  private readonly waiters = new Set<() => void>();
  private taken = 0;

  constructor(readonly limit: number) {
    if (!Number.isInteger(limit) || limit < 1)
      throw new RangeError(`expected at least 1 node slot, got ${limit}`);
  }

  get inUse(): number {
    return this.taken;
  }

  tryTake(): boolean {
    if (this.taken >= this.limit) return false;
    this.taken += 1;
    return true;
  }

  /** Calls `granted` once a slot has been taken for the caller. The result withdraws the request. */
  wait(granted: () => void): () => void {
    const waiter = () => granted();
    this.waiters.add(waiter);
    return () => this.waiters.delete(waiter);
  }

  release(): void {
    if (this.waiters.size === 0) {
      this.taken -= 1;
      return;
    }
    const [next] = this.waiters;
    this.waiters.delete(next!);
    next!();
  }
}
