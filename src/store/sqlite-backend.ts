import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { Kysely, type SqliteDatabase, SqliteDialect, type SqliteStatement } from 'kysely';
import Database from 'libsql';
import type { Backend } from './backend.js';
import { sqlite } from './dialect.js';
import { type ErrorKind, errorCode, errorText, StoreInUseError, StoreSetupError } from './errors.js';
import type { StoreDatabase } from './schema.js';

/** How long opening waits for another process to let go of the file, so that a quick restart does not fail. */
const OPEN_TIMEOUT_MS = 2_000;
/** Statements kept prepared; the store has about fifty, and lists vary. */
const PREPARED_LIMIT = 200;

/**
 * Opens the embedded database for this process alone.
 * @throws StoreInUseError if another process has it
 */
export function sqliteBackend(file: string): Backend {
  const database = openExclusively(file);
  const db = new Kysely<StoreDatabase>({
    dialect: new SqliteDialect({ database: withPreparedStatements(database) }),
  });
  return { dialect: sqlite, db, migrator: () => db, kindOf, describe: () => `the SQLite file ${file}` };
}

function openExclusively(file: string): Database.Database {
  try {
    mkdirSync(dirname(file), { recursive: true });
    const database = new Database(file, { timeout: OPEN_TIMEOUT_MS });
    try {
      // Exclusive locking comes before WAL: the lock is then taken at once and held until `letGo`.
      database.exec(`
        pragma locking_mode = EXCLUSIVE; pragma journal_mode = WAL; pragma synchronous = FULL;
        pragma cache_size = -65536; pragma temp_store = MEMORY;
        pragma wal_autocheckpoint = 4000; pragma journal_size_limit = 67108864;
        begin exclusive; commit`);
    } catch (error) {
      database.close();
      throw error;
    }
    return database;
  } catch (error) {
    if (errorCode(error).startsWith('SQLITE_BUSY')) throw new StoreInUseError(file, { cause: error });
    throw new StoreSetupError(
      `the database file ${file} cannot be opened: ${errorText(error)}. Its folder must be writable (see DATA_DIR), ` +
        'and the file must be a SQLite database',
      { cause: error },
    );
  }
}

/** Kysely prepares a statement for every call; preparing costs as much here as running it. */
function withPreparedStatements(database: Database.Database): SqliteDatabase {
  const prepared = new Map<string, SqliteStatement>();
  return {
    prepare(source) {
      const known = prepared.get(source);
      if (known !== undefined) return known;
      if (prepared.size >= PREPARED_LIMIT) prepared.clear();
      const statement = adapt(database.prepare(source));
      prepared.set(source, statement);
      return statement;
    },
    close() {
      prepared.clear();
      letGo(database);
    },
  };
}

/**
 * Gives the lock back. `libsql` really closes a file only once every statement made from it was collected as
 * garbage, which would leave the lock with a process that goes on.
 */
function letGo(database: Database.Database): void {
  try {
    // The exclusive lock belongs to the WAL, so the WAL has to be left first; this also writes it into the file.
    database.exec('pragma journal_mode = DELETE; pragma locking_mode = NORMAL');
    // The locking mode changes with the next use of the file.
    database.prepare('select count(*) from sqlite_schema').all();
  } finally {
    database.close();
  }
}

/** `libsql` takes parameters as one array; whether a statement answers rows is asked once. */
function adapt(statement: ReturnType<Database.Database['prepare']>): SqliteStatement {
  return {
    reader: statement.reader,
    all: (parameters) => statement.all(parameters),
    run: (parameters) => statement.run(parameters),
    iterate: (parameters) => statement.iterate(parameters) as IterableIterator<unknown>,
  };
}

/** A full disk and an I/O error may pass; everything else is a mistake in the call. */
function kindOf(error: unknown): ErrorKind {
  return /^SQLITE_(?:BUSY|LOCKED|FULL|IOERR|NOMEM)/.test(errorCode(error)) ? 'unavailable' : 'other';
}
