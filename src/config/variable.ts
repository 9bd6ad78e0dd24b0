import 'reflect-metadata';
import { accessSync, constants, statSync } from 'node:fs';
import { Expose, Transform } from 'class-transformer';
import {
  ArrayNotEmpty,
  IsArray,
  IsBoolean,
  IsIn,
  IsInt,
  IsNumber,
  IsString,
  Matches,
  Max,
  Min,
  ValidateBy,
} from 'class-validator';

/**
 * One decorator a kind of variable. Each reads the text of the environment (class-transformer), checks it
 * (class-validator) and records what the error messages and the README's table say about it, in one place.
 */

/** What is known of a variable, apart from how it is checked. */
export interface Variable {
  /** As in the environment: the property's name in capitals, or the `name` given. */
  name: string;
  property: string;
  /** As the table shows it; empty when there is none. */
  defaultText: string;
  unit: string;
  about: string;
  /** Completes "expected …" in an error. */
  expected: string;
  /** True: its value is never shown. */
  secret: boolean;
}

export interface VariableOptions<T> {
  /** Its meaning, as the README's table gives it. */
  about: string;
  /** Its value when it is not set; a function where it depends on the machine (with `defaultText` for the table). */
  default: T | (() => T);
  defaultText?: string;
  unit?: string;
  /** Only where it is not the property's name in capitals. */
  name?: string;
  secret?: boolean;
}

interface Range {
  min?: number;
  /** Default 2,147,483,647: a Node timer with a longer delay fires at once. */
  max?: number;
}

interface Kind {
  expected: string;
  parse: (raw: string, environment: Readonly<Record<string, string>>) => unknown;
  rules: PropertyDecorator[];
}

const VARIABLES = 'config:variables';
const MAX_INT32 = 2_147_483_647;

/** The variables of a class, those of its base class first, in the order of declaration. */
export function variablesOf(schema: object): readonly Variable[] {
  return (Reflect.getMetadata(VARIABLES, schema) as Variable[] | undefined) ?? [];
}

/** A whole number. */
export function Int(options: VariableOptions<number> & Range): PropertyDecorator {
  const { min = 0, max = MAX_INT32 } = options;
  return variable(options, {
    expected: `an integer from ${min} to ${max}`,
    parse: parseInteger,
    rules: [IsInt(), Min(min), Max(max)],
  });
}

/** A number, decimals allowed. */
export function Decimal(options: VariableOptions<number> & Required<Range>): PropertyDecorator {
  return variable(options, {
    expected: `a number from ${options.min} to ${options.max}`,
    parse: (raw) => (/^-?\d+(\.\d+)?$/.test(raw) ? Number(raw) : raw),
    rules: [IsNumber(), Min(options.min), Max(options.max)],
  });
}

/** Whole numbers, separated by commas, each greater than the one before. */
export function IntList(options: VariableOptions<number[]> & Range): PropertyDecorator {
  const { min = 0, max = MAX_INT32 } = options;
  return variable(options, {
    expected: `rising integers from ${min} to ${max}, separated by commas`,
    parse: (raw) => splitList(raw).map(parseInteger),
    rules: [
      ArrayNotEmpty(),
      IsInt({ each: true }),
      Min(min, { each: true }),
      Max(max, { each: true }),
      rising,
    ],
  });
}

/** `true` or `false` (or `1`, `0`). */
export function Flag(options: VariableOptions<boolean>): PropertyDecorator {
  const words = new Map([
    ['true', true],
    ['1', true],
    ['false', false],
    ['0', false],
  ]);
  return variable(options, {
    expected: 'true or false',
    parse: (raw) => words.get(raw.toLowerCase()) ?? raw,
    rules: [IsBoolean()],
  });
}

/** One of the words given. */
export function Choice<T extends string>(
  options: VariableOptions<T> & { of: readonly T[] },
): PropertyDecorator {
  const about = `${options.about} One of ${options.of.map((word) => `\`${word}\``).join(', ')}.`;
  return variable(
    { ...options, about },
    { expected: `one of ${options.of.join(', ')}`, parse: (raw) => raw, rules: [IsIn(options.of)] },
  );
}

interface Pattern {
  pattern?: RegExp;
  /** The pattern in words; completes "expected …". */
  expected?: string;
}

export function Text(options: VariableOptions<string> & Pattern): PropertyDecorator {
  const { pattern = /^/, expected = 'text' } = options;
  return variable(options, { expected, parse: (raw) => raw, rules: [IsString(), Matches(pattern)] });
}

/** Words separated by commas; empty by default. */
export function TextList(options: Omit<VariableOptions<string[]>, 'default'> & Pattern): PropertyDecorator {
  const { pattern = /^/, expected = 'text' } = options;
  return variable(
    { ...options, default: () => [], defaultText: '' },
    {
      expected: `${expected}, separated by commas`,
      parse: splitList,
      rules: [IsArray(), Matches(pattern, { each: true })],
    },
  );
}

/** One URL of the given schemes. An empty default stays allowed. */
export function Url(options: VariableOptions<string> & { schemes: readonly string[] }): PropertyDecorator {
  const accepts = (value: unknown): boolean => value === '' || isUrlOf(options.schemes, value);
  return variable(options, {
    expected: `a URL (${options.schemes.join('://… or ')}://…)`,
    parse: (raw) => raw,
    rules: [ValidateBy({ name: 'url', validator: { validate: accepts } })],
  });
}

/** URLs of the given schemes, separated by commas (a comma inside a URL is written `%2C`). */
export function UrlList(
  options: VariableOptions<string[]> & { schemes: readonly string[] },
): PropertyDecorator {
  const accepts = (value: unknown): boolean =>
    Array.isArray(value) && value.length > 0 && value.every((url) => isUrlOf(options.schemes, url));
  return variable(options, {
    expected: `URLs (${options.schemes.join('://… or ')}://…), separated by commas`,
    parse: splitList,
    rules: [ValidateBy({ name: 'urls', validator: { validate: accepts } })],
  });
}

/** The path of a file that has to be readable at the start; empty by default. */
export function FilePath(options: Omit<VariableOptions<string>, 'default'>): PropertyDecorator {
  return variable(
    { ...options, default: '' },
    {
      expected: 'the path of a file that can be read',
      parse: (raw) => raw,
      rules: [
        ValidateBy({ name: 'file', validator: { validate: (path) => path === '' || isReadable(path) } }),
      ],
    },
  );
}

/**
 * All variables whose names begin with `prefix`, as a record: the rest of the name in lower case → connection
 * string. The record has no prototype, since its keys are looked up by names that a flow chose.
 */
export function ConnectionStrings(options: { prefix: string; about: string }): PropertyDecorator {
  const collect = (environment: Readonly<Record<string, string>>): Record<string, string> =>
    Object.entries(environment)
      .filter(([name]) => name.startsWith(options.prefix))
      .reduce<Record<string, string>>((record, [name, value]) => {
        record[name.slice(options.prefix.length).toLowerCase()] = value;
        return record;
      }, Object.create(null));
  const bad = (value: unknown): string[] =>
    Object.entries(value as Record<string, unknown>)
      .filter(
        ([name, url]) => !/^[a-z0-9_]+$/.test(name) || !/^[a-z][a-z0-9+.-]*:\/\/\S+$/i.test(String(url)),
      )
      .map(([name]) => options.prefix + name.toUpperCase());
  const everyIsUrl = ValidateBy({
    name: detailed('connections'),
    validator: {
      validate: (value) => bad(value).length === 0,
      defaultMessage: (args) =>
        `names of A-Z, 0-9, _ and values scheme://… (see ${bad(args?.value).join(', ')})`,
    },
  });
  return variable<Record<string, string>>(
    { about: options.about, name: `${options.prefix}<NAME>`, default: {}, defaultText: '', secret: true },
    { expected: 'connection strings', parse: (_, environment) => collect(environment), rules: [everyIsUrl] },
    { always: true },
  );
}

/** Not above another number of the same class. */
export function AtMost(other: string): PropertyDecorator {
  return relation(other, 'at most', (value, bound) => value <= bound);
}

/** Below another number of the same class. */
export function Below(other: string): PropertyDecorator {
  return relation(other, 'less than', (value, bound) => value < bound);
}

/**
 * What has to be true of a variable together with others.
 *
 * @param words complete "expected …" in an error; they name the variables to set
 */
export function Holds<T extends object>(words: string, holds: (config: T) => boolean): PropertyDecorator {
  return ValidateBy({
    name: detailed(words),
    validator: { validate: (_, args) => holds(args!.object as T), defaultMessage: () => words },
  });
}

/** Marks a rule whose message says more than the variable's `expected`. */
const DETAILED = 'detailed:';
const detailed = (name: string): string => DETAILED + name;

/** What the broken rules (class-validator's name → message) ask for, in words. */
export function expectation(variable: Variable, broken: Readonly<Record<string, string>>): string {
  const names = Object.keys(broken);
  return names.every((name) => name.startsWith(DETAILED))
    ? Object.values(broken).join(' and ')
    : variable.expected;
}

function variable<T>(options: VariableOptions<T>, kind: Kind, { always = false } = {}): PropertyDecorator {
  return (target, key) => {
    const property = String(key);
    const name = options.name ?? property.replaceAll(/[A-Z]/g, '_$&').toUpperCase();
    const { about, secret = false, unit = '' } = options;
    const entry: Variable = {
      name,
      property,
      defaultText: textOf(options),
      unit,
      about,
      expected: kind.expected,
      secret,
    };
    Reflect.defineMetadata(VARIABLES, [...variablesOf(target.constructor), entry], target.constructor);

    const read = Transform(({ value, obj }) =>
      value === undefined && !always
        ? defaultOf(options)
        : kind.parse(value as string, obj as Record<string, string>),
    );
    for (const decorate of [Expose({ name }), read, ...kind.rules]) decorate(target, key);
  };
}

function defaultOf<T>(options: VariableOptions<T>): T {
  return typeof options.default === 'function'
    ? (options.default as () => T)()
    : structuredClone(options.default);
}

function textOf<T>(options: VariableOptions<T>): string {
  if (options.defaultText !== undefined) return options.defaultText;
  if (typeof options.default === 'function') throw new Error(`defaultText is missing: ${options.about}`);
  return String(options.default);
}

function relation(
  other: string,
  words: string,
  holds: (value: number, bound: number) => boolean,
): PropertyDecorator {
  return ValidateBy({
    name: detailed(`${words} ${other}`),
    validator: {
      validate: (value, args) => {
        const bound = (args?.object as Record<string, unknown> | undefined)?.[other];
        // A value that isn't a number has its own error.
        return typeof value !== 'number' || typeof bound !== 'number' || holds(value, bound);
      },
      defaultMessage: (args) => {
        const object = (args?.object ?? {}) as Record<string, unknown>;
        const bound = variablesOf(object.constructor).find(({ property }) => property === other);
        return `${words} ${bound?.name ?? other} (${String(object[other])})`;
      },
    },
  });
}

const rising = ValidateBy({
  name: 'rising',
  validator: {
    validate: (values: unknown) =>
      Array.isArray(values) && values.every((value, index) => index === 0 || value > values[index - 1]),
  },
});

function parseInteger(raw: string): number | string {
  return /^-?\d+$/.test(raw) ? Number(raw) : raw;
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function splitList(raw: string): string[] {
  return raw.split(',').map((item) => item.trim());
}

function isUrlOf(schemes: readonly string[], value: unknown): boolean {
  if (typeof value !== 'string' || !URL.canParse(value)) return false;
  const { protocol, hostname } = new URL(value);
  return hostname !== '' && schemes.includes(protocol.slice(0, -1));
}
