import type { ErrorObject } from 'ajv';
import { excerpt } from './expression.js';

/** One fault of a document: where, as a JSON pointer, and what was expected and what came. */
export interface SchemaProblem {
  pointer: string;
  message: string;
}

/** ajv's errors in our words. Compile with `verbose: true`, since the message says what came. */
export function schemaProblems(errors: readonly ErrorObject[]): SchemaProblem[] {
  return errors
    .filter(({ keyword }) => keyword !== 'if')
    .map((error) => {
      const pointer = error.instancePath + pointerTail(error);
      return { pointer, message: `expected ${expectation(error)}, got ${arrival(error)}` };
    });
}

function pointerTail({ keyword, params }: ErrorObject): string {
  if (keyword === 'additionalProperties') return `/${escapePointer(String(params['additionalProperty']))}`;
  if (keyword === 'required') return `/${escapePointer(String(params['missingProperty']))}`;
  return '';
}

function expectation({ keyword, params, schema, message, parentSchema }: ErrorObject): string {
  const known = Object.keys((parentSchema as { properties?: object } | undefined)?.properties ?? {});
  switch (keyword) {
    case 'additionalProperties':
      return known.length === 0 ? 'no such field' : `only the fields ${known.join(', ')}`;
    case 'required':
      return 'a value';
    case 'type':
      return [params['type']].flat().join(' or ');
    case 'enum':
      return `one of ${(schema as unknown[]).map((value) => JSON.stringify(value)).join(', ')}`;
    case 'const':
      return JSON.stringify(schema);
    case 'pattern':
      return `text that matches ${String(schema)}`;
    case 'format':
      return `${String(schema)} text`;
    default:
      return (message ?? keyword).replace(/^must NOT have /, 'not ').replace(/^must (be )?/, '');
  }
}

function arrival({ keyword, params, data }: ErrorObject): string {
  if (keyword === 'required') return 'nothing';
  if (keyword === 'additionalProperties')
    return `the unknown field ${excerpt(String(params['additionalProperty']))}`;
  return preview(data);
}

/** What came, in a few characters and whatever its size or depth. */
export function preview(value: unknown): string {
  if (typeof value === 'string') return excerpt(value, 60);
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === 'object' && value !== null) {
    const keys = Object.keys(value);
    const shown = keys.slice(0, 5).map((key) => excerpt(key, 30));
    return keys.length === 0
      ? 'an empty object'
      : `an object with ${shown.join(', ')}${keys.length > 5 ? ', …' : ''}`;
  }
  return value === undefined ? 'nothing' : String(value);
}

/** One step of a JSON pointer (RFC 6901). */
export function escapePointer(step: string): string {
  return step.replaceAll('~', '~0').replaceAll('/', '~1');
}

/** Whether `value` nests arrays and objects deeper than `levels`; a loop, so that depth cannot overflow the stack. */
export function isDeeperThan(value: unknown, levels: number): boolean {
  const values: unknown[] = [value];
  const depths = [1];
  while (values.length > 0) {
    const current = values.pop();
    const depth = depths.pop()!;
    if (typeof current !== 'object' || current === null) continue;
    if (depth > levels) return true;
    for (const child of Object.values(current)) {
      if (typeof child !== 'object' || child === null) continue;
      values.push(child);
      depths.push(depth + 1);
    }
  }
  return false;
}
