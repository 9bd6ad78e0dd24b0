/**
 * A process that has a process driver, of the built product, and does what a test tells it: lines of
 * `{ method, args }` on stdin; each is answered by a line `{ value }` or `{ error }`. It can be killed like an
 * orchestrator. Its only argument: the driver's options as JSON.
 */
import { createInterface } from 'node:readline';
import { ProcessDriver } from '../../dist/scaling/drivers/process-driver.js';

/** @param {object} line */
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const driver = new ProcessDriver({
  ...JSON.parse(String(process.argv[2])),
  logger: {
    log: (/** @type {string} */ log) => say({ log }),
    warn: (/** @type {string} */ warn) => say({ warn }),
  },
  output: (/** @type {string} */ line) => say({ line }),
});
driver.on('exit', (exit) => say({ exit }));

for await (const asked of createInterface({ input: process.stdin })) {
  const { method, args } = JSON.parse(asked);
  try {
    say({ value: (await Reflect.get(driver, method).apply(driver, args)) ?? null });
  } catch (error) {
    say({ error: error instanceof Error ? error.message : String(error) });
  }
}
