/**
 * Keeps a class whose workers die at their start from spinning: after the first such crash nothing is launched for
 * 10 s, after each further one for twice as long, at most 300 s. 10 minutes without one end it.
 */
export interface BackOff {
  /** Crashes that counted, since it was last well. */
  crashes: number;
  /** The last of them; monotonic, ms. */
  lastCrashAtMs: number | null;
}

export const NO_BACK_OFF: BackOff = { crashes: 0, lastCrashAtMs: null };

const FIRST_DELAY_MS = 10_000;
const LONGEST_DELAY_MS = 300_000;
const HEALTHY_MS = 600_000;
/** A failure this soon after registering counts as one of the start. */
const EARLY_MS = 10_000;

/**
 * Did it die at its start? It ended before it had registered, however, or failed within 10 s of that. One that was
 * asked to end never did.
 *
 * @param exit `registeredForMs`: from its registration to its end, null = it never registered; `code`: null = a signal
 */
export function isEarlyCrash(exit: {
  retiring: boolean;
  code: number | null;
  registeredForMs: number | null;
}): boolean {
  if (exit.retiring) {
    return false;
  }
  return exit.registeredForMs === null || (exit.code !== 0 && exit.registeredForMs < EARLY_MS);
}

/**
 * Crashes during a back-off are of workers that were launched before it began: they belong to the crash that began it.
 * So five workers that crash together count once, and whoever is launched after it counts anew.
 *
 * @param crashed as `isEarlyCrash` says
 */
export function afterExit(state: BackOff, { crashed, nowMs }: { crashed: boolean; nowMs: number }): BackOff {
  if (!crashed || nowMs < (launchesAllowedAtMs(state) ?? nowMs)) {
    return state;
  }
  return { crashes: state.crashes + 1, lastCrashAtMs: nowMs };
}

/**
 * To be told in each round in which a worker of the class has lived for 10 minutes or longer. It is well again if no
 * other has crashed in the last 10: an old worker must not end the back-off of new ones that still crash.
 */
export function afterHealthy(state: BackOff, nowMs: number): BackOff {
  const isOver = state.lastCrashAtMs !== null && nowMs - state.lastCrashAtMs >= HEALTHY_MS;
  return isOver ? NO_BACK_OFF : state;
}

/** From when on workers may be launched, on the clock of `nowMs`; null = no back-off. It may lie in the past. */
export function launchesAllowedAtMs({ crashes, lastCrashAtMs }: BackOff): number | null {
  return lastCrashAtMs === null
    ? null
    : lastCrashAtMs + Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** (crashes - 1));
}
