import { describe, expect, it } from '@jest/globals';
import {
  Allow,
  IsArray,
  IsDefined,
  IsInt,
  IsObject,
  IsString,
  registerDecorator,
  ValidateBy,
  ValidateIf,
  ValidateNested,
  ValidatePromise,
  type ValidationArguments,
  validateSync,
} from 'class-validator';
import * as fc from 'fast-check';
import { isSurelyFaultless } from '../../../src/orchestrator/api/faultless.js';
import { toFlowExecutionRequest } from '../../../src/orchestrator/api/flow-execution.dto.js';
import { expected, faultsOf, MayBeMissing, RULES } from '../../../src/orchestrator/api/validation.js';

const DAY_MS = 86_400_000;
/** Fields that every object has already: class-validator's list of known fields is a plain object that has them too. */
const INHERITED = Object.getOwnPropertyNames(Object.prototype);

/** What class-validator says. */
const isFaultless = (instance: object): boolean => validateSync(instance, RULES).length === 0;

const id = fc.stringMatching(/^[A-Za-z0-9_.:-]{1,20}$/);
const flowData = fc.constant({ name: 'n', version: 1, nodes: [{ id: 'a', type: 'delay' }], connections: [] });
const inputs = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 1 }), { maxKeys: 4 });
const backoff = fc.record(
  {
    baseMs: fc.integer({ min: 0, max: DAY_MS }),
    factor: fc.double({ min: 1, max: 10, noNaN: true }),
    maxMs: fc.integer({ min: 0, max: DAY_MS }),
    jitter: fc.double({ min: 0, max: 1, noNaN: true }),
  },
  { requiredKeys: ['baseMs'] },
);
const retry = fc.record(
  { maxAttempts: fc.integer({ min: 1, max: 100 }), backoff },
  { requiredKeys: ['maxAttempts'] },
);
const validBody = fc.record(
  {
    flowId: id,
    flowData,
    inputs,
    executionId: id,
    priority: fc.constantFrom('high', 'normal', 'low'),
    timeoutMs: fc.integer({ min: 1, max: DAY_MS }),
    retry,
    labels: fc.dictionary(id, fc.string(), { maxKeys: 3 }),
    delayMs: fc.integer({ min: 0, max: 365 * DAY_MS }),
    expiresAt: fc
      .date({ min: new Date(0), max: new Date('2100-01-01'), noInvalidDate: true })
      .map((date) => date.toISOString()),
  },
  { requiredKeys: ['flowId', 'flowData'] },
);

const FIELDS = ['flowId', 'flowData', 'inputs', 'executionId', 'priority', 'timeoutMs', 'retry', 'labels'];
const DEEP_FIELDS = ['maxAttempts', 'backoff', 'baseMs', 'factor', 'maxMs', 'jitter', 'delayMs', 'expiresAt'];
const fieldName = fc.oneof(
  fc.constantFrom(...FIELDS, ...DEEP_FIELDS),
  fc.constantFrom(...INHERITED),
  fc.string(),
);
const oddValue = fc.oneof(
  fc.constantFrom(undefined, null, '', 'x', 'a b', true, [], {}, [{}], { maxAttempts: 1 }, { baseMs: 1 }),
  fc.constantFrom(-1, 0, 0.5, 1, 1.5, 10.5, 100, 101, DAY_MS, DAY_MS + 1, NaN, Infinity),
  fc.constantFrom('2030-01-31T12:00:00Z', '2030-01-31', 'high', 'urgent', 'x'.repeat(128), 'x'.repeat(129)),
  fc.jsonValue({ maxDepth: 2 }),
);

type Path = [] | ['retry'] | ['retry', 'backoff'];
const PATHS: Path[] = [[], ['retry'], ['retry', 'backoff']];
interface Edit {
  path: Path;
  name: string;
  /** Unset = the field goes. */
  value?: unknown;
}
const edit: fc.Arbitrary<Edit> = fc.record(
  {
    path: fc.constantFrom(...PATHS),
    name: fieldName,
    value: oddValue,
  },
  { requiredKeys: ['path', 'name'] },
);

/** The body as a client could send it: `__proto__` and `constructor` are fields like any other. */
function edited(body: object, edits: Edit[]): object {
  const copy = structuredClone(body);
  for (const { path, name, ...rest } of edits) {
    const at = path.reduce<unknown>(
      (value, key) => (value as Record<string, unknown> | undefined)?.[key],
      copy,
    );
    if (typeof at !== 'object' || at === null) continue;
    Reflect.deleteProperty(at, name);
    if ('value' in rest) {
      // A copy, since a later edit may reach into it.
      const value: unknown = structuredClone(rest.value);
      Object.defineProperty(at, name, { value, writable: true, enumerable: true, configurable: true });
    }
  }
  return copy;
}

const nearlyValidBody = fc
  .tuple(validBody, fc.array(edit, { minLength: 1, maxLength: 3 }))
  .map(([body, edits]) => edited(body, edits));
const anyBody = fc.oneof(
  validBody,
  { arbitrary: nearlyValidBody, weight: 4 },
  fc.dictionary(fieldName, oddValue),
  fc.object(),
);

/** class-validator throws where the fields of a client leave it without a class to ask; the look must only be unsure. */
function verdictOf(instance: object): boolean | 'throws' {
  try {
    return isFaultless(instance);
  } catch {
    return 'throws';
  }
}

function hasInheritedName(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    (INHERITED.some((name) => Object.hasOwn(value, name)) ||
      Object.values(value).some((inner) => hasInheritedName(inner)))
  );
}

describe('the first look at a flow request', () => {
  it('is sure of every valid request, so that class-validator is not asked', () => {
    fc.assert(
      fc.property(validBody, (body) => {
        const request = toFlowExecutionRequest(body);
        expect([isSurelyFaultless(request), isFaultless(request)]).toEqual([true, true]);
      }),
      { numRuns: 500 },
    );
  });

  it('is never sure where class-validator finds a fault, and always where it finds none', () => {
    const seen = { faulty: 0, faultless: 0 };
    fc.assert(
      fc.property(anyBody, (body) => {
        const request = toFlowExecutionRequest(body);
        const verdict = verdictOf(request);
        seen[verdict === true ? 'faultless' : 'faulty']++;
        const isSure = isSurelyFaultless(request);
        if (hasInheritedName(body)) expect(isSure && verdict !== true).toBe(false);
        else expect(isSure).toBe(verdict);
      }),
      { numRuns: 5_000 },
    );
    // Else the bodies say little about one of the two.
    expect(Math.min(seen.faulty, seen.faultless)).toBeGreaterThan(500);
  });

  it.each(INHERITED)('is not taken in by a field %s, wherever it is', (name) => {
    const body = { flowId: 'f', flowData: {}, retry: { maxAttempts: 1, backoff: { baseMs: 1 } } };
    for (const path of PATHS) {
      for (const value of [null, 1, 'x', {}, { prototype: {} }, { constructor: null }]) {
        const request = toFlowExecutionRequest(edited(body, [{ path, name, value }]));
        // To assign a number or text to __proto__ does nothing: no such field arrives.
        const isLost = name === '__proto__' && typeof value !== 'object';
        expect(isSurelyFaultless(request)).toBe(isLost);
        expect(isLost && verdictOf(request) !== true).toBe(false);
      }
    }
  });

  it('leaves the words to class-validator', () => {
    const faulty = toFlowExecutionRequest({ flowId: 'a b', flowData: {}, prio: 1 });
    expect(faultsOf(faulty)).toEqual([
      { pointer: '/prio', message: expect.stringContaining('the unknown field "prio"') as unknown },
      { pointer: '/flowId', message: expect.stringContaining('got "a b"') as unknown },
    ]);
    expect(faultsOf(toFlowExecutionRequest({ flowId: 'ab', flowData: {} }))).toEqual([]);
  });
});

class Plain {
  @IsInt()
  count = 1;
}

const Never = (): PropertyDecorator =>
  ValidateBy({ name: 'never', validator: { validate: () => false } }) as PropertyDecorator;
const Later = (): PropertyDecorator =>
  ValidateBy({ name: 'later', validator: { validate: () => Promise.resolve(true) } }) as PropertyDecorator;
const asked: unknown[] = [];
const Elsewhere = (): PropertyDecorator => (target, name) =>
  registerDecorator({
    name: 'elsewhere',
    async: true,
    target: target.constructor,
    propertyName: name as string,
    validator: { validate: (value) => asked.push(value) > 0 },
  });

/** From here on: instances that class-validator lets through, with what the look does not claim to understand. */
class WithEach {
  @IsDefined({ each: true })
  counts = [1, 2];
}
class WithGroups {
  @IsInt({ groups: ['a'] })
  count = 1;
}
class WithOption {
  @IsInt({ validateIf: () => true })
  count = 1;
}
class WithLaterCheck {
  @Later()
  count = 1;
}
class WithAsyncCheck {
  @Elsewhere()
  count = 1;
}
class WithPromise {
  @ValidatePromise()
  count = Promise.resolve(1);
}
class WithParent extends Plain {
  @IsString()
  name = 'n';
}
class WithList {
  @IsArray()
  @ValidateNested()
  parts = [new Plain()];
}
class ListOfRules extends Array<unknown> {
  @Allow()
  note = 'n';
}
class WithListOfRules {
  @ValidateNested()
  parts = new ListOfRules();
}

class WithNested {
  @ValidateNested()
  part: unknown = new Plain();
}
const nested = (part: unknown): object => Object.assign(new WithNested(), { part });

describe('the first look at any class', () => {
  const beyond = [WithEach, WithGroups, WithOption, WithLaterCheck, WithAsyncCheck, WithPromise];
  it.each([...beyond, WithParent, WithList, WithListOfRules])(
    'is not sure of an instance of %p, whatever class-validator says',
    (Dto) => {
      expect([isFaultless(new Dto()), isSurelyFaultless(new Dto())]).toEqual([true, false]);
      expect(asked).toEqual([]); // by either: a check that may fail later must not be started here
    },
  );

  it('is not sure of an object whose class has no rules', () => {
    expect(isSurelyFaultless(nested(new Plain()))).toBe(true);
    const strangers = [{}, { count: 1 }, [], new Map(), new Date(), Object.create(null), null, 1, () => 1];
    for (const part of strangers) {
      expect(isSurelyFaultless(nested(part))).toBe(false);
    }
    expect(isSurelyFaultless({ count: 1 })).toBe(false);
    expect(isSurelyFaultless(Object.create(null))).toBe(false);
  });

  it('is not taken in by an own constructor that is a class with rules', () => {
    const poser = Object.create(null, {
      constructor: { value: Plain },
      count: { value: 1, enumerable: true },
    }) as object;
    expect([isFaultless(nested(poser)), isSurelyFaultless(nested(poser))]).toEqual([false, false]);
    expect(isSurelyFaultless(Object.assign(new Plain(), { constructor: WithOption }))).toBe(false);
  });

  it('reads the rules at the first instance, so that a class may come later than the look', () => {
    class Late {
      @IsDefined()
      @IsObject()
      part?: object;
    }
    expect(isSurelyFaultless(new Late())).toBe(false);
    expect(isSurelyFaultless(Object.assign(new Late(), { part: {} }))).toBe(true);
  });

  it('skips a field only if one of its conditions says so', () => {
    class Conditional {
      @MayBeMissing()
      @ValidateIf((instance: Conditional) => instance.isOn)
      @Never()
      field?: number;
      @Allow()
      isOn = true;
    }
    for (const [field, isOn] of [
      [undefined, true],
      [1, false],
      [1, true],
    ] as const) {
      const instance = Object.assign(new Conditional(), { field, isOn });
      expect(isSurelyFaultless(instance)).toBe(isFaultless(instance));
      expect(isSurelyFaultless(instance)).toBe(field === undefined || !isOn);
    }
  });

  it('gives a check the arguments that class-validator gives it, IsDefined first', () => {
    const calls: (ValidationArguments | undefined)[] = [];
    const validate = (_: unknown, given?: ValidationArguments) => calls.push(given) > 0;
    class Watched {
      @ValidateBy({ name: 'watched', constraints: [7], validator: { validate } }, expected('a 7'))
      @IsDefined()
      field?: number;
    }
    const watched = Object.assign(new Watched(), { field: 7 });
    expect([isSurelyFaultless(watched), isFaultless(watched)]).toEqual([true, true]);
    expect(calls).toHaveLength(2);
    expect(calls[0]).toEqual(calls[1]);
    expect(calls[0]?.object).toBe(watched);
    expect([isSurelyFaultless(new Watched()), isFaultless(new Watched())]).toEqual([false, false]);
    expect(calls).toHaveLength(2);
  });
});
