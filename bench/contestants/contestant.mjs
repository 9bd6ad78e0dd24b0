/**
 * What a measure knows of a contestant. All do the same work: take a payload of 512 bytes of JSON, have a worker
 * process give it back, and keep or answer the result. What one cannot do it leaves out: line-up.mjs
 * says who takes part in which measure.
 *
 * @typedef {object} Contestant
 * @property {string} name
 * @property {(count: number) => Promise<void>} [runBatch] submits `count` tasks in batches of 1,000; resolves when the
 *   result of every one is there
 * @property {(count: number) => Promise<void>} [runChains] the same with flows of three nodes, one after the other
 * @property {(seq: number) => Promise<unknown>} [requestReply] submits one task, resolves with its result
 * @property {(count: number, connections: number) => Promise<{ acceptedMs: number, drainedMs?: number }>} [runSingles]
 *   submits `count` tasks one by one; how long until all were accepted, and until all had results
 * @property {() => Promise<Record<string, number[]>>} roots process ids by role; their children count with them
 * @property {() => Promise<void>} stop
 *
 * @typedef {object} Surroundings
 * @property {import('../servers.mjs').Servers} servers
 * @property {import('../processes.mjs').Processes} processes
 * @property {string} dir a folder of this run
 * @property {import('../journal.mjs').Journal} journal
 * @property {() => Promise<void>} settle waits until the machine is nearly idle
 * @property {(message: string) => void} log
 *
 * @typedef {object} ContestantKind
 * @property {string} name
 * @property {number} [pace] a slow one takes part with this share of the tasks, so that its turn does not last minutes
 * @property {(surroundings: Surroundings) => Promise<Contestant>} start rejects with PeerMissingError when its program
 *   is not there
 */

let lastNumber = 0;

/**
 * A name for a vhost, database or queue that no earlier start had.
 *
 * @param {string} stem letters and digits
 */
export function freshName(stem) {
  lastNumber += 1;
  return `${stem}_${process.pid}_${lastNumber}`;
}

/** Every contestant has two worker processes. */
export const WORKERS = 2;

/** Tasks that one worker process has in hand at a time. */
export const CONCURRENCY = 100;

/** Batches of 1,000 that are under way at a time. */
export const BATCHES_AT_ONCE = 4;
