import { describe, expect, it } from '@jest/globals';
import { waitingReason, type WaitingFacts } from '../../../src/orchestrator/waiting-reason.js';
import { EXECUTION_STATES } from '../../../src/store/transitions.js';

type Waiting = Parameters<typeof waitingReason>[0];

const NOW = Date.parse('2026-11-21T12:00:00.000Z');

const execution = (changes: Partial<Waiting> = {}): Waiting => ({
  state: 'queued',
  attempt: 1,
  maxAttempts: 3,
  priority: 'normal',
  requiredTypes: 'data-filter,sap-idoc',
  parkedReason: null,
  cancelRequestedAt: null,
  createdAt: NOW - 60_000,
  availableAt: null,
  assignedAt: null,
  workerId: null,
  pastAttempts: [],
  ...changes,
});

const facts = (changes: Partial<WaitingFacts> = {}): WaitingFacts => ({
  now: NOW,
  broker: { state: 'up' },
  leader: 'a',
  pool: 'free',
  growth: null,
  knownNodeTypes: new Set(['data-filter', 'sap-idoc']),
  ahead: 0,
  aheadLimit: 100,
  rescueAfterMs: 5_000,
  ...changes,
});

const failed = {
  attempt: 1,
  workerId: 'w',
  outcome: 'failed',
  queuedAt: null,
  assignedAt: null,
  startedAt: null,
  finishedAt: null,
  error: { code: 'http_status', message: 'got 503', retryable: true },
};
const held = { workerId: 'w', assignedAt: NOW - 10 };

describe('waitingReason', () => {
  it.each<[string, Partial<Waiting>, Partial<WaitingFacts>, object]>([
    [
      'a delay',
      { state: 'accepted', availableAt: NOW + 60_000 },
      {},
      { code: 'delayed', until: '2026-11-21T12:01:00.000Z' },
    ],
    [
      'a delay as long as the rescue, some time on',
      { state: 'accepted', createdAt: NOW - 2_000, availableAt: NOW + 3_000 },
      {},
      { code: 'delayed' },
    ],
    [
      'acceptance a moment ago',
      { state: 'accepted', createdAt: NOW - 10, availableAt: NOW + 4_990 },
      {},
      { code: 'publishing' },
    ],
    [
      'a back-off',
      { state: 'retrying', attempt: 2, availableAt: NOW + 5_000, pastAttempts: [failed] },
      {},
      {
        code: 'backing_off',
        message: 'backs off until 2026-11-21T12:00:05.000Z, then attempt 2 of 3 after http_status: got 503',
      },
    ],
    ['a back-off that is over', { state: 'retrying', availableAt: NOW }, {}, { code: 'next' }],
    [
      'the broker away',
      {},
      { broker: { state: 'away', reason: 'ECONNREFUSED' } },
      { code: 'broker_away', message: expect.stringContaining('ECONNREFUSED') as unknown },
    ],
    [
      'the broker blocked',
      {},
      { broker: { state: 'blocked', reason: 'low on memory' } },
      { code: 'broker_blocked' },
    ],
    ['no leader', {}, { leader: null }, { code: 'leader_election' }],
    [
      'a type that nobody supports',
      { parkedReason: 'no_capable_worker' },
      { pool: 'none', knownNodeTypes: new Set(['data-filter']) },
      {
        code: 'no_capable_worker',
        missingNodeTypes: ['sap-idoc'],
        message: 'no live worker supports sap-idoc: start one that does',
      },
    ],
    [
      'types that nobody supports together',
      {},
      { pool: 'none' },
      {
        code: 'no_capable_worker',
        missingNodeTypes: [],
        message: expect.stringContaining('all of data-filter, sap-idoc') as unknown,
      },
    ],
    [
      'a full pool',
      {},
      { pool: 'full', ahead: 4 },
      { code: 'pool_full', ahead: 4, requiredNodeTypes: ['data-filter', 'sap-idoc'] },
    ],
    [
      'a last attempt that runs alone',
      { attempt: 3, pastAttempts: [{ ...failed, error: { ...failed.error, code: 'worker_lost' } }] },
      { ahead: 2 },
      {
        code: 'alone',
        ahead: 2,
        message: expect.stringContaining('attempt 3 of 3 runs alone') as unknown,
      },
    ],
    [
      'others before it',
      {},
      { ahead: 7 },
      { code: 'behind', ahead: 7, message: expect.stringContaining('behind 7 others') as unknown },
    ],
    [
      'very many before it',
      {},
      { ahead: 100 },
      {
        code: 'behind',
        aheadIsLowerBound: true,
        message: expect.stringContaining('at least 100') as unknown,
      },
    ],
    ['nothing but its turn', {}, {}, { code: 'next', ahead: 0 }],
    [
      'a worker that has not started it',
      { state: 'assigned', ...held },
      {},
      { code: 'starting', workerId: 'w' },
    ],
    [
      'a cancel on the way',
      { state: 'running', ...held, cancelRequestedAt: NOW },
      {},
      { code: 'cancel_requested', workerId: 'w' },
    ],
  ])('names %s', (_, changes, circumstances, reason) => {
    expect(waitingReason(execution(changes), facts(circumstances))).toMatchObject(reason);
  });

  it('is silent for what runs or has ended, and never for what waits', () => {
    const silent = EXECUTION_STATES.filter(
      (state) => waitingReason(execution({ state, ...held }), facts()) === null,
    );
    expect(silent).toEqual(['running', 'completed', 'failed', 'cancelled', 'dead']);
  });
});
