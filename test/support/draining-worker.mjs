/**
 * A worker as its driver sees it, without flows: it says that it is ready, writes lines, and at SIGTERM goes on until
 * SIGUSR2 says that its last flow has ended. WORKER_CONTROL_DIR: where `<WORKER_ID>.json` tells the test how it is.
 *
 * WORKER_SAYS: written at the start. WORKER_FAILS: thrown at the start. WORKER_COUNTS_MS: counts aloud, every so often.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const { WORKER_CONTROL_DIR, WORKER_ID, WORKER_CLASS, WORKER_SAYS, WORKER_FAILS, WORKER_COUNTS_MS } =
  process.env;
let asked = 0;

process.on('SIGTERM', () => {
  asked++;
  tell();
});
process.on('SIGUSR2', () => {
  console.log('the last flow has ended');
  process.exit(0);
});

function tell() {
  const file = join(String(WORKER_CONTROL_DIR), `${WORKER_ID}.json`);
  const told = { pid: process.pid, workerClass: WORKER_CLASS, askedToEnd: asked, environment: process.env };
  writeFileSync(`${file}.new`, JSON.stringify(told));
  renameSync(`${file}.new`, file);
}

if (WORKER_SAYS) console.log(WORKER_SAYS);
if (WORKER_FAILS) throw new Error(WORKER_FAILS);
tell();
setInterval(() => undefined, 60_000);
if (WORKER_COUNTS_MS) {
  let count = 0;
  setInterval(() => console.log(`count ${++count}`), Number(WORKER_COUNTS_MS));
}
