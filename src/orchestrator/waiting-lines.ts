import { PRIORITIES, type Priority } from '../queue/priority.js';
import type { NewExecution } from '../store/execution-store.js';

/** An execution that is not on record yet. */
export interface Waiting {
  execution: NewExecution;
  /** Monotonic, ms. */
  sinceMs: number;
}

const COMPACT_FROM = 1_000;

/** Executions of one priority in order of arrival. Taking the first costs the same however many wait. */
export class WaitingLine<Entry extends Waiting> {
  /** When it was last looked at there was no slot for its first. */
  isHeldUp = false;
  private entries: (Entry | undefined)[] = [];
  private head = 0;

  /** @param requiredTypes the class of all of them; null = of any class, and they do not wait for a slot */
  constructor(
    readonly priority: Priority,
    readonly requiredTypes: string | null,
  ) {}

  get size(): number {
    return this.entries.length - this.head;
  }

  get first(): Entry | undefined {
    return this.entries[this.head];
  }

  push(entry: Entry): void {
    this.entries.push(entry);
  }

  shift(): void {
    // What was taken must not stay in memory with those that wait.
    this.entries[this.head++] = undefined;
    if (this.head >= COMPACT_FROM || this.size === 0) {
      this.entries.splice(0, this.head);
      this.head = 0;
    }
  }
}

/** What waits in Admission: a line for each class of each priority, and one a priority of those that wait for no slot. */
export class WaitingLines<Entry extends Waiting> {
  private readonly lines: Record<Priority, Map<string | null, WaitingLine<Entry>>> = {
    high: new Map(),
    normal: new Map(),
    low: new Map(),
  };
  private all = 0;
  private forSlots = 0;
  private length = 0;

  get size(): number {
    return this.all;
  }

  /** How many wait for a slot. */
  get waiting(): number {
    return this.forSlots;
  }

  /** Of all their requests. */
  get characters(): number {
    return this.length;
  }

  push(entry: Entry, waitsForSlot: boolean): void {
    const { priority, requiredTypes } = entry.execution;
    const key = waitsForSlot ? requiredTypes : null;
    let line = this.lines[priority].get(key);
    if (!line) {
      line = new WaitingLine(priority, key);
      this.lines[priority].set(key, line);
    }
    line.push(entry);
    this.count(line, entry, 1);
  }

  /** Takes out the first of the line. */
  shift(line: WaitingLine<Entry>): void {
    this.count(line, line.first!, -1);
    line.shift();
    if (line.size === 0) {
      this.lines[line.priority].delete(line.requiredTypes);
    }
  }

  /** In the order in which they get slots: by rank, then by the age of their first; those that wait for none are last of their rank. */
  byRank(): WaitingLine<Entry>[] {
    return PRIORITIES.flatMap((priority) =>
      [...this.lines[priority].values()].toSorted(
        (one, other) =>
          Number(one.requiredTypes === null) - Number(other.requiredTypes === null) || byAge(one, other),
      ),
    );
  }

  /** How many are held up of each class. */
  kinds(): { requiredTypes: string; count: number }[] {
    const counts = new Map<string, number>();
    for (const { requiredTypes, isHeldUp, size } of this.byRank()) {
      if (requiredTypes !== null && isHeldUp) {
        counts.set(requiredTypes, (counts.get(requiredTypes) ?? 0) + size);
      }
    }
    return [...counts].map(([requiredTypes, count]) => ({ requiredTypes, count }));
  }

  private count(line: WaitingLine<Entry>, { execution }: Entry, by: 1 | -1): void {
    this.all += by;
    this.forSlots += line.requiredTypes === null ? 0 : by;
    this.length += by * execution.request.length;
  }
}

/** Neither is empty. */
export function byAge(one: WaitingLine<Waiting>, other: WaitingLine<Waiting>): number {
  return one.first!.sinceMs - other.first!.sinceMs;
}
