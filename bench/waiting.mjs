/** Waiting for work that goes on elsewhere, without disturbing it much. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const SHORTEST_LOOK_MS = 10;
const LONGEST_LOOK_MS = 250;
const STALL_MS = 120_000;

/**
 * Looks until `read` has reached `target`: rarely while that is far off, often when it is near.
 *
 * @param {{ what: string, read: () => Promise<number>, target: number, log?: (message: string) => void }} options
 * @returns {Promise<void>} rejects when nothing moved for two minutes
 */
export async function untilCount({ what, read, target, log }) {
  const startedAt = performance.now();
  let moved = { at: startedAt, count: await read() };
  const first = moved.count;
  let count = first;
  let toldAt = startedAt;
  while (count < target) {
    const now = performance.now();
    const rate = (count - first) / Math.max(now - startedAt, 1);
    const leftMs = rate > 0 ? (target - count) / rate : 50;
    await sleep(Math.min(LONGEST_LOOK_MS, Math.max(SHORTEST_LOOK_MS, leftMs / 3)));
    count = await read();
    if (count > moved.count) moved = { at: performance.now(), count };
    if (performance.now() - moved.at > STALL_MS) {
      throw new Error(
        `Expected ${target} ${what}; it stayed at ${count} for ${STALL_MS / 1000} s. Look at the logs.`,
      );
    }
    if (log && performance.now() - toldAt > 10_000) {
      toldAt = performance.now();
      log(`  ${count - first} of ${target - first} ${what}`);
    }
  }
}

/**
 * Runs `action` on every item, at most `width` at a time.
 *
 * @template T
 * @param {number} width
 * @param {Iterable<T>} items
 * @param {(item: T) => Promise<unknown>} action
 */
export async function inParallel(width, items, action) {
  const left = items[Symbol.iterator]();
  const lane = async () => {
    for (let next = left.next(); !next.done; next = left.next()) await action(next.value);
  };
  await Promise.all(Array.from({ length: width }, lane));
}

const SETTLED_SHARE = 0.15;
const LOOK_MS = 250;
const LONGEST_SETTLE_MS = 5_000;

/**
 * Waits until the machine is nearly idle, so that what one contestant left behind (vacuum, log segments, garbage) is
 * not charged to the next. Gives up after 5 s: on a machine that others use it never is.
 */
export async function settle() {
  const deadline = performance.now() + LONGEST_SETTLE_MS;
  while (performance.now() < deadline) {
    const before = machineTicks();
    await sleep(LOOK_MS);
    const after = machineTicks();
    const busyShare = 1 - (after.idle - before.idle) / Math.max(1, after.all - before.all);
    if (busyShare < SETTLED_SHARE) return;
  }
}

function machineTicks() {
  const line = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0] ?? '';
  const ticks = line.trim().split(/\s+/).slice(1, 9).map(Number);
  return { idle: (ticks[3] ?? 0) + (ticks[4] ?? 0), all: ticks.reduce((sum, value) => sum + value, 0) };
}
