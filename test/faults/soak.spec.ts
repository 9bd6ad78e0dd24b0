import { afterEach, describe, expect, it } from '@jest/globals';
import { delayFlow } from '../support/api-client.js';
import { Chaos, FAULTS } from '../support/chaos.js';
import { expectInvariants, Load, reportFault } from '../support/invariants.js';
import { seededRandom } from '../support/workers.js';

const MINUTES = Number(process.env.SOAK_MINUTES ?? 1);
const SEED = Number(process.env.SOAK_SEED ?? Math.floor(Math.random() * 1_000_000));
const CLIENTS = 3;
const PER_SECOND = 50;
const LONGEST_PAUSE_MS = 2_000;
/** For the start, the last fault's recovery and the check of everything that was accepted. */
const AROUND_MS = 5 * 60_000;

describe('a soak', () => {
  let chaos: Chaos | undefined;
  let loads: Load[] = [];
  afterEach(async () => {
    await Promise.all(loads.map((load) => load.stop()));
    await chaos?.stop();
  });

  it(
    `of ${MINUTES} minutes with seed ${SEED}: whatever fails, nothing accepted is lost`,
    async () => {
      const random = seededRandom(SEED);
      chaos = await Chaos.start({ replicas: 2, workers: 3 }, random);
      const { system } = chaos;
      // Faults count attempts; how many one execution meets is chance, and not what is tested here.
      const message = delayFlow(30, { retry: { maxAttempts: 20 } });
      loads = Array.from({ length: CLIENTS }, () => new Load(system, PER_SECOND / CLIENTS, message));
      const recoveries = new Map<string, number[]>();
      const endsAt = performance.now() + MINUTES * 60_000;
      for (let deck = shuffled(FAULTS, random); performance.now() < endsAt;) {
        await chaos.pause(random() * LONGEST_PAUSE_MS);
        const fault = deck.pop()!;
        await fault.inject(chaos).catch((error: Error) => {
          throw new Error(`during "${fault.name}": ${error.message}`, { cause: error });
        });
        const recoveryMs = await chaos.recovered().catch((error: Error) => {
          throw new Error(`after "${fault.name}": ${error.message}`, { cause: error });
        });
        recoveries.set(fault.name, [...(recoveries.get(fault.name) ?? []), recoveryMs]);
        deck = deck.length > 0 ? deck : shuffled(FAULTS, random);
      }
      const accepted = (await Promise.all(loads.map((load) => load.stop()))).flat();
      const states = await expectInvariants(system, accepted, { timeoutMs: 120_000 });
      expect(states).toEqual({ completed: accepted.length });
      for (const [name, times] of recoveries) {
        reportFault(`soak: ${name}`, {
          executions: accepted.length,
          recoveryMs: Math.max(...times),
          note: times.length > 1 ? `worst of ${times.length}` : undefined,
        });
      }
      const refused = loads.reduce((sum, load) => sum + load.refused, 0);
      const count = [...recoveries.values()].flat().length;
      reportFault(`soak of ${MINUTES} min, seed ${SEED}: ${count} faults, ${refused} refused`, {
        executions: accepted.length,
      });
    },
    MINUTES * 60_000 + AROUND_MS,
  );
});

function shuffled<T>(items: T[], random: () => number): T[] {
  const rest = [...items];
  return items.map(() => rest.splice(Math.floor(random() * rest.length), 1)[0]!);
}
