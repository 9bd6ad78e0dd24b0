import { setImmediate as nextTurn } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';

/** A batch of so many rows is written for little more than its rows cost: it need not wait for company. */
const LARGE_BATCH = 128;
/** A write that takes longer hangs, on a lock or a dead connection, and nobody waits for it any more. */
const LONGEST_WAIT_MS = 250;
/** A batch that grows with every turn of the event loop waits for no further one after so long. */
const GATHERING_MS = 3;

/** Writes that began together, and those that will begin together when these are back. */
interface Round {
  left: number;
  next: ((round: Round) => void)[];
  /** While somebody waits. */
  timer: NodeJS.Timeout | null;
}

/**
 * Has small batches of different kinds (accepted executions, ends) wait for each other: what comes while some are under way
 * waits until all of these are back, and grows meanwhile; what waits then goes on together. Each round trip to the database,
 * with its commit and the disk's sync, is so shared by more rows, and so is each message that follows from it. Two kinds
 * take turns under load, one growing while the other is written. A lone batch waits for nobody, and none for long.
 *
 * Each takes along what is arriving at the moment. Clients that were answered together ask again together, over a few
 * turns of the event loop: the first of them, written alone, would have all others wait for it.
 */
@Injectable()
export class WriteGate {
  private round: Round | null = null;

  /**
   * @param waiting counts the rows that there are to write so far; asked again while more arrive
   * @param write takes its batch when it is called, not before
   */
  readonly pass = async <T>(waiting: () => number, write: () => Promise<T>): Promise<T> => {
    if (waiting() >= LARGE_BATCH) {
      return write();
    }
    const round = await this.enter();
    try {
      await gathered(waiting);
      return await write();
    } finally {
      round.left--;
      if (round.left === 0) {
        this.end(round);
      }
    }
  };

  private enter(): Round | Promise<Round> {
    const { round } = this;
    if (round !== null) {
      round.timer ??= setTimeout(() => this.end(round), LONGEST_WAIT_MS);
      return new Promise((resolve) => round.next.push(resolve));
    }
    this.round = { left: 1, next: [], timer: null };
    return this.round;
  }

  private end(round: Round): void {
    if (this.round !== round) {
      return;
    }
    clearTimeout(round.timer ?? undefined);
    const { next } = round;
    const begun: Round = { left: next.length, next: [], timer: null };
    this.round = next.length > 0 ? begun : null;
    next.forEach((go) => go(begun));
  }
}

/** Resolves when a turn of the event loop has brought nothing more, the batch is large, or `GATHERING_MS` are over. */
async function gathered(waiting: () => number): Promise<void> {
  const untilMs = performance.now() + GATHERING_MS;
  let seen = 0;
  let count = waiting();
  while (count > seen && count < LARGE_BATCH && performance.now() < untilMs) {
    seen = count;
    await nextTurn();
    count = waiting();
  }
}
