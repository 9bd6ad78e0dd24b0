/** One task that a worker has, or that is on its way there. */
export interface HeldTask {
  executionId: string;
  attempt: number;
  workerId: string;
  /** Rises with every assignment; a worker's heartbeat echoes the highest one it has seen. */
  assignmentSeq: number;
}

const SEQ_PER_EPOCH = 1_000_000_000;

/**
 * Who holds what: exact, because the leader alone assigns and every result passes through it. Heartbeats never
 * overwrite it; after a failover it is rebuilt from the record, where every assignment is written before its task
 * is published.
 */
export class Ledger {
  private readonly byExecution = new Map<string, HeldTask>();
  private readonly byWorker = new Map<string, Map<string, HeldTask>>();
  private seq = 0;

  get size(): number {
    return this.byExecution.size;
  }

  /** Takes a slot. Holding what is held already moves it to the new worker and attempt. */
  hold(executionId: string, attempt: number, workerId: string): HeldTask {
    this.release(executionId);
    const task: HeldTask = { executionId, attempt, workerId, assignmentSeq: ++this.seq };
    this.byExecution.set(executionId, task);
    let held = this.byWorker.get(workerId);
    if (!held) {
      this.byWorker.set(workerId, (held = new Map()));
    }
    held.set(executionId, task);
    return task;
  }

  /** Frees the slot. With `attempt`, only if that attempt holds it. @returns what was held, or null */
  release(executionId: string, attempt?: number): HeldTask | null {
    const task = this.byExecution.get(executionId);
    if (!task || (attempt !== undefined && task.attempt !== attempt)) {
      return null;
    }
    this.byExecution.delete(executionId);
    const held = this.byWorker.get(task.workerId);
    held?.delete(executionId);
    if (held?.size === 0) {
      this.byWorker.delete(task.workerId);
    }
    return task;
  }

  find(executionId: string): HeldTask | null {
    return this.byExecution.get(executionId) ?? null;
  }

  count(workerId: string): number {
    return this.byWorker.get(workerId)?.size ?? 0;
  }

  heldBy(workerId: string): HeldTask[] {
    return [...(this.byWorker.get(workerId)?.values() ?? [])];
  }

  /** Every worker that holds something, whether it is registered or not. */
  holders(): string[] {
    return [...this.byWorker.keys()];
  }

  /** Empties it for a new term; sequence numbers go on above those of every earlier epoch. */
  reset(epoch: number): void {
    this.byExecution.clear();
    this.byWorker.clear();
    this.seq = epoch * SEQ_PER_EPOCH;
  }
}
