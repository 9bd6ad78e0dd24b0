import { ConfigError } from './config-error.js';

/** EX_CONFIG of sysexits.h: starting again without a change won't help, so supervisors can stop trying. */
export const CONFIG_EXIT_CODE = 78;

/**
 * Awaits a configuration. On a `ConfigError` the process prints its message to stderr, without a stack, and exits
 * with 78; every other error is thrown on.
 */
export async function exitOnConfigError<T>(loading: Promise<T>): Promise<T> {
  try {
    return await loading;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return process.exit(CONFIG_EXIT_CODE);
  }
}
