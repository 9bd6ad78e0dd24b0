import { HIGHEST_ATTEMPT, ID_PATTERN } from './flow.js';

/** What an orchestrator tells one worker, through the worker's own queue, between tasks. */

/** Abort this execution; answered by a `cancelled` report (or by whatever end came first). */
export interface CancelTaskMessage {
  executionId: string;
  attempt: number;
  reason: string;
}

/** Take no new work, finish what is held within `deadlineMs`, hand back the rest, say goodbye and exit 0. */
export interface DrainWorkerMessage {
  deadlineMs: number;
  reason: string;
}

/** Send your registration again: this orchestrator does not know you. */
export type RegisterWorkerMessage = Record<string, never>;

export const CANCEL_TYPE = 'task.cancel';
export const DRAIN_TYPE = 'worker.drain';
export const REGISTER_TYPE = 'worker.register';

export const cancelSchema = {
  type: 'object',
  required: ['executionId', 'attempt', 'reason'],
  properties: {
    executionId: { type: 'string', pattern: ID_PATTERN },
    attempt: { type: 'integer', minimum: 1, maximum: HIGHEST_ATTEMPT },
    reason: { type: 'string' },
  },
} as const;

export const drainSchema = {
  type: 'object',
  required: ['deadlineMs', 'reason'],
  properties: { deadlineMs: { type: 'integer', minimum: 0 }, reason: { type: 'string' } },
} as const;

export const registerSchema = { type: 'object', maxProperties: 0 } as const;
