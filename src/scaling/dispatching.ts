import type { WaitingKind } from './demand.js';

/** What scaling has to know of the orchestrator, whose room it may not import: the orchestrator implements it. */
export abstract class Dispatching {
  /** True while this replica may act as the leader, to the millisecond. */
  abstract get mayAct(): boolean;

  /** Of the leader's term. */
  abstract get epoch(): number;

  /** What the orchestrator has in hand and could give to no worker yet: with the dispatcher, or not on record yet. */
  abstract waitingKinds(): WaitingKind[];
}
