const WINDOW_MS = 500;

/** How many tasks end in a second, by the window that runs and the one before it. Low in the first window. */
export class EndRate {
  private beganAtMs = -Infinity;
  private current = 0;
  private previous = 0;

  /** @param nowMs monotonic */
  count(nowMs: number): void {
    this.move(nowMs);
    this.current++;
  }

  /** @param nowMs monotonic */
  perS(nowMs: number): number {
    this.move(nowMs);
    return ((this.previous + this.current) * 1_000) / (WINDOW_MS + nowMs - this.beganAtMs);
  }

  private move(nowMs: number): void {
    const elapsedMs = nowMs - this.beganAtMs;
    if (elapsedMs < WINDOW_MS) {
      return;
    }
    this.previous = elapsedMs < 2 * WINDOW_MS ? this.current : 0;
    this.current = 0;
    this.beganAtMs = elapsedMs < 2 * WINDOW_MS ? this.beganAtMs + WINDOW_MS : nowMs;
  }
}
