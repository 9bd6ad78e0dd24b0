import type { WorkerHeartbeatMessage, WorkerRegistrationMessage } from '../../src/queue/contracts/fleet.js';

/** A registration with sensible values; name what matters to the test. */
export function registration(
  overrides: Partial<WorkerRegistrationMessage> & { workerId: string; slots?: number },
): WorkerRegistrationMessage {
  const { slots = 4, ...rest } = overrides;
  return {
    hostname: 'test-host',
    capacity: { maxConcurrentFlows: slots, maxConcurrentNodes: 100, memoryLimitMB: 1024, cpuLimitCores: 1 },
    supportedNodeTypes: ['delay', 'log'],
    incarnation: `${rest.workerId}-1`,
    heldExecutionIds: [],
    ...rest,
  };
}

export function heartbeat(
  overrides: Partial<WorkerHeartbeatMessage> & { workerId: string },
): WorkerHeartbeatMessage {
  return {
    status: 'healthy',
    currentLoad: {
      activeFlows: 0,
      activeNodes: 0,
      memoryUsagePercent: 10,
      cpuUsagePercent: 10,
      queuedTasks: 0,
    },
    incarnation: `${overrides.workerId}-1`,
    heldExecutionIds: [],
    lastAssignmentSeq: 0,
    draining: false,
    ...overrides,
  };
}

/** A small seeded generator (mulberry32): the same seed gives the same sequence everywhere. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
