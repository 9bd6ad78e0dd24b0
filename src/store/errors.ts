/**
 * The database cannot be reached, is restarting, or gave up on a statement. Nothing is wrong with the call: it may
 * be tried again, and a write may or may not have been done (every write of the store can be repeated).
 */
export class StoreUnavailableError extends Error {
  override readonly name = 'StoreUnavailableError';
  readonly retryable = true;
}

/** The store cannot be opened as it is set up; trying again does not help. The message says what to do. */
export class StoreSetupError extends Error {
  override readonly name = 'StoreSetupError';
}

/** Another process has the embedded database open. */
export class StoreInUseError extends StoreSetupError {
  constructor(
    readonly file: string,
    options?: ErrorOptions,
  ) {
    super(
      `the database file ${file} is in use by another process: the embedded SQLite store belongs to one ` +
        `orchestrator. Stop the other one, give this one its own DATA_DIR, or set DATABASE_URL to a PostgreSQL ` +
        `database to run several`,
      options,
    );
  }
}

/** What became of a statement that failed, as one dialect reads its driver's error. */
export type ErrorKind = 'unavailable' | 'conflict' | 'other';

/** The `code` of a driver's error: an SQLSTATE, a SQLITE_… name or a Node system error. */
export function errorCode(error: unknown): string {
  return typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : '';
}

/** Node's error for a name with several addresses has no message of its own; its code says it all. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message || errorCode(error) || error.name : String(error);
}
