/**
 * Remembers the last so many keys, up to twice as many. They are forgotten by the set: whoever looks for the oldest key
 * of one set passes over the gaps that those before it have left, a thousand on average.
 */
export class RecentKeys {
  private newer = new Set<string>();
  private older = new Set<string>();

  constructor(private readonly limit: number) {}

  has(key: string): boolean {
    return this.newer.has(key) || this.older.has(key);
  }

  add(key: string): void {
    this.newer.add(key);
    if (this.newer.size >= this.limit) {
      this.older = this.newer;
      this.newer = new Set();
    }
  }

  /** @returns whether it was there; it is not any more */
  take(key: string): boolean {
    const isNew = this.newer.delete(key);
    return this.older.delete(key) || isNew;
  }
}
