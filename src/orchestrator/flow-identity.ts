import { hash, randomUUID } from 'node:crypto';
import { ID_PATTERN } from '../queue/contracts/flow.js';

/** Who an execution is: its id, and the fingerprint that tells a repeated request from a conflicting one. */

const VALID_ID = new RegExp(ID_PATTERN);

export function isValidId(text: string): boolean {
  return VALID_ID.test(text);
}

/** A new id: UUID version 7 (RFC 9562, section 5.7), so that ids sort by time and indexes grow at one end. */
export function uuidV7(nowMs = Date.now()): string {
  const time = nowMs.toString(16).padStart(12, '0');
  // Behind the version digit, 4 and 7 are alike: variant and random bits. Node draws these from a pool.
  return `${time.slice(0, 8)}-${time.slice(8)}-7${randomUUID().slice(15)}`;
}

/** The execution id that an `Idempotency-Key` stands for: itself where it can be one, else a digest of it. */
export function idOfKey(key: string): string {
  return isValidId(key) ? key : `idem-${hash('sha256', key).slice(0, 32)}`;
}

/**
 * SHA-256, hex, of the request without its `executionId`; key order and white space make no difference.
 * @param canonicalFlow canonical JSON of its `flowData`
 */
export function requestHash(message: object, canonicalFlow: string): string {
  const partOfIdentity = (value: unknown, key: string): string | undefined => {
    switch (key) {
      case 'executionId':
        return undefined;
      case 'flowData':
        return canonicalFlow;
      default:
        return canonicalJson(value);
    }
  };
  return hash('sha256', canonicalObject(message, partOfIdentity));
}

/**
 * JSON with sorted keys and no white space (RFC 8785 in spirit: keys by UTF-16 code units, values as
 * `JSON.stringify` writes them). The value comes from a parser, so it is finite, acyclic and of bounded depth.
 */
export function canonicalJson(value: unknown): string {
  if (typeof value !== 'object' || value === null) {
    return JSON.stringify(value);
  }
  return Array.isArray(value)
    ? `[${value.map(canonicalJson).join(',')}]`
    : canonicalObject(value, canonicalJson);
}

/** @param textOf undefined = the member is left out. Texts are added up, not joined: only the whole is ever copied. */
function canonicalObject(
  fields: object,
  textOf: (value: unknown, key: string) => string | undefined,
): string {
  let members = '';
  for (const key of Object.keys(fields).toSorted()) {
    const text = textOf((fields as Record<string, unknown>)[key], key);
    if (text !== undefined) {
      members += `${members === '' ? '' : ','}${JSON.stringify(key)}:${text}`;
    }
  }
  return `{${members}}`;
}
