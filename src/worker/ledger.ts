/** One task that a worker has, or that is on its way there. */
export interface HeldTask {
  executionId: string;
  attempt: number;
  workerId: string;
  /** Rises with every assignment; a worker's heartbeat echoes the highest one it has seen. */
  assignmentSeq: number;
  /** Its worker holds nothing else until it ends. */
  solo: boolean;
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
  /** Per worker: the execution that has it to itself. */
  private readonly solos = new Map<string, string>();
  private seq = 0;

  get size(): number {
    return this.byExecution.size;
  }

  /** Takes a slot. Holding what is held already moves it to the new worker and attempt. */
  hold(executionId: string, attempt: number, workerId: string, solo = false): HeldTask {
    this.release(executionId);
    const task: HeldTask = { executionId, attempt, workerId, assignmentSeq: ++this.seq, solo };
    this.byExecution.set(executionId, task);
    if (solo) {
      this.solos.set(workerId, executionId);
    }
    let held = this.byWorker.get(workerId);
    if (!held) {
      this.byWorker.set(workerId, (held = new Map()));
    }
    held.set(executionId, task);
    return task;
  }

  /** Frees the slot; with `attempt` or `workerId`, only if it is held by these. @returns what was held, or null */
  release(executionId: string, attempt?: number, workerId?: string): HeldTask | null {
    const task = this.byExecution.get(executionId);
    if (
      !task ||
      (attempt ?? task.attempt) !== task.attempt ||
      (workerId ?? task.workerId) !== task.workerId
    ) {
      return null;
    }
    this.byExecution.delete(executionId);
    const held = this.byWorker.get(task.workerId);
    held?.delete(executionId);
    if (held?.size === 0) {
      this.byWorker.delete(task.workerId);
    }
    if (this.solos.get(task.workerId) === executionId) {
      this.solos.delete(task.workerId);
    }
    return task;
  }

  find(executionId: string): HeldTask | null {
    return this.byExecution.get(executionId) ?? null;
  }

  count(workerId: string): number {
    return this.byWorker.get(workerId)?.size ?? 0;
  }

  /** The execution that has this worker to itself, or null. */
  soloOf(workerId: string): string | null {
    return this.solos.get(workerId) ?? null;
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
    this.solos.clear();
    this.seq = epoch * SEQ_PER_EPOCH;
  }
}
