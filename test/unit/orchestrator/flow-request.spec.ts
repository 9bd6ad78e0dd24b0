import { hash } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { array, assert, jsonValue, property, string, uniqueArray } from 'fast-check';
import type { FlowLimits } from '../../../src/queue/contracts/flow-check.js';
import {
  canonicalJson,
  idOfKey,
  isValidId,
  requestHash,
  uuidV7,
} from '../../../src/orchestrator/flow-identity.js';
import { FlowChecks } from '../../../src/orchestrator/flow-checks.js';
import { type RequestContext, toNewExecution } from '../../../src/orchestrator/flow-request.js';
import { CONFIG } from './support/api-app.js';

const NOW = Date.parse('2026-11-21T12:00:00.000Z');
const context = (
  limits: Partial<RequestContext['limits']> = {},
  flows: Partial<FlowLimits> = {},
): RequestContext => ({
  limits: { ...CONFIG, ...limits },
  flows: new FlowChecks({ maxNodes: 10, maxConnections: 10, maxDepth: 1, ...flows }),
  knownNodeTypes: new Set(['delay']),
  now: NOW,
  newId: () => 'made-here',
});

const flowData = {
  name: 'n',
  version: 1,
  nodes: [
    { id: 'b', type: 'log' },
    { id: 'a', type: 'delay', config: { ms: 1 } },
  ],
  connections: [{ from: 'a', to: 'b' }],
};
const body = { flowId: 'f', flowData };
const hashOf = (request: { flowData: unknown; inputs?: unknown }) =>
  requestHash(request, canonicalJson(request.flowData));

describe('toNewExecution', () => {
  it('fills in what the request leaves open', () => {
    expect(toNewExecution(body, context())).toEqual({
      ok: true,
      execution: {
        executionId: 'made-here',
        flowId: 'f',
        priority: 'normal',
        requiredTypes: 'delay,log',
        request: JSON.stringify({ flowData, inputs: {} }),
        requestHash: hashOf(body),
        labels: {},
        timeoutMs: 10_000,
        maxAttempts: 3,
        backoff: null,
        delayMs: 0,
        expiresAt: null,
        workerId: null,
        rescueAfterMs: 5_000,
      },
    });
  });

  it('keeps what the request says', () => {
    const asked = {
      ...body,
      executionId: 'mine',
      priority: 'high',
      inputs: { x: 1 },
      timeoutMs: 60_000,
      retry: { maxAttempts: 5, backoff: { baseMs: 10, factor: 2, maxMs: 100, jitter: 0.5 } },
      labels: { team: 'billing' },
      delayMs: 7,
      expiresAt: '2026-11-21T13:00:00+01:00',
    };
    const early = { ...context(), now: NOW - 1 };
    expect(toNewExecution(asked, early)).toMatchObject({
      execution: {
        executionId: 'mine',
        priority: 'high',
        request: JSON.stringify({ flowData, inputs: { x: 1 } }),
        timeoutMs: 60_000,
        maxAttempts: 5,
        backoff: { baseMs: 10, factor: 2, maxMs: 100, jitter: 0.5 },
        labels: { team: 'billing' },
        delayMs: 7,
        expiresAt: NOW,
      },
    });
  });

  it.each<[string, unknown, string, string]>([
    ['no object', [], '', 'expected an object with flowId and flowData, got an array of 0'],
    ['no flowId', { flowData }, '/flowId', 'got nothing'],
    ['a bad flowId', { ...body, flowId: 'a b' }, '/flowId', 'got "a b"'],
    ['a bad executionId', { ...body, executionId: 5 }, '/executionId', 'got 5'],
    ['no flowData', { flowId: 'f' }, '/flowData', 'got nothing'],
    ['null flowData', { flowId: 'f', flowData: null }, '/flowData', 'got null'],
    ['flowData that is text', { flowId: 'f', flowData: 'x' }, '/flowData', 'got "x"'],
    ['an unknown field', { ...body, prio: 1 }, '/prio', 'the unknown field "prio"'],
    ['a constructor', { ...body, constructor: { prototype: {} } }, '/constructor', 'no field named'],
    ['a name that every object has', { ...body, hasOwnProperty: 1 }, '/hasOwnProperty', 'no field named'],
    [
      'a deep constructor',
      { ...body, retry: { maxAttempts: 'x', constructor: {} } },
      '/retry/constructor',
      'no field named',
    ],
    ['an unknown priority', { ...body, priority: 'urgent' }, '/priority', 'one of high, normal, low'],
    ['null priority', { ...body, priority: null }, '/priority', 'got null'],
    ['inputs that are a list', { ...body, inputs: [] }, '/inputs', 'expected an object'],
    [
      'a timeout beyond the limit',
      { ...body, timeoutMs: 60_001 },
      '/timeoutMs',
      'at most 60000 ms, got 60001',
    ],
    ['a timeout of text', { ...body, timeoutMs: '5' }, '/timeoutMs', 'a whole number'],
    ['retry without attempts', { ...body, retry: {} }, '/retry/maxAttempts', 'got nothing'],
    ['retry that is a number', { ...body, retry: 3 }, '/retry', 'got 3'],
    [
      'a deep unknown field',
      { ...body, retry: { maxAttempts: 1, backoff: { baseMs: 1, x: 1 } } },
      '/retry/backoff/x',
      'baseMs, factor, maxMs, jitter',
    ],
    [
      'a bad factor',
      { ...body, retry: { maxAttempts: 1, backoff: { baseMs: 1, factor: 0 } } },
      '/retry/backoff/factor',
      'from 1 to 10',
    ],
    ['labels that are a list', { ...body, labels: ['a'] }, '/labels', 'an object of texts'],
    ['a label that is no text', { ...body, labels: { 'a/b': 1 } }, '/labels/a~1b', 'got 1'],
    ['a label with a bad name', { ...body, labels: { 'a:b': 'c' } }, '/labels/a:b', 'expected a name'],
    ['a negative delay', { ...body, delayMs: -1 }, '/delayMs', 'got -1'],
    ['an end in the past', { ...body, expiresAt: '2026-11-21T12:00:00Z' }, '/expiresAt', 'after now'],
    ['an end without a zone', { ...body, expiresAt: '2027-01-01T00:00:00' }, '/expiresAt', 'a time like'],
    [
      'a node without type',
      { flowId: 'f', flowData: { ...flowData, nodes: [{ id: 'a' }] } },
      '/flowData/nodes/0/type',
      'got nothing',
    ],
  ])('refuses %s', (_, request, pointer, message) => {
    const outcome = toNewExecution(request, context());
    expect(outcome).toMatchObject({ ok: false, tooLarge: false });
    expect(outcome.ok ? [] : outcome.problems).toContainEqual(
      expect.objectContaining({ pointer, message: expect.stringContaining(message) as unknown }),
    );
  });

  it('names the limits', () => {
    const many = Object.fromEntries(Array.from({ length: 33 }, (_, index) => [`l${index}`, 'x']));
    expect(toNewExecution({ ...body, labels: many }, context())).toMatchObject({
      problems: [{ limit: 'maxLabels' }],
    });
    expect(toNewExecution(body, context({}, { maxNodes: 1 }))).toMatchObject({
      problems: [{ pointer: '/flowData/nodes', limit: 'maxNodes' }],
    });
    expect(
      toNewExecution({ ...body, inputs: { x: 'y'.repeat(200) } }, context({ bodyLimitBytes: 200 })),
    ).toMatchObject({
      tooLarge: true,
      problems: [{ limit: 'bodyLimitBytes' }],
    });
  });

  it('refuses node types that nobody has only when it is told to', () => {
    expect(toNewExecution(body, context({ unknownNodeTypes: 'reject' }))).toMatchObject({
      problems: [
        { pointer: '/flowData/nodes', message: expect.stringContaining('(delay), got "log"') as unknown },
      ],
    });
  });
});

describe('identity', () => {
  it('hashes the content of a request, whatever the order of its keys and its id', () => {
    const turned = {
      flowData: Object.fromEntries(Object.entries(flowData).toReversed()),
      flowId: 'f',
      executionId: 'x',
    };
    expect(hashOf(turned)).toBe(hashOf(body));
    expect(hashOf({ ...body, inputs: {} })).not.toBe(hashOf(body));
    expect(hashOf({ ...body, flowData: { ...flowData, version: 2 } })).not.toBe(hashOf(body));
    // Requests are repeated across upgrades.
    expect(hashOf(body)).toBe(hash('sha256', canonicalJson(body)));
  });

  it('writes canonical JSON that parses back to the same value and ignores key order', () => {
    assert(
      property(jsonValue(), (value) => {
        const parsed = JSON.parse(JSON.stringify(value)) as unknown;
        expect(JSON.parse(canonicalJson(parsed))).toEqual(parsed);
      }),
    );
    expect(canonicalJson({ b: [1, { d: null, c: 'é' }], a: 1.5e3 })).toBe(
      '{"a":1500,"b":[1,{"c":"é","d":null}]}',
    );
  });

  it('writes texts as JSON does, whatever has to be escaped', () => {
    assert(
      property(string({ unit: 'binary' }), array(string({ unit: 'grapheme' })), (text, others) => {
        expect(canonicalJson([text, ...others])).toBe(JSON.stringify([text, ...others]));
      }),
    );
    for (const text of [
      '',
      '"',
      '\\',
      '\u0000',
      '\u001f',
      '\u007f',
      '\u2028',
      'é',
      '😀',
      '\ud83d',
      'a\ude00b',
    ]) {
      expect(canonicalJson(text)).toBe(JSON.stringify(text));
    }
  });

  it('sorts keys by their UTF-16 code units, few and many', () => {
    assert(
      property(uniqueArray(string({ unit: 'binary' }), { maxLength: 40 }), (names) => {
        const value = Object.fromEntries(names.map((name, index) => [name, index]));
        const sorted = Object.keys(value)
          .toSorted()
          .map((name) => `${JSON.stringify(name)}:${value[name]}`);
        expect(canonicalJson(value)).toBe(`{${sorted.join(',')}}`);
      }),
    );
  });

  it('takes a key as the id where it can be one, else a digest', () => {
    expect(idOfKey('order-17')).toBe('order-17');
    expect(idOfKey('Bestellung 17')).toMatch(/^idem-[0-9a-f]{32}$/);
    expect(idOfKey('Bestellung 17')).toBe(idOfKey('Bestellung 17'));
  });

  it('makes UUIDs of version 7 that sort by time', () => {
    const id = uuidV7(0x0123456789ab);
    expect(id).toMatch(/^01234567-89ab-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(isValidId(id)).toBe(true);
    expect(uuidV7(1_000) < uuidV7(1_001)).toBe(true);
    const many = Array.from({ length: 1_000 }, () => uuidV7(1_000));
    expect(new Set(many).size).toBe(1_000);
    expect(
      many.every((each) => /^00000000-03e8-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(each)),
    ).toBe(true);
  });
});
