import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { Names, topology, workerTopology } from '../../src/queue/topology.js';
import { TRANSITIONS } from '../../src/store/transitions.js';

describe('the state drawing in docs/architecture.md', () => {
  const drawing = readFileSync('docs/architecture.md', 'utf8');

  it('has exactly the transitions of the table', () => {
    const drawn = [...drawing.matchAll(/^\s+(\w+) --> (\w+):/gm)].map(([, from, to]) => `${from} → ${to}`);
    const table = Object.values(TRANSITIONS).flatMap(({ from, to }) =>
      from.map((state) => `${state} → ${to}`),
    );
    expect([...new Set(drawn)].toSorted()).toEqual([...new Set(table)].toSorted());
  });

  it('begins with acceptance', () => {
    expect(drawing).toMatch(/^\s+\[\*\] --> accepted/m);
  });
});

describe('the topology listing in docs/rabbitmq.md', () => {
  const rows = readFileSync('docs/rabbitmq.md', 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('| `flow.'))
    .map((line) => line.replaceAll(/\s+/g, ' ').trim());

  it('has every exchange and queue with its arguments and bindings, and nothing else', () => {
    const standing = topology(new Names(''));
    const worker = workerTopology(new Names(''), '<workerId>');
    const bindings = [...standing.bindings, ...worker.bindings];
    const expected = [
      ...standing.exchanges.map(({ name, kind }) => `| \`${name}\` | ${kind} exchange | |`),
      ...[...standing.queues, ...worker.queues].map((queue) => {
        const args = Object.entries(queue.arguments)
          .map(([key, value]) => `${key}: ${value}`)
          .join(', ');
        const bound = bindings
          .filter((binding) => binding.queue === queue.name)
          .map(
            ({ exchange, routingKey }) => `bound to \`${exchange}\`${routingKey && ` by \`${routingKey}\``}`,
          );
        return `| \`${queue.name}\` | queue | ${[`\`${args}\``, ...bound].join('; ')} |`;
      }),
    ];
    expect(rows.toSorted()).toEqual(expected.toSorted());
  });
});
