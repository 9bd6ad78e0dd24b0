import { completed, defineNode } from './node-handler.js';

interface DataTransformConfig {
  expression: string;
}

/** Its output is what JSONata makes of its input. */
export const dataTransformNode = defineNode<DataTransformConfig>({
  type: 'data-transform',
  description: 'Turns its input into something else with a JSONata expression',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    required: ['expression'],
    properties: { expression: { type: 'string', minLength: 1, format: 'jsonata' } },
  },
  async run({ config, input, evaluate }) {
    return completed(await evaluate(config.expression, input));
  },
});
