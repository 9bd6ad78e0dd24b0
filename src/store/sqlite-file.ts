import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'libsql';
import { errorCode, errorText, StoreInUseError, StoreSetupError } from './errors.js';

/** How long opening waits for another process to let go of the file, so that a quick restart does not fail. */
const OPEN_TIMEOUT_MS = 2_000;
/** Statements kept prepared; the store has about fifty, and lists vary. */
const PREPARED_LIMIT = 200;

/** How a transaction begins. */
export const BEGIN = 'begin immediate';

type Statement = ReturnType<Database.Database['prepare']>;

/** What a statement answered: rows, or how many it changed. */
export interface SqliteAnswer {
  rows: unknown[];
  changes: number;
}

/** The embedded database, opened for this process alone. Every call blocks until the disk has it. */
export class SqliteFile {
  private readonly database: Database.Database;
  /** Preparing a statement costs as much here as running it; whether it answers rows is asked once. */
  private readonly prepared = new Map<string, { statement: Statement; answersRows: boolean }>();

  /** @throws StoreInUseError if another process has it, StoreSetupError if it cannot be opened */
  constructor(file: string) {
    this.database = openExclusively(file);
  }

  /** Some errors, a full disk among them, end a transaction by themselves. */
  get isInTransaction(): boolean {
    return this.database.inTransaction;
  }

  execute(text: string, parameters: readonly unknown[]): SqliteAnswer {
    const { statement, answersRows } = this.prepare(text);
    if (answersRows) {
      return { rows: statement.all(parameters), changes: 0 };
    }
    return { rows: [], changes: Number(statement.run(parameters).changes) };
  }

  /**
   * Gives the lock back. `libsql` really closes a file only once every statement made from it was collected as
   * garbage, which would leave the lock with a process that goes on.
   */
  close(): void {
    this.prepared.clear();
    try {
      // The exclusive lock belongs to the WAL, so the WAL has to be left first; this also writes it into the file.
      this.database.exec('pragma journal_mode = DELETE; pragma locking_mode = NORMAL');
      // The locking mode changes with the next use of the file.
      this.database.prepare('select count(*) from sqlite_schema').all();
    } finally {
      this.database.close();
    }
  }

  private prepare(text: string): { statement: Statement; answersRows: boolean } {
    let entry = this.prepared.get(text);
    if (entry === undefined) {
      if (this.prepared.size >= PREPARED_LIMIT) this.prepared.clear();
      const statement = this.database.prepare(text);
      entry = { statement, answersRows: statement.reader };
      this.prepared.set(text, entry);
    }
    return entry;
  }
}

function openExclusively(file: string): Database.Database {
  try {
    mkdirSync(dirname(file), { recursive: true });
    const database = new Database(file, { timeout: OPEN_TIMEOUT_MS });
    try {
      // Exclusive locking comes before WAL: the lock is then taken at once and held until `close`.
      database.exec(`
        pragma locking_mode = EXCLUSIVE; pragma journal_mode = WAL; pragma synchronous = FULL;
        pragma cache_size = -16384; pragma temp_store = MEMORY;
        pragma wal_autocheckpoint = 8000; pragma journal_size_limit = 67108864;
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
