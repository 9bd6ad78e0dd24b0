import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'libsql';
import type { Taken } from './batch-rows.js';
import { errorCode, errorText, StoreInUseError, StoreSetupError } from './errors.js';

/** How long opening waits for another process to let go of the file, so that a quick restart does not fail. */
const OPEN_TIMEOUT_MS = 2_000;
/** Statements kept prepared: the store has about fifty, lists vary, and a write of batches has one for each size. */
const PREPARED_LIMIT = 300;

export interface SqliteStatement {
  text: string;
  parameters: readonly unknown[];
}

const bare = (text: string): SqliteStatement => ({ text, parameters: [] });

export const BEGIN = bare('begin immediate');
export const COMMIT = bare('commit');
export const ROLLBACK = bare('rollback');
/** Around what has to take effect as a whole within a transaction that goes on if it fails. */
export const SAVEPOINT = bare('savepoint batch');
export const RELEASE = bare('release batch');
export const ROLLBACK_TO = bare('rollback to batch');

type Statement = ReturnType<Database.Database['prepare']>;

/** How the write of a batch is asked which rows it took: it is one row, `Taken`, that answers. */
export interface Which {
  /** How many rows the batch has. */
  count: number;
  /** What makes the statement answer their ids. */
  returning: string;
}

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

  execute({ text, parameters }: SqliteStatement): SqliteAnswer {
    const { statement, answersRows } = this.prepare(text);
    if (answersRows) {
      return { rows: statement.all(parameters), changes: 0 };
    }
    return { rows: [], changes: Number(statement.run(parameters).changes) };
  }

  /** One after the other. @returns what they answered together */
  executeAll(statements: readonly SqliteStatement[]): SqliteAnswer {
    const answers = statements.map((statement) => this.execute(statement));
    return answers.length === 1
      ? answers[0]!
      : {
          rows: answers.flatMap(({ rows }) => rows),
          changes: answers.reduce((sum, { changes }) => sum + changes, 0),
        };
  }

  /**
   * Runs the write of a batch. Nearly always it takes all rows, which their number says: to have their ids answered as
   * well would cost as much again as the statement.
   * @returns null if it took some and not others: it has to be undone and done again with `takeAsking`
   */
  take(statements: readonly SqliteStatement[], { count }: Which): SqliteAnswer | null {
    const { changes } = this.executeAll(statements);
    return changes === 0 || changes === count ? taken(changes, null) : null;
  }

  takeAsking(statements: readonly SqliteStatement[], { returning }: Which): SqliteAnswer {
    const asking = statements.map(({ text, parameters }) => ({ text: `${text} ${returning}`, parameters }));
    const { rows } = this.executeAll(asking);
    return taken(
      rows.length,
      rows.map((row) => (row as { id: string }).id),
    );
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

function taken(count: number, ids: string[] | null): SqliteAnswer {
  return { rows: [{ taken: count, ids } satisfies Taken], changes: count };
}

function openExclusively(file: string): Database.Database {
  try {
    mkdirSync(dirname(file), { recursive: true });
    const database = new Database(file, { timeout: OPEN_TIMEOUT_MS });
    try {
      // Exclusive locking comes before WAL: the lock is then taken at once and held until `close`. An end makes its
      // row longer, which splits pages of 4 KiB, where few rows fit, more often than those of 8. A file keeps its size. The
      // cache (8 MiB) holds what some writes change; all else the operating system's has.
      database.exec(`
        pragma page_size = 8192; pragma locking_mode = EXCLUSIVE; pragma journal_mode = WAL; pragma synchronous = FULL;
        pragma cache_size = -8192; pragma temp_store = MEMORY;
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
