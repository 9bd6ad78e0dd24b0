import { PRIORITIES } from '../queue/priority.js';
import type { NewExecution } from '../store/execution-store.js';

export interface AdmissionOptions<Place, Answer> {
  /** Takes a slot for its task and has its row say so; null if there is none. A place without one if it needs none. */
  reserve: (execution: NewExecution) => Place | null;
  /** Has its row say where its task goes without a slot. */
  queue: (execution: NewExecution) => Place;
  /** Writes the rows. One answer each, in order. */
  accept: (executions: NewExecution[], places: Place[]) => Promise<Answer[]>;
  /** Will so many slots for tasks of this class come free within `PATIENCE_MS`, beside those that others wait for? */
  isWorthWaiting: (requiredTypes: string, waiting: number) => boolean;
  /** Monotonic, ms. */
  now?: () => number;
}

/** What was submitted together, until all of it is answered. */
interface Group<Answer> {
  executions: readonly NewExecution[];
  answers: (Answer | Error)[];
  /** How many were placed. Those after them wait. */
  placed: number;
  answered: number;
  /** All are of one class and priority, and may be sent ahead of a free slot. */
  isPatient: boolean;
  sinceMs: number;
  resolve: (answers: (Answer | Error)[]) => void;
}

/** What is written together: some of one group or several. */
interface Load<Place, Answer> {
  executions: NewExecution[];
  places: Place[];
  shares: { group: Group<Answer>; from: number; count: number }[];
}

/** The longest that an execution waits for its slot before it is on record. */
export const PATIENCE_MS = 1_000;
/** While some wait, the workers are looked at so often even if no slot comes free. */
const LOOK_MS = 50;
/** Of all requests that wait: bounds the memory that waiting can take. */
const WAITING_CHARACTERS = 8_388_608;
/** A write that has so many executions takes no more. */
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
  /** Those of which some are not placed, in the order in which they get slots. */
  private groups: Group<Answer>[] = [];
  private characters = 0;
  private writing = false;
  private planned = false;
  private lookTimer: NodeJS.Timeout | null = null;
  private readonly now: () => number;

  constructor(private readonly options: AdmissionOptions<Place, Answer>) {
    this.now = options.now ?? (() => performance.now());
  }

  /** Never rejects: an execution whose write failed is answered with the error, and may or may not be on record. */
  submit(executions: readonly NewExecution[]): Promise<(Answer | Error)[]> {
    if (executions.length === 0) {
      return Promise.resolve([]);
    }
    this.characters += charactersOf(executions);
    return new Promise((resolve) => {
      const rank = rankOf(executions);
      const later = this.groups.findIndex((group) => rankOf(group.executions) > rank);
      this.groups.splice(later < 0 ? this.groups.length : later, 0, {
        executions,
        answers: [],
        placed: 0,
        answered: 0,
        isPatient: isPatient(executions),
        sinceMs: this.now(),
        resolve,
      });
      this.wake();
    });
  }

  /** A slot came free, or something arrived. What does so in the same turn of the event loop is seen together. */
  wake(): void {
    if (this.planned || this.writing || this.groups.length === 0) {
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
    this.writing = true;
    for (let load = this.load(); load.executions.length > 0; load = this.load()) {
      await this.write(load);
    }
    this.writing = false;
    if (this.groups.length > 0) {
      this.lookTimer ??= setTimeout(() => {
        this.lookTimer = null;
        this.wake();
      }, LOOK_MS);
    }
  }

  /** Takes what can be written now. */
  private load(): Load<Place, Answer> {
    const load: Load<Place, Answer> = { executions: [], places: [], shares: [] };
    const waiting = this.classesToWait();
    const full = new Set<string>();
    for (const group of this.groups) {
      const { requiredTypes } = group.executions[0]!;
      const mayWait = group.isPatient && waiting.has(requiredTypes) && !this.hasWaitedEnough(group);
      if (!(mayWait && full.has(requiredTypes)) && !this.take(group, load, mayWait)) {
        full.add(requiredTypes);
      }
      if (load.executions.length >= ENOUGH) {
        break;
      }
    }
    this.groups = this.groups.filter(isWaiting);
    return load;
  }

  /** @returns false if it has to wait for a slot */
  private take(group: Group<Answer>, load: Load<Place, Answer>, mayWait: boolean): boolean {
    const { reserve, queue } = this.options;
    const from = group.placed;
    let place: Place | null = null;
    while (isWaiting(group) && load.executions.length < ENOUGH) {
      const execution = group.executions[group.placed]!;
      place = reserve(execution) ?? (mayWait ? null : queue(execution));
      if (place === null) {
        break;
      }
      group.placed++;
      this.characters -= execution.request.length;
      load.executions.push(execution);
      load.places.push(place);
    }
    load.shares.push({ group, from, count: group.placed - from });
    return place !== null;
  }

  /** The classes of which all that is here may wait. */
  private classesToWait(): Set<string> {
    const counts = new Map<string, number>();
    if (this.characters <= WAITING_CHARACTERS) {
      for (const { isPatient, executions, placed } of this.groups) {
        const { requiredTypes } = executions[0]!;
        const count = isPatient ? executions.length - placed : 0;
        counts.set(requiredTypes, (counts.get(requiredTypes) ?? 0) + count);
      }
    }
    const isWorthWaiting = ([types, count]: [string, number]): boolean =>
      this.options.isWorthWaiting(types, count);
    return new Set([...counts].filter(isWorthWaiting).map(([types]) => types));
  }

  private hasWaitedEnough({ sinceMs }: Group<Answer>): boolean {
    return this.now() - sinceMs >= PATIENCE_MS;
  }

  private async write({ executions, places, shares }: Load<Place, Answer>): Promise<void> {
    let answers: readonly (Answer | Error)[];
    try {
      answers = await this.options.accept(executions, places);
    } catch (error) {
      answers = executions.map(() => error as Error);
    }
    let next = 0;
    for (const { group, from, count } of shares) {
      for (let index = from; index < from + count; index++) {
        group.answers[index] = answers[next++]!;
      }
      group.answered += count;
      if (group.answered === group.executions.length) {
        group.resolve(group.answers);
      }
    }
  }
}

function isWaiting({ placed, executions }: Pick<Group<unknown>, 'placed' | 'executions'>): boolean {
  return placed < executions.length;
}

function rankOf(executions: readonly NewExecution[]): number {
  return PRIORITIES.indexOf(executions[0]!.priority);
}

/** One of a single attempt gets no slot ahead: in line it is seen to that it gets one. */
function isPatient(executions: readonly NewExecution[]): boolean {
  const { priority, requiredTypes } = executions[0]!;
  return executions.every(
    (execution) =>
      execution.maxAttempts > 1 &&
      execution.priority === priority &&
      execution.requiredTypes === requiredTypes,
  );
}

function charactersOf(executions: readonly NewExecution[]): number {
  let characters = 0;
  for (const { request } of executions) {
    characters += request.length;
  }
  return characters;
}
