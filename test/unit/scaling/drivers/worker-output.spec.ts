import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { lastWords, passedOn } from '../../../../src/scaling/drivers/worker-output.js';

describe('the last words of a worker', () => {
  let folder: string;
  const file = (): string => join(folder, 'log');

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'words-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it.each([
    [
      'what an exception says, without where it was thrown',
      'up\nfile:///app/dist/worker.main.js:20\n  throw new Error("x");\n        ^\n\nError: no broker\n    at main (file:///app/x.js:1:2)\n    at node:internal/x:1\n\nNode.js v20.20.2\n',
      ['up', 'file:///app/dist/worker.main.js:20', '  throw new Error("x");', 'Error: no broker'],
    ],
    [
      'the messages of a JSON log',
      '{"level":"info","msg":"up"}\n{"level":"fatal","msg":"away: amqp://u:p@host"}\n{"level":30}\n',
      ['info: up', 'fatal: away: amqp://***@host', '{"level":30}'],
    ],
    ['five lines', '1\n2\n3\n4\n5\n6\n7', ['3', '4', '5', '6', '7']],
    ['no more of a line than fits', 'x'.repeat(20_000), ['x'.repeat(300)]],
    ['nothing of nothing', '', []],
  ])('are %s', (_, text, words) => {
    writeFileSync(file(), text);
    expect(lastWords(file())).toEqual(words);
  });

  it('are none when there is no file', () => {
    expect(lastWords(file())).toEqual([]);
  });
});

describe('a line that is passed on', () => {
  it.each([
    ['plain', '[a-1] plain'],
    ['{"msg":"x"}', '[a-1] {"msg":"x"}'],
    ['to amqp://u:p@host', '[a-1] to amqp://***@host'],
  ])('as text: %s', (line, expected) => {
    expect(passedOn('a-1', line, 'text')).toBe(expected);
  });

  it.each([
    ['{"level":"info","instance":"a-1","msg":"x"}', { level: 'info', instance: 'a-1', msg: 'x' }],
    ['{"msg":"x"}', { instance: 'a-1', msg: 'x' }],
    ['{}', { service: 'worker', instance: 'a-1', msg: '{}' }],
    ['plain "text" \u001B[31m', { service: 'worker', instance: 'a-1', msg: 'plain "text" \u001B[31m' }],
  ])('as JSON: %s', (line, expected) => {
    expect(JSON.parse(passedOn('a-1', line, 'json'))).toMatchObject(expected);
  });
});
