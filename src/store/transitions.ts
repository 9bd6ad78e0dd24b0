/**
 * The life of an execution as data: every transition there is, by name. The store's writes are made from this
 * table (`where state in (from)`), and a test holds it against the drawing in `docs/architecture.md`.
 */
export const EXECUTION_STATES = [
  'accepted',
  'queued',
  'assigned',
  'running',
  'retrying',
  'completed',
  'failed',
  'cancelled',
  'dead',
] as const;
export type ExecutionState = (typeof EXECUTION_STATES)[number];

export const TERMINAL_STATES = [
  'completed',
  'failed',
  'cancelled',
  'dead',
] as const satisfies ExecutionState[];
export type TerminalState = (typeof TERMINAL_STATES)[number];

/** Not yet with a worker: may be cancelled by a single write. */
export const WAITING_STATES = ['accepted', 'queued', 'retrying'] as const satisfies ExecutionState[];
/** With a worker: a slot is taken. */
export const HELD_STATES = ['assigned', 'running'] as const satisfies ExecutionState[];

export interface Transition {
  from: readonly ExecutionState[];
  to: ExecutionState;
}

export const TRANSITIONS = {
  /** The broker confirmed the task (first publish, end of a delay, end of a retry's wait). */
  queue: { from: ['accepted', 'retrying'], to: 'queued' },
  /**
   * The dispatcher gave it to a worker; recorded before the task is published to that worker. From any waiting
   * state, as the dispatcher may have the task before `queue` was recorded.
   */
  assign: { from: WAITING_STATES, to: 'assigned' },
  start: { from: ['assigned'], to: 'running' },
  complete: { from: HELD_STATES, to: 'completed' },
  /** The flow failed and another attempt would not help. */
  fail: { from: HELD_STATES, to: 'failed' },
  /** It failed, attempts are left: attempt + 1 (a snooze keeps the attempt). */
  retry: { from: HELD_STATES, to: 'retrying' },
  /** The worker was lost (attempt + 1 if it may have started) or gave it back (same attempt). */
  requeue: { from: HELD_STATES, to: 'queued' },
  /** Attempts are used up. */
  bury: { from: HELD_STATES, to: 'dead' },
  cancel: { from: WAITING_STATES, to: 'cancelled' },
  /** The worker aborted it, or was lost after the cancel was asked for. */
  abort: { from: HELD_STATES, to: 'cancelled' },
  /** Somebody asked for a new series of attempts. */
  replay: { from: ['dead', 'failed', 'cancelled'], to: 'queued' },
} as const satisfies Record<string, Transition>;
export type TransitionName = keyof typeof TRANSITIONS;

export function isHeld(state: ExecutionState): boolean {
  return (HELD_STATES as readonly ExecutionState[]).includes(state);
}

export function isTerminal(state: ExecutionState): state is TerminalState {
  return (TERMINAL_STATES as readonly ExecutionState[]).includes(state);
}
