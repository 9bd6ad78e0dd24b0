import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { mongodbOperationsNode } from '../../../../src/runtime/nodes/mongodb-operations.node.js';
import { type MongoServer, startMongoServer } from '../../../support/mongo-server.js';
import { gate, node, run } from '../harness.js';

let server: MongoServer;
let mongo: ReturnType<typeof mongodbOperationsNode>;

beforeEach(async () => {
  server = await startMongoServer();
  mongo = mongodbOperationsNode({ shop: server.url, sql: 'postgres://u:geheim@h/db' });
});

afterEach(async () => {
  await mongo.close();
  await server.close();
});

async function operate(
  operation: string,
  more: Record<string, unknown> = {},
  signal = new AbortController().signal,
) {
  const config = { connection: 'shop', collection: 'orders', operation, ...more };
  const outcome = await run([node('m', 'mongodb-operations', { config })], [], {
    handlers: [mongo.handler],
    signal,
  });
  return outcome.kind === 'completed' ? { kind: 'completed', output: outcome.result['m'] } : outcome;
}

const ORDERS = [1, 2, 3, 4].map((_id) => ({ _id, price: _id * 10, kind: _id % 2 === 0 ? 'even' : 'odd' }));
const fill = () => operate('insertMany', { documents: ORDERS });

describe('mongodb-operations', () => {
  it('inserts, finds, counts, aggregates, updates and deletes', async () => {
    expect(await fill()).toMatchObject({ output: { acknowledged: true, insertedCount: 4 } });
    expect(
      await operate('find', {
        filter: { price: { $gt: 10 } },
        sort: { _id: -1 },
        limit: 2,
        projection: { price: 1 },
      }),
    ).toEqual({
      kind: 'completed',
      output: [
        { _id: 4, price: 40 },
        { _id: 3, price: 30 },
      ],
    });
    expect(await operate('findOne', { filter: { kind: 'even' }, sort: { _id: 1 } })).toMatchObject({
      output: { _id: 2 },
    });
    expect(await operate('findOne', { filter: { kind: 'none' } })).toMatchObject({ output: null });
    expect(await operate('countDocuments', { filter: { kind: 'odd' } })).toMatchObject({ output: 2 });
    const pipeline = [
      { $match: { price: { $gte: 20 } } },
      { $group: { _id: '$kind', sum: { $sum: '$price' } } },
      { $sort: { sum: 1 } },
    ];
    expect(await operate('aggregate', { pipeline })).toMatchObject({
      output: [
        { _id: 'odd', sum: 30 },
        { _id: 'even', sum: 60 },
      ],
    });
    expect(await operate('updateOne', { filter: { _id: 1 }, update: { $inc: { price: 5 } } })).toMatchObject({
      output: { matchedCount: 1, modifiedCount: 1 },
    });
    expect(
      await operate('updateMany', { filter: { kind: 'even' }, update: { $set: { sold: true } } }),
    ).toMatchObject({ output: { modifiedCount: 2 } });
    expect(
      await operate('updateOne', { filter: { _id: 9 }, update: { $set: { price: 1 } }, upsert: true }),
    ).toMatchObject({ output: { upsertedCount: 1, upsertedId: 9 } });
    expect(await operate('deleteOne', { filter: { kind: 'odd' } })).toMatchObject({
      output: { deletedCount: 1 },
    });
    expect(await operate('deleteMany', { filter: {} })).toMatchObject({ output: { deletedCount: 4 } });
  });

  it('speaks Extended JSON both ways', async () => {
    const _id = { $oid: '65a000000000000000000001' };
    await operate('insertOne', {
      document: { _id, at: { $date: '2026-01-02T03:04:05Z' }, n: { $numberLong: '9007199254740993' } },
    });
    expect(await operate('findOne', { filter: { _id } })).toMatchObject({
      output: { _id, at: { $date: '2026-01-02T03:04:05Z' } },
    });
    expect(await operate('insertOne', { document: {} })).toMatchObject({
      output: { insertedId: { $oid: expect.stringMatching(/^[0-9a-f]{24}$/) } },
    });
  });

  it.each([
    { filter: { $where: 'sleep(1000)' } },
    { filter: { $or: [{ $expr: { $function: { body: '', args: [], lang: 'js' } } }] } },
    { operation: 'aggregate', pipeline: [{ $group: { _id: 1, x: { $accumulator: {} } } }] },
  ])('refuses to run code: %j', async ({ operation = 'find', ...config }) => {
    expect(await operate(operation, config)).toMatchObject({
      kind: 'failed',
      error: {
        code: 'bad_config',
        retryable: false,
        message: expect.stringContaining('expected no operator that runs code'),
      },
    });
    expect(server.commands).toEqual([]);
  });

  it.each([
    ['aggregate', {}, 'config/pipeline expected a value, got nothing'],
    ['deleteMany', {}, 'config/filter expected a value, got nothing'],
    ['drop', {}, 'config/operation expected one of "find", "findOne"'],
    ['find', { sort: { a: 'up' } }, 'config/sort/a expected one of 1, -1, got "up"'],
  ])('says what is wrong with the config of %s', async (operation, config, message) => {
    expect(await operate(operation, config)).toMatchObject({
      error: { code: 'bad_config', message: expect.stringContaining(message) },
    });
  });

  it('knows failures that pass from those that stay', async () => {
    await fill();
    expect(await operate('insertOne', { document: { _id: 1 } })).toMatchObject({
      error: { code: 'mongodb_failed', retryable: false, message: expect.stringContaining('E11000') },
    });
    expect(await operate('find', { filter: { a: { $odd: 1 } } })).toMatchObject({
      error: { retryable: false },
    });
    server.before = () => ({
      ok: 0,
      code: 112,
      errmsg: 'WriteConflict',
      errorLabels: ['TransientTransactionError'],
    });
    expect(await operate('deleteMany', { filter: {} })).toMatchObject({ error: { retryable: true } });
    server.before = () => ({
      ok: 0,
      code: 11_600,
      errmsg: 'InterruptedAtShutdown',
      errorLabels: ['RetryableWriteError'],
    });
    expect(await operate('insertOne', { document: {} })).toMatchObject({
      error: { code: 'mongodb_failed', retryable: true },
    });
    server.before = undefined;
    expect(await operate('find')).toMatchObject({ kind: 'completed' });
  });

  it('limits the documents it gives', async () => {
    await fill();
    expect(await operate('find', { maxDocuments: 3 })).toMatchObject({
      error: { code: 'too_many_documents', retryable: false },
    });
    expect(await operate('find', { maxDocuments: 4 })).toMatchObject({ kind: 'completed' });
  });

  it.each(['find', 'deleteMany'])('stops waiting for an answer of %s after its time', async (operation) => {
    server.before = () => new Promise(() => {});
    expect(await operate(operation, { filter: {}, timeoutMs: 50 })).toMatchObject({
      error: {
        code: 'mongodb_failed',
        retryable: true,
        message: 'mongodb "shop": expected an answer within 50 ms, got none',
      },
    });
  });

  it('connects anew after the server could not be reached', async () => {
    const { port } = new URL(server.url);
    await server.close();
    expect(await operate('find', { timeoutMs: 50 })).toMatchObject({
      error: { code: 'mongodb_failed', retryable: true },
    });
    server = await startMongoServer(Number(port));
    expect(await operate('find', { timeoutMs: 15_000 })).toMatchObject({ kind: 'completed' });
  });

  it('is aborted', async () => {
    const started = gate();
    server.before = () => {
      started.open();
      return new Promise(() => {});
    };
    const cancel = new AbortController();
    const running = operate('find', {}, cancel.signal);
    await started.passed;
    cancel.abort();
    expect(await running).toMatchObject({ kind: 'cancelled' });
  });

  it('knows connections by name only and never shows a URL', async () => {
    for (const [connection, message] of [
      ['nope', `expected one of the worker's connections (shop, sql), got "nope"`],
      ['sql', 'expected connection "sql" to be a mongodb URL'],
      ['__proto__', 'got "__proto__"'],
    ]) {
      const outcome = await operate('find', { connection });
      expect(outcome).toMatchObject({
        error: { code: 'bad_connection', retryable: false, message: expect.stringContaining(message!) },
      });
      expect(JSON.stringify(outcome)).not.toContain('geheim');
    }
  });
});
