import { readFileSync } from 'node:fs';
import specs from '@asyncapi/specs';
import { describe, expect, it } from '@jest/globals';
import { Ajv } from 'ajv';
import { parse } from 'yaml';
import { asyncApiDocument } from '../../src/queue/contracts/asyncapi.js';
import { decode, MESSAGE_SCHEMAS, type MessageType } from '../../src/queue/contracts/wire.js';

interface Document {
  channels: Record<string, { messages: Record<string, object> }>;
  components: { messages: Record<string, { examples: { payload: unknown }[] }> };
}

const document = parse(readFileSync('docs/asyncapi.yaml', 'utf8')) as Document;
const types = Object.keys(MESSAGE_SCHEMAS) as MessageType[];

describe('docs/asyncapi.yaml', () => {
  it('is what the wire contract says (if not: npm run build && npm run docs:asyncapi)', () => {
    expect(document).toEqual(asyncApiDocument());
  });

  it('is valid by the official JSON Schema of AsyncAPI 3.0', () => {
    // Draft 07 and its formats (URIs, e-mail addresses) are annotations here: ajv checks the structure.
    const ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true });
    const validate = ajv.compile(specs.schemasWithoutId['3.0.0']);
    validate(document);
    expect(validate.errors ?? []).toEqual([]);
  });

  it('has every message in exactly one channel', () => {
    const carried = Object.values(document.channels).flatMap((channel) => Object.keys(channel.messages));
    expect(carried.toSorted()).toEqual(types.toSorted());
  });

  it('refers to nothing that is missing', () => {
    expect(references(document).filter((reference) => resolve(reference) === undefined)).toEqual([]);
  });

  it.each(types)('shows an example of %s that decodes', (type) => {
    const [example] = document.components.messages[type]!.examples;
    const content = Buffer.from(JSON.stringify(example!.payload));
    expect(decode({ type, headers: { 'x-schema': 1 }, content }, type).type).toBe(type);
  });
});

function references(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    key === '$ref' ? [String(inner)] : references(inner),
  );
}

function resolve(reference: string): unknown {
  const [root, ...path] = reference.split('/');
  if (root !== '#') return undefined;
  return path.reduce<unknown>(
    (value, key) => (value as Record<string, unknown> | undefined)?.[key],
    document,
  );
}
