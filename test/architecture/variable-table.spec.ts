import { readFileSync } from 'node:fs';
import { expect, it } from '@jest/globals';
import { withVariableTable } from '../../src/config/variable-table.js';

it("README.md has the schema's table of variables", () => {
  const readme = readFileSync('README.md', 'utf8');
  if (readme !== withVariableTable(readme)) {
    throw new Error(
      'README.md differs from src/config/config.schema.ts: run `npm run build && npm run docs:variables`',
    );
  }
  expect(readme).toContain('`QUEUE_HIGH_WATER_MARK`');
});
