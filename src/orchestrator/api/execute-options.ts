import { type FieldProblem, invalidParameter } from './problem.js';

/** What a request asks for beside its body. */
export interface RequestedOptions {
  waitMs: number;
  idempotencyKey?: string;
  /** `wait=N`, when the wish in `Prefer` was taken up: N as it was cut. */
  preferenceApplied?: string;
}

interface Asked {
  /** The query parameter, as it came. */
  waitMs: unknown;
  prefer: string | undefined;
  idempotencyKey: string | undefined;
}

const LONGEST_KEY = 255;
const PREFERRED_WAIT = /(?:^|[,;\s])wait\s*=\s*"?(\d{1,9})"?(?=$|[,;\s])/i;

/**
 * Reads `?waitMs=`, `Prefer: wait=N` (seconds, RFC 7240) and `Idempotency-Key`. A parameter is an order, so one that
 * cannot be followed is an error; a preference is a wish, so it is cut to the limit, or ignored.
 * @throws ProblemException 400
 */
export function readExecuteOptions(
  { waitMs, prefer, idempotencyKey }: Asked,
  waitLimitMs: number,
): RequestedOptions {
  const problems: FieldProblem[] = [];
  if (waitMs !== undefined && !isWait(waitMs, waitLimitMs)) {
    const message = `expected a whole number of ms from 0 to ${waitLimitMs}, got ${JSON.stringify(waitMs)}`;
    problems.push({ parameter: 'waitMs', message, limit: 'waitLimitMs' });
  }
  if (idempotencyKey !== undefined && (idempotencyKey.length === 0 || idempotencyKey.length > LONGEST_KEY)) {
    const message = `expected 1 to ${LONGEST_KEY} characters, got ${idempotencyKey.length}`;
    problems.push({ header: 'Idempotency-Key', message });
  }
  if (problems.length > 0) {
    throw invalidParameter(problems);
  }
  const preferred = waitMs === undefined ? PREFERRED_WAIT.exec(prefer ?? '')?.[1] : undefined;
  if (preferred === undefined) {
    return { waitMs: Number(waitMs ?? 0), idempotencyKey };
  }
  const appliedMs = Math.min(Number(preferred) * 1_000, waitLimitMs);
  return { waitMs: appliedMs, idempotencyKey, preferenceApplied: `wait=${Math.floor(appliedMs / 1_000)}` };
}

function isWait(value: unknown, limitMs: number): boolean {
  return typeof value === 'string' && /^\d{1,9}$/.test(value) && Number(value) <= limitMs;
}
