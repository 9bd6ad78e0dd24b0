import { describe, expect, it } from '@jest/globals';
import type { Delivery } from '../../../src/messaging/consumer.js';
import type { OutgoingMessage } from '../../../src/messaging/publisher.js';
import type { ReportBatchMessage, TaskReport } from '../../../src/queue/contracts/reports.js';
import type { TaskMessage } from '../../../src/queue/contracts/task.js';
import type { FlowOutcome } from '../../../src/runtime/engine/run-flow.js';
import { Outbox } from '../../../src/runtime/outbox.js';
import { TaskRunner } from '../../../src/runtime/task-runner.js';

/** Lets everything that is ready run. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function taskOf(executionId: string, attempt = 1): TaskMessage {
  return {
    executionId,
    flowId: 'flow',
    attempt,
    maxAttempts: 3,
    priority: 'normal',
    flowData: { name: 'f', version: 1, nodes: [{ id: 'a', type: 'delay' }], connections: [] },
    inputs: {},
    timeoutMs: 1_000,
  };
}

class FakeDelivery {
  readonly exchange = 'flow.assign';
  readonly routingKey = 'worker-1';
  readonly messageId = 'm';
  readonly settled: ('acked' | 'requeued' | 'rejected')[] = [];
  readonly content: Buffer;
  readonly correlationId: string | undefined;
  readonly headers: Record<string, unknown>;

  constructor(
    readonly type: 'flow.task' | 'flow.tasks',
    body: unknown,
    readonly redelivered = false,
    given: { correlationId?: string; headers?: Record<string, unknown> } = {},
  ) {
    this.content = Buffer.from(JSON.stringify(body));
    this.correlationId = given.correlationId;
    this.headers = { 'x-schema': 1, ...given.headers };
  }

  ack(): void {
    this.settled.push('acked');
  }
  requeue(): void {
    this.settled.push('requeued');
  }
  reject(): void {
    this.settled.push('rejected');
  }
}

const batchOf = (tasks: unknown[], redelivered = false): FakeDelivery =>
  new FakeDelivery('flow.tasks', { tasks }, redelivered);

/** A runner whose flows end when the test says so, and whose reports are confirmed at once. */
function runnerWith(slots = 10, begun: (executionId: string) => void = () => undefined) {
  const reports: TaskReport[] = [];
  let told = (): void => undefined;
  let confirmed = Promise.resolve();
  const running = new Map<string, (outcome: FlowOutcome) => void>();
  const outbox = new Outbox({
    workerId: 'worker-1',
    incarnation: 'i',
    exchange: 'flow.results',
    publish: ({ content }: OutgoingMessage) => {
      const sent = (JSON.parse(content.toString()) as ReportBatchMessage).reports;
      reports.push(...sent);
      told();
      return sent.some(({ kind }) => kind !== 'started')
        ? confirmed.then(() => 'routed')
        : Promise.resolve('routed');
    },
  });
  const runner = new TaskRunner({
    maxConcurrentFlows: slots,
    resultLimitBytes: 10_000,
    outbox,
    run: ({ executionId }, signal) =>
      new Promise((resolve) => {
        running.set(executionId, resolve);
        begun(executionId);
        signal.addEventListener('abort', () => resolve({ kind: 'cancelled', timeline: [] }));
      }),
  });
  const ends = (): string[] =>
    reports
      .filter(({ kind }) => kind !== 'started')
      .map(({ executionId, kind, error }) => `${executionId} ${error?.code ?? kind}`);
  return {
    runner,
    running,
    reports,
    ends,
    /** From now on no end is confirmed, until the function that it answers is called. */
    hold: (): (() => void) => {
      let release = (): void => undefined;
      confirmed = new Promise((resolve) => (release = resolve));
      return release;
    },
    untilEnds: async (count: number): Promise<void> => {
      while (ends().length < count) await new Promise<void>((resolve) => (told = resolve));
      await turn();
    },
    receive: (delivery: FakeDelivery): void => runner.receive(delivery as unknown as Delivery),
    end: async (executionId: string, outcome?: FlowOutcome): Promise<void> => {
      running.get(executionId)!(outcome ?? { kind: 'completed', result: {}, timeline: [] });
      running.delete(executionId);
      await turn();
    },
  };
}

describe('a batch of tasks', () => {
  it('runs each, reports each, and is acked once, when the last is done', async () => {
    const { receive, end, ends, running, runner } = runnerWith();
    const batch = batchOf(['a', 'b', 'c'].map((id) => taskOf(id)));
    receive(batch);
    expect([...running.keys()]).toEqual(['a', 'b', 'c']);
    await end('b');
    await end('a');
    expect(ends()).toEqual(['b completed', 'a completed']);
    expect(batch.settled).toEqual([]);
    expect(runner.heldExecutionIds()).toEqual(['c']);
    await end('c');
    expect(batch.settled).toEqual(['acked']);
    expect(runner.heldExecutionIds()).toEqual([]);
  });

  it('waits in order for slots like single tasks', async () => {
    const { receive, end, running, runner } = runnerWith(1);
    receive(batchOf([taskOf('a'), taskOf('b')]));
    receive(new FakeDelivery('flow.task', taskOf('c')));
    expect([...running.keys(), runner.queuedTasks]).toEqual(['a', 2]);
    await end('a');
    expect([...running.keys()]).toEqual(['b']);
    await end('b');
    expect([...running.keys()]).toEqual(['c']);
  });

  it('that comes again on a new channel is taken over: what ended stays ended, what runs goes on', async () => {
    const { receive, end, ends, running } = runnerWith();
    const tasks = [taskOf('ended'), taskOf('runs')];
    const first = batchOf(tasks);
    receive(first);
    await end('ended');
    const again = batchOf(tasks, true);
    receive(again);
    expect([...running.keys()]).toEqual(['runs']);
    expect(again.settled).toEqual([]);
    await end('runs');
    expect(again.settled).toEqual(['acked']);
    expect(ends()).toEqual(['ended completed', 'runs completed']);
  });

  it('of a process before this one is not begun: each of its tasks is reported as interrupted', async () => {
    const { receive, ends, running } = runnerWith();
    const batch = batchOf([taskOf('a'), taskOf('b')], true);
    receive(batch);
    await turn();
    expect(running.size).toBe(0);
    expect(ends().toSorted()).toEqual(['a interrupted', 'b interrupted']);
    expect(batch.settled).toEqual(['acked']);
  });

  it('with a task that another message brings too is not left open', async () => {
    const { receive, end, ends } = runnerWith();
    const batch = batchOf([taskOf('a'), taskOf('twice')]);
    const other = new FakeDelivery('flow.task', taskOf('twice'));
    receive(batch);
    receive(other);
    await end('a');
    expect(batch.settled).toEqual(['acked']);
    await end('twice');
    expect(other.settled).toEqual(['acked']);
    expect(ends()).toEqual(['a completed', 'twice completed']);
  });

  it('with one task twice runs it once and is acked', async () => {
    const { receive, end, ends } = runnerWith();
    const batch = batchOf([taskOf('twice'), taskOf('twice')]);
    receive(batch);
    await end('twice');
    expect(batch.settled).toEqual(['acked']);
    expect(ends()).toEqual(['twice completed']);
  });

  it('with one bad task fails that one, and the others finish', async () => {
    const { receive, end, ends } = runnerWith();
    const batch = batchOf([taskOf('good'), { ...taskOf('bad'), timeoutMs: 'soon' }, taskOf('fine')]);
    receive(batch);
    await turn();
    expect(ends()).toEqual(['bad bad_task']);
    await end('good');
    expect(batch.settled).toEqual([]);
    await end('fine');
    expect(batch.settled).toEqual(['acked']);
  });

  it('does not take its headers for the names of its bad tasks', async () => {
    const { receive, ends } = runnerWith();
    const named = { correlationId: 'innocent', headers: { 'x-attempt': 1, 'x-node-types': 'delay' } };
    receive(new FakeDelivery('flow.tasks', { tasks: [{ ...taskOf('bad'), inputs: 1 }] }, false, named));
    await turn();
    expect(ends()).toEqual(['bad bad_task']);
  });

  it('with one that nobody can name becomes a dead letter when the others are done', async () => {
    const { receive, end, ends } = runnerWith();
    const batch = batchOf([{ executionId: 'no attempt' }, taskOf('good')]);
    receive(batch);
    await turn();
    expect({ settled: batch.settled, ends: ends() }).toEqual({ settled: [], ends: [] });
    await end('good');
    expect({ settled: batch.settled, ends: ends() }).toEqual({
      settled: ['rejected'],
      ends: ['good completed'],
    });
  });

  it('is handed back task by task by a worker that drains', async () => {
    const { receive, end, ends, runner } = runnerWith(1);
    const batch = batchOf([taskOf('runs'), taskOf('waits')]);
    receive(batch);
    runner.drain();
    await turn();
    expect(ends()).toEqual(['waits handed_back']);
    expect(batch.settled).toEqual([]);
    await end('runs');
    expect(batch.settled).toEqual(['acked']);
    const late = batchOf([taskOf('late'), taskOf('later')]);
    receive(late);
    await turn();
    expect(ends().slice(2)).toEqual(['late handed_back', 'later handed_back']);
    expect(late.settled).toEqual(['acked']);
    await runner.idle();
  });

  it('loses to a cancel only the task that was cancelled', async () => {
    const { receive, end, ends, runner } = runnerWith(1);
    const batch = batchOf([taskOf('runs'), taskOf('waits'), taskOf('last')]);
    receive(batch);
    runner.cancel({ executionId: 'waits', attempt: 1, reason: 'r' });
    runner.cancel({ executionId: 'runs', attempt: 1, reason: 'r' });
    await turn();
    await end('last');
    expect(ends().toSorted()).toEqual(['last completed', 'runs cancelled', 'waits cancelled']);
    expect(batch.settled).toEqual(['acked']);
  });
});

describe('a task that finds no slot', () => {
  it('is handed back after 200 ms, those before it first, and may come again under its number', async () => {
    const { receive, ends, end, running, runner, untilEnds } = runnerWith(1);
    const batch = batchOf([taskOf('runs'), taskOf('waits'), taskOf('behind')]);
    const beganMs = performance.now();
    receive(batch);
    await untilEnds(2);
    // A timer may fire a little early by another clock.
    expect(performance.now() - beganMs).toBeGreaterThan(198);
    expect(ends()).toEqual(['waits handed_back', 'behind handed_back']);
    expect([runner.queuedTasks, ...runner.heldExecutionIds()]).toEqual([0, 'runs']);
    await end('runs');
    expect(batch.settled).toEqual(['acked']);
    receive(new FakeDelivery('flow.task', taskOf('waits')));
    expect([...running.keys()]).toEqual(['waits']);
  });

  it('is handed back at once when 32 MiB wait already', async () => {
    const { receive, ends, runner, untilEnds } = runnerWith(1);
    const large = (id: string): TaskMessage => ({ ...taskOf(id), inputs: { text: 'x'.repeat(9_000_000) } });
    receive(batchOf([taskOf('runs')]));
    receive(batchOf(['a', 'b', 'c', 'd'].map(large)));
    receive(batchOf([taskOf('small')]));
    expect(runner.queuedTasks).toBe(4);
    await untilEnds(5);
    expect(ends()[0]).toBe('small handed_back');
    receive(batchOf([taskOf('fits')]));
    expect(runner.queuedTasks).toBe(1);
  });

  it('may come again before the broker has confirmed that it was handed back: then it runs', async () => {
    const { receive, ends, end, running, untilEnds, hold } = runnerWith(1);
    const [first, again] = [batchOf([taskOf('runs'), taskOf('waits')]), batchOf([taskOf('waits')])];
    receive(first);
    const confirm = hold();
    await untilEnds(1);
    receive(again);
    await end('runs');
    expect([...running.keys()]).toEqual(['waits']);
    confirm();
    await turn();
    expect({ first: first.settled, again: again.settled }).toEqual({ first: ['acked'], again: [] });
    await end('waits');
    expect(ends()).toEqual(['waits handed_back', 'runs completed', 'waits completed']);
    expect(again.settled).toEqual(['acked']);
  });

  it('is not counted in the duration of the one whose slot it gets, whatever it does as it begins', async () => {
    const busyMs = 100;
    const { receive, end, reports } = runnerWith(1, (executionId) => {
      const endMs = performance.now() + (executionId === 'busy' ? busyMs : 0);
      while (performance.now() < endMs);
    });
    receive(batchOf([taskOf('short'), taskOf('busy')]));
    await end('short');
    await end('busy');
    const [short] = reports.filter(
      ({ executionId, kind }) => executionId === 'short' && kind === 'completed',
    );
    expect(short!.durationMs).toBeLessThan(busyMs);
  });

  it('waits no longer than that, however often others before it got theirs', async () => {
    const { receive, ends, end, untilEnds } = runnerWith(1);
    receive(batchOf([taskOf('first'), taskOf('second')]));
    await end('first');
    receive(new FakeDelivery('flow.task', taskOf('third')));
    await untilEnds(2);
    expect(ends()).toEqual(['first completed', 'third handed_back']);
  });
});

describe('a single task that cannot be read', () => {
  const named = { correlationId: 'by-header', headers: { 'x-attempt': 1, 'x-node-types': 'delay' } };

  it('fails if its headers or its body say which it is', async () => {
    const { receive, ends } = runnerWith();
    const byHeader = new FakeDelivery('flow.task', { executionId: 'by-body', attempt: 1 }, false, named);
    const byBody = new FakeDelivery('flow.task', { executionId: 'by-body', attempt: 1 });
    receive(byHeader);
    receive(byBody);
    await turn();
    expect(ends()).toEqual(['by-header bad_task', 'by-body bad_task']);
    expect([byHeader.settled, byBody.settled]).toEqual([['acked'], ['acked']]);
  });

  it('is a dead letter if nobody can tell', async () => {
    const { receive, ends } = runnerWith();
    const nameless = [{}, null, { executionId: '/', attempt: 1 }, { executionId: 'a', attempt: 0 }].map(
      (body) => new FakeDelivery('flow.task', body),
    );
    nameless.forEach((delivery) => receive(delivery));
    await turn();
    expect(nameless.map(({ settled }) => settled)).toEqual(nameless.map(() => ['rejected']));
    expect(ends()).toEqual([]);
  });
});
