import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { basename } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { processTable, startTimeOf } from '../../../../src/scaling/drivers/process-table.js';

const NOBODY = 2 ** 22 + 1;

const programOf = (pid: number): string =>
  basename(execFileSync('ps', ['-o', 'comm=', '-p', String(pid)], { encoding: 'utf8' }).trim());

describe.each([process.platform, 'darwin'] as const)('the process table (as on %s)', (platform) => {
  const table = processTable(platform);

  it('tells those that run from those that do not, with the time of their start', async () => {
    const child = spawn('/bin/sleep', ['60']);
    try {
      await once(child, 'spawn');
      const pids = [process.pid, child.pid!];
      const times = table.startTimes([...pids, NOBODY]);
      expect([...times.keys()].toSorted()).toEqual(pids.toSorted());
      expect(times.get(child.pid!)).toMatch(/\d/);
      // The first of all began more than a second earlier, which is as exactly as `ps` tells it.
      expect(times.get(child.pid!)).not.toBe(table.startTimes([1]).get(1));
      expect(table.startTimes(pids)).toEqual(times);
    } finally {
      child.kill('SIGKILL');
    }
    await once(child, 'exit');
    expect(table.startTimes([child.pid!])).toEqual(new Map());
  });

  it('does not count a process that has ended, and that its parent has not noticed', async () => {
    // The shell starts one that ends with the input, and becomes a program that never looks after it.
    const parent = spawn('/bin/sh', ['-c', 'exec 3<&0; /bin/cat <&3 & echo $!; exec /bin/sleep 60']);
    try {
      const [said] = (await once(parent.stdout, 'data')) as [Buffer];
      const pid = Number(String(said));
      const deadline = Date.now() + 10_000;
      // A shell would look after it: only once it is the other program may the child end.
      while (programOf(parent.pid!) !== 'sleep' && Date.now() < deadline) await new Promise(setImmediate);
      expect(programOf(parent.pid!)).toBe('sleep');
      parent.stdin.end();
      while (table.startTimes([pid]).size > 0 && Date.now() < deadline) await new Promise(setImmediate);
      expect(table.startTimes([pid])).toEqual(new Map());
      // It is there all the same.
      expect(process.kill(pid, 0)).toBe(true);
    } finally {
      parent.kill('SIGKILL');
    }
  });

  it('knows nothing of nobody', () => {
    expect(table.startTimes([])).toEqual(new Map());
    expect(table.startTimes([NOBODY])).toEqual(new Map());
  });
});

describe('a line of /proc/<pid>/stat', () => {
  const fields = (state: string): string =>
    `${state} 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 987654 20 21`;

  it.each([
    ['4711 (node) ', 'R', '987654'],
    ['4711 (my (odd) na) me) ', 'S', '987654'],
    ['4711 (node) ', 'Z', null],
    ['4711 (node) ', 'X', null],
  ])('%s%s', (head, state, start) => {
    expect(startTimeOf(head + fields(state))).toBe(start);
  });

  it('that is missing', () => {
    expect(startTimeOf('')).toBeNull();
  });
});
