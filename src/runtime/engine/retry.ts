import type { Backoff, RetryPolicy } from '../../queue/contracts/flow.js';
import type { Failure } from '../../queue/contracts/reports.js';

const DEFAULT_BACKOFF: Backoff = { baseMs: 1000 };
const DEFAULT_FACTOR = 2;
const DEFAULT_MAX_MS = 60_000;
const DEFAULT_JITTER = 0.2;

/** Wait this long, in ms, before the next try; undefined = no further try. `random` is in 0..1. */
export function nextTryDelayMs(
  policy: RetryPolicy | undefined,
  triesUsed: number,
  error: Failure,
  random: number,
): number | undefined {
  if (!error.retryable || triesUsed >= (policy?.maxAttempts ?? 1)) return undefined;
  return backoffMs(policy?.backoff ?? DEFAULT_BACKOFF, triesUsed, random);
}

/** `baseMs · factor^(n−1)`, capped at `maxMs`, spread by ±`jitter`; defaults: 2, 60 s, 0.2. */
export function backoffMs(backoff: Backoff, triesUsed: number, random: number): number {
  const { baseMs, factor = DEFAULT_FACTOR, maxMs = DEFAULT_MAX_MS, jitter = DEFAULT_JITTER } = backoff;
  const plain = Math.min(baseMs * factor ** (triesUsed - 1), maxMs);
  return Math.round(plain * (1 + jitter * (2 * random - 1)));
}
