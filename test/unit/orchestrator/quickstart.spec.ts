import { describe, expect, it } from '@jest/globals';
import { refuseEnded } from '../../../scripts/quickstart.mjs';

type Service = Parameters<typeof refuseEnded>[0][number];

const service = (name: string, exitCode: number | null, signalCode: NodeJS.Signals | null = null): Service =>
  ({ name, logFile: `/tmp/no-such-folder/${name}.log`, child: { exitCode, signalCode } }) as Service;

describe('the quickstart', () => {
  it('goes on while its services run', () => {
    expect(() => refuseEnded([service('orchestrator', null)])).not.toThrow();
  });

  it.each([
    ['fails', service('orchestrator', 1)],
    ['is killed', service('orchestrator', null, 'SIGKILL')],
    ['ends as if on purpose', service('orchestrator', 0)],
  ])('ends when one %s', (_, dead) => {
    expect(() => refuseEnded([dead])).toThrow(`Expected ${dead.name} to keep running`);
  });
});
