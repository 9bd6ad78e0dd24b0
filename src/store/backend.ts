import type { Kysely } from 'kysely';
import type { StoreDialect } from './dialect.js';
import type { ErrorKind } from './errors.js';
import type { StoreDatabase } from './schema.js';

/** One open database: what a dialect's driver gives the store. */
export interface Backend {
  readonly dialect: StoreDialect;
  readonly db: Kysely<StoreDatabase>;
  /** The connection for schema changes; destroyed after use unless it is `db` itself. */
  migrator(): Kysely<StoreDatabase>;
  kindOf(error: unknown): ErrorKind;
  /** Which database this is, for messages; without secrets. */
  describe(): string;
}
