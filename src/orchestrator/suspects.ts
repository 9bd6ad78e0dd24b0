import { WORKER_LOSS_CODES } from '../queue/contracts/reports.js';
import type { ExecutionRecord } from '../store/execution-store.js';

/**
 * Does this attempt get a worker to itself? A flow that was there when its worker was lost may be what took the worker
 * down, or may just have been beside it. Its last attempt tells the two apart: alone, a guilty one takes nobody along,
 * and an innocent one is not taken along and so never ends as `dead` for another's fault. Earlier attempts share
 * their worker, as most losses have nothing to do with any flow.
 */
export function runsAlone(execution: Attempts): boolean {
  return isLast(execution) && wasLost(execution);
}

/**
 * May this attempt go to a worker only if that has a slot for it? What waits in a worker is lost with it, and nobody can
 * tell that from what had begun: it would end a flow of a single attempt, and take one that was lost before down again.
 */
export function needsSlot(execution: Attempts): boolean {
  return isLast(execution) || wasLost(execution);
}

type Attempts = Pick<ExecutionRecord, 'attempt' | 'maxAttempts' | 'pastAttempts'>;

function isLast({ attempt, maxAttempts }: Attempts): boolean {
  return attempt >= maxAttempts;
}

function wasLost({ pastAttempts }: Attempts): boolean {
  return pastAttempts.some(({ error }) => error !== null && WORKER_LOSS_CODES.has(error.code));
}
