/**
 * `npm run test:soak -- [--minutes N] [--seed S]`: random faults at random moments under load, for N minutes. The
 * seed is printed; with the same one the same faults come in the same order.
 */
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { minutes: { type: 'string' }, seed: { type: 'string' } } });
for (const [name, value] of Object.entries(values)) {
  if (!(Number(value) > 0)) {
    console.error(`Expected --${name} to be a number above 0, got ${value}.`);
    process.exit(2);
  }
}
process.env.SOAK_MINUTES = values.minutes ?? '20';
if (values.seed !== undefined) process.env.SOAK_SEED = values.seed;
process.argv.splice(2, Infinity, 'test/faults/soak.spec.ts');
await import('./test.mjs');
