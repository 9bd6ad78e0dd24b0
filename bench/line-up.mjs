/** What is measured, and who takes part in which measure. */
import { bareFastify } from './contestants/bare-fastify.mjs';
import { barePromise } from './contestants/bare-promise.mjs';
import { bullmq } from './contestants/bullmq.mjs';
import { celery } from './contestants/celery.mjs';
import { fastPathFloor } from './contestants/fast-path-floor.mjs';
import { graphile } from './contestants/graphile.mjs';
import { nestRmq } from './contestants/nest-rmq.mjs';
import { product } from './contestants/product.mjs';
import { batch } from './measures/batch.mjs';
import { chains } from './measures/chains.mjs';
import { cpu } from './measures/cpu.mjs';
import { decisions } from './measures/decisions.mjs';
import { growth } from './measures/growth.mjs';
import { latency } from './measures/latency.mjs';
import { loadedLatency } from './measures/loaded-latency.mjs';
import { memory } from './measures/memory.mjs';
import { priority } from './measures/priority.mjs';
import { singles } from './measures/singles.mjs';

const PEERS = {
  bullmq,
  celery,
  graphile,
  nest: nestRmq,
  floor: fastPathFloor,
  fastify: bareFastify,
  promise: barePromise,
};

/** @typedef {keyof typeof PEERS} Peer */

/**
 * Beside the product on each store, in the order in which the measures run. Where no peer is named, the measure is
 * about the product alone.
 *
 * @type {{ measure: import('./measures/measure.mjs').Measure, peers: Peer[] }[]}
 */
export const LINE_UP = [
  { measure: decisions, peers: [] },
  { measure: batch, peers: ['bullmq', 'celery', 'graphile', 'nest', 'floor', 'promise'] },
  { measure: singles, peers: ['fastify', 'promise'] },
  { measure: chains, peers: ['bullmq', 'promise'] },
  { measure: latency, peers: ['bullmq', 'celery', 'nest', 'floor', 'promise'] },
  { measure: loadedLatency, peers: [] },
  { measure: cpu, peers: ['bullmq', 'celery', 'graphile', 'nest', 'floor', 'promise'] },
  { measure: priority, peers: [] },
  { measure: memory, peers: [] },
  { measure: growth, peers: [] },
];

export const MEASURE_NAMES = LINE_UP.map(({ measure }) => measure.name);
export const PEER_NAMES = Object.keys(PEERS);

/**
 * @param {Peer[]} peers of the measure
 * @param {import('./options.mjs').Options} options
 * @returns {import('./contestants/contestant.mjs').ContestantKind[]}
 */
export function contestantsOf(peers, { stores, peers: wanted = PEER_NAMES }) {
  const theirs = peers.filter((name) => wanted.includes(name)).map((name) => PEERS[name]);
  return [...stores.map(product), ...theirs];
}
