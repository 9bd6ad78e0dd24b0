import { setTimeout as wait } from 'node:timers/promises';
import { completed, defineNode } from './node-handler.js';

interface DelayConfig {
  ms: number;
}

/** Passes its input on after `ms`; holds no slot while it waits. */
export const delayNode = defineNode<DelayConfig>({
  type: 'delay',
  description: 'Waits, then passes its input on',
  slotless: true,
  configSchema: {
    type: 'object',
    additionalProperties: false,
    required: ['ms'],
    properties: { ms: { type: 'integer', minimum: 0, maximum: 86_400_000 } },
  },
  async run({ config, input, signal }) {
    await wait(config.ms, undefined, { signal });
    return completed(input);
  },
});
