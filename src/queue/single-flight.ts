/** What was added together. */
interface Group<Item, Result> {
  items: readonly Item[];
  resolve: (results: Result[]) => void;
  reject: (error: unknown) => void;
}

/**
 * Calls `fly` when a flight may leave, now or later, and resolves when it is back.
 * @param waiting counts the items that wait for it
 */
export type Depart = (waiting: () => number, fly: () => Promise<void>) => Promise<void>;

export interface FlightOptions {
  enough?: number;
  depart?: Depart;
}

const atOnce: Depart = (_waiting, fly) => fly();

/**
 * Batches what arrives while one round trip is under way: an item goes out in this turn when nothing is in flight, else
 * with everything else that gathered, the moment the flight returns (or when `depart` lets it go). No timer, so one item at
 * idle pays no delay and load makes large batches by itself.
 */
export class SingleFlight<Item, Result> {
  private waiting: Group<Item, Result>[] = [];
  private waitingItems = 0;
  private inFlight = false;
  private idleWaiters: (() => void)[] = [];
  private readonly countWaiting = (): number => this.waitingItems;
  private readonly enough: number;
  private readonly depart: Depart;

  /**
   * @param fly takes a batch and answers one result per item, in order; if it rejects, so does every item
   * @param options.enough a batch that has so many items takes no more; what was added together is never parted, though
   * @param options.depart lets a flight go when its time has come; default: at once
   */
  constructor(
    private readonly fly: (items: Item[]) => Promise<Result[]>,
    { enough = 500, depart = atOnce }: FlightOptions = {},
  ) {
    this.enough = enough;
    this.depart = depart;
  }

  get pending(): number {
    return this.waitingItems;
  }

  async add(item: Item): Promise<Result> {
    const [result] = await this.addAll([item]);
    return result!;
  }

  /** Items that travel together: one promise for all of them. */
  addAll(items: readonly Item[]): Promise<Result[]> {
    if (items.length === 0) {
      return Promise.resolve([]);
    }
    return new Promise((resolve, reject) => {
      this.waiting.push({ items, resolve, reject });
      this.waitingItems += items.length;
      if (!this.inFlight) {
        this.inFlight = true;
        // What is added in the same turn of the event loop travels together. A microtask would come too early for that:
        // it runs after the first of the sockets that can be read now, and leaves the others to the next flight.
        setImmediate(() => void this.run());
      }
    });
  }

  /** Resolves when nothing waits and nothing flies. */
  idle(): Promise<void> {
    return this.inFlight ? new Promise((resolve) => this.idleWaiters.push(resolve)) : Promise.resolve();
  }

  private async run(): Promise<void> {
    while (this.waiting.length > 0) {
      await this.depart(this.countWaiting, () => this.flyNext());
    }
    this.inFlight = false;
    this.idleWaiters.splice(0).forEach((resolve) => resolve());
  }

  private async flyNext(): Promise<void> {
    const groups = this.next();
    try {
      const results = await this.fly(groups.flatMap(({ items }) => items));
      let from = 0;
      for (const group of groups) {
        group.resolve(results.slice(from, (from += group.items.length)));
      }
    } catch (error) {
      groups.forEach(({ reject }) => reject(error));
    }
  }

  private next(): Group<Item, Result>[] {
    let items = 0;
    let groups = 0;
    while (groups < this.waiting.length && items < this.enough) {
      items += this.waiting[groups++]!.items.length;
    }
    this.waitingItems -= items;
    return this.waiting.splice(0, groups);
  }
}
