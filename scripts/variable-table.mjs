/** Writes the table of variables into README.md, from the schema in dist/ (`npm run build` first). */
import { readFileSync, writeFileSync } from 'node:fs';

const README = new URL('../README.md', import.meta.url);

const { withVariableTable } = await import('../dist/config/variable-table.js').catch((error) => {
  if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
  console.error(
    `dist/config/variable-table.js could not be loaded; run \`npm run build\` first (${error.message})`,
  );
  process.exit(1);
});

const before = readFileSync(README, 'utf8');
const after = withVariableTable(before);
if (after !== before) writeFileSync(README, after);
console.log(after === before ? 'README.md is up to date' : 'README.md: table of variables written');
