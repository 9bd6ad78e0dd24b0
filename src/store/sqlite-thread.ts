import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { errorCode, errorText, StoreInUseError } from './errors.js';
import type { SqliteReply, SqliteRequest } from './sqlite-client.js';
import { BEGIN, SqliteFile } from './sqlite-file.js';

/**
 * The thread that has the embedded database: a commit waits for the disk, and here nobody waits with it. Requests are
 * done in the order in which they come. Statements that have gathered behind one another share one commit, so that the
 * disk is waited for once; each is answered only when that has come back, and fails alone.
 */
const { file } = workerData as { file: string };
const port = parentPort!;
const database = open();
if (database) {
  port.on('message', (request: SqliteRequest) => serve(database, request));
} else {
  port.close();
}

function open(): SqliteFile | null {
  try {
    const opened = new SqliteFile(file);
    reply({ id: 0, answer: { rows: [], changes: 0 } });
    return opened;
  } catch (error) {
    reply({ id: 0, error: describe(error) });
    return null;
  }
}

function serve(db: SqliteFile, request: SqliteRequest): void {
  const requests = [request];
  for (let next = received(); next !== undefined; next = received()) {
    requests.push(next);
  }
  while (requests.length > 0) {
    // Within a transaction of the caller's own, every statement is part of that.
    const joinable = db.isInTransaction ? 0 : requests.findIndex(standsAlone);
    const group = requests.splice(0, joinable < 0 ? requests.length : Math.max(1, joinable));
    if (group.length === 1) {
      alone(db, group[0]!);
    } else {
      together(db, group);
    }
  }
}

function received(): SqliteRequest | undefined {
  return receiveMessageOnPort(port)?.message as SqliteRequest | undefined;
}

/** The beginning of a transaction, or the end of everything. */
function standsAlone({ text }: SqliteRequest): boolean {
  return text === null || text === BEGIN;
}

function alone(db: SqliteFile, { id, text, parameters }: SqliteRequest): void {
  try {
    if (text === null) {
      db.close();
      port.close();
    } else {
      reply({ id, answer: db.execute(text, parameters) });
    }
  } catch (error) {
    reply({ id, error: describe(error) });
  }
}

function together(db: SqliteFile, requests: SqliteRequest[]): void {
  try {
    db.execute(BEGIN, []);
    const replies = requests.map(({ id, text, parameters }) => attempt(db, id, text!, parameters));
    db.execute('commit', []);
    replies.forEach(reply);
  } catch (error) {
    if (db.isInTransaction) {
      db.execute('rollback', []);
    }
    requests.forEach(({ id }) => reply({ id, error: describe(error) }));
  }
}

/** @throws if not only the statement has failed: some errors end the whole transaction */
function attempt(db: SqliteFile, id: number, text: string, parameters: readonly unknown[]): SqliteReply {
  try {
    return { id, answer: db.execute(text, parameters) };
  } catch (error) {
    if (!db.isInTransaction) {
      throw error;
    }
    return { id, error: describe(error) };
  }
}

function reply(message: SqliteReply): void {
  port.postMessage(message);
}

function describe(error: unknown): Extract<SqliteReply, { error: unknown }>['error'] {
  return {
    message: errorText(error),
    code: errorCode(error),
    name: error instanceof Error ? error.name : 'Error',
    isInUse: error instanceof StoreInUseError,
  };
}
