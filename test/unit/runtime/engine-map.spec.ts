import { describe, expect, it } from '@jest/globals';
import type { FlowGraph } from '../../../src/queue/contracts/flow.js';
import { NodeSlots } from '../../../src/runtime/engine/node-slots.js';
import { completed, failed } from '../../../src/runtime/nodes/node-handler.js';
import { aborted, gate, link, node, run, states, testNode } from './harness.js';

const each = (expression: string): FlowGraph => ({
  nodes: [node('x', 'data-transform', { config: { expression } })],
  connections: [],
});
const map = (id: string, flow: FlowGraph, more = {}) => node(id, 'map', { config: { flow, ...more } });

describe('map', () => {
  it('runs its flow per item, with the item as input and {item, index} as inputs, in the order of the items', async () => {
    const flow: FlowGraph = {
      nodes: [
        node('double', 'data-transform', { config: { expression: '$ * 2' } }),
        node('wait', 'delay', { config: { ms: { $expr: '10 - $inputs.item' } } }),
        node('label', 'data-transform', { config: { expression: '{"i": $inputs.index, "v": $}' } }),
      ],
      connections: [link('double', 'wait'), link('wait', 'label')],
    };
    const outcome = await run([map('m', flow, { items: [1, 5, 9] })], []);
    expect(outcome).toMatchObject({
      kind: 'completed',
      result: {
        m: [
          { i: 0, v: 2 },
          { i: 1, v: 10 },
          { i: 2, v: 18 },
        ],
      },
    });
    expect(outcome.timeline).toHaveLength(1);
  });

  it('takes its input or an expression for items, and gives objects where the flow has several leaves', async () => {
    const two: FlowGraph = { nodes: [...each('$ + 1').nodes, node('y', 'log')], connections: [] };
    const outcome = await run(
      [
        node('a', 'data-transform', { config: { expression: '[1, 2]' } }),
        map('m', two),
        map('n', each('$'), { items: { $expr: '$inputs.list' } }),
      ],
      [link('a', 'm')],
      { inputs: { list: ['p', 'q'] } },
    );
    expect(outcome).toMatchObject({
      result: {
        m: [
          { x: 2, y: 1 },
          { x: 3, y: 2 },
        ],
        n: ['p', 'q'],
      },
    });
  });

  it('gives null for items whose leaf was skipped, and [] for none', async () => {
    const flow: FlowGraph = {
      nodes: [node('a', 'log'), node('b', 'log')],
      connections: [link('a', 'b', { when: '$ > 1' })],
    };
    const outcome = await run([map('m', flow, { items: [1, 2] }), map('none', flow, { items: [] })], []);
    expect(outcome).toMatchObject({ result: { m: [null, 2], none: [] } });
  });

  it('wants a list', async () => {
    expect(await run([map('m', each('$'))], [])).toMatchObject({
      error: {
        code: 'bad_input',
        message: expect.stringContaining('expected an array'),
        nodeId: 'm',
        retryable: false,
      },
    });
  });

  it('fails with a failing item, aborts the others, and says which it was', async () => {
    const seen: string[] = [];
    const odd = testNode('odd', async ({ input, signal, idempotencyKey }) => {
      seen.push(idempotencyKey);
      if (input === 1) return failed('bad_item', 'no ones', { retryable: false });
      await aborted(signal);
      seen.push(`${String(input)} aborted`);
      return { kind: 'cancelled' };
    });
    const flow: FlowGraph = { nodes: [node('x', 'odd')], connections: [] };
    const outcome = await run([map('m', flow, { items: [0, 1, 2], concurrency: 2 })], [], {
      handlers: [odd],
    });
    expect(outcome).toMatchObject({
      kind: 'failed',
      error: {
        code: 'bad_item',
        message: 'item 1, node "x": no ones',
        retryable: false,
        nodeId: 'm',
        details: { index: 1, nodeId: 'x' },
      },
    });
    expect(seen).toEqual(['e1:m[0]:x', 'e1:m[1]:x', '0 aborted']);
  });

  it('collects failing items where onItemError says so', async () => {
    const outcome = await run(
      [
        map('m', each('$number($)'), { items: ['1', 'x', '3'], onItemError: 'collect' }),
        node('errors', 'log'),
        node('main', 'log'),
      ],
      [link('m', 'errors', { output: 'errors' }), link('m', 'main')],
    );
    expect(outcome).toMatchObject({
      kind: 'completed',
      result: { main: [1, null, 3], errors: [{ index: 1, error: { code: 'bad_expression', nodeId: 'x' } }] },
    });
  });

  it('nests, with the way to the item in the idempotency key, on one slot alone', async () => {
    const keys: string[] = [];
    const leaf = testNode('leaf', async ({ idempotencyKey, input }) => {
      keys.push(idempotencyKey);
      return completed(input);
    });
    const inner: FlowGraph = {
      nodes: [map('in', { nodes: [node('x', 'leaf')], connections: [] })],
      connections: [],
    };
    const nodeSlots = new NodeSlots(1);
    const outcome = await run([map('out', inner, { items: [[1], [2, 3]] })], [], {
      handlers: [leaf],
      nodeSlots,
    });
    expect(outcome).toMatchObject({ kind: 'completed', result: { out: [[1], [2, 3]] } });
    expect(keys.toSorted()).toEqual(['e1:out[0]:in[0]:x', 'e1:out[1]:in[0]:x', 'e1:out[1]:in[1]:x']);
    expect(nodeSlots.inUse).toBe(0);
  });

  it('runs no more than `concurrency` items and no more nodes than slots at once', async () => {
    let busy = 0;
    let most = 0;
    const probe = testNode('probe', async () => {
      most = Math.max(most, ++busy);
      await new Promise(setImmediate);
      busy--;
      return completed(null);
    });
    const flow: FlowGraph = {
      nodes: [node('a', 'probe'), node('b', 'probe')],
      connections: [link('a', 'b')],
    };
    const items = Array.from({ length: 30 }, (_, index) => index);
    await run([map('m', flow, { items, concurrency: 3 })], [], {
      handlers: [probe],
      nodeSlots: new NodeSlots(100),
    });
    expect(most).toBe(3);
    most = 0;
    await run([map('m', flow, { items, concurrency: 30 })], [], {
      handlers: [probe],
      nodeSlots: new NodeSlots(2),
    });
    expect(most).toBe(2);
  });

  it('is aborted with its items, by cancel and by its own time-out', async () => {
    const started = gate();
    const patient = testNode('patient', async ({ signal }) => {
      started.open();
      await aborted(signal);
      return { kind: 'cancelled' };
    });
    const flow: FlowGraph = { nodes: [node('x', 'patient')], connections: [] };
    const nodeSlots = new NodeSlots(2);
    const cancel = new AbortController();
    const running = run([map('m', flow, { items: [1, 2, 3] })], [], {
      handlers: [patient],
      nodeSlots,
      signal: cancel.signal,
    });
    await started.passed;
    cancel.abort();
    expect(states(await running)).toEqual({ m: 'cancelled' });
    const timedOut = await run([{ ...map('m', flow, { items: [1] }), timeoutMs: 5 }], [], {
      handlers: [patient],
      nodeSlots,
    });
    expect(timedOut).toMatchObject({ kind: 'failed', error: { code: 'node_timeout', nodeId: 'm' } });
    expect(nodeSlots.inUse).toBe(0);
  });

  it('passes a snooze of an item on', async () => {
    const snooze = testNode('snooze', async () => ({ kind: 'snoozed', snoozeMs: 7 }));
    const flow: FlowGraph = { nodes: [node('x', 'snooze')], connections: [] };
    expect(await run([map('m', flow, { items: [1] })], [], { handlers: [snooze] })).toMatchObject({
      kind: 'snoozed',
      snoozeMs: 7,
    });
  });

  it('checks the configs of its flow before anything runs', async () => {
    const flow: FlowGraph = { nodes: [node('d', 'delay', { config: {} })], connections: [] };
    expect(await run([map('m', flow, { items: [1] })], [])).toMatchObject({
      error: { code: 'bad_config', nodeId: 'd' },
      timeline: [],
    });
    expect(await run([node('m', 'map', { config: { flow: { $expr: '1' } } })], [])).toMatchObject({
      error: { code: 'bad_config' },
      timeline: [],
    });
  });

  it('runs 20,000 items', async () => {
    const items = Array.from({ length: 20_000 }, (_, index) => index);
    const outcome = await run([map('m', { nodes: [node('x', 'log')], connections: [] }, { items })], []);
    expect(outcome).toMatchObject({ result: { m: items } });
  });
});
