import type { Delivery } from '../messaging/consumer.js';
import type { Priority } from '../queue/priority.js';
import type { RecordedTask, TaskEnvelope } from '../queue/task-encoding.js';

/** A task that waits with the dispatcher for a slot. */
export interface WaitingTask extends TaskEnvelope {
  priority: Priority;
  /**
   * The bytes of its `TaskMessage`, or what they are made of when it goes; null where the record alone has that: it comes
   * with its assignment.
   */
  content: Buffer | RecordedTask | null;
  /** Its unacked message from a ready queue; null for one that came straight from intake and is on record only. */
  delivery: Delivery | null;
  /** Since when it waits here, by our monotonic clock, ms. */
  sinceMs: number;
}

/** What intake may leave here without a message on the broker, a priority: bounds the memory of a backlog. */
const OWN_LIMIT = 20_000;
/** Of these, so many bytes (or characters of text) with their content: the rest is a few hundred bytes each. */
const OWN_CONTENT_BYTES = 4_194_304;
/** Just after it was full, what the broker sends for what was acked is still on its way here. */
const REFILL_MS = 250;

/**
 * What the dispatcher has in hand of one priority, one line a class of tasks, so that a class whose workers are full
 * costs nothing while others move. `capacity` is the consumer's prefetch: when deliveries that wait or are in flight
 * reach it, there may be more behind them on the broker.
 */
export class ReadyWindow {
  private readonly lines = new Map<string, Line>();
  private delivered = 0;
  private deliveredInFlight = 0;
  private own = 0;
  /** Taken out and not settled. A set of these alone is small: one of all that wait would have to be searched for each. */
  private readonly ownInFlight = new Set<WaitingTask>();
  private ownBytes = 0;
  private fullAtMs = -Infinity;

  /** @param now monotonic, ms */
  constructor(
    readonly capacity: number,
    private readonly now: () => number = () => performance.now(),
  ) {}

  get size(): number {
    return this.delivered + this.own;
  }

  /** What intake left here and no worker has got yet. */
  get ownWaiting(): number {
    return this.own;
  }

  get isFull(): boolean {
    return this.delivered + this.deliveredInFlight >= this.capacity;
  }

  /** Nothing is hidden behind it on the broker, as far as can be known. */
  get showsAll(): boolean {
    return !this.isFull && this.now() - this.fullAtMs >= REFILL_MS;
  }

  /** Intake may leave a task here: it comes after everything that waits already, and there is room. */
  get takesOwn(): boolean {
    return this.showsAll && this.own < OWN_LIMIT;
  }

  /** A task that intake leaves here now may bring its content. */
  get takesContent(): boolean {
    return this.ownBytes < OWN_CONTENT_BYTES;
  }

  /** Of those that wait unacked. */
  get oldestDeliveryMs(): number | null {
    return this.deliveries()[0]?.sinceMs ?? null;
  }

  push(task: WaitingTask): void {
    this.count(task, 1);
    this.lineOf(task).push(task);
  }

  /** Puts back what was taken and could not be assigned after all, before those that came later. */
  putBack(task: WaitingTask): void {
    this.settled(task);
    this.count(task, 1);
    this.lineOf(task).putBack(task);
  }

  /** What was taken is done with. */
  settled(task: WaitingTask): void {
    this.fullAtMs = this.isFull ? this.now() : this.fullAtMs;
    if (task.delivery === null) {
      this.ownInFlight.delete(task);
    } else {
      this.deliveredInFlight--;
    }
  }

  /** What was taken is with a worker by the record; it will be settled. */
  disown(task: WaitingTask): void {
    this.ownInFlight.delete(task);
  }

  /** Of what waits, or was taken and is neither settled nor with a worker, that which has no message on the broker. */
  ownTasks(): WaitingTask[] {
    const waiting = [...this.lines.values()].flatMap((line) => line.all());
    return [...this.ownInFlight, ...waiting.filter(({ delivery }) => delivery === null)];
  }

  /** Takes out the oldest task of the classes that `wanted` accepts. */
  takeFirst(wanted: (requiredTypes: string, solo: boolean) => boolean): WaitingTask | null {
    let oldest: Line | null = null;
    for (const line of this.lines.values()) {
      if ((oldest === null || line.first.sinceMs < oldest.first.sinceMs) && wanted(line.types, line.solo)) {
        oldest = line;
      }
    }
    return oldest && this.take(oldest);
  }

  /** Takes out all tasks of the classes that `wanted` accepts. */
  takeClasses(wanted: (requiredTypes: string) => boolean): WaitingTask[] {
    const taken: WaitingTask[] = [];
    for (const line of this.lines.values()) {
      while (line.size > 0 && wanted(line.types)) {
        taken.push(this.take(line));
      }
    }
    return taken;
  }

  /** Takes out every delivery that `wanted` accepts, oldest first. */
  takeDeliveries(wanted: (task: WaitingTask) => boolean): WaitingTask[] {
    const taken = this.deliveries().filter(wanted);
    this.drop(new Set(taken));
    this.deliveredInFlight += taken.length;
    return taken;
  }

  get hasSolo(): boolean {
    for (const { solo } of this.lines.values()) {
      if (solo) {
        return true;
      }
    }
    return false;
  }

  /** Does a task wait that must not be sent ahead, and that `concerns` by its class? */
  hasSlotted(concerns: (requiredTypes: string) => boolean): boolean {
    for (const line of this.lines.values()) {
      if (line.slotted > 0 && concerns(line.types)) {
        return true;
      }
    }
    return false;
  }

  /** Oldest first. */
  waiting(): WaitingTask[] {
    return this.inOrder(() => true);
  }

  /** How many wait of each class. */
  classes(): { requiredTypes: string; count: number }[] {
    return [...this.lines.values()].map(({ types, size }) => ({ requiredTypes: types, count: size }));
  }

  ids(): string[] {
    return this.waiting().map(({ executionId }) => executionId);
  }

  /** The channel is gone: the broker delivers all that came over it again. */
  clearDeliveries(): void {
    this.drop(new Set(this.deliveries()));
  }

  /** Empties it. @returns the tasks of which there is no message on the broker */
  clear(): WaitingTask[] {
    const own = this.inOrder(({ delivery }) => delivery === null);
    this.drop(new Set(this.waiting()));
    this.ownInFlight.clear();
    return own;
  }

  private deliveries(): WaitingTask[] {
    return this.delivered === 0 ? [] : this.inOrder(({ delivery }) => delivery !== null);
  }

  private inOrder(wanted: (task: WaitingTask) => boolean): WaitingTask[] {
    return [...this.lines.values()]
      .flatMap((line) => line.all().filter(wanted))
      .toSorted((one, other) => one.sinceMs - other.sinceMs);
  }

  private take(line: Line): WaitingTask {
    const task = line.shift();
    this.count(task, -1);
    if (task.delivery === null) {
      this.ownInFlight.add(task);
    } else {
      this.deliveredInFlight++;
    }
    this.forget(line);
    return task;
  }

  private drop(tasks: ReadonlySet<WaitingTask>): void {
    if (tasks.size === 0) {
      return;
    }
    for (const line of this.lines.values()) {
      line.keep((task) => !tasks.has(task));
      this.forget(line);
    }
    tasks.forEach((task) => this.count(task, -1));
  }

  private count(task: WaitingTask, by: 1 | -1): void {
    if (task.delivery === null) {
      this.own += by;
      this.ownBytes += by * sizeOf(task);
    } else {
      this.delivered += by;
    }
  }

  private lineOf({ requiredTypes, solo }: WaitingTask): Line {
    const key = `${solo} ${requiredTypes}`;
    let line = this.lines.get(key);
    if (!line) {
      line = new Line(key, requiredTypes, solo);
      this.lines.set(key, line);
    }
    return line;
  }

  private forget(line: Line): void {
    if (line.size === 0) {
      this.lines.delete(line.key);
    }
  }
}

function sizeOf({ content }: WaitingTask): number {
  if (content === null) {
    return 0;
  }
  return Buffer.isBuffer(content) ? content.length : content.request.length;
}

const COMPACT_FROM = 1_000;

/** The tasks of one class, oldest first. Taking the first costs the same however many wait. */
class Line {
  /** How many of them must not be sent ahead. */
  slotted = 0;
  private tasks: WaitingTask[] = [];
  private head = 0;

  constructor(
    readonly key: string,
    readonly types: string,
    readonly solo: boolean,
  ) {}

  get size(): number {
    return this.tasks.length - this.head;
  }

  get first(): WaitingTask {
    return this.tasks[this.head]!;
  }

  push(task: WaitingTask): void {
    this.slotted += Number(task.needsSlot);
    this.tasks.push(task);
  }

  /** Before those that came later; most often that is the front. */
  putBack(task: WaitingTask): void {
    this.slotted += Number(task.needsSlot);
    let index = this.head;
    while (index < this.tasks.length && this.tasks[index]!.sinceMs < task.sinceMs) {
      index++;
    }
    if (index === this.head && index > 0) {
      this.tasks[--this.head] = task;
    } else {
      this.tasks.splice(index, 0, task);
    }
  }

  shift(): WaitingTask {
    const task = this.tasks[this.head++]!;
    this.slotted -= Number(task.needsSlot);
    if (this.head >= COMPACT_FROM || this.head === this.tasks.length) {
      this.tasks.splice(0, this.head);
      this.head = 0;
    }
    return task;
  }

  all(): WaitingTask[] {
    return this.tasks.slice(this.head);
  }

  keep(wanted: (task: WaitingTask) => boolean): void {
    this.tasks = this.all().filter(wanted);
    this.head = 0;
    this.slotted = this.tasks.filter(({ needsSlot }) => needsSlot).length;
  }
}
