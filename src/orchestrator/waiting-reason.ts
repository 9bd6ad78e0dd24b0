import type { ExecutionRecord } from '../store/execution-store.js';
import { runsAlone } from './suspects.js';

/** What the record does not know and a reason for waiting may rest on. */
export interface WaitingFacts {
  /** Epoch ms. */
  now: number;
  broker: { state: 'up' | 'blocked' | 'away'; reason?: string };
  /** Who leads at present; null while an election is under way. */
  leader: string | null;
  /** What the pool says of the execution's node types. */
  pool: 'free' | 'full' | 'none';
  /** The class that could run it has fewer workers than it shall have; null if not, or if only the leader knows. */
  growth: { from: number; to: number } | null;
  /** Node types that some live worker supports. */
  knownNodeTypes: ReadonlySet<string>;
  /** Executions that go first; counted no further than `aheadLimit`. */
  ahead: number;
  aheadLimit: number;
  /** How soon after acceptance the stager takes over an execution whose task nobody published. */
  rescueAfterMs: number;
}

export const WAITING_CODES = [
  'delayed',
  'publishing',
  'backing_off',
  'broker_away',
  'broker_blocked',
  'leader_election',
  'no_capable_worker',
  'pool_full',
  'alone',
  'behind',
  'next',
  'starting',
  'cancel_requested',
] as const;
export type WaitingCode = (typeof WAITING_CODES)[number];

export interface WaitingReason {
  code: WaitingCode;
  /** For people. */
  message: string;
  /** ISO 8601: not before then. */
  until?: string;
  /** Executions that go first. */
  ahead?: number;
  /** True when there may be more than `ahead`. */
  aheadIsLowerBound?: boolean;
  /** Node types that no live worker supports. */
  missingNodeTypes?: string[];
  requiredNodeTypes?: string[];
  workerId?: string;
}

type Waiting = Pick<
  ExecutionRecord,
  | 'state'
  | 'attempt'
  | 'maxAttempts'
  | 'priority'
  | 'requiredTypes'
  | 'parkedReason'
  | 'cancelRequestedAt'
  | 'createdAt'
  | 'availableAt'
  | 'assignedAt'
  | 'workerId'
  | 'pastAttempts'
>;

/** Up to this age an accepted execution without a delay is on its way to the broker, and not worth a second look. */
const PUBLISHING_MS = 1_000;

/**
 * Why an execution is not running: what stands in its way first, in the order in which a task travels. Never null
 * for one that waits; null for one that runs or has ended.
 */
export function waitingReason(execution: Waiting, facts: WaitingFacts): WaitingReason | null {
  switch (execution.state) {
    case 'accepted':
    case 'retrying':
    case 'queued':
      return beforeItsTime(execution, facts) ?? inTheWay(facts) ?? inTheQueue(execution, facts);
    case 'assigned':
      return cancelRequested(execution) ?? starting(execution);
    case 'running':
      return cancelRequested(execution);
    default:
      return null;
  }
}

function beforeItsTime(execution: Waiting, { now, rescueAfterMs }: WaitingFacts): WaitingReason | null {
  const { state, availableAt, createdAt } = execution;
  // One that is queued waits for a worker whatever it says here: that is when the rescuer would look after it.
  if (availableAt === null || availableAt <= now || state === 'queued') {
    return null;
  }
  const until = new Date(availableAt).toISOString();
  if (state === 'retrying') {
    return { code: 'backing_off', message: backingOff(execution, until), until };
  }
  if (state === 'accepted' && availableAt - createdAt === rescueAfterMs && now - createdAt < PUBLISHING_MS) {
    return {
      code: 'publishing',
      message: `just accepted: its task goes to the broker, by ${until} at the latest`,
      until,
    };
  }
  return { code: 'delayed', message: `waits until ${until}`, until };
}

function backingOff({ attempt, maxAttempts, pastAttempts }: Waiting, until: string): string {
  const error = pastAttempts.at(-1)?.error;
  const after = error ? ` after ${error.code}: ${error.message}` : '';
  return `backs off until ${until}, then attempt ${attempt} of ${maxAttempts}${after}`;
}

/** What keeps every task from moving. */
function inTheWay({ broker, leader }: WaitingFacts): WaitingReason | null {
  const because = broker.reason ? `: ${broker.reason}` : '';
  if (broker.state === 'away') {
    return { code: 'broker_away', message: `the message broker cannot be reached${because}` };
  }
  if (broker.state === 'blocked') {
    return { code: 'broker_blocked', message: `the message broker takes no messages at present${because}` };
  }
  if (leader === null) {
    return {
      code: 'leader_election',
      message: 'no orchestrator dispatches at present: leader election is under way',
    };
  }
  return null;
}

function inTheQueue(execution: Waiting, facts: WaitingFacts): WaitingReason {
  const requiredNodeTypes = execution.requiredTypes.split(',');
  const line = { ahead: facts.ahead, ...(facts.ahead >= facts.aheadLimit && { aheadIsLowerBound: true }) };
  const count = `${facts.ahead >= facts.aheadLimit ? 'at least ' : ''}${facts.ahead}`;
  if (facts.pool === 'none') {
    return noCapableWorker(requiredNodeTypes, facts);
  }
  if (runsAlone(execution)) {
    const message = `attempt ${execution.attempt} of ${execution.maxAttempts} runs alone, since a worker was lost with an earlier one: it waits for a worker that is empty; ${count} go first`;
    return { code: 'alone', message, ...line };
  }
  if (facts.pool === 'full') {
    const message = `every live worker that supports ${requiredNodeTypes.join(', ')} is full or takes no tasks; ${count} go first${growing(facts)}`;
    return { code: 'pool_full', message, ...line, requiredNodeTypes };
  }
  if (facts.ahead > 0) {
    return { code: 'behind', message: `behind ${count} others of the same or a higher priority`, ...line };
  }
  return { code: 'next', message: 'next in line: a capable worker has a free slot', ...line };
}

function noCapableWorker(requiredNodeTypes: string[], facts: WaitingFacts): WaitingReason {
  const missingNodeTypes = requiredNodeTypes.filter((type) => !facts.knownNodeTypes.has(type));
  const remedy = growing(facts) || ': start one that does';
  const message =
    missingNodeTypes.length > 0
      ? `no live worker supports ${missingNodeTypes.join(', ')}${remedy}`
      : `no single live worker supports all of ${requiredNodeTypes.join(', ')}${remedy}`;
  return { code: 'no_capable_worker', message, missingNodeTypes, requiredNodeTypes };
}

function growing({ growth }: WaitingFacts): string {
  return growth ? `; the pool is growing from ${growth.from} to ${growth.to}` : '';
}

function cancelRequested({ cancelRequestedAt, workerId }: Waiting): WaitingReason | null {
  if (cancelRequestedAt === null) {
    return null;
  }
  const at = new Date(cancelRequestedAt).toISOString();
  const message = `its cancellation was asked for at ${at}; worker ${workerId} is to abort it`;
  return { code: 'cancel_requested', message, workerId: workerId ?? undefined };
}

function starting({ workerId, assignedAt }: Waiting): WaitingReason {
  const since = assignedAt === null ? '' : ` since ${new Date(assignedAt).toISOString()}`;
  const message = `with worker ${workerId}${since}, which has not reported its start yet`;
  return { code: 'starting', message, workerId: workerId ?? undefined };
}
