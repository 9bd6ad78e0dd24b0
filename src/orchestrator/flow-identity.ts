import { hash, randomFillSync } from 'node:crypto';
import { ID_PATTERN } from '../queue/contracts/flow.js';

/** Who an execution is: its id, and the fingerprint that tells a repeated request from a conflicting one. */

const VALID_ID = new RegExp(ID_PATTERN);

export function isValidId(text: string): boolean {
  return VALID_ID.test(text);
}

const ID_BYTES = 16;
const TIME_BYTES = 6;
/** Random bytes of so many ids: to draw them costs nearly as much for one as for all. */
const drawn = Buffer.alloc(128 * ID_BYTES);
let used = drawn.length;

/** A new id: UUID version 7 (RFC 9562, section 5.7), so that ids sort by time and indexes grow at one end. */
export function uuidV7(nowMs = Date.now()): string {
  if (used === drawn.length) {
    randomFillSync(drawn);
    used = 0;
  }
  const first = used;
  used += ID_BYTES;
  drawn.writeUIntBE(nowMs, first, TIME_BYTES);
  // Version and variant.
  drawn[first + 6] = 0x70 | (drawn[first + 6]! & 0x0f);
  drawn[first + 8] = 0x80 | (drawn[first + 8]! & 0x3f);
  return idText(first);
}

const DIGITS = Buffer.from('0123456789abcdef');
/** Where the two digits of each byte are. */
const PLACES = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
const text = Buffer.from('00000000-0000-0000-0000-000000000000');

/** Digit by digit: a text that is put together from parts stays those parts, five times its size, until it is compared. */
function idText(first: number): string {
  PLACES.forEach((place, index) => {
    const byte = drawn[first + index]!;
    text[place] = DIGITS[byte >> 4]!;
    text[place + 1] = DIGITS[byte & 0x0f]!;
  });
  return text.toString('latin1');
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
  if (typeof value === 'string') {
    return quoted(value);
  }
  if (typeof value !== 'object' || value === null) {
    return JSON.stringify(value);
  }
  return Array.isArray(value)
    ? `[${value.map(canonicalJson).join(',')}]`
    : canonicalObject(value, canonicalJson);
}

/** What JSON escapes, or may have to: quotes, backslashes, controls, halves of pairs. */
const ESCAPED = /[^ !#-[\]-\ud7ff\ue000-\uffff]/;

/** As `JSON.stringify` has it, which copies long texts three times. */
function quoted(text: string): string {
  return ESCAPED.test(text) ? JSON.stringify(text) : `"${text}"`;
}

/** @param textOf undefined = the member is left out. Texts are added up, not joined: only the whole is ever copied. */
function canonicalObject(
  fields: object,
  textOf: (value: unknown, key: string) => string | undefined,
): string {
  let members = '';
  for (const key of sortedKeys(fields)) {
    const text = textOf((fields as Record<string, unknown>)[key], key);
    if (text !== undefined) {
      members += `${members === '' ? '' : ','}${quoted(key)}:${text}`;
    }
  }
  return `{${members}}`;
}

/** More are left to the sort that comes with the language, which makes 1 KB of garbage whatever it sorts. */
const FEW_KEYS = 16;

function sortedKeys(fields: object): string[] {
  const keys = Object.keys(fields);
  if (keys.length > FEW_KEYS) {
    return keys.toSorted();
  }
  for (let next = 1; next < keys.length; next++) {
    const key = keys[next]!;
    let place = next;
    for (; place > 0 && keys[place - 1]! > key; place--) {
      keys[place] = keys[place - 1]!;
    }
    keys[place] = key;
  }
  return keys;
}
