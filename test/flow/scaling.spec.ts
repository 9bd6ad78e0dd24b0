import { afterEach, describe, expect, it } from '@jest/globals';
import type { FlowExecutionMessage } from '../../src/queue/contracts/flow-execution.js';
import { type ApiClient, delayFlow, flow } from '../support/api-client.js';
import { expectInvariants, Load } from '../support/invariants.js';
import { System } from '../support/system.js';

/** Everything a second or so, so that a test sees the whole of it. */
const QUICK = {
  WORKER_DRIVER: 'process',
  MIN_WORKERS: '2',
  MAX_WORKERS: '6',
  SCALING_INTERVAL_MS: '200',
  SCALING_COOLDOWN_MS: '1000',
  SCALE_DOWN_STABILIZATION_MS: '2000',
  SCALING_DRAIN_TARGET_MS: '2000',
  WORKER_MAX_CONCURRENT_FLOWS: '5',
};
const COOLDOWN_MS = Number(QUICK.SCALING_COOLDOWN_MS);

interface Decision {
  at: string;
  action: 'up' | 'down' | 'none';
  rule: string;
  from: number;
  to: number;
  reason: string;
}

/** The class as the leader shows it. */
async function scalingOf(api: ApiClient, name = 'default') {
  const { body } = await api.get('/orchestrator/scaling');
  return body.classes.find(({ workerClass }: { workerClass: string }) => workerClass === name);
}

const changesOf = ({ decisions }: { decisions: Decision[] }): Decision[] =>
  decisions.filter(({ action }) => action !== 'none').toReversed();

async function untilSize(system: System, size: number, name = 'default', timeoutMs = 30_000): Promise<void> {
  await system.until(
    `${size} workers of ${name} are there, and no others`,
    async () => {
      const { desired, workers } = await scalingOf(system.api, name);
      return desired === size && workers.ready === size && workers.draining === 0 && workers.starting === 0;
    },
    undefined,
    timeoutMs,
  );
}

async function submitMany(api: ApiClient, count: number, message: FlowExecutionMessage): Promise<string[]> {
  const ids: string[] = [];
  while (ids.length < count) {
    const items = Array.from({ length: Math.min(500, count - ids.length) }, () => message);
    const { body } = await api.post('/orchestrator/execute/batch', { items });
    ids.push(...body.items.map(({ executionId }: { executionId: string }) => executionId));
  }
  return ids;
}

/** How often it turned from growing to shrinking or back. */
function turnsOf(changes: Decision[]): number {
  return changes.filter(({ action }, index) => index > 0 && action !== changes[index - 1]!.action).length;
}

/** The sizes that the class was to have over a time, looked at again and again. */
async function sizesFor(system: System, durationMs: number): Promise<number[]> {
  const sizes: number[] = [];
  const deadline = Date.now() + durationMs;
  await system.until('the time is over', async () => {
    sizes.push((await scalingOf(system.api)).desired);
    return Date.now() > deadline;
  });
  return sizes;
}

async function set(api: ApiClient, what: 'pause' | 'resume' | 'manual', body: object) {
  const answer = await api.post(`/orchestrator/scaling/${what}`, body);
  expect(answer.status).toBe(what === 'manual' ? 202 : 200);
  return answer.body;
}

/** Executions that needed more than one attempt. */
async function secondAttempts(api: ApiClient): Promise<object[]> {
  const found: object[] = [];
  let cursor = '';
  do {
    const { body } = await api.get(`/orchestrator/executions?limit=200${cursor}`);
    found.push(...body.items.filter(({ attempt }: { attempt: number }) => attempt !== 1));
    cursor = body.nextCursor === null ? '' : `&cursor=${body.nextCursor}`;
  } while (cursor !== '');
  return found;
}

async function drainingWorker({ api }: System): Promise<string> {
  const { body } = await api.get('/orchestrator/workers');
  return body.items.find(({ lifecycle }: { lifecycle: string }) => lifecycle === 'draining').workerId;
}

describe('the pool', () => {
  let system: System;
  afterEach(() => system.stop());

  it('grows with a burst to its maximum and shrinks back, one change a cooldown; nothing is lost or interrupted', async () => {
    system = await System.start({ env: QUICK });
    await untilSize(system, 2);
    const ids = await submitMany(system.api, 1_200, delayFlow(100, { retry: { maxAttempts: 1 } }));
    await untilSize(system, 6);
    const metrics = await system.api.get('/metrics');
    expect(metrics.body).toContain('flow_scaling_desired_workers{class="default"} 6');
    expect(metrics.body).toMatch(/flow_scaling_actions_total\{class="default",direction="up"\} [23]/);
    await expectInvariants(system, ids);
    expect(await secondAttempts(system.api)).toEqual([]);
    await untilSize(system, 2);
    const changes = changesOf(await scalingOf(system.api));
    const gaps = changes.slice(1).map(({ at }, index) => Date.parse(at) - Date.parse(changes[index]!.at));
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(COOLDOWN_MS - 50);
    expect(turnsOf(changes)).toBe(1);
    await system.until('two processes are left', async () => system.launchedWorkers().length === 2);
  });

  it('does not flap while the queue hovers around the high watermark', async () => {
    const marks = { QUEUE_HIGH_WATER_MARK: '20', QUEUE_LOW_WATER_MARK: '5' };
    const small = { MIN_WORKERS: '1', MAX_WORKERS: '3', WORKER_MAX_CONCURRENT_FLOWS: '2' };
    system = await System.start({ env: { ...QUICK, ...small, ...marks } });
    await untilSize(system, 1);
    // Ten a second for each worker: more than one can do, and less than two can.
    const load = new Load(system, 15, delayFlow(200));
    await submitMany(system.api, 25, delayFlow(200));
    await system.until('it has grown', async () => (await scalingOf(system.api)).desired > 1);
    const seen = await sizesFor(system, 6_000);
    expect(Math.min(...seen)).toBeGreaterThan(1);
    await expectInvariants(system, await load.stop());
    await untilSize(system, 1);
    const changes = changesOf(await scalingOf(system.api));
    expect(turnsOf(changes)).toBe(1);
    expect(changes.length).toBeLessThanOrEqual(5);
  });

  it('shrinks without interrupting a flow: the worker finishes it and leaves', async () => {
    system = await System.start({ env: { ...QUICK, MIN_WORKERS: '1', WORKER_MAX_CONCURRENT_FLOWS: '1' } });
    await untilSize(system, 1);
    await set(system.api, 'pause', {});
    await set(system.api, 'manual', { desired: 2 });
    await untilSize(system, 2);
    const ids = await Promise.all(
      [1, 2].map(() => system.api.submit(delayFlow(2_500, { retry: { maxAttempts: 1 } }))),
    );
    const held = await Promise.all(ids.map((id) => system.api.untilState(id, 'running')));
    await set(system.api, 'manual', { desired: 1 });
    await system.until('one is draining', async () => (await scalingOf(system.api)).workers.draining === 1);
    const leaving = await drainingWorker(system);
    const later = await system.api.submit(delayFlow(1));
    const ended = await Promise.all(ids.map((id) => system.api.untilState(id, 'completed')));
    expect(ended.map(({ attempt, workerId }) => ({ attempt, workerId }))).toEqual(
      held.map(({ workerId }) => ({ attempt: 1, workerId })),
    );
    expect((await system.api.untilState(later, 'completed')).workerId).not.toBe(leaving);
    await untilSize(system, 1);
    await system.until('it has ended', async () =>
      system.launchedWorkers().every(({ workerId }) => workerId !== leaving),
    );
  });

  it('shrinks with a deadline: what does not end in time is handed back, and no attempt is counted', async () => {
    const deadline = { WORKER_DRAIN_DEADLINE_MS: '300', WORKER_MAX_CONCURRENT_FLOWS: '2' };
    system = await System.start({ env: { ...QUICK, MIN_WORKERS: '1', ...deadline } });
    await untilSize(system, 1);
    await set(system.api, 'pause', {});
    await set(system.api, 'manual', { desired: 2 });
    await untilSize(system, 2);
    const ids = await Promise.all(
      [1, 2].map(() => system.api.submit(delayFlow(2_000, { retry: { maxAttempts: 1 } }))),
    );
    const held = await Promise.all(ids.map((id) => system.api.untilState(id, 'running')));
    expect(new Set(held.map(({ workerId }) => workerId)).size).toBe(2);
    await set(system.api, 'manual', { desired: 1 });
    const ended = await Promise.all(ids.map((id) => system.api.untilState(id, 'completed')));
    expect(ended.map(({ attempt }) => attempt)).toEqual([1, 1]);
    expect(
      ended.flatMap(({ attempts }) => attempts.map(({ outcome }: { outcome: string }) => outcome)).toSorted(),
    ).toEqual(['completed', 'completed', 'handed_back']);
    expect(new Set(ended.map(({ workerId }) => workerId)).size).toBe(1);
    await untilSize(system, 1);
  });

  it('shrinks to nothing, is healthy then, and comes back for work', async () => {
    system = await System.start({ env: { ...QUICK, MIN_WORKERS: '0' } });
    await untilSize(system, 0);
    expect((await system.api.get('/orchestrator/health')).body).toMatchObject({
      status: 'healthy',
      reasons: [],
    });
    for (let round = 0; round < 2; round++) {
      const { body } = await system.api.execute(delayFlow(1, { retry: { maxAttempts: 1 } }), '?waitMs=15000');
      expect(body).toMatchObject({ state: 'completed', attempt: 1 });
      await untilSize(system, 0);
    }
    await system.until('no process is left', async () => system.launchedWorkers().length === 0);
  });

  it('has classes with bounds of their own: the one grows whose workers can run what waits', async () => {
    const classes = 'general:1-2:delay+data-filter,special:0-2:log';
    system = await System.start({ env: { ...QUICK, WORKER_CLASSES: classes } });
    await untilSize(system, 1, 'general');
    await untilSize(system, 0, 'special');
    const special = flow([{ id: 'say', type: 'log', config: { message: 'here' } }]);
    const { body } = await system.api.execute(special, '?waitMs=15000');
    expect(body).toMatchObject({ state: 'completed', attempt: 1 });
    expect(body.workerId).toMatch(/^special-/);
    expect((await system.api.execute(delayFlow(1), '?waitMs=10000')).body.workerId).toMatch(/^general-/);
    expect(changesOf(await scalingOf(system.api, 'special'))[0]).toMatchObject({ rule: 'unmet', from: 0 });
    expect(changesOf(await scalingOf(system.api, 'general')).map(({ to }) => to)).toEqual([1]);
    await untilSize(system, 0, 'special');
    const several = await system.api.post('/orchestrator/scaling/pause', {});
    expect(several).toMatchObject({ status: 422, body: { errors: [{ pointer: '/workerClass' }] } });
    expect(several.body.detail).toContain('general, special');
  });
});

describe('scaling by hand', () => {
  let system: System;
  afterEach(() => system.stop());

  it('sets bounds, a size, a pause; and refuses what is outside', async () => {
    system = await System.start({ env: { ...QUICK, MIN_WORKERS: '1', MAX_WORKERS: '3' } });
    const { api } = system;
    await untilSize(system, 1);
    expect(await api.post('/orchestrator/scaling/manual', { desired: 4 })).toMatchObject({
      status: 422,
      body: { errors: [{ pointer: '/desired', message: expect.stringContaining('expected 1 to 3') }] },
    });
    await set(api, 'pause', {});
    await set(api, 'manual', { desired: 3, reason: 'month end' });
    await untilSize(system, 3);
    expect(await scalingOf(api)).toMatchObject({
      paused: true,
      reason: 'month end',
      bounds: { minWorkers: 1, maxWorkers: 3, from: 'configuration' },
    });
    expect((await api.get('/orchestrator/scaling/desired')).body).toEqual({
      desired: 3,
      classes: { default: { desired: 3, min: 1, max: 3, reason: 'month end' } },
    });
    // Nothing waits, and it is paused: it keeps its size for longer than it takes to shrink.
    expect(new Set(await sizesFor(system, 3_500))).toEqual(new Set([3]));
    expect(await api.put('/orchestrator/scaling/bounds', { minWorkers: 0, maxWorkers: 2 })).toMatchObject({
      status: 200,
      body: { bounds: { minWorkers: 0, maxWorkers: 2, from: 'api' } },
    });
    await untilSize(system, 2);
    await set(api, 'resume', {});
    await untilSize(system, 0);
    expect(
      await api.put('/orchestrator/scaling/bounds', { minWorkers: null, maxWorkers: null }),
    ).toMatchObject({
      status: 200,
      body: { bounds: { minWorkers: 1, maxWorkers: 3, from: 'configuration' } },
    });
    await untilSize(system, 1);
    const rules = changesOf(await scalingOf(api)).map(({ rule, to }) => `${rule} ${to}`);
    expect(rules).toEqual(['bounds 1', 'manual 3', 'bounds 2', 'idle 1', 'idle 0', 'bounds 1']);
  });

  it('may be asked of any replica; the leader takes it from the record, and another one says who that is', async () => {
    system = await System.start({
      store: 'postgres',
      orchestrators: 2,
      env: { ...QUICK, WORKER_DRIVER: 'none', MIN_WORKERS: '1' },
    });
    const leader = await system.leaderApi();
    const follower = system.apis.find((api) => api !== leader)!;
    await set(follower, 'pause', {});
    await set(follower, 'manual', { desired: 4 });
    await system.until('the leader has decided by it', async () => {
      const changes = changesOf(await scalingOf(leader));
      return changes.at(-1)?.rule === 'manual';
    });
    const { body } = await follower.get('/orchestrator/scaling');
    expect(body.classes[0]).toMatchObject({
      desired: 4,
      paused: true,
      decisions: null,
      cooldownLeftMs: null,
    });
    expect(body.leader.leader).toBe((await leader.get('/orchestrator/scaling')).body.leader.leader);
    expect(body.leader.isLeader).toBe(false);
    expect(await set(leader, 'resume', {})).toMatchObject({ desired: 4, paused: false });
  });
});
