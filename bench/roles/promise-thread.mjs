/** The thread that has bare promise's record: one message in is one commit, synced to disk before the answer. */
import { parentPort, workerData } from 'node:worker_threads';
import Database from 'libsql';
import { fromMessages } from './promise-message.mjs';

/** Rows a statement: ten cost less than one at a time (inserts by a third), more gain nothing. */
const ROWS = 10;

const port = /** @type {import('node:worker_threads').MessagePort} */ (parentPort);
const database = new Database(workerData.file);
// As the product opens it. Without a rowid, rows of this size overflow, and an update costs three times as much.
database.exec(`
  pragma locking_mode = EXCLUSIVE; pragma journal_mode = WAL; pragma synchronous = FULL;
  pragma cache_size = -16384; pragma temp_store = MEMORY;
  pragma wal_autocheckpoint = 8000; pragma journal_size_limit = 67108864;
  create table flow (id text primary key, state text not null, request text not null, result text)`);

const begin = database.prepare('begin immediate');
const commit = database.prepare('commit');
const writeBegun = writer((rows) => {
  const values = Array.from({ length: rows }, () => `(?, 'assigned', ?)`);
  return `insert into flow (id, state, request) values ${values.join()}`;
});
const writeEnded = writer((rows) => {
  const values = Array.from({ length: rows }, () => '(?, ?)');
  return `with ended (id, result) as (values ${values.join()})
    update flow set state = 'completed', result = ended.result from ended where flow.id = ended.id`;
});

/** @param {(rows: number) => string} textOf */
function writer(textOf) {
  const [many, one] = [database.prepare(textOf(ROWS)), database.prepare(textOf(1))];
  return (/** @type {string[]} */ pairs) => {
    let changes = 0;
    let next = 0;
    const write = (/** @type {typeof many} */ statement, /** @type {number} */ rows) => {
      changes += statement.run(pairs.slice(next, next + 2 * rows)).changes;
      next += 2 * rows;
    };
    while (next + 2 * ROWS <= pairs.length) write(many, ROWS);
    while (next < pairs.length) write(one, 1);
    return changes;
  };
}

port.on('message', (/** @type {{ begun: string[], ended: string[] } | 'close'} */ request) => {
  if (request === 'close') {
    database.close();
    port.close();
    return;
  }
  begin.run();
  writeBegun(fromMessages(request.begun));
  const ended = writeEnded(fromMessages(request.ended));
  commit.run();
  port.postMessage(ended);
});
port.postMessage('open');
