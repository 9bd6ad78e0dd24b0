import { createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { BSON, type Document } from 'mongodb';

/**
 * A MongoDB server small enough to read, since Debian packages none: the real driver talks to it over TCP in the
 * real wire protocol (OP_MSG, and OP_QUERY for the first hello). It keeps collections in memory and knows the
 * commands hello, ping, find, insert, update, delete, aggregate and killCursors, with the operators listed in
 * `OPERATORS`, `STAGES` and `UPDATES`: anything else is refused as a server refuses it. What it does not show:
 * how a real server plans, indexes, elects, or authenticates.
 */
export interface MongoServer {
  url: string;
  /** The commands that came, without handshakes. */
  commands: Document[];
  /** Called before each command; what it returns (an error reply, or a promise that waits) goes first. */
  before?: (command: Document) => Promise<Document | undefined> | Document | undefined;
  close(): Promise<void>;
}

const OP_REPLY = 1;
const OP_QUERY = 2004;
const OP_MSG = 2013;
const HEADER_BYTES = 16;
const HANDSHAKES = new Set(['hello', 'ismaster', 'isMaster', 'ping', 'endSessions', 'killCursors']);

export async function startMongoServer(wantedPort = 0): Promise<MongoServer> {
  const sockets = new Set<Socket>();
  const database = new Database();
  const listener: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    readMessages(socket, (message) => void respond(socket, message, server, database));
  });
  await new Promise<void>((resolve) => listener.listen(wantedPort, '127.0.0.1', resolve));
  const { port } = listener.address() as AddressInfo;
  const server: MongoServer = {
    url: `mongodb://127.0.0.1:${port}/test`,
    commands: [],
    close: () => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => listener.close(() => resolve()));
    },
  };
  return server;
}

function readMessages(socket: Socket, onMessage: (message: Buffer) => void): void {
  let pending = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    pending = Buffer.concat([pending, chunk as Buffer]);
    while (pending.length >= HEADER_BYTES && pending.length >= pending.readInt32LE(0)) {
      const length = pending.readInt32LE(0);
      onMessage(pending.subarray(0, length));
      pending = pending.subarray(length);
    }
  });
}

async function respond(
  socket: Socket,
  message: Buffer,
  server: MongoServer,
  database: Database,
): Promise<void> {
  const requestId = message.readInt32LE(4);
  const opcode = message.readInt32LE(12);
  const command = opcode === OP_QUERY ? parseQuery(message) : parseMsg(message);
  const name = Object.keys(command)[0]!;
  if (!HANDSHAKES.has(name)) server.commands.push(command);
  const early = HANDSHAKES.has(name) ? undefined : await server.before?.(command);
  const reply = BSON.serialize(early ?? database.execute(name, command));
  if (socket.destroyed) return;
  socket.write(opcode === OP_QUERY ? asReply(requestId, reply) : asMsg(requestId, reply));
}

/** Flags, collection name, skip, limit, document. */
function parseQuery(message: Buffer): Document {
  const nameEnd = message.indexOf(0, HEADER_BYTES + 4);
  return BSON.deserialize(message.subarray(nameEnd + 9));
}

/** Flags, then sections: kind 0 is the command, kind 1 a named sequence of documents that belongs into it. */
function parseMsg(message: Buffer): Document {
  let command: Document = {};
  const sequences: Document = {};
  let at = HEADER_BYTES + 4;
  while (at < message.length) {
    const kind = message.readUInt8(at);
    const size = message.readInt32LE(at + 1);
    const end = at + 1 + size;
    if (kind === 0) command = BSON.deserialize(message.subarray(at + 1, end));
    else {
      const nameEnd = message.indexOf(0, at + 5);
      const documents: Document[] = [];
      for (let next = nameEnd + 1; next < end; next += message.readInt32LE(next)) {
        documents.push(BSON.deserialize(message.subarray(next, next + message.readInt32LE(next))));
      }
      sequences[message.toString('utf8', at + 5, nameEnd)] = documents;
    }
    at = end;
  }
  return { ...command, ...sequences };
}

function asMsg(responseTo: number, document: Uint8Array): Buffer {
  return withHeader(OP_MSG, responseTo, Buffer.concat([Buffer.alloc(5), document]));
}

function asReply(responseTo: number, document: Uint8Array): Buffer {
  const head = Buffer.alloc(20);
  head.writeInt32LE(1, 16);
  return withHeader(OP_REPLY, responseTo, Buffer.concat([head, document]));
}

function withHeader(opcode: number, responseTo: number, body: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeInt32LE(HEADER_BYTES + body.length, 0);
  header.writeInt32LE(responseTo, 8);
  header.writeInt32LE(opcode, 12);
  return Buffer.concat([header, body]);
}

const HELLO = {
  ok: 1,
  ismaster: true,
  isWritablePrimary: true,
  helloOk: true,
  maxBsonObjectSize: 16_777_216,
  maxMessageSizeBytes: 48_000_000,
  maxWriteBatchSize: 100_000,
  minWireVersion: 0,
  maxWireVersion: 25,
  readOnly: false,
};

class CommandError extends Error {
  constructor(
    readonly code: number,
    message: string,
  ) {
    super(message);
  }
}

class Database {
  private readonly collections = new Map<string, Document[]>();

  execute(name: string, command: Document): Document {
    try {
      return { ok: 1, ...this.run(name, command) };
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      return { ok: 0, code: error.code, errmsg: error.message };
    }
  }

  private run(name: string, command: Document): Document {
    const collection = String(command[name]);
    const documents = this.collections.get(collection) ?? [];
    this.collections.set(collection, documents);
    const namespace = `test.${collection}`;
    switch (name) {
      case 'hello':
      case 'ismaster':
      case 'isMaster':
        return { ...HELLO, localTime: new Date() };
      case 'ping':
      case 'endSessions':
      case 'killCursors':
        return {};
      case 'find':
        return { cursor: { id: BSON.Long.ZERO, ns: namespace, firstBatch: find(documents, command) } };
      case 'aggregate':
        return {
          cursor: {
            id: BSON.Long.ZERO,
            ns: namespace,
            firstBatch: aggregate(documents, command['pipeline'] as Document[]),
          },
        };
      case 'insert':
        return insert(documents, command['documents'] as Document[]);
      case 'update':
        return update(documents, command['updates'] as Document[]);
      case 'delete':
        return remove(documents, command['deletes'] as Document[]);
      default:
        throw new CommandError(59, `no such command: '${name}'`);
    }
  }
}

function find(
  documents: Document[],
  { filter = {}, sort = {}, skip = 0, limit = 0, projection = {} }: Document,
): Document[] {
  const found = sorted(
    documents.filter((one) => matches(one, filter as Document)),
    sort as Document,
  );
  return found
    .slice(skip as number, limit ? (skip as number) + (limit as number) : undefined)
    .map((one) => project(one, projection as Document));
}

function insert(documents: Document[], added: Document[]): Document {
  for (const [index, one] of added.entries()) {
    if (documents.some((other) => same(other['_id'], one['_id']))) {
      const errmsg = `E11000 duplicate key error: _id ${JSON.stringify(one['_id'])}`;
      return { n: index, writeErrors: [{ index, code: 11_000, errmsg }] };
    }
    documents.push(one);
  }
  return { n: added.length };
}

function update(documents: Document[], updates: Document[]): Document {
  let n = 0;
  const upserted: Document[] = [];
  for (const [index, { q, u, multi, upsert }] of updates.entries()) {
    const found = documents.filter((one) => matches(one, q as Document)).slice(0, multi ? undefined : 1);
    for (const one of found) change(one, u as Document);
    n += found.length;
    if (found.length > 0 || !upsert) continue;
    const created: Document = { _id: new BSON.ObjectId(), ...q };
    change(created, u as Document);
    documents.push(created);
    upserted.push({ index, _id: created['_id'] });
    n += 1;
  }
  return { n, nModified: n - upserted.length, ...(upserted.length > 0 && { upserted }) };
}

const UPDATES: Record<string, (target: Document, field: string, value: unknown) => void> = {
  $set: (target, field, value) => (target[field] = value),
  $inc: (target, field, value) => (target[field] = Number(target[field] ?? 0) + Number(value)),
  $unset: (target, field) => delete target[field],
};

function change(target: Document, update: Document): void {
  for (const [operator, fields] of Object.entries(update)) {
    const apply = UPDATES[operator];
    if (apply === undefined) throw new CommandError(9, `Unknown modifier: ${operator}`);
    for (const [field, value] of Object.entries(fields as Document)) apply(target, field, value);
  }
}

function remove(documents: Document[], deletes: Document[]): Document {
  let n = 0;
  for (const { q, limit } of deletes) {
    const doomed = documents
      .filter((one) => matches(one, q as Document))
      .slice(0, limit === 1 ? 1 : undefined);
    for (const one of doomed) documents.splice(documents.indexOf(one), 1);
    n += doomed.length;
  }
  return { n };
}

const STAGES: Record<string, (documents: Document[], argument: Document) => Document[]> = {
  $match: (documents, filter) => documents.filter((one) => matches(one, filter)),
  $project: (documents, fields) => documents.map((one) => project(one, fields)),
  $sort: (documents, order) => sorted(documents, order),
  $limit: (documents, count) => documents.slice(0, Number(count)),
  $skip: (documents, count) => documents.slice(Number(count)),
  $group: group,
};

function aggregate(documents: Document[], pipeline: Document[]): Document[] {
  return pipeline.reduce<Document[]>((current, stage) => {
    const [name, argument] = Object.entries(stage)[0] as [string, Document];
    const apply = STAGES[name];
    if (apply === undefined) throw new CommandError(40_324, `Unrecognized pipeline stage name: '${name}'`);
    return apply(current, argument);
  }, documents);
}

/** `_id` of a field or a constant, and fields of `{$sum: 1 | '$field'}`. */
function group(documents: Document[], { _id: by, ...sums }: Document): Document[] {
  const groups = new Map<string, Document>();
  for (const one of documents) {
    const id = valueOf(one, by);
    const total = groups.get(String(id)) ?? { _id: id };
    for (const [field, { $sum }] of Object.entries(sums as Record<string, Document>)) {
      total[field] = Number(total[field] ?? 0) + Number(valueOf(one, $sum));
    }
    groups.set(String(id), total);
  }
  return [...groups.values()];
}

function valueOf(document: Document, expression: unknown): unknown {
  return typeof expression === 'string' && expression.startsWith('$')
    ? document[expression.slice(1)]
    : expression;
}

const OPERATORS: Record<string, (value: unknown, wanted: unknown) => boolean> = {
  $eq: same,
  $ne: (value, wanted) => !same(value, wanted),
  $gt: (value, wanted) => Number(value) > Number(wanted),
  $gte: (value, wanted) => Number(value) >= Number(wanted),
  $lt: (value, wanted) => Number(value) < Number(wanted),
  $lte: (value, wanted) => Number(value) <= Number(wanted),
  $in: (value, wanted) => (wanted as unknown[]).some((one) => same(value, one)),
  $exists: (value, wanted) => (value !== undefined) === wanted,
};

function matches(document: Document, filter: Document): boolean {
  return Object.entries(filter).every(([field, condition]) => {
    const isOperators =
      typeof condition === 'object' &&
      condition !== null &&
      Object.keys(condition as object)[0]?.startsWith('$') === true;
    const conditions = isOperators ? (condition as Document) : { $eq: condition as unknown };
    return Object.entries(conditions).every(([operator, wanted]) => {
      const test = OPERATORS[operator];
      if (test === undefined) throw new CommandError(2, `unknown operator: ${operator}`);
      return test(document[field], wanted);
    });
  });
}

function same(one: unknown, other: unknown): boolean {
  return BSON.EJSON.stringify({ v: one }) === BSON.EJSON.stringify({ v: other });
}

function sorted(documents: Document[], order: Document): Document[] {
  const keys = Object.entries(order as Record<string, number>);
  return documents.toSorted((one, other) => {
    for (const [field, direction] of keys) {
      if (Number(one[field]) !== Number(other[field]))
        return (Number(one[field]) - Number(other[field])) * direction;
    }
    return 0;
  });
}

/** Inclusion only, as `{field: 1}`, with `_id: 0` to leave the id out. */
function project(document: Document, fields: Document): Document {
  const wanted = Object.keys(fields).filter((field) => fields[field] === 1 || fields[field] === true);
  if (wanted.length === 0 && fields['_id'] !== 0) return document;
  const kept = wanted.length === 0 ? Object.keys(document) : ['_id', ...wanted];
  return Object.fromEntries(
    Object.entries(document).filter(([field]) => kept.includes(field) && fields[field] !== 0),
  );
}
