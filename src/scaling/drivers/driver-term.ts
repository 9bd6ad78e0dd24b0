/**
 * The time in which a driver acts. What it does in a term happens one after the other, so that rounds that overlap
 * start nothing twice, and a look is taken in between, so that ends are noticed between rounds.
 */
export class DriverTerm {
  private last: Promise<unknown> = Promise.resolve();
  private readonly timer: NodeJS.Timeout;
  private over = false;

  /**
   * @param look its failures are not told: the next round meets the same trouble and says so
   * @param pollMs between two looks
   */
  constructor(look: () => Promise<void>, pollMs: number) {
    let isLooking = false;
    this.timer = setInterval(() => {
      if (isLooking) return;
      isLooking = true;
      void this.run(look)
        .catch(() => undefined)
        .finally(() => (isLooking = false));
    }, pollMs);
    this.timer.unref();
  }

  get isOver(): boolean {
    return this.over;
  }

  /** After everything that was asked for earlier; not at all when the term is over by then. */
  run(work: () => Promise<void>): Promise<void> {
    const turn = this.last.then(() => (this.over ? undefined : work()));
    this.last = turn.catch(() => undefined);
    return turn;
  }

  /** Resolves when what was under way has ended; what waited is not done any more. */
  async end(): Promise<void> {
    this.over = true;
    clearInterval(this.timer);
    await this.last;
  }
}
