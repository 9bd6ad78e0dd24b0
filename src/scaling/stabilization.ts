/** A size that was wanted at a moment. */
export interface Recommendation {
  /** Monotonic, ms. */
  atMs: number;
  desired: number;
}

/**
 * Adds the newest recommendation. Only those are kept that can still be the highest of a window: newer than `windowMs`,
 * and higher than everything after them. So the list is short however long the window is.
 */
export function remember(
  past: readonly Recommendation[],
  newest: Recommendation,
  windowMs: number,
): readonly Recommendation[] {
  const kept = past.filter(({ atMs, desired }) => newest.atMs - atMs < windowMs && desired > newest.desired);
  return [...kept, newest];
}

/** The highest that was wanted in the window: what a pool may shrink to. @param window of `remember` */
export function highestOf(window: readonly Recommendation[]): number {
  return Math.max(...window.map(({ desired }) => desired));
}
