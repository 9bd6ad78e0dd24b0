import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { loadExample } from '../../scripts/quickstart.mjs';
import type { FlowExecutionMessage } from '../../src/queue/contracts/flow-execution.js';
import { System } from '../support/system.js';

interface Car {
  Name: string;
  Miles_per_Gallon: number | null;
  Horsepower: number | null;
  Origin: string;
}

/** The report worked out again with plain loops, from the data set alone. */
function reportOf(cars: Car[]) {
  const complete = cars.filter((car) => car.Miles_per_Gallon !== null && car.Horsepower !== null);
  const litres = (car: Car): number => Math.round((235.2145833 / car.Miles_per_Gallon!) * 100) / 100;
  const ranking = [...new Set(complete.map((car) => car.Origin))].map((origin) => {
    const own = complete.filter((car) => car.Origin === origin);
    const average = own.reduce((sum, car) => sum + litres(car), 0) / own.length;
    const best = own.reduce((a, b) => (litres(b) < litres(a) ? b : a));
    const litresPer100Km = Math.round(average * 100) / 100;
    return {
      origin,
      cars: own.length,
      litresPer100Km,
      best: best.Name,
      class: litresPer100Km < 10 ? 'economical' : 'thirsty',
    };
  });
  ranking.sort((a, b) => a.litresPer100Km - b.litresPer100Km);
  return { ranking, leftOut: cars.length - complete.length };
}

describe('the example flow of the quickstart, on a real data set', () => {
  let system: System;
  beforeAll(async () => {
    system = await System.start({ workers: ['worker-1', 'worker-2'] });
  });
  afterAll(() => system.stop());

  it('filters, transforms, branches and maps to what an independent computation gives', async () => {
    const cars = JSON.parse(readFileSync('node_modules/vega-datasets/data/cars.json', 'utf8')) as Car[];
    const { status, body } = await system.api.execute(
      loadExample() as unknown as FlowExecutionMessage,
      '?waitMs=30000',
    );
    expect(status).toBe(200);
    expect(body.state).toBe('completed');
    expect(body.result.report).toEqual(reportOf(cars));
    expect(body.result.report.ranking).toHaveLength(3);
  });
});
