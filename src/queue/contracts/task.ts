import { type FlowData, flowDataSchema, HIGHEST_ATTEMPT, ID_PATTERN } from './flow.js';
import { PRIORITIES, type Priority } from '../priority.js';

/**
 * One attempt of an execution on the wire. The orchestrator publishes it to `flow.ready.<priority>` or straight
 * to `flow.worker.<workerId>`; it is the same bytes on both hops, so that nothing is parsed on the way.
 */
export interface TaskMessage {
  executionId: string;
  flowId: string;
  /** 1 for the first attempt. A result counts only for the attempt that the record expects. */
  attempt: number;
  maxAttempts: number;
  priority: Priority;
  flowData: FlowData;
  inputs: Record<string, unknown>;
  /** Longest run of this attempt, in ms. */
  timeoutMs: number;
}

export const TASK_TYPE = 'flow.task';

export const taskSchema = {
  type: 'object',
  required: [
    'executionId',
    'flowId',
    'attempt',
    'maxAttempts',
    'priority',
    'flowData',
    'inputs',
    'timeoutMs',
  ],
  properties: {
    executionId: { type: 'string', pattern: ID_PATTERN },
    flowId: { type: 'string', pattern: ID_PATTERN },
    attempt: { type: 'integer', minimum: 1, maximum: HIGHEST_ATTEMPT },
    maxAttempts: { type: 'integer', minimum: 1 },
    priority: { enum: PRIORITIES },
    flowData: flowDataSchema,
    inputs: { type: 'object' },
    timeoutMs: { type: 'integer', minimum: 1 },
  },
} as const;
