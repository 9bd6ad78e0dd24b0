import { describe, expect, it } from '@jest/globals';
import { type HealthFacts, healthStatus } from '../../../src/orchestrator/api/health-status.js';

const fine: HealthFacts = {
  broker: 'up',
  store: 'up',
  watermarkHigh: false,
  workers: { total: 2, available: 1 },
  minWorkers: 2,
  scaling: { isAtZero: false, problems: [] },
  waiting: 5,
};

describe('healthStatus', () => {
  it.each<[string, Partial<HealthFacts>, string, string[]]>([
    ['everything is there', {}, 'healthy', []],
    ['the broker is away', { broker: 'away' }, 'critical', ['the message broker cannot be reached']],
    ['the store is away', { store: 'away' }, 'critical', ['the database cannot be reached']],
    ['the broker is blocked', { broker: 'blocked' }, 'degraded', ['the message broker takes no messages']],
    ['a queue is long', { watermarkHigh: true }, 'degraded', ['a queue is above its high-water mark']],
    [
      'every worker is full',
      { workers: { total: 2, available: 0 } },
      'degraded',
      ['no worker can take a task'],
    ],
    [
      'a worker is missing',
      { workers: { total: 1, available: 1 } },
      'degraded',
      ['1 of at least 2 workers are live (MIN_WORKERS)'],
    ],
    [
      'there is no worker and no work',
      { workers: { total: 0, available: 0 }, minWorkers: 0, waiting: 0 },
      'degraded',
      ['no worker can take a task'],
    ],
    [
      'there is no worker because none is wanted',
      {
        workers: { total: 0, available: 0 },
        minWorkers: 0,
        waiting: 0,
        scaling: { isAtZero: true, problems: [] },
      },
      'healthy',
      [],
    ],
    [
      'workers cannot be started',
      { scaling: { isAtZero: false, problems: ['the driver docker: no such image'] } },
      'degraded',
      ['the driver docker: no such image'],
    ],
    [
      'there is no worker and work',
      { workers: { total: 0, available: 0 }, minWorkers: 0 },
      'critical',
      ['5 executions wait and there is no live worker', 'no worker can take a task'],
    ],
  ])('when %s', (_, changes, status, reasons) => {
    expect(healthStatus({ ...fine, ...changes })).toEqual({ status, reasons });
  });
});
