import { WORKER_LOSS_CODES } from '../queue/contracts/reports.js';
import type { ExecutionRecord } from '../store/execution-store.js';

/**
 * Does this attempt get a worker to itself? A flow that was there when its worker was lost may be what took the worker
 * down, or may just have been beside it. Its last attempt tells the two apart: alone, a guilty one takes nobody along,
 * and an innocent one is not taken along and so never ends as `dead` for another's fault. Earlier attempts share
 * their worker, as most losses have nothing to do with any flow.
 */
export function runsAlone(
  execution: Pick<ExecutionRecord, 'attempt' | 'maxAttempts' | 'pastAttempts'>,
): boolean {
  return (
    execution.attempt >= execution.maxAttempts &&
    execution.pastAttempts.some(({ error }) => error !== null && WORKER_LOSS_CODES.has(error.code))
  );
}
