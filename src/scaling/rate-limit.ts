/** Smallest step that a class may always grow by, in workers. */
const SMALLEST_STEP = 4;

/**
 * How far one change may go. Up: by 4 workers or to the double, whichever is more, as Kubernetes' HPA does by default.
 * Down: to the half, but always by 1. HPA lets all go at once; here each of them has to drain first, and should the
 * work come back meanwhile, the half that stayed takes it.
 */
export function rateLimited(from: number, to: number): number {
  const highest = Math.max(from + SMALLEST_STEP, from * 2);
  const lowest = Math.min(Math.ceil(from / 2), from - 1);
  return Math.min(highest, Math.max(lowest, to));
}
