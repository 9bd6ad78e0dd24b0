import { setMaxListeners } from 'node:events';
import type { FlowGraph } from '../../queue/contracts/flow.js';
import { flowGraphSchema } from '../../queue/contracts/flow.js';
import { MAP_TYPE } from '../../queue/contracts/flow-check.js';
import { preview } from '../../queue/contracts/schema-problems.js';
import type { Failure } from '../../queue/contracts/reports.js';
import { completed, defineNode, failed, type GraphOutcome, type NodeOutcome } from './node-handler.js';

interface MapConfig {
  items?: unknown[];
  flow: FlowGraph;
  concurrency?: number;
  onItemError?: 'fail' | 'collect';
}

const DEFAULT_CONCURRENCY = 8;

/**
 * Runs `flow` for each item, `concurrency` at a time, with the inputs `{item, index}` and the item as input of
 * its root nodes. Output: an array in the order of the items, of the only leaf's output each (of an object by leaf
 * id where the flow has several). With `onItemError: 'collect'` a failing item gives null there, and
 * `{index, error}` on the port `errors`.
 */
export const mapNode = defineNode<MapConfig>({
  type: MAP_TYPE,
  description: 'Runs a flow of its own for each item of a list',
  ports: ['errors'],
  slotless: true,
  configSchema: {
    type: 'object',
    additionalProperties: false,
    required: ['flow'],
    properties: {
      items: { type: 'array' },
      flow: flowGraphSchema,
      concurrency: { type: 'integer', minimum: 1, maximum: 1000 },
      onItemError: { enum: ['fail', 'collect'] },
    },
  },
  async run({ config, input, signal, graphRunner }) {
    const items = config.items ?? input;
    if (!Array.isArray(items)) {
      return failed('bad_input', `expected an array as input or in config.items, got ${preview(items)}`, {
        retryable: false,
      });
    }
    const runItem = graphRunner(config.flow);
    const leaf = onlyLeaf(config.flow);
    const outputs: unknown[] = Array.from({ length: items.length }, () => null);
    const errors: { index: number; error: Failure }[] = [];

    const siblings = new AbortController();
    const itemSignal = AbortSignal.any([signal, siblings.signal]);
    setMaxListeners(0, itemSignal);
    const stopped = await eachItem(items, config.concurrency ?? DEFAULT_CONCURRENCY, async (item, index) => {
      const outcome = await runItem(item, index, itemSignal);
      if (outcome.kind === 'completed')
        outputs[index] = (leaf === undefined ? outcome.outputs : outcome.outputs[leaf]) ?? null;
      else if (outcome.kind === 'failed' && config.onItemError === 'collect')
        errors.push({ index, error: outcome.error });
      else {
        siblings.abort();
        return ending(outcome, index);
      }
      return undefined;
    });
    return (
      stopped ?? completed(outputs, { errors: errors.toSorted((one, other) => one.index - other.index) })
    );
  },
});

/** Takes items in order, `concurrency` at a time, until the first outcome that ends the whole. */
async function eachItem(
  items: readonly unknown[],
  concurrency: number,
  run: (item: unknown, index: number) => Promise<NodeOutcome | undefined>,
): Promise<NodeOutcome | undefined> {
  let next = 0;
  let stopped: NodeOutcome | undefined;
  const lane = async () => {
    while (stopped === undefined && next < items.length) {
      const index = next++;
      const outcome = await run(items[index], index);
      stopped ??= outcome;
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, lane));
  return stopped;
}

function onlyLeaf({ nodes, connections }: FlowGraph): string | undefined {
  const parents = new Set(connections.map(({ from }) => from));
  const leaves = nodes.filter(({ id }) => !parents.has(id));
  return leaves.length === 1 ? leaves[0]!.id : undefined;
}

function ending(outcome: Exclude<GraphOutcome, { kind: 'completed' }>, index: number): NodeOutcome {
  if (outcome.kind !== 'failed') return outcome;
  const { code, message, retryable, nodeId, details } = outcome.error;
  return failed(code, `item ${index}, node "${nodeId}": ${message}`, {
    retryable,
    details: { ...details, index, nodeId },
  });
}
