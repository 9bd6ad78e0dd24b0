import { existsSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { StoreInUseError, StoreSetupError } from './errors.js';
import type { SqliteAnswer, SqliteStatement, Which } from './sqlite-file.js';

export interface SqliteRequest {
  id: number;
  /** All of them take effect, or none. Null = close. */
  statements: readonly SqliteStatement[] | null;
  /** Set for the write of a batch that is to say which rows it took. */
  which: Which | null;
}

/** `id` 0 tells how opening went. */
export type SqliteReply =
  | { id: number; answer: SqliteAnswer }
  | { id: number; error: { message: string; code: string; name: string; isInUse: boolean } };

interface Waiting {
  resolve: (answer: SqliteAnswer) => void;
  reject: (error: Error) => void;
}

/** The database's thread, seen from outside. Calls are done in the order in which they are made. */
export class SqliteClient {
  private readonly waiting = new Map<number, Waiting>();
  /** Called in this turn of the event loop. */
  private calls: SqliteRequest[] = [];
  private readonly ended: Promise<void>;
  private hasEnded = false;
  private requests = 0;

  private constructor(
    private readonly file: string,
    private readonly thread: Worker,
  ) {
    thread.on('message', (replies: SqliteReply[]) => replies.forEach((reply) => this.receive(reply)));
    this.ended = new Promise((resolve) => {
      thread.once('exit', () => {
        this.failAll(gone('the thread of the database has ended'));
        resolve();
      });
    });
    thread.on('error', (error) => this.failAll(gone(`the thread of the database failed: ${error.message}`)));
  }

  /** @throws StoreInUseError if another process has the file, StoreSetupError if it cannot be opened */
  static async open(file: string): Promise<SqliteClient> {
    const client = new SqliteClient(file, new Worker(threadFile(), { workerData: { file } }));
    await new Promise<SqliteAnswer>((resolve, reject) => client.waiting.set(0, { resolve, reject }));
    return client;
  }

  /** @throws Error with the `code` that SQLite gave */
  execute(statements: readonly SqliteStatement[], which: Which | null = null): Promise<SqliteAnswer> {
    return this.request(statements, which);
  }

  /** Writes everything into the file and gives its lock back. */
  async close(): Promise<void> {
    if (!this.hasEnded) {
      // It is answered only if it fails.
      const failed = this.request(null, null).then(() => undefined);
      await Promise.race([this.ended, failed]);
      failed.catch(() => undefined);
    }
    await this.ended;
  }

  private request(statements: SqliteRequest['statements'], which: Which | null): Promise<SqliteAnswer> {
    return new Promise((resolve, reject) => {
      if (this.hasEnded) {
        reject(gone('the thread of the database has ended'));
        return;
      }
      const id = ++this.requests;
      this.waiting.set(id, { resolve, reject });
      this.calls.push({ id, statements, which });
      if (this.calls.length === 1) {
        // After all microtasks: what is called in the same turn travels together, and shares a commit for sure.
        process.nextTick(() => this.post());
      }
    });
  }

  private post(): void {
    const { calls } = this;
    this.calls = [];
    try {
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
      this.thread.postMessage(calls);
    } catch (error) {
      for (const { id } of calls) {
        this.waiting.get(id)?.reject(error as Error);
        this.waiting.delete(id);
      }
    }
  }

  private receive(reply: SqliteReply): void {
    const waiting = this.waiting.get(reply.id);
    this.waiting.delete(reply.id);
    if ('answer' in reply) {
      waiting?.resolve(reply.answer);
    } else {
      waiting?.reject(this.errorOf(reply.error));
    }
  }

  private errorOf({
    message,
    code,
    name,
    isInUse,
  }: Extract<SqliteReply, { error: unknown }>['error']): Error {
    if (isInUse) {
      return new StoreInUseError(this.file);
    }
    return name === StoreSetupError.name
      ? new StoreSetupError(message)
      : Object.assign(new Error(message), { code });
  }

  private failAll(error: Error): void {
    this.hasEnded = true;
    this.waiting.forEach(({ reject }) => reject(error));
    this.waiting.clear();
  }
}

/** The code by which SQLite itself says that it cannot reach the file. */
function gone(message: string): Error {
  return Object.assign(new Error(message), { code: 'SQLITE_IOERR' });
}

/** A thread runs compiled code only: from the sources, as tests have it, that is found in `dist`. */
function threadFile(): URL {
  const beside = new URL('./sqlite-thread.js', import.meta.url);
  return existsSync(beside) ? beside : new URL('../../dist/store/sqlite-thread.js', import.meta.url);
}
