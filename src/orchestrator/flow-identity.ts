import { createHash, randomBytes } from 'node:crypto';
import { ID_PATTERN } from '../queue/contracts/flow.js';

/** Who an execution is: its id, and the fingerprint that tells a repeated request from a conflicting one. */

const VALID_ID = new RegExp(ID_PATTERN);

export function isValidId(text: string): boolean {
  return VALID_ID.test(text);
}

/** A new id: UUID version 7 (RFC 9562, section 5.7), so that ids sort by time and indexes grow at one end. */
export function uuidV7(nowMs = Date.now()): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(nowMs, 0, 6);
  bytes[6] = (bytes[6]! & 0x0f) | 0x70;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** The execution id that an `Idempotency-Key` stands for: itself where it can be one, else a digest of it. */
export function idOfKey(key: string): string {
  return isValidId(key) ? key : `idem-${createHash('sha256').update(key).digest('hex').slice(0, 32)}`;
}

/** SHA-256, hex, of the request without its `executionId`; key order and white space make no difference. */
export function requestHash(message: object): string {
  const { executionId: _, ...rest } = message as { executionId?: unknown };
  return createHash('sha256').update(canonicalJson(rest)).digest('hex');
}

/**
 * JSON with sorted keys and no white space (RFC 8785 in spirit: keys by UTF-16 code units, values as
 * `JSON.stringify` writes them). The value comes from a parser, so it is finite, acyclic and of bounded depth.
 */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) {
    return `[${value.map(canonicalJson).join(',')}]`;
  }
  if (typeof value !== 'object' || value === null) {
    return JSON.stringify(value);
  }
  const fields = value as Record<string, unknown>;
  const members = Object.keys(fields)
    .filter((key) => fields[key] !== undefined)
    .toSorted()
    .map((key) => `${JSON.stringify(key)}:${canonicalJson(fields[key])}`);
  return `{${members.join(',')}}`;
}
