import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { delayFlow } from '../support/api-client.js';
import { AmqpClient, FakeWorker, type RawMessage } from '../support/fake-worker.js';
import { expectInvariants, reportFault } from '../support/invariants.js';
import { System } from '../support/system.js';
import { heartbeat, registration } from '../support/workers.js';

interface Letter {
  source: string;
  reason: string;
  headers: Record<string, unknown>;
}

const json = (value: unknown): string => JSON.stringify(value);
const MEBIBYTE = 1_048_576;

/** Where a stranger can put a message, and of what type one there would be. The default exchange reaches every queue. */
const PLACES = [
  { source: 'flow.ready.normal', exchange: 'flow.ready', key: 'normal', type: 'flow.task' },
  { source: 'flow.results', exchange: 'flow.results', key: 'results', type: 'task.reports' },
  { source: 'flow.workers', exchange: 'flow.workers', key: '', type: 'worker.heartbeat' },
  { source: 'flow.worker.worker-1', exchange: '', key: 'flow.worker.worker-1', type: 'task.cancel' },
];

/** What is wrong with each message, and what the dead letter says of it where we, not the broker, put it there. */
const BAD: [what: string, message: RawMessage, reason: RegExp][] = [
  ['malformed JSON', { content: '{"workerId":' }, /UTF-8 JSON|header x-attempt/],
  ['nothing', { content: '' }, /UTF-8 JSON|header x-attempt/],
  ['a deep nest', { content: '['.repeat(100_000) }, /UTF-8 JSON|header x-attempt/],
  ['invalid UTF-8', { content: Buffer.from([0x22, 0xc3, 0x28, 0x22]) }, /UTF-8 JSON|header x-attempt/],
  ['a body of 2 MiB', { content: json({ x: 'x'.repeat(2 * MEBIBYTE) }) }, /must have|header x-attempt/],
  ['__proto__', { content: '{"__proto__":{"workerId":"w"}}' }, /must have|header x-attempt/],
  ['an unknown type', { type: 'flow.unheard' }, /type .*got flow\.unheard/],
  ['a future schema', { headers: { 'x-schema': 2 } }, /wire version 1 .*got 2/],
];

/** amqplib cannot send headers above 64 KiB. */
const SEND_LARGE_HEADERS = `
import pika, sys
connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
channel.confirm_delivery()
for place in sys.argv[2:]:
    exchange, key, type_ = place.split('|')
    headers = {'x-schema': 2, 'x-large': 'x' * 70_000}
    channel.basic_publish(exchange, key, b'{}', pika.BasicProperties(type=type_, headers=headers, delivery_mode=2))
connection.close()
`;

describe('bad input over AMQP', () => {
  let system: System;
  let stranger: AmqpClient;
  let fake: FakeWorker | undefined;
  beforeEach(async () => {
    system = await System.start({ store: 'postgres', workers: ['worker-1'] });
    stranger = await AmqpClient.open(system);
  });
  afterEach(async () => {
    await fake?.close();
    fake = undefined;
    await stranger.close();
    await system.stop();
  });

  const letters = async (): Promise<Letter[]> =>
    (await system.api.get('/orchestrator/dead-letters?kind=message&limit=100')).body.items;

  const untilLetters = (count: number): Promise<void> =>
    system.until(`there are ${count} dead letters`, async () => (await letters()).length === count);

  /** All processes are the ones that were started, later flows run, and nothing of all this is still under way. */
  const expectSound = async (fault: string, ids: string[] = []): Promise<void> => {
    const since = Date.now();
    const later = await Promise.all(Array.from({ length: 10 }, () => system.api.submit(delayFlow(5))));
    const recovered = await system.api.untilEnded(later[0]!).then(() => Date.now() - since);
    await expectInvariants(system, [...ids, ...later]);
    const parts = [...system.orchestrators, ...system.workers.values()];
    expect(parts.every(({ isRunning }) => isRunning)).toBe(true);
    reportFault(fault, { executions: ids.length + later.length, recoveryMs: recovered });
  };

  it('becomes a dead letter with its reason, once, wherever it is sent', async () => {
    for (const { exchange, key, type } of PLACES) {
      for (const [, message] of BAD) {
        await stranger.publish(exchange, key, { type, ...message });
      }
    }
    await untilLetters(PLACES.length * BAD.length);
    const found = await letters();
    for (const { source } of PLACES) {
      const reasons = found.filter((letter) => letter.source === source).map(({ reason }) => reason);
      expect(reasons).toHaveLength(BAD.length);
      // What a worker refuses is dead-lettered by the broker, which has no words of its own.
      const expected = source.startsWith('flow.worker.')
        ? BAD.map(() => /the broker dead-lettered it: rejected/)
        : BAD.map(([, , reason]) => reason);
      expected.forEach((reason) => expect(reasons).toContainEqual(expect.stringMatching(reason)));
    }
    await expectSound('malformed, mistyped and oversized messages to every queue');
    expect(await letters()).toHaveLength(found.length);
  });

  it('with headers of 70 KB is a dead letter too, and can be looked at', async () => {
    const places = PLACES.map(({ exchange, key, type }) => `${exchange}|${key}|${type}`);
    const python = process.env.TEST_PYTHON ?? 'python3';
    await promisify(execFile)(python, ['-c', SEND_LARGE_HEADERS, system.amqpUrl, ...places]);
    await untilLetters(PLACES.length);
    const sources = (await letters()).map(({ source }) => source);
    expect(sources.toSorted()).toEqual(PLACES.map(({ source }) => source).toSorted());
    await expectSound('messages with headers of 70 KB');
  });

  it('as one task of a batch fails that one: its neighbours finish, and what nobody can name is kept', async () => {
    await system.workers.get('worker-1')!.stop();
    const ids = await Promise.all(
      Array.from({ length: 5 }, () => system.api.submit(delayFlow(1, { delayMs: 1_500 }))),
    );
    // No client can have this accepted, so the record itself is made wrong before the task is made from it.
    const record = new Client({ connectionString: system.databaseUrl });
    await record.connect();
    const { rowCount } = await record.query(
      `update executions set request = replace(request, '"inputs":{', '"inputs":[],"was":{')
       where execution_id = $1 and request like '%"inputs":{%'`,
      [ids[2]],
    );
    await record.end();
    expect(rowCount).toBe(1);
    await Promise.all(ids.map((id) => system.api.untilState(id, 'queued')));
    const worker = await system.startWorker('worker-1');
    const ended = await Promise.all(ids.map((id) => system.api.untilEnded(id)));
    const expected = ids.map((_, index) => (index === 2 ? 'failed' : 'completed'));
    expect(ended.map(({ state }) => state)).toEqual(expected);
    expect(ended[2].error).toMatchObject({ code: 'bad_task', message: expect.stringContaining('/inputs') });
    expect(await letters()).toEqual([]);

    // Put straight on its queue: one that ended long ago and is broken by now, and one that is nothing at all.
    const tasks = [{ executionId: ids[0], attempt: 1, flowData: null }, { nothing: true }];
    await stranger.publish('', 'flow.worker.worker-1', { type: 'flow.tasks', content: json({ tasks }) });
    await untilLetters(1);
    const [letter] = await letters();
    expect(letter).toMatchObject({
      source: 'flow.worker.worker-1',
      reason: expect.stringContaining('rejected'),
    });
    expect(worker.output).toContain('nobody can tell which task this is');
    const states = await expectInvariants(system, ids, { states: ['completed', 'failed'] });
    expect(states).toEqual({ completed: 4, failed: 1 });
    await expectSound('a batch with a task that cannot be read');
  });

  it('as reports that are forged, duplicated, out of order or stale changes no record and frees no slot', async () => {
    await system.workers.get('worker-1')!.stop();
    fake = await FakeWorker.join(system, 'fake', 2);
    const id = await system.api.submit(delayFlow(1));
    const first = await fake.nextTask();
    const report = { executionId: id, attempt: 1 };
    const forged = { ...report, kind: 'completed', result: { wait: 'forged' } };
    const by = (workerId: string, reports: object[]): RawMessage => ({
      type: 'task.reports',
      content: json({ workerId, incarnation: 'i', reports }),
    });
    await stranger.publish('flow.results', 'results', by('worker-1', [forged]));
    await stranger.publish('flow.results', 'results', by('intruder', [forged]));
    await stranger.publish('flow.results', 'results', by('fake', [{ ...forged, attempt: 7 }]));
    await stranger.publish('flow.results', 'results', by('fake', [{ ...forged, executionId: 'no-such' }]));
    const failure = { code: 'node_failed', message: 'for now', retryable: true };
    await fake.report({ ...report, kind: 'failed', error: failure });
    fake.ack(first);
    const second = await fake.nextTask();
    expect(second.task).toMatchObject({ executionId: id, attempt: 2 });
    // A late word of attempt 1; the end of attempt 2 before its start; the end twice, and then another one.
    await fake.report({ ...report, kind: 'completed', result: { wait: 'stale' } });
    const held = (await system.api.get('/orchestrator/workers/fake')).body.heldExecutionIds;
    expect(held).toEqual([id]);
    const end = { executionId: id, attempt: 2, kind: 'completed', result: { wait: 'true' } } as const;
    await fake.report(end);
    await fake.report({ executionId: id, attempt: 2, kind: 'started' });
    await fake.report(end);
    await fake.report({ ...end, kind: 'failed', result: undefined, error: failure });
    fake.ack(second);
    const { body } = await system.api
      .until(id, ({ state }) => state === 'completed')
      .then(() => system.api.execution(id));
    expect(body).toMatchObject({ attempt: 2, workerId: 'fake', result: { wait: 'true' } });
    await fake.close();
    await system.startWorker('worker-1');
    await expectSound('forged, duplicated, reordered and stale reports', [id]);
    expect((await system.api.execution(id)).body.result).toEqual({ wait: 'true' });
    expect(await letters()).toEqual([]);
  });

  it('as two ends of one attempt leaves the first, also while many others are being recorded', async () => {
    await system.workers.get('worker-1')!.stop();
    fake = await FakeWorker.join(system, 'fake', 60);
    const ids = await Promise.all(Array.from({ length: 60 }, () => system.api.submit(delayFlow(1))));
    const tasks = [];
    for (const _ of ids) tasks.push(await fake.nextTask());
    const error = { code: 'node_failed', message: 'after all', retryable: true };
    await Promise.all(
      ids.flatMap((executionId) => [
        fake!.report({ executionId, attempt: 1, kind: 'completed', result: { wait: null } }),
        fake!.report({ executionId, attempt: 1, kind: 'failed', error }),
      ]),
    );
    tasks.forEach((task) => fake!.ack(task));
    const ended = await Promise.all(ids.map((id) => system.api.untilEnded(id)));
    expect(ended.filter(({ state, attempt }) => state !== 'completed' || attempt !== 1)).toEqual([]);
    await fake.close();
    await system.startWorker('worker-1');
    await expectSound('two ends of one attempt', ids);
  });

  it('of workers that are not what they say harms no flow', async () => {
    const ids = await Promise.all(Array.from({ length: 5 }, () => system.api.submit(delayFlow(1_000))));
    const tell = (type: string, content: object): Promise<void> =>
      stranger.publish('flow.workers', '', { type, content: json(content) });
    for (const slots of [0, -1, 1.5, 1e9, 1e308]) {
      await tell('worker.registration', registration({ workerId: 'absurd', slots }));
    }
    await untilLetters(5);
    for (const { source, reason } of await letters()) {
      expect(source).toBe('flow.workers');
      expect(reason).toMatch(/^worker\.registration: \/capacity\/maxConcurrentFlows must be/);
    }
    // Heartbeats of workers that never registered, and of another process under the name of one that lives.
    for (let index = 0; index < 50; index++) {
      await tell('worker.heartbeat', heartbeat({ workerId: `never-registered-${index}` }));
    }
    await tell('worker.registration', registration({ workerId: 'worker-1', incarnation: 'another' }));
    await tell('worker.heartbeat', heartbeat({ workerId: 'worker-1', incarnation: 'a-third' }));
    await tell('worker.goodbye', { workerId: 'worker-1', incarnation: 'a-third', reason: 'forged' });
    // One that has ten thousand slots, and nobody behind it: what it is given comes back.
    await tell(
      'worker.registration',
      registration({ workerId: 'ghost', slots: 10_000, supportedNodeTypes: ['delay'] }),
    );
    ids.push(...(await Promise.all(Array.from({ length: 20 }, () => system.api.submit(delayFlow(50))))));
    await system.until('worker-1 has its own registration back', async () => {
      const { body } = await system.api.get('/orchestrator/workers/worker-1');
      return body.assignable && body.incarnation !== 'another';
    });
    await expectSound('workers that are not what they say', ids);
    const ended = await Promise.all(ids.map(async (id) => (await system.api.execution(id)).body));
    expect(ended.filter(({ attempt }) => attempt > 1)).toEqual([]);
    const { body } = await system.api.get('/orchestrator/workers');
    expect(body.items.map(({ workerId }: { workerId: string }) => workerId)).toEqual(['worker-1']);
  });
});
