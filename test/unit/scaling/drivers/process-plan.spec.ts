import { describe, expect, it } from '@jest/globals';
import { planFor } from '../../../../src/scaling/drivers/process-plan.js';
import type { WorkerInstance } from '../../../../src/scaling/worker-driver.js';
import { wish } from '../../../support/worker-owner.js';

const worker = (workerId: string, retiring = false): WorkerInstance => {
  return { workerId, workerClass: workerId.split('-')[0]!, retiring, startedAtMs: 0 };
};
const RUNNING = [worker('a-1'), worker('a-2'), worker('a-3', true), worker('b-1')];

describe('what a wish asks for', () => {
  it.each([
    ['nothing when it is so', wish('a', 2), 0, []],
    ['those that are missing', wish('a', 5), 3, []],
    ['one in the place of one that retires', wish('a', 2, ['a-1']), 1, ['a-1']],
    ['the end of those that are named', wish('a', 1, ['a-1']), 0, ['a-1']],
    ['nothing of one that retires already', wish('a', 2, ['a-3']), 0, []],
    ['nobody who is not named', wish('a', 0), 0, []],
    ['nothing of names that are not known', wish('a', 2, ['c-1']), 0, []],
    ['the end of one of a class that is no more', wish('a', 2, ['b-1']), 0, ['b-1']],
  ])('%s', (_, wished, starts, retire) => {
    expect(planFor(wished, RUNNING)).toEqual({ starts, retire });
  });
});
