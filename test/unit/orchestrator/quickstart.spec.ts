import { describe, expect, it } from '@jest/globals';
import { leavers } from '../../../scripts/quickstart.mjs';

type Service = Parameters<typeof leavers>[0][number];

const service = (name: string, exitCode: number | null, signalCode: NodeJS.Signals | null = null): Service =>
  ({
    name,
    mayLeave: name !== 'orchestrator',
    logFile: `/tmp/no-such-folder/${name}.log`,
    child: { exitCode, signalCode },
  }) as Service;
const names = (services: Service[]): string[] => leavers(services).map(({ name }) => name);

describe('the quickstart', () => {
  it('lets a drained worker go, and goes on', () => {
    const running = [service('orchestrator', null), service('worker-1', null)];
    expect(names(running)).toEqual([]);
    expect(names([...running, service('worker-2', 0)])).toEqual(['worker-2']);
  });

  it.each([
    ['a worker that fails', service('worker-1', 1)],
    ['a worker that is killed', service('worker-1', null, 'SIGKILL')],
    ['an orchestrator that ends in any way', service('orchestrator', 0)],
  ])('ends with %s', (_, dead) => {
    expect(() => leavers([service('worker-2', 0), dead])).toThrow(`Expected ${dead.name} to keep running`);
  });
});
