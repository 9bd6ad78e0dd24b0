/**
 * What nodes hand to each other and to the wire is JSON. The rules for what is not:
 * - `undefined`, functions (JSONata's too) and symbols: null (as an object's field: left out), as `JSON.stringify` has it;
 * - `NaN` and infinities: null; `bigint`: its decimal digits as text;
 * - `Date`: ISO 8601 text, null when invalid; bytes (`Buffer`, `Uint8Array`): base64 text;
 * - `toJSON()` is honoured; other objects give their own enumerable fields;
 * - more than 1,000 levels (or a cycle) and more than 20 million values are refused.
 */
export class NotJsonError extends Error {
  override readonly name = 'NotJsonError';
}

const MAX_LEVELS = 1000;
const MAX_VALUES = 20_000_000;

/** `value` itself when it is plain JSON already, which costs no copy; else a copy under the rules above. */
export function toJson(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return scalar(value);
  return isPlain(value) ? value : copy(value);
}

/** One loop over everything, with a stack of its own. */
function isPlain(root: object): boolean {
  const pending: object[] = [root];
  const levels: number[] = [1];
  let seen = 0;
  while (pending.length > 0) {
    const current = pending.pop()!;
    const level = levels.pop()!;
    if (level > MAX_LEVELS || seen > MAX_VALUES || !isPlainContainer(current)) return false;
    const children: unknown[] = Array.isArray(current) ? current : Object.values(current);
    seen += children.length;
    for (const child of children) {
      if (typeof child === 'object' && child !== null) {
        pending.push(child);
        levels.push(level + 1);
      } else if (!isPlainScalar(child)) return false;
    }
  }
  return true;
}

function isPlainContainer(value: object): boolean {
  // jsonata marks its result sequences with properties of their own, which would change how it reads them next time.
  if (Array.isArray(value)) return !Object.hasOwn(value, 'sequence');
  const prototype: unknown = Object.getPrototypeOf(value);
  return (
    (prototype === Object.prototype || prototype === null) &&
    !('toJSON' in value) &&
    !isJsonataFunction(value)
  );
}

/** jsonata's functions are objects, with their whole environment inside. */
function isJsonataFunction(value: object): boolean {
  return '_jsonata_function' in value || '_jsonata_lambda' in value;
}

function isPlainScalar(value: unknown): boolean {
  if (typeof value === 'number') return Number.isFinite(value);
  return typeof value === 'string' || typeof value === 'boolean' || value === null;
}

interface Job {
  source: object;
  target: unknown[] | Record<string, unknown>;
  level: number;
}

function copy(root: object): unknown {
  const jobs: Job[] = [];
  let seen = 0;
  const place = (value: unknown, level: number): unknown => {
    const reduced = reduce(value);
    if (typeof reduced !== 'object' || reduced === null) return reduced;
    if (level > MAX_LEVELS)
      throw new NotJsonError(`expected at most ${MAX_LEVELS} levels of JSON, got more (or a cycle)`);
    const target = Array.isArray(reduced) ? [] : {};
    jobs.push({ source: reduced, target, level });
    return target;
  };
  const result = place(root, 1);
  for (let job = jobs.pop(); job !== undefined; job = jobs.pop()) {
    const { target, level } = job;
    const entries = Object.entries(job.source);
    seen += Array.isArray(target) ? (job.source as unknown[]).length : entries.length;
    if (seen > MAX_VALUES) throw new NotJsonError(`expected at most ${MAX_VALUES} values, got more`);
    if (Array.isArray(target))
      for (const child of job.source as unknown[]) target.push(place(child, level + 1));
    else
      for (const [key, child] of entries) if (isField(child)) setField(target, key, place(child, level + 1));
  }
  return result;
}

function isField(value: unknown): boolean {
  return value !== undefined && typeof value !== 'function' && typeof value !== 'symbol';
}

/** Like `target[key] = value`, except that `__proto__` is a field like any other. */
export function setField(target: Record<string, unknown>, key: string, value: unknown): void {
  if (key !== '__proto__') target[key] = value;
  else Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
}

/** One step towards JSON: scalars and the objects that stand for one. */
function reduce(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return scalar(value);
  if (isJsonataFunction(value)) return null;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (value instanceof Uint8Array)
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64');
  const { toJSON } = value as { toJSON?: unknown };
  if (typeof toJSON !== 'function') return value;
  const replaced: unknown = toJSON.call(value, '');
  return typeof replaced === 'object' ? replaced : scalar(replaced);
}

function scalar(value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString();
  return isPlainScalar(value) ? value : null;
}
