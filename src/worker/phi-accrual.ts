/**
 * Phi accrual failure detection (Hayashibara et al., 2004) in the logistic approximation that Akka uses: phi is
 * −log10 of the probability that a heartbeat this late is still to come. 1 = one chance in ten, 8 = one in 10⁸.
 */
export interface HeartbeatSettings {
  /** What the sender was told to keep, ms. */
  intervalMs: number;
}

const WINDOW = 1_000;
/** Share of the interval below which a deviation is noise: 15 s heartbeats must not kill over half a second. */
const MIN_DEVIATION_SHARE = 0.1;
/** A heartbeat that comes early (sent at once on a change of status) says nothing about the rhythm. */
const EARLY_SHARE = 0.5;
/** Phi never exceeds this: it goes into JSON, where Infinity cannot. */
const HIGHEST_PHI = 1_000;

/** The rhythm of one sender, as seen by our own monotonic clock. */
export class HeartbeatHistory {
  private readonly intervals: number[] = [];
  private next = 0;
  private sum = 0;
  private sumOfSquares = 0;
  private lastAtMs: number;

  constructor(
    private readonly settings: HeartbeatSettings,
    startMs: number,
  ) {
    // Bootstraps mean ± mean/4, so that the second heartbeat already has something to be late against.
    this.add(settings.intervalMs * 0.75);
    this.add(settings.intervalMs * 1.25);
    this.lastAtMs = startMs;
  }

  beat(nowMs: number): void {
    const interval = nowMs - this.lastAtMs;
    if (interval >= this.settings.intervalMs * EARLY_SHARE) {
      this.add(interval);
    }
    this.lastAtMs = nowMs;
  }

  /** How long since the last heartbeat, ms. */
  silenceMs(nowMs: number): number {
    return nowMs - this.lastAtMs;
  }

  /** 0 … 1000; one interval of pause is always acceptable. */
  phi(nowMs: number): number {
    const count = this.intervals.length;
    const mean = this.sum / count;
    const deviation = Math.sqrt(Math.max(0, this.sumOfSquares / count - mean * mean));
    return phi(
      this.silenceMs(nowMs),
      mean + this.settings.intervalMs,
      Math.max(deviation, this.settings.intervalMs * MIN_DEVIATION_SHARE),
    );
  }

  private add(interval: number): void {
    const evicted = this.intervals[this.next] ?? 0;
    this.intervals[this.next] = interval;
    this.next = (this.next + 1) % WINDOW;
    this.sum += interval - evicted;
    this.sumOfSquares += interval * interval - evicted * evicted;
  }
}

/** @param elapsedMs since the last heartbeat; mean and deviation of the usual interval, ms */
export function phi(elapsedMs: number, meanMs: number, deviationMs: number): number {
  const y = (elapsedMs - meanMs) / deviationMs;
  const e = Math.exp(-y * (1.5976 + 0.070566 * y * y));
  const value = elapsedMs > meanMs ? -Math.log10(e / (1 + e)) : -Math.log10(1 - 1 / (1 + e));
  return Math.min(HIGHEST_PHI, value);
}
