import { afterEach, describe, expect, it } from '@jest/globals';
import { delayFlow, flow } from '../support/api-client.js';
import { System } from '../support/system.js';

describe('workers', () => {
  let system: System;
  afterEach(() => system.stop());

  it('wait for an orchestrator that starts later, and join', async () => {
    system = await System.start({ orchestrators: 0 });
    const worker = system.launchWorker('early');
    await system.until('the worker waits', async () => worker.output.includes('waits for'), worker);
    await system.startOrchestrator();
    await system.untilAssignable('early', worker);
    expect((await system.api.execute(delayFlow(1), '?waitMs=10000')).body.state).toBe('completed');
  });

  it('finish what they run on SIGTERM, hand back what they have not begun, and exit 0', async () => {
    system = await System.start({ workers: ['leaving'], workerEnv: { WORKER_MAX_CONCURRENT_FLOWS: '2' } });
    const running = await system.api.submit(delayFlow(800));
    await system.api.untilState(running, 'running');
    const worker = system.workers.get('leaving')!;
    worker.signal('SIGTERM');
    await system.until('it is draining', async () => {
      const { body } = await system.api.get('/orchestrator/workers/leaving');
      return body.lifecycle === 'draining' || body.status === 404;
    });
    const later = await system.api.submit(delayFlow(1));
    expect(await worker.exited).toBe(0);
    expect((await system.api.execution(running)).body).toMatchObject({
      state: 'completed',
      attempt: 1,
      workerId: 'leaving',
    });
    // It may have been on its way to the worker when that began to drain: then it has just been handed back.
    await system.until('it waits for another worker', async () => {
      return (await system.api.execution(later)).body.waiting?.code === 'no_capable_worker';
    });
    await system.startWorker('next');
    expect(await system.api.untilState(later, 'completed')).toMatchObject({ attempt: 1, workerId: 'next' });
  });

  it('hand back at the deadline what does not end, without counting an attempt', async () => {
    system = await System.start({ workers: ['leaving'], workerEnv: { WORKER_DRAIN_DEADLINE_MS: '300' } });
    const id = await system.api.submit(delayFlow(1_500, { retry: { maxAttempts: 1 } }));
    await system.api.untilState(id, 'running');
    const worker = system.workers.get('leaving')!;
    worker.signal('SIGTERM');
    expect(await worker.exited).toBe(0);
    await system.startWorker('next', { WORKER_DRAIN_DEADLINE_MS: '30000' });
    const ended = await system.api.untilState(id, 'completed');
    expect(ended).toMatchObject({ attempt: 1, workerId: 'next' });
    expect(ended.attempts[0]).toMatchObject({ outcome: 'handed_back', workerId: 'leaving' });
  });

  it('are drained by an operator over HTTP', async () => {
    system = await System.start({ workers: ['a', 'b'] });
    const { status } = await system.api.post('/orchestrator/workers/a/drain', {});
    expect(status).toBeLessThan(300);
    expect(await system.workers.get('a')!.exited).toBe(0);
    const { body } = await system.api.execute(delayFlow(1), '?waitMs=10000');
    expect(body).toMatchObject({ state: 'completed', workerId: 'b' });
    expect((await system.api.post('/orchestrator/workers/nobody/drain', {})).status).toBe(404);
  });

  it('that are killed lose nothing: their flows run again elsewhere under the next attempt', async () => {
    system = await System.start({ workers: ['doomed'] });
    // A worker is believed to be consuming from its fifth second on.
    await system.until('it is no newcomer any more', async () => {
      const { body } = await system.api.get('/orchestrator/workers/doomed');
      return Date.now() - new Date(body.registeredAt).getTime() > 5_500;
    });
    const ids = await Promise.all([1, 2, 3].map(() => system.api.submit(delayFlow(5_000))));
    await Promise.all(ids.map((id) => system.api.untilState(id, 'running')));
    await system.startWorker('heir');
    await system.workers.get('doomed')!.kill();
    const killedAt = Date.now();
    const ended = await Promise.all(ids.map((id) => system.api.untilState(id, 'completed')));
    for (const execution of ended) {
      expect(execution).toMatchObject({ attempt: 2, workerId: 'heir' });
      expect(execution.attempts[0]).toMatchObject({ workerId: 'doomed', error: { code: 'worker_lost' } });
      expect(new Date(execution.startedAt).getTime() - killedAt).toBeLessThan(1_500);
    }
  });

  it('that are killed and come back at once under the same name go on', async () => {
    system = await System.start({ workers: ['phoenix'] });
    const id = await system.api.submit(delayFlow(600));
    await system.api.untilState(id, 'running');
    await system.workers.get('phoenix')!.kill();
    await system.startWorker('phoenix');
    expect(await system.api.untilState(id, 'completed')).toMatchObject({ attempt: 2, workerId: 'phoenix' });
  });

  it('of a name that is taken wait until it is free', async () => {
    system = await System.start({ workers: ['twin'] });
    const first = system.workers.get('twin')!;
    const second = system.launchWorker('twin');
    await system.until('the second says so', async () =>
      second.output.includes('another process takes tasks as twin'),
    );
    expect((await system.api.execute(delayFlow(1), '?waitMs=10000')).body.state).toBe('completed');
    await first.stop();
    await system.until('the second takes over', async () => second.output.includes('takes tasks: '), second);
    expect((await system.api.execute(delayFlow(1), '?waitMs=10000')).body.state).toBe('completed');
  });

  it('in another language join by the wire contract', async () => {
    system = await System.start({ workers: ['node-worker'] });
    const message = flow(
      [
        { id: 'pause', type: 'delay', config: { ms: 20 } },
        { id: 'count', type: 'python-wordcount' },
      ],
      {
        inputs: { text: 'to be or not to be' },
      },
    );
    const id = await system.api.submit(message);
    await system.api.until(id, (execution) => execution.waiting?.code === 'no_capable_worker');
    const python = system.launchProcess('python-1', process.env.TEST_PYTHON ?? 'python3', [
      'examples/python-worker/worker.py',
      '--id',
      'python-1',
    ]);
    await system.untilAssignable('python-1', python);
    const ended = await system.api.untilState(id, 'completed');
    expect(ended).toMatchObject({ workerId: 'python-1', attempt: 1 });
    expect(ended.result.count).toMatchObject({ words: 6, distinct: 4 });

    const many = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        system.api.submit(
          flow([{ id: 'count', type: 'python-wordcount' }], { inputs: { text: 'word '.repeat(index + 1) } }),
        ),
      ),
    );
    const results = await Promise.all(many.map((each) => system.api.untilState(each, 'completed')));
    expect(results.map(({ result }) => result.count.words)).toEqual(
      Array.from({ length: 20 }, (_, index) => index + 1),
    );

    const long = await system.api.submit(
      flow(
        [
          { id: 'pause', type: 'delay', config: { ms: 60_000 } },
          { id: 'count', type: 'python-wordcount' },
        ],
        {
          inputs: { text: 'never' },
        },
      ),
    );
    await system.api.untilState(long, 'running');
    expect((await system.api.post(`/orchestrator/executions/${long}/cancel`)).status).toBe(202);
    await system.api.untilState(long, 'cancelled');
    expect(await python.stop()).toBe(0);
  });
});
