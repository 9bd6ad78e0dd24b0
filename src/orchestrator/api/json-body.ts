import { ProblemException } from './problem.js';
import { MAX_JSON_DEPTH } from '../../queue/contracts/flow-check.js';

/** Longest part of the parser's own words that is passed on. */
const REASON_LENGTH = 200;

const utf8 = new TextDecoder('utf-8', { fatal: true });

/**
 * The one parse of a request's body: UTF-8, JSON, no deeper than `MAX_JSON_DEPTH`, no key `__proto__`. No bytes at
 * all are no body (undefined), so that routes with an optional body can be called without one.
 * @throws ProblemException 400 for bytes that are not JSON, 422 for JSON that is refused
 */
export function parseJsonBody(bytes: Buffer): unknown {
  if (bytes.length === 0) {
    return undefined;
  }
  const value = parse(decode(bytes));
  const fault = findFault(value);
  if (fault !== null) {
    throw new ProblemException('invalid-request', fault.message, { errors: [fault] });
  }
  return value;
}

function decode(bytes: Buffer): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new ProblemException('malformed-body', `expected UTF-8, got ${bytes.length} bytes that are not`);
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    const reason = (error as Error).message.slice(0, REASON_LENGTH);
    throw new ProblemException(
      'malformed-body',
      `expected JSON, got ${text.length} characters that are not: ${reason}`,
    );
  }
}

/**
 * What is wrong with a parsed value as a whole. A loop over levels, breadth first: depth must not be able to
 * overflow the stack here, and must not reach anything that recurses.
 */
function findFault(value: unknown): { pointer: string; message: string; limit?: string } | null {
  let level: object[] = typeof value === 'object' && value !== null ? [value] : [];
  for (let depth = 1; level.length > 0; depth++) {
    if (depth > MAX_JSON_DEPTH) {
      const message = `expected at most ${MAX_JSON_DEPTH} levels of nested arrays and objects, got more`;
      return { pointer: '', message, limit: 'maxJsonDepth' };
    }
    const next: object[] = [];
    for (const parent of level) {
      if (Object.hasOwn(parent, '__proto__')) {
        return { pointer: '', message: `expected no field named __proto__, got one at level ${depth}` };
      }
      collectChildren(parent, next);
    }
    level = next;
  }
  return null;
}

function collectChildren(parent: object, into: object[]): void {
  if (Array.isArray(parent)) {
    parent.forEach((child: unknown) => collect(child, into));
    return;
  }
  // What was parsed inherits no names that this meets, and a list of its values would be made for each object.
  for (const name in parent) {
    collect((parent as Record<string, unknown>)[name], into);
  }
}

function collect(child: unknown, into: object[]): void {
  if (typeof child === 'object' && child !== null) {
    into.push(child);
  }
}
