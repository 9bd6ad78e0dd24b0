import { mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { WorkerFiles, type WorkerState } from '../../../../src/scaling/drivers/worker-files.js';
import { signalProcess } from '../../../../src/scaling/drivers/worker-process.js';

const STATE: WorkerState = {
  host: 'here',
  boot: 'today',
  pid: 4711,
  startTime: '987654',
  workerClass: 'general',
  startedAtMs: 1,
  retiring: false,
};

describe('the files of workers', () => {
  let folder: string;
  let files: WorkerFiles;

  beforeEach(() => {
    folder = join(mkdtempSync(join(tmpdir(), 'files-')), 'workers');
    files = new WorkerFiles(folder);
    files.make();
  });
  afterEach(() => rmSync(join(folder, '..'), { recursive: true }));

  const put = (name: string, text = '', ageS = 3_600): void => {
    writeFileSync(join(folder, name), text);
    const time = Date.now() / 1_000 - ageS;
    utimesSync(join(folder, name), time, time);
  };

  it('gives back what was written, to its owner alone', () => {
    files.write('general-1', STATE);
    files.write('general-1', { ...STATE, retiring: true });
    expect(files.ids()).toEqual(['general-1']);
    expect(files.read('general-1')).toEqual({ ...STATE, retiring: true });
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(statSync(join(folder, 'general-1.json')).mode & 0o777).toBe(0o600);
  });

  // Nothing is signalled here: these are the numbers that would mean everybody, our own group, and init.
  it.each([[-1], [0], [1], [-4711], [1.5], [Number.NaN], ['4711']])(
    'takes no state with the pid %p',
    (pid) => {
      put('general-1.json', JSON.stringify({ ...STATE, pid }));
      expect(files.read('general-1')).toBeNull();
    },
  );

  it.each(Object.keys(STATE))('takes no state without %s', (name) => {
    put('general-1.json', JSON.stringify({ ...STATE, [name]: undefined }));
    expect(files.read('general-1')).toBeNull();
  });

  it.each(['', 'null', '[]', '{', '"text"'])('takes no state from %p', (text) => {
    put('general-1.json', text);
    expect(files.read('general-1')).toBeNull();
  });

  it('knows no worker by a name that it would not give', () => {
    put('..json', JSON.stringify(STATE));
    put('General 1.json', JSON.stringify(STATE));
    put('notes.txt');
    expect(files.ids()).toEqual([]);
  });

  it('tidies up what belongs to no worker and is not of this moment, and nothing else', () => {
    put('gone-1.log');
    put('gone-1.offset');
    put('torn-1.json', '{"pid":');
    put('torn-1.log');
    put('starting-1.log', '', 1);
    put('notes.txt');
    put('kept-1.log');
    files.write('kept-1', STATE);
    files.tidy();
    expect(readdirSync(folder).toSorted()).toEqual([
      'kept-1.json',
      'kept-1.log',
      'notes.txt',
      'starting-1.log',
    ]);
  });

  it('removes all of a worker, any number of times', () => {
    files.write('general-1', STATE);
    put('general-1.log');
    put('general-1.offset');
    files.remove('general-1');
    files.remove('general-1');
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('a signal', () => {
  it.each([0, 1, -1, Number.NaN])('is not sent to %p, with which more would be meant', (target) => {
    // A signal that does nothing to whoever would get it, should this ever be wrong.
    expect(() => signalProcess(target, 'SIGURG')).toThrow(RangeError);
  });
});
