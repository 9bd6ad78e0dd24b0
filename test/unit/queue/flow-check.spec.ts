import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { checkFlow, type FlowLimits, requiredNodeTypes } from '../../../src/queue/contracts/flow-check.js';
import type { FlowConnection, FlowGraph, FlowNode } from '../../../src/queue/contracts/flow.js';

const LIMITS: FlowLimits = { maxNodes: 2000, maxConnections: 10_000, maxDepth: 3 };

function flow(nodes: unknown[], connections: unknown[] = []) {
  return { name: 'test', version: 1, nodes, connections };
}

const node = (id: string, more: Partial<FlowNode> = {}): FlowNode => ({ id, type: 'log', ...more });
const link = (from: string, to: string, more: Partial<FlowConnection> = {}): FlowConnection => ({
  from,
  to,
  ...more,
});

describe('checkFlow', () => {
  it('has nothing to say about a good flow', () => {
    const good = flow(
      [node('a', { config: { x: { $expr: '$inputs.x + 1' } } }), node('b')],
      [link('a', 'b', { when: 'x > 1' })],
    );
    expect(checkFlow(good, LIMITS)).toEqual([]);
  });

  it('does not spend seconds on parsing, however many expressions take long', () => {
    const slow = (index: number): string => `a${index}`.padEnd(6, 'b') + '@$x.b'.repeat(3_200);
    const nodes = Array.from({ length: 60 }, (_, index) =>
      node(`n${index}`, { config: { x: { $expr: slow(index) } } }),
    );
    const startedAt = performance.now();
    expect(checkFlow(flow(nodes), LIMITS)).toEqual([]);
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });

  it('parses what any usual flow brings, to the last expression', () => {
    const nodes = Array.from({ length: 1_500 }, (_, index) =>
      node(`n${index}`, {
        config: { x: { $expr: `"${index} ${'x'.repeat(300)}` + (index === 1_499 ? '' : '"') } },
      }),
    );
    expect(checkFlow(flow(nodes), LIMITS)).toMatchObject([{ pointer: '/nodes/1499/config/x/$expr' }]);
  });

  it('names every fault of the shape with its pointer, what was expected and what came', () => {
    const bad = flow(
      [{ id: 'a b', type: 3 }, { id: 'b', type: 'log', colour: 'red' }, { type: 'log' }],
      [{ from: 'b' }],
    );
    expect(checkFlow(bad, LIMITS)).toEqual([
      { pointer: '/nodes/0/id', message: 'expected text that matches ^[A-Za-z0-9_.:-]{1,128}$, got "a b"' },
      { pointer: '/nodes/0/type', message: 'expected string, got 3' },
      {
        pointer: '/nodes/1/colour',
        message:
          'expected only the fields id, type, name, config, timeoutMs, retry, onError, got the unknown field "colour"',
      },
      { pointer: '/nodes/2/id', message: 'expected a value, got nothing' },
      { pointer: '/connections/0/to', message: 'expected a value, got nothing' },
    ]);
  });

  it.each([null, 7, 'flow', [], {}])('refuses %p as a flow', (value) => {
    expect(checkFlow(value, LIMITS)).not.toEqual([]);
  });

  it('wants unique ids and connections between two different existing nodes, each once', () => {
    const bad = flow(
      [node('a'), node('b'), node('a')],
      [
        link('a', 'x'),
        link('y', 'b'),
        link('b', 'b'),
        link('a', 'b'),
        link('a', 'b'),
        link('a', 'b', { output: 'errors' }),
      ],
    );
    expect(checkFlow(bad, LIMITS)).toEqual([
      { pointer: '/nodes/2/id', message: 'expected a unique id, got "a" again (as /nodes/0)' },
      { pointer: '/connections/0/to', message: 'expected the id of a node, got "x"' },
      { pointer: '/connections/1/from', message: 'expected the id of a node, got "y"' },
      { pointer: '/connections/2', message: 'expected two different nodes, got "b" connected to itself' },
      { pointer: '/connections/4', message: 'expected each connection once, got "a" → "b" again' },
    ]);
  });

  it('names the nodes of a cycle in order', () => {
    const nodes = ['start', 'a', 'b', 'c', 'end'].map((id) => node(id));
    const links = [link('start', 'a'), link('a', 'b'), link('b', 'c'), link('c', 'a'), link('c', 'end')];
    const [problem, ...others] = checkFlow(flow(nodes, links), LIMITS);
    expect(others).toEqual([]);
    expect(problem?.pointer).toBe('/connections');
    expect(problem?.message).toMatch(/^expected no cycle, got (a → b → c → a|b → c → a → b|c → a → b → c)$/);
  });

  it('finds a cycle exactly when a random graph has one', () => {
    const graphs = fc
      .integer({ min: 1, max: 12 })
      .chain((size) =>
        fc.tuple(
          fc.constant(size),
          fc.uniqueArray(fc.tuple(fc.nat(size - 1), fc.nat(size - 1)), { selector: String, maxLength: 20 }),
        ),
      );
    fc.assert(
      fc.property(graphs, ([size, pairs]) => {
        const edges = pairs.filter(([from, to]) => from !== to);
        const nodes = Array.from({ length: size }, (_, index) => node(`n${index}`));
        const found = checkFlow(
          flow(
            nodes,
            edges.map(([from, to]) => link(`n${from}`, `n${to}`)),
          ),
          LIMITS,
        );
        expect(found.length > 0).toBe(hasCycle(size, edges));
        for (const { message } of found) {
          const names = message.replace(/.*got /, '').split(' → ');
          expect(names[0]).toBe(names.at(-1));
          names
            .slice(1)
            .forEach((to, index) =>
              expect(edges).toContainEqual([names[index]!, to].map((id) => Number(id.slice(1)))),
            );
        }
      }),
    );
  });

  it('points at JSONata that cannot be parsed, in conditions and anywhere in a config', () => {
    const config = { a: [{ 'b/c': { $expr: '1 +' } }], fine: { $expr: '$inputs' }, literal: { $expr: 5 } };
    const problems = checkFlow(
      flow([node('a', { config }), node('b')], [link('a', 'b', { when: '((' })]),
      LIMITS,
    );
    expect(problems.map(({ pointer }) => pointer)).toEqual([
      '/connections/0/when',
      '/nodes/0/config/a/0/b~1c/$expr',
    ]);
    expect(problems[1]?.message).toMatch(/^expected JSONata, got "1 \+": .+ \(at character \d+\)$/);
  });

  it('checks flows inside map nodes by the same rules and counts them', () => {
    const inner: FlowGraph = { nodes: [node('x'), node('x')], connections: [] };
    const nested = flow([node('m', { type: 'map', config: { flow: inner } })]);
    expect(checkFlow(nested, LIMITS)).toEqual([
      {
        pointer: '/nodes/0/config/flow/nodes/1/id',
        message: 'expected a unique id, got "x" again (as /nodes/0)',
      },
    ]);
    expect(checkFlow(nested, { ...LIMITS, maxNodes: 2 })).toEqual([
      {
        pointer: '/nodes/0/config/flow/nodes',
        message: 'expected at most 2 nodes, got 3',
        limit: 'maxNodes',
      },
    ]);
    expect(checkFlow(flow([node('m', { type: 'map' })]), LIMITS)[0]?.pointer).toBe('/nodes/0/config/flow');
  });

  it('limits how deep map nodes nest', () => {
    const wrap = (graph: FlowGraph): FlowGraph => ({
      nodes: [node('m', { type: 'map', config: { flow: graph } })],
      connections: [],
    });
    const deep = wrap(wrap({ nodes: [node('x')], connections: [] }));
    expect(checkFlow(flow(deep.nodes), { ...LIMITS, maxDepth: 2 })).toEqual([]);
    expect(checkFlow(flow(deep.nodes), { ...LIMITS, maxDepth: 1 })).toEqual([
      {
        pointer: '/nodes/0/config/flow/nodes/0/config/flow',
        message: 'expected at most 1 levels of nested map nodes, got 2',
        limit: 'maxDepth',
      },
    ]);
  });

  it('limits connections', () => {
    const two = flow([node('a'), node('b'), node('c')], [link('a', 'b'), link('b', 'c')]);
    expect(checkFlow(two, { ...LIMITS, maxConnections: 1 })).toMatchObject([{ limit: 'maxConnections' }]);
  });

  it('does not overflow the stack on JSON of 100,000 levels or a chain of 2,000 nodes', () => {
    const levels = 100_000;
    const config = JSON.parse(`${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`) as Record<string, unknown>;
    expect(checkFlow(flow([node('a', { config })]), LIMITS)).toMatchObject([{ limit: 'maxJsonDepth' }]);
    const parens = { x: { $expr: '('.repeat(16_000) } };
    expect(checkFlow(flow([node('a', { config: parens })]), LIMITS)).toHaveLength(1);
    const nodes = Array.from({ length: 2000 }, (_, index) => node(`n${index}`));
    const chain = nodes.slice(1).map(({ id }, index) => link(`n${index}`, id));
    expect(checkFlow(flow(nodes, chain), LIMITS)).toEqual([]);
    expect(checkFlow(flow(nodes, [...chain, link('n1999', 'n0')]), LIMITS)[0]?.message).toContain(
      '… (2000 nodes)',
    );
  });

  it('takes milliseconds for 2,000 nodes with a 1,000-way fan-in', () => {
    const nodes = Array.from({ length: 2000 }, (_, index) => node(`n${index}`));
    const links = Array.from({ length: 1000 }, (_, index) => link(`n${index}`, 'n1999'));
    const big = flow(nodes, links);
    checkFlow(big, LIMITS);
    const before = performance.now();
    expect(checkFlow(big, LIMITS)).toEqual([]);
    expect(performance.now() - before).toBeLessThan(100);
  });
});

describe('requiredNodeTypes', () => {
  it('gives each type once, sorted, those inside map nodes too', () => {
    const inner: FlowGraph = { nodes: [node('x', { type: 'delay' }), node('y')], connections: [] };
    const graph: FlowGraph = {
      nodes: [node('m', { type: 'map', config: { flow: inner } }), node('z')],
      connections: [],
    };
    expect(requiredNodeTypes(graph)).toEqual(['delay', 'log', 'map']);
  });
});

/** By following every path, unlike the code under test. */
function hasCycle(size: number, edges: readonly (readonly [number, number])[]): boolean {
  const reaches = Array.from(
    { length: size },
    (_, from) => new Set(edges.filter(([one]) => one === from).map(([, to]) => to)),
  );
  for (let round = 0; round < size; round++) {
    for (const set of reaches) for (const via of Array.from(set)) for (const to of reaches[via]!) set.add(to);
  }
  return reaches.some((set, from) => set.has(from));
}
