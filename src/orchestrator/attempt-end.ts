import type { Backoff } from '../queue/contracts/flow.js';
import { type Failure, INTERRUPTED_CODE, WORKER_LOSS_CODES } from '../queue/contracts/reports.js';

/** What decides how a failed attempt goes on. */
export interface FailedAttempt {
  error: Failure;
  attempt: number;
  /** The highest attempt of the present series. */
  maxAttempts: number;
  /** How many attempts the series has had before this one. */
  retriesSoFar: number;
  backoff: Backoff | null;
  cancelRequested: boolean;
}

export type AttemptEnd =
  | { kind: 'cancel' }
  | { kind: 'fail' }
  | { kind: 'bury'; error: Failure }
  | { kind: 'retry'; delayMs: number };

/** The way on after a failed attempt. @param random 0 ≤ random < 1, for the jitter */
export function afterFailure(failed: FailedAttempt, tiersMs: readonly number[], random: number): AttemptEnd {
  if (failed.cancelRequested) {
    return { kind: 'cancel' };
  }
  if (!failed.error.retryable) {
    return { kind: 'fail' };
  }
  if (failed.attempt >= failed.maxAttempts) {
    const { message } = failed.error;
    return {
      kind: 'bury',
      error: {
        ...failed.error,
        message: `attempt ${failed.attempt} of ${failed.maxAttempts} failed: ${message}`,
      },
    };
  }
  return {
    kind: 'retry',
    delayMs: WORKER_LOSS_CODES.has(failed.error.code) ? 0 : retryDelayMs(failed, tiersMs, random),
  };
}

/** Why a result is not kept. */
export function tooLarge(result: unknown, limitBytes: number): Failure {
  const sizeBytes = Buffer.byteLength(JSON.stringify(result));
  return {
    code: 'result_too_large',
    message: `the result has ${sizeBytes} bytes, the limit is ${limitBytes} (RESULT_LIMIT_BYTES): write large data to a store and return where it is`,
    retryable: false,
  };
}

/** What a worker says of the one before it under its name does not name it: people read the error without the report. */
export function namingWorker(error: Failure, workerId: string): Failure {
  return error.code === INTERRUPTED_CODE
    ? { ...error, message: `worker ${workerId} was lost: ${error.message}` }
    : error;
}

/** Retry n waits for tier n (the last tier from there on), unless the execution brought its own backoff. */
export function retryDelayMs(
  failed: Pick<FailedAttempt, 'retriesSoFar' | 'backoff'>,
  tiersMs: readonly number[],
  random: number,
): number {
  const { backoff, retriesSoFar } = failed;
  if (backoff === null) {
    return tiersMs[Math.min(retriesSoFar, tiersMs.length - 1)] ?? 0;
  }
  const { baseMs, factor = 2, maxMs = Infinity, jitter = 0 } = backoff;
  const delayMs = Math.min(maxMs, baseMs * factor ** retriesSoFar);
  return Math.round(delayMs * (1 + jitter * (2 * random - 1)));
}
