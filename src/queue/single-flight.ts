/**
 * Batches what arrives while one round trip is under way: an item goes out at once when nothing is in flight, else
 * with everything else that gathered, the moment the flight returns. No timer, so one item at idle pays no delay and
 * load makes large batches by itself.
 */
export class SingleFlight<Item, Result> {
  private waiting: { item: Item; resolve: (result: Result) => void; reject: (error: unknown) => void }[] = [];
  private inFlight = false;
  private idleWaiters: (() => void)[] = [];

  /**
   * @param fly takes 1..maxBatch items and answers one result per item, in order; if it rejects, so does every item
   */
  constructor(
    private readonly fly: (items: Item[]) => Promise<Result[]>,
    private readonly maxBatch = 500,
  ) {}

  get pending(): number {
    return this.waiting.length;
  }

  add(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ item, resolve, reject });
      if (!this.inFlight) {
        this.inFlight = true;
        // What is added in the same turn of the event loop travels together.
        queueMicrotask(() => void this.run());
      }
    });
  }

  /** Resolves when nothing waits and nothing flies. */
  idle(): Promise<void> {
    return this.inFlight ? new Promise((resolve) => this.idleWaiters.push(resolve)) : Promise.resolve();
  }

  private async run(): Promise<void> {
    while (this.waiting.length > 0) {
      const batch = this.waiting.splice(0, this.maxBatch);
      try {
        const results = await this.fly(batch.map(({ item }) => item));
        batch.forEach(({ resolve }, index) => resolve(results[index]!));
      } catch (error) {
        batch.forEach(({ reject }) => reject(error));
      }
    }
    this.inFlight = false;
    this.idleWaiters.splice(0).forEach((resolve) => resolve());
  }
}
