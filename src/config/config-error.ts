export interface ConfigProblem {
  /** The variable, as in the environment. */
  name: string;
  expected: string;
  /** As it came; a placeholder for secrets. */
  got: string;
}

/** Some variables have bad values. Its message names every one of them. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';

  constructor(readonly problems: readonly ConfigProblem[]) {
    const lines = problems.map(({ name, expected, got }) => `  ${name}: expected ${expected}, got ${got}`);
    const count =
      problems.length === 1 ? '1 variable has a bad value' : `${problems.length} variables have bad values`;
    super(
      [
        `${count}; nothing was started.`,
        ...lines,
        'Correct them in the environment or in .env; README.md lists every variable with its default and unit.',
      ].join('\n'),
    );
  }
}
