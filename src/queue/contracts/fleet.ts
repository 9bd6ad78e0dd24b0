import { ID_PATTERN, NODE_TYPE_PATTERN } from './flow.js';

/** What workers say of themselves to every orchestrator replica, through the fanout exchange `flow.workers`. */

export interface WorkerCapacity {
  /** Slots: the most executions this worker runs at a time. */
  maxConcurrentFlows: number;
  /** The most nodes it runs at a time, over all its flows. */
  maxConcurrentNodes: number;
  memoryLimitMB: number;
  cpuLimitCores: number;
}

export const WORKER_STATUSES = ['healthy', 'degraded', 'critical'] as const;
export type WorkerStatus = (typeof WORKER_STATUSES)[number];

/** Sent at start, after every reconnect, and whenever an orchestrator asks (`worker.register`). */
export interface WorkerRegistrationMessage {
  workerId: string;
  hostname: string;
  capacity: WorkerCapacity;
  supportedNodeTypes: string[];
  /** New for every start of the process: tells a restarted worker from the one before it. */
  incarnation: string;
  /** Executions it holds right now; empty after a start. */
  heldExecutionIds: string[];
  /** Static weight for the `weighted` strategy; default 1. */
  weight?: number;
  /** It takes `flow.tasks`, several tasks in one message; default false. */
  takesBatches?: boolean;
  /**
   * While its tasks are short it takes up to so many more for each of its slots, begins them as slots become free, and hands
   * back what has waited for long; default 0.
   */
  takesAhead?: number;
  /** The class it belongs to (`WORKER_CLASSES`); default the first. */
  workerClass?: string;
}

export interface WorkerLoad {
  activeFlows: number;
  activeNodes: number;
  memoryUsagePercent: number;
  cpuUsagePercent: number;
  /** Tasks received and not yet started. */
  queuedTasks: number;
}

/** Sent each `HEARTBEAT_INTERVAL_MS` and at once when `status` changes. */
export interface WorkerHeartbeatMessage {
  workerId: string;
  status: WorkerStatus;
  currentLoad: WorkerLoad;
  incarnation: string;
  heldExecutionIds: string[];
  /** The highest `x-assignment-seq` received so far; 0 before the first task. */
  lastAssignmentSeq: number;
  /** True from the moment the worker takes no new work. */
  draining: boolean;
}

/** The last word of a worker that ends on purpose: it holds nothing any more. */
export interface WorkerGoodbyeMessage {
  workerId: string;
  incarnation: string;
  reason: string;
}

export const REGISTRATION_TYPE = 'worker.registration';
export const HEARTBEAT_TYPE = 'worker.heartbeat';
export const GOODBYE_TYPE = 'worker.goodbye';

const idSchema = { type: 'string', pattern: ID_PATTERN } as const;
const percentSchema = { type: 'number', minimum: 0 } as const;
const countSchema = { type: 'integer', minimum: 0 } as const;

export const registrationSchema = {
  type: 'object',
  required: ['workerId', 'hostname', 'capacity', 'supportedNodeTypes', 'incarnation', 'heldExecutionIds'],
  properties: {
    workerId: idSchema,
    hostname: { type: 'string', minLength: 1 },
    capacity: {
      type: 'object',
      required: ['maxConcurrentFlows', 'maxConcurrentNodes', 'memoryLimitMB', 'cpuLimitCores'],
      properties: {
        maxConcurrentFlows: { type: 'integer', minimum: 1, maximum: 10_000 },
        maxConcurrentNodes: { type: 'integer', minimum: 1 },
        memoryLimitMB: { type: 'number', exclusiveMinimum: 0 },
        cpuLimitCores: { type: 'number', exclusiveMinimum: 0 },
      },
    },
    supportedNodeTypes: {
      type: 'array',
      minItems: 1,
      items: { type: 'string', pattern: NODE_TYPE_PATTERN },
    },
    incarnation: idSchema,
    heldExecutionIds: { type: 'array', items: idSchema },
    weight: { type: 'number', exclusiveMinimum: 0, maximum: 1000 },
    takesBatches: { type: 'boolean' },
    takesAhead: { type: 'integer', minimum: 0, maximum: 5 },
    workerClass: idSchema,
  },
} as const;

export const heartbeatSchema = {
  type: 'object',
  required: [
    'workerId',
    'status',
    'currentLoad',
    'incarnation',
    'heldExecutionIds',
    'lastAssignmentSeq',
    'draining',
  ],
  properties: {
    workerId: idSchema,
    status: { enum: WORKER_STATUSES },
    currentLoad: {
      type: 'object',
      required: ['activeFlows', 'activeNodes', 'memoryUsagePercent', 'cpuUsagePercent', 'queuedTasks'],
      properties: {
        activeFlows: countSchema,
        activeNodes: countSchema,
        memoryUsagePercent: percentSchema,
        cpuUsagePercent: percentSchema,
        queuedTasks: countSchema,
      },
    },
    incarnation: idSchema,
    heldExecutionIds: { type: 'array', items: idSchema },
    lastAssignmentSeq: countSchema,
    draining: { type: 'boolean' },
  },
} as const;

export const goodbyeSchema = {
  type: 'object',
  required: ['workerId', 'incarnation', 'reason'],
  properties: { workerId: idSchema, incarnation: idSchema, reason: { type: 'string' } },
} as const;
