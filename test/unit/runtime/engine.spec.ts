import { describe, expect, it, jest } from '@jest/globals';
import { Expressions } from '../../../src/runtime/engine/expressions.js';
import { NodeSlots } from '../../../src/runtime/engine/node-slots.js';
import { completed, failed, type NodeOutcome } from '../../../src/runtime/nodes/node-handler.js';
import { aborted, gate, link, node, run, states, testNode } from './harness.js';

const transform = (id: string, expression: string, more = {}) =>
  node(id, 'data-transform', { config: { expression }, ...more });

describe('the data between nodes', () => {
  it('gives the inputs to roots, the output to an only child, an object by parent to a join', async () => {
    const outcome = await run(
      [transform('a', 'x + 1'), transform('b', '$ * 10'), transform('c', '$ * 100'), node('join', 'log')],
      [link('a', 'b'), link('a', 'c'), link('b', 'join'), link('c', 'join')],
      { inputs: { x: 1 } },
    );
    expect(outcome).toMatchObject({ kind: 'completed', result: { join: { b: 20, c: 200 } } });
    const [first, ...others] = outcome.timeline.map(({ nodeId }) => nodeId);
    expect([first, others.at(-1)]).toEqual(['a', 'join']);
    // Either may end first: an evaluation that has had the thread for a while lets others on.
    expect(others.slice(0, -1).toSorted()).toEqual(['b', 'c']);
    expect(outcome.timeline[0]).toEqual({
      nodeId: 'a',
      type: 'data-transform',
      state: 'completed',
      tries: 1,
      startedAt: expect.stringMatching(/^\d{4}-.*Z$/),
      finishedAt: expect.stringMatching(/^\d{4}-.*Z$/),
    });
  });

  it('evaluates $expr anywhere in a config, with its variables, and leaves the rest literal', async () => {
    const seen: unknown[] = [];
    const spy = testNode('spy', async ({ config, idempotencyKey }) => {
      seen.push(config, idempotencyKey);
      return completed(null);
    });
    const config = {
      root: { $expr: 'y' },
      list: [{ $expr: '$inputs.x' }, '$inputs.x', { deep: { $expr: '$nodes.a.y' } }],
      who: { $expr: '$execution.executionId & "/" & $execution.flowId & "/" & $string($execution.attempt)' },
      input: { $expr: '$input' },
      missing: { $expr: 'nothing' },
      mongo: { $expr: { $gt: ['$a', '$b'] } },
    };
    await run([transform('a', '{"y": x + 1}'), node('b', 'spy', { config })], [link('a', 'b')], {
      inputs: { x: 1 },
      handlers: [spy],
      executionId: 'e7',
    });
    expect(seen).toEqual([
      {
        root: 2,
        list: [1, '$inputs.x', { deep: 2 }],
        who: 'e7/f1/1',
        input: { y: 2 },
        missing: null,
        mongo: { $expr: { $gt: ['$a', '$b'] } },
      },
      'e7:b',
    ]);
  });

  it('hands on JSON by the rules of json-value.ts', async () => {
    const shared = { n: 1 };
    const values = {
      date: new Date(0),
      bad: new Date(Number.NaN),
      big: 12345678901234567890n,
      bytes: Buffer.from('hi'),
      gone: undefined,
      list: [undefined, Number.NaN, () => 1],
      url: new URL('http://a/'),
      shared: [shared, shared],
    };
    const odd = testNode('odd', async () => completed(values));
    const cyclic: unknown[] = [];
    cyclic.push(cyclic);
    const loop = testNode('loop', async () => completed(cyclic));
    const none = testNode('none', async () => completed(undefined));
    const outcome = await run([node('a', 'odd'), node('b', 'none')], [], { handlers: [odd, none] });
    expect(outcome).toMatchObject({ kind: 'completed' });
    expect(outcome.kind === 'completed' && outcome.result).toStrictEqual({
      a: {
        date: '1970-01-01T00:00:00.000Z',
        bad: null,
        big: '12345678901234567890',
        bytes: 'aGk=',
        list: [null, null, null],
        url: 'http://a/',
        shared: [{ n: 1 }, { n: 1 }],
      },
      b: null,
    });
    expect(await run([node('a', 'loop')], [], { handlers: [loop] })).toMatchObject({
      kind: 'failed',
      error: { code: 'bad_output', retryable: false, nodeId: 'a' },
    });
  });

  it('keeps several ports of one parent apart in a join, and a node called __proto__ is a node', async () => {
    const filter = node('f', 'data-filter', { config: { condition: '$ > 1', items: [1, 2, 3] } });
    const outcome = await run(
      [filter, node('join', 'log'), transform('__proto__', '1')],
      [link('f', 'join'), link('f', 'join', { output: 'rejected' })],
    );
    expect(JSON.stringify(outcome.kind === 'completed' && outcome.result)).toBe(
      '{"join":{"f":[2,3],"f:rejected":[1]},"__proto__":1}',
    );
  });
});

describe('conditions', () => {
  it('skips what no active connection reaches, and joins what one does', async () => {
    const outcome = await run(
      [
        transform('a', '{"n": 5}'),
        node('big', 'log'),
        node('small', 'log'),
        node('after', 'log'),
        node('join', 'log'),
      ],
      [
        link('a', 'big', { when: 'n > $inputs.limit' }),
        link('a', 'small', { when: 'n <= $inputs.limit' }),
        link('small', 'after'),
        link('big', 'join'),
        link('after', 'join'),
      ],
      { inputs: { limit: 3 } },
    );
    expect(states(outcome)).toEqual({
      a: 'completed',
      big: 'completed',
      small: 'skipped',
      after: 'skipped',
      join: 'completed',
    });
    expect(outcome).toMatchObject({ result: { join: { big: { n: 5 } } } });
    expect(outcome.timeline.find(({ nodeId }) => nodeId === 'small')).toEqual({
      nodeId: 'small',
      type: 'log',
      state: 'skipped',
      tries: 0,
      finishedAt: expect.any(String),
    });
  });

  it('follows an output port only if it was emitted, and evaluates `when` on it', async () => {
    const source = testNode('source', async () => completed(1, { odd: [1] }), { ports: ['odd', 'even'] });
    const outcome = await run(
      [node('s', 'source'), node('odd', 'log'), node('even', 'log'), node('never', 'log')],
      [
        link('s', 'odd', { output: 'odd', when: '$count($) = 1' }),
        link('s', 'even', { output: 'even' }),
        link('s', 'never', { output: 'odd', when: '$count($) = 2' }),
      ],
      { handlers: [source] },
    );
    expect(states(outcome)).toEqual({ s: 'completed', odd: 'completed', even: 'skipped', never: 'skipped' });
    expect(outcome).toMatchObject({ result: { odd: [1] } });
  });

  it.each(['[]', '{}', '0', '""', 'null', 'missing', '[0, ""]', '$string'])(
    'takes %s for false',
    async (when) => {
      expect(
        states(await run([node('a', 'log'), node('b', 'log')], [link('a', 'b', { when })])),
      ).toMatchObject({ b: 'skipped' });
    },
  );

  it('fails the source of a condition that cannot be evaluated', async () => {
    const outcome = await run(
      [node('a', 'log'), node('b', 'log')],
      [link('a', 'b', { when: '$number("x")' })],
    );
    expect(outcome).toMatchObject({
      kind: 'failed',
      error: { code: 'bad_expression', nodeId: 'a', retryable: false },
    });
  });
});

describe('failures', () => {
  it('fails fast: siblings are aborted and waited for, nothing else starts', async () => {
    const order: string[] = [];
    const patient = testNode('patient', async ({ signal }) => {
      await aborted(signal);
      order.push('sibling aborted');
      throw new Error('aborted');
    });
    const broken = testNode('broken', async () =>
      failed('out_of_ink', 'no ink', { retryable: true, details: { left: 0 } }),
    );
    const outcome = await run(
      [node('p', 'patient'), node('b', 'broken'), node('later', 'log')],
      [link('p', 'later')],
      { handlers: [patient, broken] },
    );
    order.push('ended');
    expect(outcome).toMatchObject({
      kind: 'failed',
      error: { code: 'out_of_ink', message: 'no ink', retryable: true, nodeId: 'b', details: { left: 0 } },
    });
    expect(states(outcome)).toEqual({ b: 'failed', p: 'cancelled' });
    expect(order).toEqual(['sibling aborted', 'ended']);
  });

  it('goes on after a failure where onError says so, with the connections inactive', async () => {
    const broken = testNode('broken', async () => {
      throw new Error('boom');
    });
    const outcome = await run(
      [node('b', 'broken', { onError: 'continue' }), node('child', 'log'), node('other', 'log')],
      [link('b', 'child')],
      { handlers: [broken], inputs: { x: 1 } },
    );
    expect(outcome).toMatchObject({ kind: 'completed', result: { other: { x: 1 } } });
    expect(states(outcome)).toEqual({ b: 'failed', child: 'skipped', other: 'completed' });
    const error = { code: 'node_failed', message: 'boom', retryable: true, nodeId: 'b' };
    expect(outcome.timeline.find(({ nodeId }) => nodeId === 'b')?.error).toEqual(error);
  });

  it.each([
    [
      'a sync throw',
      () => {
        throw new TypeError('sync');
      },
      'sync',
    ],
    ['not an Error', () => Promise.reject({ odd: true }), 'not an Error'],
    ['no outcome', () => Promise.resolve(undefined as unknown as NodeOutcome), 'expected an outcome'],
  ] as [string, () => Promise<NodeOutcome>, string][])(
    'takes %s for node_failed',
    async (_name, act, message) => {
      const outcome = await run([node('a', 'odd')], [], { handlers: [testNode('odd', act)] });
      expect(outcome).toMatchObject({
        kind: 'failed',
        error: { code: 'node_failed', retryable: true, nodeId: 'a' },
      });
      expect(outcome.kind === 'failed' && outcome.error.message).toContain(message);
    },
  );

  it('tries again after retryable failures only, with the same key, and counts the tries', async () => {
    const keys: string[] = [];
    const flaky = testNode('flaky', async ({ idempotencyKey }) => {
      keys.push(idempotencyKey);
      return keys.length < 3 ? failed('busy', 'busy', { retryable: true }) : completed('done');
    });
    const final = testNode('final', async () => failed('wrong', 'wrong', { retryable: false }));
    const retry = { maxAttempts: 5, backoff: { baseMs: 0 } };
    const good = await run([node('a', 'flaky', { retry })], [], { handlers: [flaky] });
    expect(good).toMatchObject({ kind: 'completed', result: { a: 'done' }, timeline: [{ tries: 3 }] });
    expect(keys).toEqual(['e1:a', 'e1:a', 'e1:a']);
    const bad = await run([node('a', 'final', { retry })], [], { handlers: [final] });
    expect(bad).toMatchObject({ kind: 'failed', error: { code: 'wrong' }, timeline: [{ tries: 1 }] });
  });

  it('gives the slot to others while it waits for the next try', async () => {
    const other = gate();
    const flaky = testNode('flaky', async () => {
      other.open();
      return failed('busy', 'busy', { retryable: true });
    });
    const cancel = new AbortController();
    const waiting = run(
      [node('a', 'flaky', { retry: { maxAttempts: 2, backoff: { baseMs: 3_600_000 } } }), node('b', 'log')],
      [],
      {
        handlers: [flaky],
        nodeSlots: new NodeSlots(1),
        signal: cancel.signal,
        onNode: ({ nodeId }) => nodeId === 'b' && cancel.abort(),
      },
    );
    await other.passed;
    expect(states(await waiting)).toEqual({ a: 'cancelled', b: 'completed' });
  });

  it('says before anything ran which config is bad', async () => {
    const ran = jest.fn(async () => completed(1));
    const outcome = await run([node('a', 'spy'), node('d', 'delay', { config: { ms: 'soon' } })], [], {
      handlers: [testNode('spy', ran)],
    });
    expect(outcome).toMatchObject({
      kind: 'failed',
      error: {
        code: 'bad_config',
        retryable: false,
        nodeId: 'd',
        message: 'node "d" (delay): config/ms expected integer, got "soon"',
      },
      timeline: [],
    });
    expect(ran).not.toHaveBeenCalled();
  });

  it('says so of evaluated values when they are known', async () => {
    const outcome = await run([node('d', 'delay', { config: { ms: { $expr: '$inputs.ms' } } })], [], {
      inputs: { ms: -1 },
    });
    expect(outcome).toMatchObject({
      kind: 'failed',
      error: { code: 'bad_config', retryable: false, nodeId: 'd' },
    });
    expect(outcome.kind === 'failed' && outcome.error.message).toBe(
      'node "d" (delay): config/ms expected >= 0, got -1',
    );
  });

  it.each([
    [
      { ms: { $expr: '1' }, colour: 1 },
      'config/colour expected only the fields ms, got the unknown field "colour"',
    ],
    [{ mss: { $expr: '1' } }, 'config/ms expected a value, got nothing (and 1 more)'],
  ])('still checks statically what no expression stands for: %j', async (config, message) => {
    expect(await run([node('d', 'delay', { config })], [])).toMatchObject({
      error: { message: `node "d" (delay): ${message}` },
      timeline: [],
    });
  });

  it('refuses unknown types, unknown ports, bad connections and cycles', async () => {
    expect(await run([node('a', 'nope')], [])).toMatchObject({
      error: { code: 'unknown_node_type', nodeId: 'a', retryable: true },
    });
    expect(
      await run([node('a', 'log'), node('b', 'log')], [link('a', 'b', { output: 'main' })]),
    ).toMatchObject({
      error: { code: 'bad_config', message: expect.stringContaining('leave `output` out') },
    });
    expect(await run([node('a', 'log')], [link('a', 'x')])).toMatchObject({ error: { code: 'bad_flow' } });
    expect(await run([node('a', 'log'), node('b', 'log')], [link('a', 'b'), link('b', 'a')])).toMatchObject({
      error: { code: 'bad_flow', message: expect.stringContaining('2 nodes') },
    });
  });
});

describe('time and abort', () => {
  const patient = testNode('patient', async ({ signal }) => {
    await aborted(signal);
    throw signal.reason;
  });

  it('times a node out: retryable, and the flow fails with it', async () => {
    const outcome = await run(
      [node('a', 'patient', { timeoutMs: 5, retry: { maxAttempts: 2, backoff: { baseMs: 1 } } })],
      [],
      { handlers: [patient] },
    );
    expect(outcome).toMatchObject({
      kind: 'failed',
      error: {
        code: 'node_timeout',
        retryable: true,
        nodeId: 'a',
        message: 'the node took longer than its limit of 5 ms',
      },
      timeline: [{ state: 'failed', tries: 2 }],
    });
  });

  it('times the execution out: not retryable, with the limit in the message', async () => {
    const outcome = await run([node('a', 'patient'), node('b', 'log')], [link('a', 'b')], {
      handlers: [patient],
      timeoutMs: 5,
    });
    expect(outcome).toMatchObject({
      kind: 'failed',
      error: {
        code: 'timeout',
        retryable: false,
        message: 'the execution took longer than its limit of 5 ms',
      },
    });
    expect(states(outcome)).toEqual({ a: 'cancelled' });
  });

  it('does not take a huge limit for none', async () => {
    expect(
      await run([node('a', 'delay', { config: { ms: 1 } })], [], { timeoutMs: Number.MAX_SAFE_INTEGER }),
    ).toMatchObject({ kind: 'completed' });
  });

  it('is cancelled by its signal, whose reason handlers see', async () => {
    const started = gate();
    const reasons: unknown[] = [];
    const spy = testNode('spy', async ({ signal }) => {
      started.open();
      await aborted(signal);
      reasons.push(signal.reason);
      return { kind: 'cancelled' };
    });
    const cancel = new AbortController();
    const running = run([node('a', 'spy'), node('t', 'spy', { timeoutMs: 60_000 })], [], {
      handlers: [spy],
      signal: cancel.signal,
    });
    await started.passed;
    cancel.abort('hand back');
    const outcome = await running;
    expect(outcome.kind).toBe('cancelled');
    expect(states(outcome)).toEqual({ a: 'cancelled', t: 'cancelled' });
    expect(reasons).toEqual(['hand back', 'hand back']);
  });

  it('starts nothing when it is aborted already', async () => {
    expect(await run([node('a', 'log')], [], { signal: AbortSignal.abort() })).toEqual({
      kind: 'cancelled',
      timeline: [],
    });
  });

  it('aborts waits between tries, delays and expressions', async () => {
    for (const one of [
      node('a', 'fails', { retry: { maxAttempts: 9, backoff: { baseMs: 3_600_000 } } }),
      node('a', 'delay', { config: { ms: 3_600_000 } }),
      transform('a', '($f := function($n) { $n > 0 ? $f($n + 1) : 0 }; $f(1))'),
    ]) {
      const cancel = new AbortController();
      const running = run([one], [], {
        signal: cancel.signal,
        handlers: [testNode('fails', async () => failed('x', 'x', { retryable: true }))],
      });
      setImmediate(() => cancel.abort());
      expect(await running).toMatchObject({
        kind: 'cancelled',
        timeline: [{ nodeId: 'a', state: 'cancelled', tries: 1 }],
      });
    }
  });

  it('leaves a handler alone that does not heed its signal, after the grace; its slot is free and its end not heard', async () => {
    const late = gate();
    const deaf = testNode('deaf', async () => {
      await late.passed;
      return completed('too late');
    });
    const nodeSlots = new NodeSlots(1);
    const settings = { handlers: [deaf], nodeSlots, graceMs: 5 };
    expect(await run([node('a', 'deaf')], [], { ...settings, timeoutMs: 5 })).toMatchObject({
      kind: 'failed',
      error: { code: 'timeout' },
    });
    expect(
      await run([node('a', 'deaf', { timeoutMs: 5, onError: 'continue' }), node('b', 'log')], [], settings),
    ).toMatchObject({
      kind: 'completed',
      result: { b: {} },
    });
    late.open();
    await new Promise(setImmediate);
    expect(nodeSlots.inUse).toBe(0);
    expect(await run([node('a', 'log')], [], settings)).toMatchObject({ kind: 'completed' });
  });

  it('snoozes the whole flow, and ends as cancelled where a handler says so', async () => {
    const snooze = testNode('snooze', async () => ({ kind: 'snoozed', snoozeMs: 1500 }));
    const quit = testNode('quit', async () => ({ kind: 'cancelled' }));
    const handlers = [snooze, quit, patient];
    const outcome = await run([node('p', 'patient'), node('s', 'snooze')], [], { handlers });
    expect(outcome).toMatchObject({ kind: 'snoozed', snoozeMs: 1500 });
    expect(states(outcome)).toEqual({ s: 'cancelled', p: 'cancelled' });
    expect(await run([node('p', 'patient'), node('q', 'quit')], [], { handlers })).toMatchObject({
      kind: 'cancelled',
    });
  });

  it('keeps the event loop turning while expressions work on a big array', async () => {
    let turns = 0;
    const timer = setInterval(() => (turns += 1), 1);
    const items = Array.from({ length: 20_000 }, (_, n) => ({ n }));
    const outcome = await run(
      [node('a', 'data-filter', { config: { condition: 'n % 2 = 0', items } }), transform('b', '$sum(n)')],
      [link('a', 'b')],
    );
    clearInterval(timer);
    expect(outcome).toMatchObject({ result: { b: 99_990_000 } });
    expect(turns).toBeGreaterThan(5);
  });

  it.each([
    ['($f := function($n) { 1 + $f($n) }; $f(1))', 'recursed deeper than the limit of 500 steps'],
    ['[1..10000001]', 'D2014|longer than the limit|must not exceed'],
  ])('limits what %s may use', async (expression, message) => {
    const outcome = await run([transform('a', expression)], []);
    expect(outcome).toMatchObject({ kind: 'failed', error: { code: 'bad_expression', retryable: false } });
    expect(outcome.kind === 'failed' && outcome.error.message).toMatch(new RegExp(message));
  });

  it('limits how long an expression may take', async () => {
    const expressions = new Expressions({ timeoutMs: 20, stackDepth: 500, sequenceLength: 1000 });
    const endless = transform('a', '($f := function($n) { $n > 0 ? $f($n + 1) : 0 }; $f(1))');
    expect(await run([endless], [], { expressions })).toMatchObject({
      kind: 'failed',
      error: {
        code: 'bad_expression',
        message: expect.stringContaining('it took longer than the limit of 20 ms'),
      },
    });
  });

  it('survives inputs of 100,000 levels', async () => {
    const levels = 100_000;
    const inputs = JSON.parse(`${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`) as Record<string, unknown>;
    expect(await run([node('l', 'log')], [], { inputs })).toMatchObject({ kind: 'completed' });
    expect(await run([transform('t', '$')], [], { inputs })).toMatchObject({
      kind: 'failed',
      error: { code: 'bad_expression' },
    });
  });

  it('gives expressions no way to code', async () => {
    for (const expression of [
      '$$.constructor',
      '"".constructor',
      '$string.constructor',
      '$$.__proto__',
      '$signal',
      '$eval("$$.constructor")',
    ]) {
      expect(await run([transform('a', expression)], [])).toMatchObject({
        kind: 'completed',
        result: { a: null },
      });
    }
  });
});
