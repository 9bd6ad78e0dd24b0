import type { BrokerState } from './broker-state.js';

export type HealthStatus = 'healthy' | 'degraded' | 'critical';

/** What the verdict rests on. */
export interface HealthFacts {
  broker: BrokerState['state'];
  store: 'up' | 'away';
  /** Some queue is above its high-water mark (and not yet below the low one). */
  watermarkHigh: boolean;
  workers: { total: number; available: number };
  minWorkers: number;
  scaling: {
    /** It is to have no workers at present. */
    isAtZero: boolean;
    /** What keeps the pool from its size; for people. */
    problems: string[];
  };
  /** Executions that are queued; 0 when unknown. */
  waiting: number;
}

/**
 * `critical`: nothing can be accepted, or accepted work cannot run. `degraded`: it works, and somebody should look.
 * The reasons are for people, worst first.
 */
export function healthStatus(facts: HealthFacts): { status: HealthStatus; reasons: string[] } {
  const { total, available } = facts.workers;
  const isEmptyOnPurpose = facts.scaling.isAtZero && total === 0 && facts.waiting === 0;
  const critical = [
    facts.broker === 'away' && 'the message broker cannot be reached',
    facts.store === 'away' && 'the database cannot be reached',
    total === 0 && facts.waiting > 0 && `${facts.waiting} executions wait and there is no live worker`,
  ].filter((reason) => reason !== false);
  const degraded = [
    facts.broker === 'blocked' && 'the message broker takes no messages',
    facts.watermarkHigh && 'a queue is above its high-water mark',
    available === 0 && !isEmptyOnPurpose && 'no worker can take a task',
    total < facts.minWorkers && `${total} of at least ${facts.minWorkers} workers are live (MIN_WORKERS)`,
    ...facts.scaling.problems,
  ].filter((reason) => reason !== false);
  const status = critical.length > 0 ? 'critical' : degraded.length > 0 ? 'degraded' : 'healthy';
  return { status, reasons: [...critical, ...degraded] };
}
