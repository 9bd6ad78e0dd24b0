import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import type { FlowConnection, FlowNode } from '../../../src/queue/contracts/flow.js';
import { NodeSlots } from '../../../src/runtime/engine/node-slots.js';
import { completed } from '../../../src/runtime/nodes/node-handler.js';
import { link, node, registryOf, run, states, testNode } from './harness.js';

const registry = registryOf([testNode('noop')]);

describe('random graphs', () => {
  interface RandomGraph {
    size: number;
    slots: number;
    edges: { from: number; to: number; open: boolean }[];
  }
  const graphs: fc.Arbitrary<RandomGraph> = fc.integer({ min: 1, max: 25 }).chain((size) =>
    fc.record({
      size: fc.constant(size),
      slots: fc.integer({ min: 1, max: 5 }),
      edges: fc
        .uniqueArray(fc.tuple(fc.nat(size - 1), fc.nat(size - 1), fc.boolean()), {
          selector: ([a, b]) => `${a},${b}`,
          maxLength: 60,
        })
        // Edges go up in index only, so there is no cycle.
        .map((all) => all.filter(([from, to]) => from < to).map(([from, to, open]) => ({ from, to, open }))),
    }),
  );

  /** Written from the words of the specification, node by node in index order; the engine works edge by edge. */
  function expectedStates({ size, edges }: RandomGraph): string[] {
    const state: string[] = [];
    for (let index = 0; index < size; index++) {
      const incoming = edges.filter(({ to }) => to === index);
      const reached = incoming.some(({ from, open }) => state[from] === 'completed' && open);
      state.push(incoming.length === 0 || reached ? 'completed' : 'skipped');
    }
    return state;
  }

  it('run every reached node once, after its parents, within the slots, and skip the others', async () => {
    await fc.assert(
      fc.asyncProperty(graphs, async (graph) => {
        const started: number[] = [];
        const ended: number[] = [];
        let busy = 0;
        let most = 0;
        const probe = testNode('probe', async ({ node: { id } }) => {
          most = Math.max(most, ++busy);
          started.push(Number(id));
          const parents = graph.edges.filter(({ to }) => to === Number(id)).map(({ from }) => from);
          const wanted = expectedStates(graph);
          for (const parent of parents) if (wanted[parent] === 'completed') expect(ended).toContain(parent);
          for (let turns = (Number(id) * 7) % 4; turns > 0; turns--) await new Promise(setImmediate);
          busy--;
          ended.push(Number(id));
          return completed(Number(id));
        });
        const nodes = Array.from({ length: graph.size }, (_, index) => node(String(index), 'probe'));
        const links = graph.edges.map(({ from, to, open }) =>
          link(String(from), String(to), { when: open ? `$ = ${from}` : 'false' }),
        );
        const outcome = await run(nodes, links, { handlers: [probe], nodeSlots: new NodeSlots(graph.slots) });
        expect(outcome.kind).toBe('completed');
        expect(Object.values(states(outcome))).toEqual(expectedStates(graph));
        expect(outcome.timeline).toHaveLength(graph.size);
        expect(started.toSorted((a, b) => a - b)).toEqual(
          expectedStates(graph).flatMap((state, index) => (state === 'completed' ? [index] : [])),
        );
        expect(most).toBeLessThanOrEqual(graph.slots);
      }),
      { numRuns: 200 },
    );
  });
});

describe('big graphs', () => {
  const many = (count: number): FlowNode[] =>
    Array.from({ length: count }, (_, index) => node(`n${index}`, 'noop'));

  async function timed(nodes: FlowNode[], connections: FlowConnection[]) {
    await run(nodes, connections, { registry });
    const before = performance.now();
    const outcome = await run(nodes, connections, { registry, inputs: { x: 1 } });
    return { outcome, ms: performance.now() - before };
  }

  it('run a chain of 2,000 nodes', async () => {
    const nodes = many(2000);
    const { outcome, ms } = await timed(
      nodes,
      nodes.slice(1).map(({ id }, index) => link(`n${index}`, id)),
    );
    expect(outcome).toMatchObject({ kind: 'completed', result: { n1999: { x: 1 } } });
    console.info(`chain of 2,000 nodes: ${ms.toFixed(1)} ms`);
    expect(ms).toBeLessThan(1000);
  });

  it('run a graph of 2,000 nodes and 8,000 connections', async () => {
    const nodes = many(2000);
    const links = nodes.flatMap(({ id }, index) =>
      [1, 7, 31, 200]
        .filter((step) => index + step < nodes.length)
        .map((step) => link(id, `n${index + step}`)),
    );
    const { outcome, ms } = await timed(nodes, links);
    expect(outcome.timeline).toHaveLength(2000);
    expect(outcome.timeline.every(({ state }) => state === 'completed')).toBe(true);
    console.info(`2,000 nodes, ${links.length} connections: ${ms.toFixed(1)} ms`);
    expect(ms).toBeLessThan(1000);
  });

  it('run a fan-out and a fan-in of 1,000', async () => {
    const nodes = [node('start', 'noop'), ...many(1000), node('end', 'noop')];
    const links = many(1000).flatMap(({ id }) => [link('start', id), link(id, 'end')]);
    const { outcome, ms } = await timed(nodes, links);
    const { end } = outcome.kind === 'completed' ? outcome.result : {};
    expect(Object.keys(end as object)).toHaveLength(1000);
    console.info(`1,000-way fan-out and fan-in: ${ms.toFixed(1)} ms`);
    expect(ms).toBeLessThan(1000);
  });

  it('skip a chain of 2,000 nodes without recursion', async () => {
    const nodes = many(2000);
    const links = nodes
      .slice(1)
      .map(({ id }, index) => link(`n${index}`, id, index === 0 ? { when: 'false' } : {}));
    const { outcome } = await timed(nodes, links);
    expect(outcome.timeline.filter(({ state }) => state === 'skipped')).toHaveLength(1999);
  });

  it('cost little per flow of one node', async () => {
    const slots = new NodeSlots(8);
    const one = [node('a', 'noop')];
    for (let count = 0; count < 500; count++) await run(one, [], { registry, nodeSlots: slots });
    expect(slots.inUse).toBe(0);
  });

  it('let two flows share the slots fairly: a wide flow does not hold up a narrow one', async () => {
    const nodeSlots = new NodeSlots(1);
    const order: string[] = [];
    const turn = testNode('turn', async ({ execution }) => {
      order.push(execution.executionId);
      await new Promise(setImmediate);
      return completed(null);
    });
    const wide = run(
      many(200).map(({ id }) => node(id, 'turn')),
      [],
      { handlers: [turn], nodeSlots, executionId: 'wide' },
    );
    await run([node('a', 'turn')], [], { handlers: [turn], nodeSlots, executionId: 'narrow' });
    expect(order.length).toBeLessThan(10);
    await wide;
    expect(order).toHaveLength(201);
  });
});
