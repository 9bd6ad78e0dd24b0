import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { compare, comparisonTable } from '../../../scripts/scaling/report.mjs';
import { comparedScalers, DEFAULT_POLICY } from '../../../scripts/scaling/scalers.mjs';
import { simulate } from '../../../scripts/scaling/simulator.mjs';
import {
  burstTrace,
  commitsTrace,
  csvTrace,
  flightsTrace,
  hoverTrace,
} from '../../../scripts/scaling/traces.mjs';
import { OrchestratorVariables } from '../../../src/config/config.schema.js';
import { readVariables } from '../../../src/config/read-variables.js';
import * as core from '../../../src/scaling/decision.js';

const POOL = { slots: 5, bootMs: 20_000, minWorkers: 2, maxWorkers: 20 };
const [OURS, TUNED, READY, ALL] = comparedScalers(core, POOL).map((make) => make().name) as [
  string,
  string,
  string,
  string,
];

const dataSet = (name: string): string => readFileSync(`node_modules/vega-datasets/data/${name}`, 'utf8');

type Outcome = ReturnType<typeof simulate>;

/** What docs/scaling.md says of the table. */
describe('the size that follows a trace', () => {
  const outcomes = new Map<string, Outcome>();
  const of = (trace: string, scaler: string): Outcome => outcomes.get(`${trace}: ${scaler}`)!;
  const actions = ({ ups, downs }: Outcome): number => ups + downs;
  const STEEP = 'flights, a day in 1 h';
  const SLOW = 'flights, a day in 4 h';

  beforeAll(() => {
    const flights = JSON.parse(dataSet('flights-20k.json')) as { date: string; distance: number }[];
    const traces = [
      flightsTrace(flights, 1),
      flightsTrace(flights, 4),
      commitsTrace(dataSet('github.csv')),
      burstTrace(),
      hoverTrace(),
    ];
    const lines = compare(traces, comparedScalers(core, POOL), POOL);
    lines.forEach(({ trace, scaler, outcome }) => outcomes.set(`${trace}: ${scaler}`, outcome));
    const table = comparisonTable(lines);
    process.stdout.write(`\n${table}\n`);
  });

  it('lacks less than a hundredth of the workers that waiting tasks alone, by 20 a worker, lack on the flights', () => {
    for (const trace of [STEEP, SLOW]) {
      expect(of(trace, OURS).underWorkerS).toBeLessThan(of(trace, READY).underWorkerS / 100);
      expect(of(trace, OURS).p99WaitS).toBeLessThan(of(trace, READY).p99WaitS / 10);
      // And that costs more.
      expect(of(trace, OURS).workerHours).toBeGreaterThan(of(trace, READY).workerHours);
    }
  });

  it('has its workers before they are needed when demand rises slowly, in fewer actions, and that costs more', () => {
    expect(of(SLOW, OURS).underWorkerS).toBeLessThan(of(SLOW, ALL).underWorkerS / 10);
    expect(of(SLOW, OURS).p99WaitS).toBeLessThan(1);
    expect(of(SLOW, ALL).p99WaitS).toBeGreaterThan(10);
    expect(actions(of(SLOW, OURS))).toBeLessThan(actions(of(SLOW, ALL)) / 2);
    expect(of(SLOW, OURS).workerHours).toBeGreaterThan(of(SLOW, ALL).workerHours);
  });

  it('is later than the depth when demand jumps, but by no more than a change or two', () => {
    for (const trace of [STEEP, 'commits', 'burst']) {
      expect(of(trace, OURS).p99WaitS).toBeGreaterThan(of(trace, ALL).p99WaitS);
      expect(of(trace, OURS).p99WaitS).toBeLessThanOrEqual(of(trace, ALL).p99WaitS + 20);
    }
  });

  it('waits longer, acts more and costs more on the commits than by 20 waiting tasks a worker, though it lacks less', () => {
    const [ours, ready] = [of('commits', OURS), of('commits', READY)];
    expect(ours.p99WaitS).toBeGreaterThan(ready.p99WaitS);
    expect(actions(ours)).toBeGreaterThan(2 * actions(ready));
    expect(ours.workerHours).toBeGreaterThan(ready.workerHours);
    expect(ours.underWorkerS).toBeLessThan(ready.underWorkerS);
  });

  it('does not flap when a queue hovers at its high watermark, for two hours', () => {
    expect(actions(of('hover', OURS))).toBeLessThanOrEqual(8);
    expect(actions(of('hover', READY))).toBeGreaterThan(40);
  });

  it('follows faster with a change each round, and costs less on a wave with a higher threshold for shrinking', () => {
    for (const trace of [STEEP, SLOW, 'commits', 'burst', 'hover']) {
      expect(of(trace, TUNED).underWorkerS).toBeLessThan(of(trace, OURS).underWorkerS);
      expect(of(trace, TUNED).p99WaitS).toBeLessThanOrEqual(of(trace, OURS).p99WaitS);
    }
    for (const trace of [STEEP, 'commits']) {
      expect(of(trace, TUNED).p99WaitS).toBeLessThan(of(trace, ALL).p99WaitS);
    }
    for (const trace of [STEEP, SLOW, 'hover']) {
      expect(of(trace, TUNED).workerHours).toBeLessThan(of(trace, OURS).workerHours);
    }
  });

  it('is found with the defaults of the variables', () => {
    expect(readVariables(OrchestratorVariables, {})).toMatchObject(DEFAULT_POLICY);
  });
});

describe('the simulator', () => {
  const fixed = (size: number): ReturnType<ReturnType<typeof comparedScalers>[number]> => ({
    name: 'fixed',
    intervalMs: 1_000,
    next: () => size,
  });
  const pool = { slots: 2, bootMs: 10_000, minWorkers: 1, maxWorkers: 4 };
  const trace = (csv: string, startWorkers: number): ReturnType<typeof csvTrace> => ({
    ...csvTrace(csv),
    untilMs: 60_000,
    startWorkers,
  });

  it('runs tasks first in, first out, on the slots there are', () => {
    // Two slots: the third waits 4 s for the second, the fourth 6 s for the first.
    const outcome = simulate(trace('0,8\n0,4\n0,9\n2,1', 1), fixed(1), pool);
    expect(outcome).toMatchObject({ p50WaitS: 0, p99WaitS: 6, ups: 0, downs: 0 });
  });

  it('gives new workers tasks after their boot, and pays for them from the start', () => {
    const outcome = simulate(trace('0.5,30\n0.5,30\n0.5,30', 1), fixed(2), pool);
    expect(outcome).toMatchObject({ p99WaitS: 9.5, ups: 1 });
    // 2 workers for a minute, of which the second was asked for after the first measurement.
    expect(Math.round(outcome.workerHours * 3_600)).toBe(61 * 2 - 1);
  });

  it('counts what is missing and what is too many by ceil((running + waiting) / slots)', () => {
    // 3 tasks need 2 workers for 10 s, of which 1 is there; afterwards 1 is needed, which is the minimum.
    const missing = simulate(trace('0.5,10\n0.5,10\n0.5,4', 1), fixed(1), pool);
    expect(missing).toMatchObject({ underWorkerS: 10, overWorkerS: 0 });
    const tooMany = simulate(trace('0.5,10\n0.5,10\n0.5,4', 3), fixed(3), pool);
    expect(tooMany).toMatchObject({ underWorkerS: 0, overWorkerS: 61 * 3 - (4 * 2 + 57) });
  });

  it('lets a worker finish its tasks before it ends', () => {
    const outcome = simulate(trace('0.5,30\n0.5,30\n0.5,30\n0.5,30', 2), fixed(1), pool);
    expect(outcome).toMatchObject({ downs: 1 });
  });

  it('says what is wrong with a line of a trace', () => {
    expect(() => csvTrace('0,1\nx,2')).toThrow(
      'Expected line 2 to be the arrival and the duration of a task',
    );
  });
});
