import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { processTable } from '../../../../src/scaling/drivers/process-table.js';
import { type GatedProcess, startGated } from '../../../../src/scaling/drivers/worker-process.js';

describe('a process at the gate', () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'gate-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function started(...command: string[]): GatedProcess {
    const environment = { PATH: process.env.PATH! };
    return startGated({ command, environment, logFile: join(folder, 'log') });
  }
  const log = (): string => readFileSync(join(folder, 'log'), 'utf8');

  it('becomes the program when it is told to: the same process, by id and start', async () => {
    const { child, open } = started(process.execPath, '-p', 'process.pid + " " + process.argv[1]', 'one two');
    const pid = child.pid!;
    const atTheGate = processTable().startTimes([pid]).get(pid);
    expect(atTheGate).toMatch(/\S/);
    expect(log()).toBe('');
    open();
    expect(await once(child, 'exit')).toEqual([0, null]);
    expect(log()).toBe(`${pid} one two\n`);
  });

  it('keeps its start time through that', async () => {
    const { child, open } = started('/bin/sh', '-c', 'echo on; exec sleep 60');
    const pid = child.pid!;
    const before = processTable().startTimes([pid]);
    open();
    const deadline = Date.now() + 10_000;
    while (log() === '' && Date.now() < deadline) await new Promise(setImmediate);
    expect(processTable().startTimes([pid])).toEqual(before);
    child.kill('SIGKILL');
    await once(child, 'exit');
  });

  it('never does when its owner is gone: it ends', async () => {
    const { child, giveUp } = started('/bin/echo', 'here I am');
    giveUp();
    const [code, signal] = (await once(child, 'exit')) as [number, null];
    expect([code === 0, signal]).toEqual([false, null]);
    expect(log()).toBe('');
  });

  it('gives a program an empty input, and its own arguments as they are', async () => {
    const { child, open } = started('/bin/sh', '-c', 'cat; echo "[$1]"', 'name', '$(id) "*" \' ;');
    open();
    await once(child, 'exit');
    expect(log()).toBe(`[$(id) "*" ' ;]\n`);
  });
});
