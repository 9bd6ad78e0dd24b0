import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { freePort, isPortFree } from '../../scripts/processes.mjs';

const HOLDER = `
  const { freePort } = await import('./scripts/processes.mjs');
  process.stdout.write(String(await freePort()));
  process.stdin.resume();
`;

/** The next draw is this port's: 12,000 ports from 20,000 on. */
function draw(port: number): void {
  jest.spyOn(Math, 'random').mockReturnValueOnce((port - 20_000 + 0.5) / 12_000);
}

describe('a free port', () => {
  afterEach(() => void jest.restoreAllMocks());

  it('is given out once, though its server has yet to start', async () => {
    const port = await freePort();
    expect(await isPortFree(port)).toBe(true);
    draw(port);
    expect(await freePort()).not.toBe(port);
  });

  it('is given to one process only, and to others when that is gone, however it ended', async () => {
    const holder = spawn(process.execPath, ['--input-type=module', '--eval', HOLDER], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const ended = once(holder, 'exit');
    try {
      const port = Number((await once(holder.stdout, 'data'))[0]);
      draw(port);
      expect(await freePort()).not.toBe(port);
      holder.kill('SIGKILL');
      await ended;
      draw(port);
      expect(await freePort()).toBe(port);
    } finally {
      holder.kill('SIGKILL');
    }
  });

  it('is not one on which somebody listens', async () => {
    const server = createServer();
    const listensOn = (port: number): Promise<boolean> =>
      new Promise((resolve) => {
        server.once('error', () => resolve(false));
        server.listen(port, '127.0.0.1', () => resolve(true));
      });
    let port = 20_000;
    while (!(await listensOn(port))) {
      port++;
    }
    try {
      draw(port);
      expect(await freePort()).not.toBe(port);
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });
});
