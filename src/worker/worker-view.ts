import type { WorkerCapacity, WorkerLoad, WorkerStatus } from '../queue/contracts/fleet.js';

/** How a worker comes and goes: registered, given its queue, leaving, left. */
export type WorkerLifecycle = 'joining' | 'ready' | 'draining' | 'gone';

/** A worker as the API shows it: what it said of itself, and what this replica makes of it. */
export interface WorkerView {
  workerId: string;
  hostname: string;
  /** New for every start of the worker's process. */
  incarnation: string;
  lifecycle: WorkerLifecycle;
  status: WorkerStatus;
  capacity: WorkerCapacity;
  supportedNodeTypes: string[];
  /** As it said itself; missing = it names none, and belongs to the first. */
  workerClass?: string;
  weight: number;
  /** By its last heartbeat. */
  currentLoad: WorkerLoad;
  performance: {
    /** 0..1: the share of its slots that is taken. */
    currentLoad: number;
    tasksCompleted: number;
    tasksInProgress: number;
    averageExecutionTimeMs: number;
    /** 0..1. */
    errorRate: number;
  };
  heldExecutionIds: string[];
  /** ISO 8601. */
  registeredAt: string;
  /** ISO 8601; null before the first heartbeat. */
  lastHeartbeatAt: string | null;
  /** True while it may be given a task. */
  assignable: boolean;
  /** Why it may not; missing when it may. */
  notAssignableReason?: string;
}
