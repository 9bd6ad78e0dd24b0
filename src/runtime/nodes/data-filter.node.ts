import { preview } from '../../queue/contracts/schema-problems.js';
import { isTruthy } from '../engine/expressions.js';
import { completed, defineNode, failed } from './node-handler.js';

interface DataFilterConfig {
  condition: string;
  items?: unknown[];
}

/** Main output: the items for which `condition` is true; port `rejected`: the others. Both keep their order. */
export const dataFilterNode = defineNode<DataFilterConfig>({
  type: 'data-filter',
  description: 'Splits a list by a JSONata condition on each item ($item, $index, $inputs; root = the item)',
  ports: ['rejected'],
  configSchema: {
    type: 'object',
    additionalProperties: false,
    required: ['condition'],
    properties: { condition: { type: 'string', minLength: 1, format: 'jsonata' }, items: { type: 'array' } },
  },
  async run({ config, input, evaluate }) {
    const items = config.items ?? input;
    if (!Array.isArray(items)) {
      return failed('bad_input', `expected an array as input or in config.items, got ${preview(items)}`, {
        retryable: false,
      });
    }
    const matching: unknown[] = [];
    const rejected: unknown[] = [];
    for (const [index, item] of items.entries()) {
      const kept = isTruthy(await evaluate(config.condition, item, { item, index }));
      (kept ? matching : rejected).push(item);
    }
    return completed(matching, { rejected });
  },
});
