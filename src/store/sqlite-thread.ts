import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { errorCode, errorText, StoreInUseError } from './errors.js';
import type { SqliteReply, SqliteRequest } from './sqlite-client.js';
import {
  BEGIN,
  COMMIT,
  RELEASE,
  ROLLBACK,
  ROLLBACK_TO,
  SAVEPOINT,
  type SqliteAnswer,
  SqliteFile,
} from './sqlite-file.js';

/**
 * The thread that has the embedded database: a commit waits for the disk, and here nobody waits with it. Requests are
 * done in the order in which they come. Those that have gathered behind one another share one commit, so that the
 * disk is waited for once; each is answered only when that has come back, and fails alone. Where a batch among them was
 * taken in part, they are all undone and done again, and it is asked which rows: nobody has seen anything of it yet.
 */
const { file } = workerData as { file: string };
const port = parentPort!;
const database = open();
if (database) {
  port.on('message', (requests: SqliteRequest[]) => serve(database, requests));
} else {
  port.close();
}

function open(): SqliteFile | null {
  try {
    const opened = new SqliteFile(file);
    reply([{ id: 0, answer: { rows: [], changes: 0 } }]);
    return opened;
  } catch (error) {
    reply([{ id: 0, error: describe(error) }]);
    return null;
  }
}

/** @param requests is emptied */
function serve(db: SqliteFile, requests: SqliteRequest[]): void {
  for (let more = received(); more !== undefined; more = received()) {
    requests.push(...more);
  }
  while (requests.length > 0) {
    // Within a transaction of the caller's own, every request is part of that.
    const joinable = db.isInTransaction ? 0 : requests.findIndex(standsAlone);
    const group = requests.splice(0, joinable < 0 ? requests.length : Math.max(1, joinable));
    if (group.length === 1 && !needsTransaction(db, group[0]!)) {
      alone(db, group[0]!);
    } else {
      together(db, group);
    }
  }
}

function received(): SqliteRequest[] | undefined {
  return receiveMessageOnPort(port)?.message as SqliteRequest[] | undefined;
}

/** The beginning of a transaction, or the end of everything. */
function standsAlone({ statements }: SqliteRequest): boolean {
  return statements === null || statements[0]!.text === BEGIN.text;
}

/**
 * Several statements, or a batch of which some rows may be taken and others not. Within a transaction of the caller's own
 * nothing is undone but by him.
 */
function needsTransaction(db: SqliteFile, { statements, which }: SqliteRequest): boolean {
  const isBatch = which !== null && which.count > 1;
  return (isBatch || (statements?.length ?? 0) > 1) && !db.isInTransaction;
}

function alone(db: SqliteFile, request: SqliteRequest): void {
  try {
    if (request.statements === null) {
      db.close();
      port.close();
    } else {
      reply([{ id: request.id, answer: execute(db, request, true)! }]);
    }
  } catch (error) {
    reply([{ id: request.id, error: describe(error) }]);
  }
}

function together(db: SqliteFile, requests: SqliteRequest[]): void {
  try {
    const replies = commit(db, requests, false) ?? commit(db, requests, true)!;
    reply(replies);
  } catch (error) {
    if (db.isInTransaction) {
      db.execute(ROLLBACK);
    }
    reply(requests.map(({ id }) => ({ id, error: describe(error) })));
  }
}

/** @returns null if all is undone, since a batch that was not asked was taken in part */
function commit(db: SqliteFile, requests: SqliteRequest[], isAsking: boolean): SqliteReply[] | null {
  db.execute(BEGIN);
  const replies: SqliteReply[] = [];
  for (const request of requests) {
    const done = attempt(db, request, isAsking);
    if (done === null) {
      db.execute(ROLLBACK);
      return null;
    }
    replies.push(done);
  }
  db.execute(COMMIT);
  return replies;
}

/** @throws if not only the request has failed: some errors end the whole transaction */
function attempt(db: SqliteFile, request: SqliteRequest, isAsking: boolean): SqliteReply | null {
  const { id, statements } = request;
  // A single statement that fails undoes itself.
  const isSeveral = statements!.length > 1;
  if (isSeveral) db.execute(SAVEPOINT);
  try {
    const answer = execute(db, request, isAsking);
    if (isSeveral) db.execute(RELEASE);
    return answer && { id, answer };
  } catch (error) {
    if (!db.isInTransaction) {
      throw error;
    }
    if (isSeveral) [ROLLBACK_TO, RELEASE].forEach((end) => db.execute(end));
    return { id, error: describe(error) };
  }
}

/** @param isAsking whether a batch is asked which rows it took; if not, null comes where that has to be known */
function execute(
  db: SqliteFile,
  { statements, which }: SqliteRequest,
  isAsking: boolean,
): SqliteAnswer | null {
  if (which === null) return db.executeAll(statements!);
  return isAsking && which.count > 1 ? db.takeAsking(statements!, which) : db.take(statements!, which);
}

function reply(replies: SqliteReply[]): void {
  port.postMessage(replies);
}

function describe(error: unknown): Extract<SqliteReply, { error: unknown }>['error'] {
  return {
    message: errorText(error),
    code: errorCode(error),
    name: error instanceof Error ? error.name : 'Error',
    isInUse: error instanceof StoreInUseError,
  };
}
