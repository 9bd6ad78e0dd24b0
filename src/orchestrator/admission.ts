import type { Priority } from '../queue/priority.js';
import type { NewExecution } from '../store/execution-store.js';
import { byAge, type Waiting, type WaitingLine, WaitingLines } from './waiting-lines.js';

export interface AdmissionOptions<Place, Answer> {
  /** Whether it may wait for a slot. What may not gets one if there is one that nothing waits for. */
  mayWait: (execution: NewExecution) => boolean;
  /** Takes a slot for its task and has its row say so; null if there is none. A place without one if it needs none. */
  reserve: (execution: NewExecution) => Place | null;
  /** Has its row say where its task goes without a slot. */
  queue: (execution: NewExecution) => Place;
  /** Writes the rows. One answer each, in order. */
  accept: (executions: NewExecution[], places: Place[]) => Promise<Answer[]>;
  /**
   * Will what waits here get slots within `PATIENCE_MS`, and none of a lower rank before it? Asked of a class and priority
   * that has just found none. `waiting`: how many wait here, of all classes.
   */
  isWorthWaiting: (requiredTypes: string, priority: Priority, waiting: number) => boolean;
  /**
   * Calls `write` when its time has come, and answers what that does. Default: at once. `waiting` counts all that wait here,
   * also for slots.
   */
  pass?: (waiting: () => number, write: () => Promise<boolean>) => Promise<boolean>;
  /** A write that has so many executions takes no more. Default 500. */
  enough?: number;
  /** Monotonic, ms. */
  now?: () => number;
}

/** What was submitted together, until all of it is answered. */
interface Group<Answer> {
  answers: (Answer | Error)[];
  unanswered: number;
  resolve: (answers: (Answer | Error)[]) => void;
}

interface Entry<Answer> extends Waiting {
  group: Group<Answer>;
  /** Its place in its group. */
  index: number;
}

type Line<Answer> = WaitingLine<Entry<Answer>>;

/** What is written together. */
interface Load<Place, Answer> {
  entries: Entry<Answer>[];
  places: Place[];
}

/** The longest that an execution waits for its slot before it is on record. */
export const PATIENCE_MS = 1_000;
/** While some wait, the workers are looked at so often even if no slot comes free. */
const LOOK_MS = 50;
/** Of all requests that wait: bounds the memory that waiting can take. */
const WAITING_CHARACTERS = 8_388_608;
const ENOUGH = 500;

/**
 * Gathers what is to be accepted while the write before it is under way, and holds some of it back for a moment: an
 * execution that is written after it got its slot costs one write, one that waits for it on record costs two. So where
 * slots come free all the time (its workers run short tasks) it waits here, unanswered, until it has one: higher
 * priorities first, then in order of arrival, and all of them behind what waits on record. Where too many wait for that,
 * or one has waited for `PATIENCE_MS`, it goes in line. A client that waits for its answers is thereby slowed to the pace
 * of the pool instead of building up a queue.
 */
export class Admission<Place, Answer> {
  private readonly lines = new WaitingLines<Entry<Answer>>();
  private writing = false;
  /** Something has happened that no load has seen. */
  private woken = false;
  private planned = false;
  private lookTimer: NodeJS.Timeout | null = null;
  private readonly countWaiting = (): number => this.lines.size;
  private readonly enough: number;
  private readonly now: () => number;

  constructor(private readonly options: AdmissionOptions<Place, Answer>) {
    this.enough = options.enough ?? ENOUGH;
    this.now = options.now ?? (() => performance.now());
  }

  /** Never rejects: an execution whose write failed is answered with the error, and may or may not be on record. */
  submit(executions: readonly NewExecution[]): Promise<(Answer | Error)[]> {
    if (executions.length === 0) {
      return Promise.resolve([]);
    }
    return new Promise((resolve) => {
      const group: Group<Answer> = { answers: [], unanswered: executions.length, resolve };
      const sinceMs = this.now();
      for (let index = 0; index < executions.length; index++) {
        const execution = executions[index]!;
        this.lines.push({ execution, sinceMs, group, index }, this.options.mayWait(execution));
      }
      this.wake();
    });
  }

  /** How many wait because there is no slot for them, by class. */
  waitingKinds(): { requiredTypes: string; count: number }[] {
    return this.lines.kinds();
  }

  /** A slot came free, or something arrived. What does so in the same turn of the event loop is seen together. */
  wake(): void {
    this.woken = true;
    if (this.planned || this.writing || this.lines.size === 0) {
      return;
    }
    this.planned = true;
    // Not a microtask: the dispatcher, whose pass is one, comes first, and so do the other sockets that can be read now.
    setImmediate(() => {
      this.planned = false;
      void this.run();
    });
  }

  private async run(): Promise<void> {
    const { pass = atOnce } = this.options;
    this.writing = true;
    try {
      while (await pass(this.countWaiting, () => this.writeNext())) {
        // Until there is nothing that can be written now.
      }
    } finally {
      this.writing = false;
      if (this.woken) {
        this.wake();
      }
      this.lookAgain();
    }
  }

  private lookAgain(): void {
    if (this.lines.size > 0) {
      this.lookTimer ??= setTimeout(() => {
        this.lookTimer = null;
        this.wake();
      }, LOOK_MS);
    }
  }

  /**
   * Takes what can be written now: first what has waited long enough, so that nothing is passed over for ever, and without
   * a slot, so that it takes none from what goes first; then by rank.
   */
  private load(): Load<Place, Answer> {
    this.woken = false;
    const load: Load<Place, Answer> = { entries: [], places: [] };
    const lines = this.lines.byRank();
    const patientSinceMs = this.now() - PATIENCE_MS;
    const isLate = ({ first }: Line<Answer>): boolean =>
      first !== undefined && first.sinceMs <= patientSinceMs;
    const late = new Set(lines.filter(isLate).toSorted(byAge));
    for (const line of late) {
      while (isLate(line) && this.hasRoom(load)) {
        this.placeFirst(line, load, this.options.queue);
      }
    }
    const full = new Set<string>();
    for (const line of lines) {
      if (late.has(line) && line.requiredTypes !== null) {
        // What has just gone in line gets its slot before what came after it.
        full.add(line.requiredTypes);
      }
      this.fill(line, load, full);
    }
    return load;
  }

  /** @param full the classes for which there is no slot any more */
  private fill(line: Line<Answer>, load: Load<Place, Answer>, full: Set<string>): void {
    const placeOf = this.placer(line, full);
    while (line.first && this.hasRoom(load)) {
      line.isHeldUp = !this.placeFirst(line, load, placeOf);
      if (line.isHeldUp) {
        return;
      }
    }
  }

  private hasRoom({ entries }: Load<Place, Answer>): boolean {
    return entries.length < this.enough;
  }

  /** What finds a place for one execution of the line after the other; null = it waits, with all that are behind it. */
  private placer(line: Line<Answer>, full: Set<string>): (execution: NewExecution) => Place | null {
    const { reserve, queue } = this.options;
    let isLeaving = line.requiredTypes === null;
    return (execution) => {
      const { requiredTypes } = execution;
      const place = full.has(requiredTypes) ? null : reserve(execution);
      if (place !== null) {
        return place;
      }
      if (line.requiredTypes !== null) {
        full.add(requiredTypes);
        isLeaving ||= !this.isWorthWaiting(line.requiredTypes, line.priority);
      }
      return isLeaving ? queue(execution) : null;
    };
  }

  private isWorthWaiting(requiredTypes: string, priority: Priority): boolean {
    const { waiting, characters } = this.lines;
    return characters <= WAITING_CHARACTERS && this.options.isWorthWaiting(requiredTypes, priority, waiting);
  }

  /** Takes out the first of the line, unless there is no place for it. @returns false if it stays */
  private placeFirst(
    line: Line<Answer>,
    { entries, places }: Load<Place, Answer>,
    placeOf: (execution: NewExecution) => Place | null,
  ): boolean {
    const entry = line.first!;
    try {
      const place = placeOf(entry.execution);
      if (place === null) {
        return false;
      }
      entries.push(entry);
      places.push(place);
    } catch (error) {
      answer(entry, error as Error);
    }
    this.lines.shift(line);
    return true;
  }

  /** @returns false if there is nothing that can be written now */
  private async writeNext(): Promise<boolean> {
    const load = this.load();
    if (load.entries.length === 0) {
      return false;
    }
    await this.write(load);
    return true;
  }

  private async write({ entries, places }: Load<Place, Answer>): Promise<void> {
    let answers: readonly Answer[];
    try {
      answers = await this.options.accept(entries.map(executionOf), places);
    } catch (error) {
      entries.forEach((entry) => answer(entry, error as Error));
      return;
    }
    for (let index = 0; index < entries.length; index++) {
      answer(entries[index]!, answers[index]!);
    }
  }
}

function atOnce(_waiting: () => number, write: () => Promise<boolean>): Promise<boolean> {
  return write();
}

function executionOf({ execution }: Waiting): NewExecution {
  return execution;
}

function answer<Answer>({ group, index }: Entry<Answer>, given: Answer | Error): void {
  group.answers[index] = given;
  group.unanswered--;
  if (group.unanswered === 0) {
    group.resolve(group.answers);
  }
}
