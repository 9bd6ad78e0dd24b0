import { setTimeout as delay } from 'node:timers/promises';
import { type Kysely, Migrator, type RawBuilder, type Transaction } from 'kysely';
import type { Backend } from './backend.js';
import type { StoreDialect } from './dialect.js';
import { errorText, StoreSetupError, StoreUnavailableError } from './errors.js';
import { migrationsFor } from './migrations.js';
import type { StoreDatabase } from './schema.js';

export type Executor = Kysely<StoreDatabase> | Transaction<StoreDatabase>;

/**
 * The database rolls back as a whole what lost a conflict (a deadlock, a serialization failure), so it is simply run
 * again: each write is conditional, and takes the second time what is left for it. It may lose again, as whoever won it
 * may come back before those that waited longer. The tries are bounded, since PostgreSQL looks for a deadlock after a
 * second's wait only (`deadlock_timeout`), and the caller is not to be held up for longer than an outage would.
 */
const CONFLICT_TRIES = 6;
const CONFLICT_BASE_MS = 5;

/**
 * The one way in which the store talks to its database: opens it, repeats what lost a conflict, and turns the
 * driver's errors into the store's.
 */
export class StoreSession {
  private backend: Backend | null = null;

  constructor(
    readonly dialect: StoreDialect,
    private readonly connect: () => Backend | Promise<Backend>,
  ) {}

  /** Opens the database and migrates its schema; a second call does nothing. */
  async open(): Promise<void> {
    if (this.backend !== null) return;
    const backend = await this.connect();
    this.backend = backend;
    try {
      await this.guard(() => migrate(backend));
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    const { backend } = this;
    this.backend = null;
    await backend?.db.destroy();
  }

  /** Runs statements of which each one is its own transaction. */
  run<T>(work: (db: Executor) => Promise<T>): Promise<T> {
    return this.guard(({ db }) => work(db));
  }

  /** Runs statements as one transaction. `work` may be called again after a conflict. */
  transaction<T>(work: (trx: Executor) => Promise<T>): Promise<T> {
    return this.guard(({ db }) => db.transaction().execute(work));
  }

  /** Runs one statement and answers its rows. */
  async rows<T>(query: RawBuilder<T>): Promise<T[]> {
    return this.run(async (db) => (await query.execute(db)).rows);
  }

  private async guard<T>(work: (backend: Backend) => Promise<T>): Promise<T> {
    const { backend } = this;
    if (backend === null) throw new StoreUnavailableError('the store is not open');
    for (let tries = 1; ; tries += 1) {
      try {
        return await work(backend);
      } catch (error) {
        const kind = backend.kindOf(error);
        if (kind === 'other' && this.backend === backend) throw error;
        if (kind !== 'conflict' || tries === CONFLICT_TRIES) throw unavailable(backend, error);
        await delay(Math.random() * CONFLICT_BASE_MS * 2 ** tries);
      }
    }
  }
}

function unavailable(backend: Backend, error: unknown): StoreUnavailableError {
  return new StoreUnavailableError(`${backend.describe()} is not available: ${errorText(error)}`, {
    cause: error,
  });
}

async function migrate(backend: Backend): Promise<void> {
  const db = backend.migrator();
  try {
    // Kysely's migrator works under a lock of its own, so that replicas that start together take turns.
    const { error, results } = await new Migrator({
      db,
      provider: migrationsFor(backend.dialect),
    }).migrateToLatest();
    if (error === undefined) return;
    if (backend.kindOf(error) !== 'other') throw error;
    const failed = results?.find(({ status }) => status === 'Error')?.migrationName;
    throw new StoreSetupError(
      `the schema of ${backend.describe()} could not be brought up to date` +
        `${failed === undefined ? '' : ` (migration ${failed})`}: ${errorText(error)}`,
      { cause: error },
    );
  } finally {
    if (db !== backend.db) await db.destroy();
  }
}
