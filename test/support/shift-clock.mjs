/**
 * A preload (`node --import`) that sets this process's wall clock off by CLOCK_OFFSET_MS, as a machine with a wrong
 * clock would have it. Timers and performance.now() run on the monotonic clock, which has no time of day.
 */
const offsetMs = Number(process.env.CLOCK_OFFSET_MS ?? 0);
const RealDate = globalThis.Date;

class ShiftedDate extends RealDate {
  /** @param {any[]} parts */
  constructor(...parts) {
    // @ts-expect-error the spread of what any Date takes
    super(...(parts.length === 0 ? [RealDate.now() + offsetMs] : parts));
  }

  static now() {
    return RealDate.now() + offsetMs;
  }
}

globalThis.Date = /** @type {DateConstructor} */ (/** @type {unknown} */ (ShiftedDate));
