import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { Histogram, Registry } from 'prom-client';
import { BETWEEN_VALUES, DurationHistogram } from '../../../src/orchestrator/api/duration-histogram.js';

const BOUNDS = [0.005, 0.1, 1, 30];
const seconds = fc.oneof(fc.constantFrom(0, ...BOUNDS), fc.double({ min: 0, max: 100, noNaN: true }));

describe('a histogram of durations', () => {
  it('is scraped as one of prom-client with the same values', async () => {
    const values = fc.array(
      fc.record({ seconds, state: fc.constantFrom('completed', 'failed'), tier: fc.constantFrom('a', 'b') }),
    );
    const check = fc.asyncProperty(values, async (observed) => {
      const [ours, theirs] = [new Registry(), new Registry()];
      const one = new DurationHistogram(ours, {
        name: 'd',
        help: 'h',
        labels: ['state', 'tier'],
        bounds: BOUNDS,
      });
      const other = new Histogram({
        name: 'd',
        help: 'h',
        labelNames: ['state', 'tier'],
        buckets: BOUNDS,
        registers: [theirs],
      });
      for (const each of observed) {
        one.observe(each.seconds, `${each.state}${BETWEEN_VALUES}${each.tier}`);
        other.observe({ state: each.state, tier: each.tier }, each.seconds);
      }
      expect(await ours.metrics()).toBe(await theirs.metrics());
    });
    await fc.assert(check);
  });

  it('shows zeros before anything came, if it has no label', async () => {
    const [ours, theirs] = [new Registry(), new Registry()];
    const one = new DurationHistogram(ours, { name: 'd', help: 'h', labels: [], bounds: BOUNDS });
    const other = new Histogram({ name: 'd', help: 'h', buckets: BOUNDS, registers: [theirs] });
    expect(await ours.metrics()).toBe(await theirs.metrics());
    one.observe(0.1);
    other.observe(0.1);
    expect(await ours.metrics()).toBe(await theirs.metrics());
  });
});
