import { describe, expect, it } from '@jest/globals';
import { builtinNodes } from '../../../../src/runtime/nodes/builtin-nodes.js';
import { NodeRegistry } from '../../../../src/runtime/nodes/node-registry.js';
import { testNode } from '../harness.js';

describe('NodeRegistry', () => {
  it('knows the built-in types', async () => {
    const { handlers, close } = builtinNodes({ connections: {} });
    expect(new NodeRegistry(handlers).types).toEqual([
      'data-filter', 'data-transform', 'delay', 'http-request', 'log', 'map', 'mongodb-operations', 'postgresql-query',
    ]); // prettier-ignore
    expect(handlers.every(({ description }) => description.length > 10)).toBe(true);
    await close();
  });

  it('refuses a doubled handler, naming the fix', () => {
    expect(() => new NodeRegistry([testNode('a'), testNode('a')])).toThrow(
      'expected one handler for the node type "a", got two: remove one or rename its type',
    );
  });

  it('refuses a declared type without a handler, naming the fix', () => {
    expect(() => new NodeRegistry([testNode('a')], ['a', 'b', 'c'])).toThrow(
      'got none for b, c: add it to the handlers (known: a) or declare the type no longer',
    );
  });

  it('refuses a handler whose schema is none', () => {
    expect(
      () => new NodeRegistry([testNode('a', undefined, { configSchema: { type: 'nonsense' } })]),
    ).toThrow('expected configSchema of the node type "a" to be JSON Schema');
  });

  it('checks the syntax of expressions that a config holds as plain text', () => {
    const registry = new NodeRegistry(builtinNodes({ connections: {} }).handlers);
    const failure = registry.checkGraph({
      nodes: [{ id: 'f', type: 'data-filter', config: { condition: '1 +' } }],
      connections: [],
    });
    expect(failure).toMatchObject({
      code: 'bad_config',
      nodeId: 'f',
      message: 'node "f" (data-filter): config/condition expected jsonata text, got "1 +"',
      details: { problems: [{ pointer: '/condition' }] },
    });
  });
});
