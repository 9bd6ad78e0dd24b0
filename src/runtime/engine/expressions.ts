import type jsonata from 'jsonata';
import { excerpt, ExpressionCache, type ExpressionSite } from '../../queue/contracts/expression.js';
import { Breath } from './breath.js';
import { setField, toJson } from './json-value.js';

export interface ExpressionLimits {
  /** Longest evaluation, in ms of wall time. */
  timeoutMs: number;
  /** Deepest nesting of one evaluation, in jsonata's own steps. */
  stackDepth: number;
  /** Longest array that an expression may build. */
  sequenceLength: number;
}

export const DEFAULT_EXPRESSION_LIMITS: ExpressionLimits = {
  timeoutMs: 5000,
  stackDepth: 500,
  sequenceLength: 10_000_000,
};

export class ExpressionError extends Error {
  override readonly name = 'ExpressionError';
}

export interface Scope {
  variables: Record<string, unknown>;
  signal: AbortSignal;
}

/** jsonata's hook before each step (`Symbol.for`, so it is public), and a variable no expression can name. */
const EVERY_STEP = Symbol.for('jsonata.__evaluate_entry') as unknown as string;
const SIGNAL = ' signal';

/** Evaluates JSONata under limits, heeds an AbortSignal and keeps the event loop turning. Shared by all flows. */
export class Expressions {
  readonly breath = new Breath();
  private readonly cache: ExpressionCache;

  constructor(private readonly limits: ExpressionLimits = DEFAULT_EXPRESSION_LIMITS) {
    const { timeoutMs, stackDepth, sequenceLength } = limits;
    const options = { timeout: timeoutMs, stack: stackDepth, sequence: sequenceLength };
    this.cache = new ExpressionCache(options, 2000, (expression) =>
      expression.assign(EVERY_STEP, this.everyStep),
    );
  }

  /** The result as JSON. @throws ExpressionError with the text; or the signal's reason once it is aborted. */
  async evaluate(text: string, root: unknown, { variables, signal }: Scope): Promise<unknown> {
    const expression = this.compile(text);
    try {
      return toJson(await expression.evaluate(root, { ...variables, [SIGNAL]: signal }));
    } catch (error) {
      signal.throwIfAborted();
      throw new ExpressionError(`the JSONata ${excerpt(text)} failed: ${this.explain(error)}`);
    }
  }

  private compile(text: string): jsonata.Expression {
    try {
      return this.cache.compile(text);
    } catch (error) {
      throw new ExpressionError((error as Error).message);
    }
  }

  private explain(error: unknown): string {
    const { code, message } = error as { code?: string; message?: string };
    if (code === 'D1012') return `it took longer than the limit of ${this.limits.timeoutMs} ms`;
    if (code === 'D1011') return `it recursed deeper than the limit of ${this.limits.stackDepth} steps`;
    if (code === 'D2015') return `it built an array longer than the limit of ${this.limits.sequenceLength}`;
    return message ?? code ?? 'no reason given';
  }

  private readonly everyStep = (_step: unknown, _input: unknown, environment: jsonata.Environment) =>
    this.breath.due() ? this.pause(environment.lookup(SIGNAL) as AbortSignal) : undefined;

  private async pause(signal: AbortSignal): Promise<void> {
    await this.breath.take();
    signal.throwIfAborted();
  }
}

/** `config` with each site replaced by its value: containers on the way are copied once, the rest is shared. */
export async function evaluateSites(
  config: unknown,
  sites: readonly ExpressionSite[],
  evaluate: (text: string) => Promise<unknown>,
): Promise<unknown> {
  const root: Record<string, unknown> = { config };
  const copied = new Set<object>();
  for (const { path, text } of sites) {
    const value = await evaluate(text);
    let holder = root;
    let key = 'config';
    for (const step of path) {
      holder = ownCopy(holder, key, copied);
      key = step;
    }
    setField(holder, key, value);
  }
  return root['config'];
}

function ownCopy(holder: Record<string, unknown>, key: string, copied: Set<object>): Record<string, unknown> {
  const child = holder[key] as Record<string, unknown>;
  if (copied.has(child)) return child;
  const fresh = (Array.isArray(child) ? [...child] : { ...child }) as Record<string, unknown>;
  copied.add(fresh);
  setField(holder, key, fresh);
  return fresh;
}

/** Truth as JSONata's own `$boolean` has it: empty text, arrays, objects, 0, null and nothing are false. */
export function isTruthy(value: unknown): boolean {
  const pending: unknown[] = [value];
  for (let count = pending.length; count > 0; count = pending.length) {
    const current = pending.pop();
    if (Array.isArray(current)) for (const item of current) pending.push(item);
    else if (
      typeof current === 'object' && current !== null ? Object.keys(current).length > 0 : Boolean(current)
    )
      return true;
  }
  return false;
}
