import { describe, expect, it } from '@jest/globals';
import type { Pod } from '../../../src/scaling/drivers/kubernetes-api.js';
import {
  deploymentName,
  exitsBetween,
  type KnownPods,
  planPods,
} from '../../../src/scaling/drivers/kubernetes-plan.js';

const START = '2026-11-21T10:00:00Z';
const NOW_MS = Date.parse('2026-11-21T10:01:00Z');

interface PodTraits {
  isTerminating?: boolean;
  phase?: string;
  restarts?: number;
  exitCode?: number;
}

function pod(
  name: string,
  { isTerminating, phase = 'Running', restarts = 0, exitCode }: PodTraits = {},
): Pod {
  const terminated = { exitCode: exitCode ?? 0, startedAt: START, finishedAt: '2026-11-21T10:00:42Z' };
  return {
    metadata: {
      name,
      uid: `uid-${name}`,
      creationTimestamp: START,
      ...(isTerminating && { deletionTimestamp: START }),
    },
    status: {
      phase,
      startTime: START,
      containerStatuses: [
        { name: 'worker', restartCount: restarts, lastState: exitCode === undefined ? {} : { terminated } },
      ],
    },
  };
}

describe('the plan for a Deployment', () => {
  const nothing = { first: [], replicas: null, remove: [] };
  const three = [pod('a'), pod('b'), pod('c')];

  it('changes nothing when the number is right and nobody is named', () => {
    expect(planPods({ instances: 3, retire: [] }, { replicas: 3, pods: three })).toEqual(nothing);
  });

  it('sets a larger number', () => {
    expect(planPods({ instances: 5, retire: [] }, { replicas: 3, pods: three })).toEqual({
      ...nothing,
      replicas: 5,
    });
  });

  it('marks whom it can before it sets a smaller number', () => {
    const pods = [...three, pod('d', { isTerminating: true }), pod('e', { phase: 'Failed' })];
    expect(planPods({ instances: 1, retire: ['c', 'a', 'd', 'e', 'x'] }, { replicas: 3, pods })).toEqual({
      ...nothing,
      first: ['a', 'c'],
      replicas: 1,
    });
  });

  it('waits for the ReplicaSet to choose', () => {
    expect(planPods({ instances: 2, retire: ['a'] }, { replicas: 2, pods: three })).toEqual(nothing);
  });

  it('deletes those who were named and not chosen, or shall be replaced', () => {
    expect(planPods({ instances: 3, retire: ['a'] }, { replicas: 3, pods: three })).toEqual({
      ...nothing,
      remove: ['a'],
    });
  });

  it('does nothing to those who are on their way out', () => {
    const pods = [pod('a', { isTerminating: true }), pod('b')];
    expect(planPods({ instances: 1, retire: ['a'] }, { replicas: 1, pods })).toEqual(nothing);
  });

  it('knows a Deployment by its class', () => {
    expect(deploymentName('flow-worker-{class}', 'sql')).toBe('flow-worker-sql');
    expect(deploymentName('{class}.{class}', 'sql')).toBe('sql.sql');
    expect(deploymentName('workers', 'sql')).toBe('workers');
  });
});

describe('the ends between two looks', () => {
  const known = (...pods: Pod[]): KnownPods =>
    new Map(pods.map((one) => [one.metadata.uid, { pod: one, workerClass: 'general' }]));
  const exits = (before: KnownPods, after: KnownPods) => exitsBetween(before, after, NOW_MS);
  const common = { workerId: 'a', workerClass: 'general' };

  it('are none when nothing changed, and none of what came up', () => {
    const same = known(pod('a', { restarts: 2, exitCode: 1 }));
    expect(exits(same, same)).toEqual([]);
    expect(exits(known(), known(pod('a')))).toEqual([]);
  });

  it.each([
    [3, { code: 3, signal: null }],
    [137, { code: null, signal: 'SIGKILL' }],
  ])('are those of containers that were started again: exit code %d', (exitCode, how) => {
    const exit = { ...common, retiring: false, ...how, livedMs: 42_000 };
    expect(exits(known(pod('a')), known(pod('a', { restarts: 1, exitCode })))).toEqual([exit]);
    // It came up and ended since the last look.
    expect(exits(known(), known(pod('a', { restarts: 1, exitCode })))).toEqual([exit]);
  });

  it('are not crashes when a pod was deleted', () => {
    const gone = { ...common, retiring: true, code: null, signal: null, livedMs: 60_000 };
    expect(exits(known(pod('a')), known())).toEqual([gone]);
    expect(exits(known(pod('a', { isTerminating: true })), known())).toEqual([gone]);
  });

  it('are those of pods that the cluster gave up, once', () => {
    const failed = known(pod('a', { phase: 'Failed' }));
    expect(exits(known(pod('a')), failed)).toMatchObject([{ ...common, retiring: false }]);
    expect(exits(failed, failed)).toEqual([]);
    expect(exits(failed, known())).toEqual([]);
  });
});
