/** The longest delay a Node timer takes, about 24.8 days: beyond it, it would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** `setTimeout` that treats a longer delay as its longest one. */
export function startTimer(delayMs: number, fire: () => void): NodeJS.Timeout {
  return setTimeout(fire, Math.min(delayMs, MAX_TIMER_MS));
}
