import jsonata from 'jsonata';

/**
 * JSONata inside flows: how it is marked in a node's config, where it stands, and how it is parsed.
 * Expressions are interpreted by jsonata; nothing of a flow ever reaches `eval`, `new Function` or `vm`.
 */

const MARK = '$expr';
export const MAX_EXPRESSION_LENGTH = 16_384;

/** The text of `{"$expr": "<JSONata>"}`; undefined for any other value (MongoDB's own `$expr` holds an object). */
export function expressionText(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, MARK)) return undefined;
  const text = (value as Record<string, unknown>)[MARK];
  return typeof text === 'string' && Object.keys(value).length === 1 ? text : undefined;
}

export interface ExpressionSite {
  path: string[];
  text: string;
}

interface Place {
  value: unknown;
  key: string;
  parent?: Place;
}

/**
 * Every marked expression inside `value`, in no particular order. Keys of the top level named in `literal` are
 * left out. A loop and not a recursion: depth is bounded by memory alone.
 */
export function findExpressions(value: unknown, literal: readonly string[] = []): ExpressionSite[] {
  const sites: ExpressionSite[] = [];
  const places: Place[] = [{ value, key: '' }];
  for (let place = places.pop(); place !== undefined; place = places.pop()) {
    if (typeof place.value !== 'object' || place.value === null) continue;
    const text = expressionText(place.value);
    if (text !== undefined) {
      sites.push({ path: pathOf(place), text });
      continue;
    }
    for (const [key, child] of Object.entries(place.value)) {
      if (typeof child !== 'object' || child === null) continue;
      if (place.parent === undefined && literal.includes(key)) continue;
      places.push({ value: child, key, parent: place });
    }
  }
  return sites;
}

function pathOf(place: Place): string[] {
  const path: string[] = [];
  for (let at = place; at.parent !== undefined; at = at.parent) path.push(at.key);
  return path.toReversed();
}

/** A parsed expression takes up to about 80 bytes for each character of its text. */
const KEPT_CHARACTERS = 500_000;

/** Parses JSONata once per text and keeps the texts used last, good and bad ones: `capacity` at most, 40 MB at worst. */
export class ExpressionCache {
  private readonly parsed = new Map<string, jsonata.Expression | SyntaxError>();
  private characters = 0;

  constructor(
    private readonly options: jsonata.JsonataOptions = {},
    private readonly capacity = 2000,
    private readonly prepare: (expression: jsonata.Expression) => void = () => {},
  ) {}

  /** @throws SyntaxError with the text, what is wrong with it and where. */
  compile(text: string): jsonata.Expression {
    const entry = this.lookup(text);
    if (entry instanceof SyntaxError) throw entry;
    return entry;
  }

  /** What is wrong with the syntax of `text`; undefined when nothing is. */
  problem(text: string): string | undefined {
    const entry = this.lookup(text);
    return entry instanceof SyntaxError ? entry.message : undefined;
  }

  private lookup(text: string): jsonata.Expression | SyntaxError {
    const known = this.parsed.get(text);
    const entry = known ?? this.parse(text);
    if (known !== undefined) this.forget(text);
    this.parsed.set(text, entry);
    this.characters += text.length;
    while (this.parsed.size > this.capacity || (this.characters > KEPT_CHARACTERS && this.parsed.size > 1)) {
      this.forget(this.parsed.keys().next().value!);
    }
    return entry;
  }

  private forget(text: string): void {
    this.parsed.delete(text);
    this.characters -= text.length;
  }

  private parse(text: string): jsonata.Expression | SyntaxError {
    if (text.length > MAX_EXPRESSION_LENGTH) {
      return new SyntaxError(
        `expected at most ${MAX_EXPRESSION_LENGTH} characters of JSONata, got ${text.length}`,
      );
    }
    try {
      const expression = jsonata(text, this.options);
      this.prepare(expression);
      return expression;
    } catch (error) {
      const { message, position } = error as { message?: string; position?: number };
      const at = position === undefined ? '' : ` (at character ${position})`;
      return new SyntaxError(`expected JSONata, got ${excerpt(text)}: ${message ?? 'syntax error'}${at}`);
    }
  }
}

/** A text short enough for an error message. */
export function excerpt(text: string, length = 80): string {
  return JSON.stringify(text.length <= length ? text : `${text.slice(0, length - 1)}…`);
}
