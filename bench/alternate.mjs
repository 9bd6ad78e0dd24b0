/** Contestants take turns, so that what changes on the machine meanwhile meets all of them. */
import { PeerMissingError } from './journal.mjs';

/**
 * @typedef {import('./contestants/contestant.mjs').Contestant} Contestant
 * @typedef {import('./contestants/contestant.mjs').ContestantKind} ContestantKind
 * @typedef {import('./contestants/contestant.mjs').Surroundings} Surroundings
 */

/** Of a turn's tasks, for who has been idle while the others had theirs. */
const LIMBERING_SHARE = 0.5;

/**
 * Starts all, lets each have its turn in every round (each round begins with another one), and stops all. Before the
 * first round each has as many turns to warm up as will be measured: what runs on Node gets faster over the first three
 * or four. Before each turn it gets half of one for nothing: a process that was idle for half a minute was seen to be up
 * to a third slower at first. A peer whose program is missing is left out and noted.
 *
 * @template T
 * @template {Contestant} C
 * @param {object} options
 * @param {(Omit<ContestantKind, 'start'> & { start: (surroundings: Surroundings) => Promise<C> })[]} options.kinds
 * @param {Surroundings} options.surroundings
 * @param {number} options.rounds
 * @param {(contestant: C, pace: number) => Promise<T>} options.turn `pace` is the share of the tasks it takes part with
 * @param {(turn: T) => string} options.say for the log
 * @returns {Promise<{ name: string, turns: T[] }[]>}
 */
export async function alternate({ kinds, surroundings, rounds, turn, say }) {
  const { log, journal } = surroundings;
  /** @type {{ pace: number, contestant: C, turns: T[] }[]} */
  const entrants = [];
  try {
    for (const { name, pace = 1, start } of kinds) {
      try {
        entrants.push({ pace, contestant: await start(surroundings), turns: [] });
      } catch (error) {
        if (!(error instanceof PeerMissingError)) throw error;
        journal.lacks(name, error.message);
      }
    }
    for (const { contestant, pace } of entrants) {
      for (let round = 0; round < rounds; round++) {
        log(`  warm-up ${round + 1}, ${contestant.name}: ${say(await turn(contestant, pace))}`);
      }
    }
    for (let round = 0; round < rounds; round++) {
      for (let place = 0; place < entrants.length; place++) {
        const { contestant, pace, turns } = entrants[(place + round) % entrants.length];
        await turn(contestant, pace * LIMBERING_SHARE);
        await surroundings.settle();
        const outcome = await turn(contestant, pace);
        turns.push(outcome);
        log(`  round ${round + 1}, ${contestant.name}: ${say(outcome)}`);
      }
    }
    return entrants.map(({ contestant, turns }) => ({ name: contestant.name, turns }));
  } finally {
    await Promise.all(entrants.map(({ contestant }) => contestant.stop()));
  }
}
