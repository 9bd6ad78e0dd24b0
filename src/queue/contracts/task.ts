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

/**
 * Several tasks for one worker in one message, for workers whose registration has `takesBatches`: what the broker and
 * both ends do for a message is most of what a short task costs. Each task is reported on its own; the message is acked
 * when all of them are done with.
 */
export interface TaskBatchMessage {
  tasks: TaskMessage[];
}

export const TASKS_TYPE = 'flow.tasks';

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

export const taskBatchSchema = {
  type: 'object',
  required: ['tasks'],
  properties: { tasks: { type: 'array', minItems: 1, items: taskSchema } },
} as const;
