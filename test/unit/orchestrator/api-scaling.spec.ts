import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type ApiApp, startApi } from './support/api-app.js';

let api: ApiApp;
beforeEach(async () => {
  api = await startApi();
});
afterEach(() => api.close());

async function call(method: string, path: string, body?: unknown) {
  const response = await fetch(`${api.url}/orchestrator/scaling${path}`, {
    method,
    ...(body !== undefined && {
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    }),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

describe('scaling over HTTP', () => {
  it('shows what is configured until somebody decides, and leaves out what only the leader knows', async () => {
    const { body } = await call('GET', '');
    expect(body).toEqual({
      driver: { name: 'none', problem: null },
      leader: { isLeader: true, leader: 'test-1', epoch: 1 },
      classes: [
        {
          workerClass: 'default',
          nodeTypes: [],
          desired: 1,
          reason: '',
          updatedAt: null,
          workers: { live: 0, ready: 0, draining: 0, starting: null },
          bounds: { minWorkers: 1, maxWorkers: 20, from: 'configuration' },
          paused: false,
          cooldownLeftMs: null,
          backOff: null,
          decisions: null,
        },
      ],
    });
    expect((await call('GET', '/desired')).body).toEqual({
      desired: 1,
      classes: { default: { desired: 1, min: 1, max: 20, reason: '' } },
    });
  });

  it('shows what the leader knows', async () => {
    api.surroundings.scaling = {
      desired: 3,
      starting: 2,
      cooldownLeftMs: 1_500,
      workerTasksPerS: 4,
      backOff: { crashes: 2, leftMs: 20_000 },
      decisions: [],
    };
    const { body } = await call('GET', '');
    const [shown] = body.classes as { backOff: { until: string } }[];
    expect(shown).toMatchObject({ workers: { starting: 2 }, cooldownLeftMs: 1_500, decisions: [] });
    expect(Math.abs(Date.parse(shown!.backOff.until) - Date.now() - 20_000)).toBeLessThan(5_000);
  });

  it('records a size, bounds and a pause, and asks for a round', async () => {
    expect(await call('POST', '/manual', { desired: 5, reason: 'month end' })).toMatchObject({
      status: 202,
      body: { desired: 5, reason: 'month end' },
    });
    expect(await call('PUT', '/bounds', { minWorkers: 5, maxWorkers: 5 })).toMatchObject({
      status: 200,
      body: { bounds: { minWorkers: 5, maxWorkers: 5, from: 'api' } },
    });
    expect(await call('POST', '/pause')).toMatchObject({ status: 200, body: { paused: true } });
    expect(await call('POST', '/resume', { workerClass: 'default' })).toMatchObject({
      status: 200,
      body: { paused: false, desired: 5 },
    });
    expect(api.surroundings.wakes).toBe(4);
    expect(await call('PUT', '/bounds', { minWorkers: null, maxWorkers: null })).toMatchObject({
      body: { bounds: { minWorkers: 1, maxWorkers: 20, from: 'configuration' } },
    });
  });

  it.each([
    ['POST', '/manual', {}, '/desired', 'expected a whole number from 0 to 10000, got nothing'],
    [
      'POST',
      '/manual',
      { desired: 21 },
      '/desired',
      'expected 1 to 20, the bounds of the class default, got 21',
    ],
    ['POST', '/manual', { desired: 2, reason: '' }, '/reason', 'expected a text of 1 to 500 characters'],
    [
      'POST',
      '/manual',
      { desired: 2, workerClass: 'sql' },
      '/workerClass',
      'expected one of default, got "sql"',
    ],
    [
      'PUT',
      '/bounds',
      { minWorkers: 3, maxWorkers: 2 },
      '/minWorkers',
      'expected at most maxWorkers (2), got 3',
    ],
    ['PUT', '/bounds', { minWorkers: 3, maxWorkers: null }, '/maxWorkers', 'expected both bounds'],
    ['PUT', '/bounds', { minWorkers: 3 }, '/maxWorkers', 'or null, got nothing'],
    ['POST', '/pause', { workerClass: 7 }, '/workerClass', 'expected the name of a worker class, got 7'],
    ['POST', '/pause', { hours: 7 }, '/hours', 'only the fields workerClass'],
  ])('refuses %s %s %j', async (method, path, body, pointer, message) => {
    const answer = await call(method, path, body);
    expect(answer).toMatchObject({ status: 422, body: { errors: [{ pointer }] } });
    expect((answer.body.errors as { message: string }[])[0]!.message).toContain(message);
    expect(api.surroundings.wakes).toBe(0);
  });

  it('wants to know which class where there are several', async () => {
    await api.close();
    api = await startApi({ workerClasses: ['general:1-2', 'sql:0-4:postgresql-query'] });
    const { status, body } = await call('POST', '/pause', {});
    expect(status).toBe(422);
    expect(body.detail).toContain('expected one of general, sql, got nothing, and there are several');
    expect(await call('POST', '/manual', { workerClass: 'sql', desired: 4 })).toMatchObject({ status: 202 });
    expect((await call('GET', '/desired')).body).toMatchObject({
      desired: 5,
      classes: { general: { desired: 1 }, sql: { desired: 4, max: 4 } },
    });
  });
});
