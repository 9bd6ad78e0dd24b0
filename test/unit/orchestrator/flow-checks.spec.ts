import { describe, expect, it } from '@jest/globals';
import { FlowChecks } from '../../../src/orchestrator/flow-checks.js';

const flow = (id: string, type = 'log') => ({
  name: 'n',
  version: 1,
  nodes: [{ id, type }],
  connections: [],
});

describe('the checks of flows', () => {
  const checks = (): FlowChecks => new FlowChecks({ maxNodes: 10, maxConnections: 10, maxDepth: 1 });
  /** The same object twice: it was not worked out again. */
  const remembers = (flows: FlowChecks, flowData: object): boolean => {
    const [first, second] = [flows.check(structuredClone(flowData)), flows.check(structuredClone(flowData))];
    return first.ok && second.ok && first.flow === second.flow;
  };

  it('say what a flow comes to, the same whether it came before or not', () => {
    const flows = checks();
    const expected = {
      ok: true,
      flow: {
        text: '{"name":"n","version":1,"nodes":[{"id":"a","type":"log"}],"connections":[]}',
        canonical: '{"connections":[],"name":"n","nodes":[{"id":"a","type":"log"}],"version":1}',
        nodeTypes: ['log'],
        requiredTypes: 'log',
      },
    };
    expect(flows.check(flow('a'))).toEqual(expected);
    expect(flows.check(flow('a'))).toEqual(expected);
    expect(remembers(flows, flow('a'))).toBe(true);
  });

  it('tell flows apart that differ in one letter', () => {
    const flows = checks();
    flows.check(flow('a'));
    expect(flows.check(flow('a', 'delay'))).toMatchObject({ flow: { nodeTypes: ['delay'] } });
    expect(flows.check(flow('b'))).toMatchObject({
      flow: { text: expect.stringContaining('"b"') as unknown },
    });
  });

  it('find the same faults every time', () => {
    const flows = checks();
    const twice = { ...flow('a'), nodes: [...flow('a').nodes, ...flow('a').nodes] };
    const found = flows.check(twice);
    expect(found).toMatchObject({ ok: false, problems: [{ pointer: '/nodes/1/id' }] });
    expect(flows.check(twice)).toEqual(found);
    expect(flows.check(undefined)).toMatchObject({ ok: false });
    expect(flows.check([])).toMatchObject({ ok: false });
  });

  it('remember a bounded amount of text: the oldest is forgotten, and the very long is not kept', () => {
    const flows = checks();
    const holding = (text: string) => ({ ...flow('a'), nodes: [{ id: 'a', type: 'log', config: { text } }] });
    const first = flows.check(flow('first'));
    for (let index = 0; index < 5; index++) flows.check(holding(`${index}${'x'.repeat(60_000)}`));
    expect(flows.check(flow('first'))).toEqual(first);
    expect(remembers(flows, holding('x'.repeat(60_000)))).toBe(true);
    expect(remembers(flows, holding('x'.repeat(70_000)))).toBe(false);
    const kept = flows.check(flow('second'));
    for (let index = 0; index < 20; index++) flows.check(holding(`${index}${'y'.repeat(60_000)}`));
    const again = flows.check(flow('second'));
    expect(again).toEqual(kept);
    expect(again.ok && kept.ok && again.flow === kept.flow).toBe(false);
  });
});
