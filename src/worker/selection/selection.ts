import type { WorkerRecord } from '../worker-record.js';

/**
 * Workers of one group, kept in the order in which a strategy wants them: those with free slots, or those that get tasks
 * ahead. The pool adds a worker when it becomes one of them, touches it when its ledger count changes, and removes it when
 * it is one no longer.
 */
export interface Selection {
  readonly size: number;
  add(worker: WorkerRecord): void;
  touch(worker: WorkerRecord): void;
  remove(worker: WorkerRecord): void;
  /** The strategy's choice in this group, without committing to it; null if the group is empty. */
  peek(): WorkerRecord | null;
}

/** How a strategy works: one selection a group, and how the groups' candidates compare. */
export interface Strategy {
  createSelection(): Selection;
  /** Of one candidate a group, the one that gets the task. Updates whatever the strategy remembers of a pick. */
  pick(selections: Selection[]): WorkerRecord | null;
}

/** 0 ≤ random() < 1; a seeded one makes every choice repeatable. */
export type Random = () => number;
