import {
  type CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  Kysely,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely';
import type { Backend } from './backend.js';
import type { BatchQuery } from './batch-statement.js';
import { sqlite } from './dialect.js';
import { type ErrorKind, errorCode } from './errors.js';
import type { StoreDatabase } from './schema.js';
import { SqliteClient } from './sqlite-client.js';
import { BEGIN, COMMIT, ROLLBACK } from './sqlite-file.js';

/**
 * Opens the embedded database for this process alone.
 * @throws StoreInUseError if another process has it
 */
export async function sqliteBackend(file: string): Promise<Backend> {
  const db = new Kysely<StoreDatabase>({ dialect: dialectOf(await SqliteClient.open(file)) });
  return { dialect: sqlite, db, migrator: () => db, kindOf, describe: () => `the SQLite file ${file}` };
}

function dialectOf(client: SqliteClient): Dialect {
  return {
    createAdapter: () => new SqliteAdapter(),
    createDriver: () => new SqliteDriver(client),
    createIntrospector: (db) => new SqliteIntrospector(db),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  };
}

const RETURNING = 'returning executions.execution_id as id';

/**
 * One database connection for everybody. Statements follow each other without waiting for the answer to the one before;
 * only while a transaction is open do those that are not part of it wait.
 */
class SqliteDriver implements Driver {
  private transaction: Promise<void> | null = null;
  private readonly ends = new WeakMap<DatabaseConnection, () => void>();

  constructor(private readonly client: SqliteClient) {}

  async init(): Promise<void> {}

  async acquireConnection(): Promise<DatabaseConnection> {
    const connection: DatabaseConnection = {
      executeQuery: (query) => this.execute(connection, query),
      streamQuery: () => {
        throw new Error('the store reads pages, it does not stream');
      },
    };
    return connection;
  }

  async beginTransaction(connection: DatabaseConnection): Promise<void> {
    // No further `await` between the look and the claim: who waits as well would find the turn free, too.
    while (this.transaction !== null) {
      await this.transaction;
    }
    this.transaction = new Promise((resolve) => this.ends.set(connection, resolve));
    try {
      await this.client.execute([BEGIN]);
    } catch (error) {
      this.endTransaction(connection);
      throw error;
    }
  }

  async commitTransaction(connection: DatabaseConnection): Promise<void> {
    await this.client.execute([COMMIT]);
    this.endTransaction(connection);
  }

  async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    // It fails where the database has rolled back by itself, as it does on a full disk: what counts is that first error.
    await this.client.execute([ROLLBACK]).catch(() => undefined);
    this.endTransaction(connection);
  }

  async releaseConnection(): Promise<void> {}

  async destroy(): Promise<void> {
    await this.client.close();
  }

  private async execute<R>(
    connection: DatabaseConnection,
    query: CompiledQuery | BatchQuery<unknown>,
  ): Promise<QueryResult<R>> {
    while (this.transaction !== null && !this.ends.has(connection)) {
      await this.transaction;
    }
    const [rest, count] = 'rest' in query ? [query.rest, query.count] : [[], null];
    const statements = [query, ...rest].map(({ sql: text, parameters }) => ({ text, parameters }));
    const which = count === null ? null : { count, returning: RETURNING };
    const { rows, changes } = await this.client.execute(statements, which);
    return { rows: rows as R[], numAffectedRows: BigInt(changes) };
  }

  private endTransaction(connection: DatabaseConnection): void {
    const end = this.ends.get(connection);
    this.ends.delete(connection);
    this.transaction = null;
    end?.();
  }
}

/** A full disk and an I/O error may pass; everything else is a mistake in the call. */
function kindOf(error: unknown): ErrorKind {
  return /^SQLITE_(?:BUSY|LOCKED|FULL|IOERR|NOMEM)/.test(errorCode(error)) ? 'unavailable' : 'other';
}
