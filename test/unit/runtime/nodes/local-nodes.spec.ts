import { describe, expect, it, jest } from '@jest/globals';
import type { NodeLogger } from '../../../../src/runtime/nodes/node-handler.js';
import {
  connectionUrl,
  loadDriver,
  OpenConnections,
  withoutSecrets,
} from '../../../../src/runtime/nodes/named-connections.js';
import { link, node, run } from '../harness.js';

describe('data-filter', () => {
  it('splits its input by $item, $index, $inputs and the item as root', async () => {
    const condition = 'price > $inputs.min and $item.price < 100 and $index > 0';
    const outcome = await run(
      [
        node('list', 'data-transform', { config: { expression: '$inputs.list' } }),
        node('f', 'data-filter', { config: { condition } }),
        node('kept', 'log'),
        node('others', 'log'),
      ],
      [link('list', 'f'), link('f', 'kept'), link('f', 'others', { output: 'rejected' })],
      {
        inputs: { min: 10, list: [{ price: 50 }, { price: 50 }, { price: 5 }, { price: 500 }, { cost: 1 }] },
      },
    );
    expect(outcome).toMatchObject({
      result: { kept: [{ price: 50 }], others: [{ price: 50 }, { price: 5 }, { price: 500 }, { cost: 1 }] },
    });
  });

  it('keeps arrays of one and of none arrays', async () => {
    const filter = (id: string, items: unknown[]) =>
      node(id, 'data-filter', { config: { condition: '$ > 1', items } });
    expect(await run([filter('one', [1, 2]), filter('none', [])], [])).toMatchObject({
      result: { one: [2], none: [] },
    });
  });

  it('wants an array', async () => {
    expect(
      await run([node('f', 'data-filter', { config: { condition: 'true' } })], [], { inputs: { a: 1 } }),
    ).toMatchObject({
      error: {
        code: 'bad_input',
        message: 'expected an array as input or in config.items, got an object with "a"',
        nodeId: 'f',
      },
    });
  });
});

describe('data-transform', () => {
  it('gives what its expression makes of the input, as JSON', async () => {
    const transform = (id: string, expression: string) =>
      node(id, 'data-transform', { config: { expression } });
    const outcome = await run(
      [
        transform('a', 'list.{"double": n * 2}'),
        transform('b', 'nothing'),
        transform('c', '$execution.flowId'),
        transform('d', '$string'),
      ],
      [],
      { inputs: { list: [{ n: 1 }, { n: 2 }] } },
    );
    expect(outcome.kind === 'completed' && outcome.result).toStrictEqual({
      a: [{ double: 2 }, { double: 4 }],
      b: null,
      c: 'f1',
      d: null,
    });
  });

  it('names the expression that failed', async () => {
    expect(
      await run([node('a', 'data-transform', { config: { expression: '$number("x")' } })], []),
    ).toMatchObject({
      error: {
        code: 'bad_expression',
        retryable: false,
        message: expect.stringContaining(String.raw`the JSONata "$number(\"x\")" failed: `),
      },
    });
  });
});

describe('log and delay', () => {
  it('pass their input on; log writes to the logger it was given', async () => {
    const log = jest.fn<NodeLogger>();
    const outcome = await run(
      [
        node('d', 'delay', { config: { ms: 1 } }),
        node('l', 'log', { config: { message: { $expr: '"x is " & x' }, level: 'warn' } }),
      ],
      [link('d', 'l')],
      { inputs: { x: 1 }, log },
    );
    expect(outcome).toMatchObject({ result: { l: { x: 1 } } });
    expect(log.mock.calls).toEqual([
      ['warn', 'x is 1', { executionId: 'e1', flowId: 'f1', attempt: 1, nodeId: 'l' }],
    ]);
  });
});

describe('named connections', () => {
  it('are found by their own name and scheme', () => {
    expect(connectionUrl({ a: 'postgres://h/db' }, 'a', ['postgresql', 'postgres'])).toBe('postgres://h/db');
    expect(() => connectionUrl({}, 'constructor', ['postgres'])).toThrow(
      'connections (none), got "constructor"',
    );
  });

  it('keep URL and password out of messages, encoded or not', () => {
    const url = 'postgres://bob:p%40ss@db:5432/x';
    expect(withoutSecrets(`no ${url}, p%40ss or p@ss for bob`, url)).toBe('no ***, *** or *** for bob');
    expect(withoutSecrets('fine', 'postgres://db/x')).toBe('fine');
  });

  it('open once per name, again after a failure, and close together', async () => {
    const opened: string[] = [];
    const closed: string[] = [];
    const connections = new OpenConnections(
      async (name: string) => {
        opened.push(name);
        if (opened.length === 1) throw new Error('down');
        return name;
      },
      async (name) => void closed.push(name),
    );
    await expect(connections.get('a')).rejects.toThrow('down');
    expect(await Promise.all([connections.get('a'), connections.get('a'), connections.get('b')])).toEqual([
      'a',
      'a',
      'b',
    ]);
    await connections.close();
    expect([opened, closed]).toEqual([
      ['a', 'a', 'b'],
      ['a', 'b'],
    ]);
  });

  it('say how to install a driver that is not there', async () => {
    const missing = () => Promise.reject(Object.assign(new Error('no'), { code: 'ERR_MODULE_NOT_FOUND' }));
    await expect(loadDriver('mongodb', missing)).rejects.toThrow(
      'expected the package "mongodb" on this worker, got none: run npm install mongodb',
    );
  });
});
