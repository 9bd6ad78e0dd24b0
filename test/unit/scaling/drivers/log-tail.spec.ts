import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { LogTail, type LogTailOptions } from '../../../../src/scaling/drivers/log-tail.js';

describe('the tail of a log', () => {
  let folder: string;
  let file: string;
  let lines: string[];
  let tails: LogTail[];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'tail-'));
    file = join(folder, 'worker.log');
    lines = [];
    tails = [];
    appendFileSync(file, '');
  });
  afterEach(() => {
    tails.forEach((tail) => tail.close());
    rmSync(folder, { recursive: true });
  });

  function opened(given: Partial<LogTailOptions> = {}): LogTail {
    const offsetFile = join(folder, 'worker.offset');
    const tail = new LogTail({ file, offsetFile, onLine: (line) => lines.push(line), ...given });
    tails.push(tail);
    tail.open();
    return tail;
  }
  const write = (text: string | Buffer): void => appendFileSync(file, text);

  it('passes on whole lines, each when it is whole', () => {
    const tail = opened();
    write('one\ntw');
    tail.turn();
    expect(lines).toEqual(['one']);
    write('o\n\nthree\n');
    tail.turn();
    tail.turn();
    expect(lines).toEqual(['one', 'two', 'three']);
  });

  it('passes on an unfinished last line at the end', () => {
    const tail = opened();
    write('one\nand then it fell');
    tail.finish();
    expect(lines).toEqual(['one', 'and then it fell']);
    tail.turn();
    tail.finish();
    expect(lines).toHaveLength(2);
  });

  it('keeps characters whole that fall between two reads', () => {
    const tail = opened();
    const bytes = Buffer.from('flow 🦄 über\n');
    for (const byte of bytes) {
      write(Buffer.from([byte]));
      tail.turn();
    }
    const long = `${'🦄'.repeat(40_000)}\n`;
    write(long);
    tail.turn();
    expect(lines).toEqual(['flow 🦄 über', long.trimEnd()]);
  });

  it('passes on a line without end in pieces', () => {
    const tail = opened();
    write('x'.repeat(700_000));
    tail.turn();
    expect(lines.length).toBeGreaterThan(0);
    write('y\nnext\n');
    tail.turn();
    expect(lines.at(-1)).toBe('next');
    expect(lines.slice(0, -1).join('')).toBe(`${'x'.repeat(700_000)}y`);
  });

  it('reads no more in a turn than it may, and the rest in the next ones', () => {
    const tail = opened({ turnBytes: 1_000 });
    write('123456789\n'.repeat(250));
    tail.turn();
    expect(lines).toHaveLength(100);
    tail.turn();
    tail.turn();
    expect(lines).toHaveLength(250);
  });

  it('goes on where another one stopped, also in the middle of a line', () => {
    const first = opened();
    write('one\ntwo\nthr');
    first.turn();
    first.close();
    write('ee\n');
    opened().turn();
    expect(lines).toEqual(['one', 'two', 'three']);
  });

  it('empties a long file once all of it was passed on, and goes on at its beginning', () => {
    const tail = opened({ truncateAboveBytes: 1_000 });
    write('123456789\n'.repeat(200));
    write('half');
    tail.turn();
    expect(statSync(file).size).toBe(2_004);
    write(' a line\n');
    tail.turn();
    expect(statSync(file).size).toBe(0);
    write('after\n');
    tail.turn();
    expect(lines.slice(-2)).toEqual(['half a line', 'after']);
    expect(lines).toHaveLength(202);
    expect(Number(readFileSync(join(folder, 'worker.offset'), 'utf8'))).toBe(6);
    tail.close();
    opened({ truncateAboveBytes: 1_000 }).turn();
    expect(lines).toHaveLength(202);
  });

  it('begins anew when somebody else has emptied the file', () => {
    const tail = opened();
    write('one\ntw');
    tail.turn();
    truncateSync(file);
    write('2\n');
    tail.turn();
    expect(lines).toEqual(['one', '2']);
  });

  it('leaves out what it cannot catch up with, and says so', () => {
    const tail = opened({ behindLimitBytes: 5_000, truncateAboveBytes: 1_000 });
    write('123456789\n'.repeat(1_000));
    tail.turn();
    expect(lines).toEqual(['(10000 bytes of its output are left out: more than can be passed on)']);
    expect(statSync(file).size).toBe(0);
    write('next\n');
    tail.turn();
    expect(lines.at(-1)).toBe('next');
  });

  it('has nothing to pass on when there is no file', () => {
    rmSync(file);
    const tail = opened();
    tail.turn();
    tail.finish();
    expect(lines).toEqual([]);
  });
});
