import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { redactLine } from '../../config/redact.js';

/** How lines of workers are passed on: `text` = `[<workerId>] <line>`; `json` = each line a JSON object that names its worker. */
export type OutputForm = 'text' | 'json';

/** A line of a worker as it appears among the lines of the orchestrator: one line, without credentials in it. */
export function passedOn(workerId: string, line: string, form: OutputForm): string {
  const safe = redactLine(line);
  if (form === 'text') return `[${workerId}] ${safe}`;
  if (!isRecord(safe)) return JSON.stringify({ ...recordBase(workerId), msg: safe });
  const named = safe.includes(`"instance":"${workerId}"`);
  return named ? safe : `{"instance":"${workerId}",${safe.slice(1)}`;
}

function recordBase(workerId: string): object {
  return { level: 'info', time: new Date().toISOString(), service: 'worker', instance: workerId };
}

/** What pino writes looks like this; to be sure, each line would have to be parsed. */
const isRecord = (line: string): boolean => line.startsWith('{"') && line.endsWith('}');

const WORDS_BYTES = 16_384;
const WORDS_LENGTH = 300;
/** Where an error was thrown, a blank line, Node's name: what an error is surrounded by. */
const SURROUNDINGS = /^\s*(?:at .*|\^+|node:.*:\d+|Node\.js v\S+|[{}],?|)$/;

/** The last lines of a log that say something; a JSON line by its message. Empty if there is no such file. */
export function lastWords(file: string, count = 5): string[] {
  return endOf(file)
    .split('\n')
    .filter((line) => !SURROUNDINGS.test(line))
    .slice(-count)
    .map((line) => redactLine(messageOf(line)).slice(0, WORDS_LENGTH));
}

function endOf(file: string): string {
  try {
    const fd = openSync(file, 'r');
    try {
      const { size } = fstatSync(fd);
      const bytes = Buffer.alloc(Math.min(size, WORDS_BYTES));
      const count = readSync(fd, bytes, 0, bytes.length, size - bytes.length);
      return bytes.toString('utf8', 0, count);
    } finally {
      closeSync(fd);
    }
  } catch {
    return '';
  }
}

function messageOf(line: string): string {
  if (!isRecord(line)) return line;
  try {
    const { level, msg } = JSON.parse(line) as Record<string, unknown>;
    return typeof msg === 'string' ? `${String(level)}: ${msg}` : line;
  } catch {
    return line;
  }
}
