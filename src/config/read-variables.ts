import { plainToInstance } from 'class-transformer';
import { type ValidationError, validateSync } from 'class-validator';
import { ConfigError, type ConfigProblem } from './config-error.js';
import { expectation, variablesOf } from './variable.js';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads the variables of `schema` from an environment. An empty value counts as not set.
 *
 * @param overrides values that win over the environment (command-line flags); `undefined` overrides nothing
 * @returns a frozen instance
 * @throws ConfigError naming every bad variable
 */
export function readVariables<T extends object>(
  schema: new () => T,
  environment: Environment,
  overrides: Partial<T> = {},
): T {
  const texts = withoutEmpty(environment);
  const given = Object.fromEntries(Object.entries(overrides).filter(([, value]) => value !== undefined));
  const config = Object.assign(plainToInstance(schema, texts, { excludeExtraneousValues: true }), given);

  const broken = new Map(validateSync(config).map((error) => [error.property, error]));
  const problems = variablesOf(schema).flatMap((variable): ConfigProblem[] => {
    const { name, property, secret } = variable;
    const error = broken.get(property);
    if (!error) return [];
    const got = property in given ? given[property] : (texts[name] ?? error.value);
    return [
      {
        name,
        expected: expectation(variable, rulesBroken(error)),
        got: secret ? 'a value that is not shown (it may hold a secret)' : JSON.stringify(got),
      },
    ];
  });
  if (problems.length > 0) throw new ConfigError(problems);
  return Object.freeze(config);
}

function withoutEmpty(environment: Environment): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment)
      .map(([name, value]): [string, string] => [name, value?.trim() ?? ''])
      .filter(([, value]) => value !== ''),
  );
}

function rulesBroken(error: ValidationError): Readonly<Record<string, string>> {
  return error.constraints ?? {};
}
