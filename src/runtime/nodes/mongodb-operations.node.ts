import type {
  AbstractCursor,
  Collection,
  Document,
  Filter,
  MongoClient,
  OptionalUnlessRequiredId,
  UpdateFilter,
} from 'mongodb';
import {
  ConnectionError,
  connectionUrl,
  loadDriver,
  type NamedConnections,
  OpenConnections,
  withoutSecrets,
} from './named-connections.js';
import {
  completed,
  defineNode,
  failed,
  messageOf,
  type NodeContext,
  type NodeHandler,
  type NodeOutcome,
} from './node-handler.js';

interface MongodbConfig {
  connection: string;
  /** Default: the database of the connection's URL. */
  database?: string;
  collection: string;
  operation: keyof typeof OPERATIONS;
  filter?: Document;
  projection?: Document;
  sort?: Record<string, 1 | -1>;
  skip?: number;
  limit?: number;
  document?: Document;
  documents?: Document[];
  update?: Document | Document[];
  pipeline?: Document[];
  upsert?: boolean;
  timeoutMs?: number;
  maxDocuments?: number;
}

type Driver = typeof import('mongodb');

interface Server {
  driver: Driver;
  client: MongoClient;
  url: string;
}

interface Limits {
  /** For the server. */
  maxTimeMS: number;
  /** For the driver, which knows it in reading operations only. */
  signal: AbortSignal;
}

interface Operation {
  needs: readonly (keyof MongodbConfig)[];
  run(collection: Collection, config: MongodbConfig, limits: Limits): Promise<unknown>;
}

const SCHEMES = ['mongodb', 'mongodb+srv'];
const CONNECT_TIMEOUT_MS = 10_000;
const DEFAULT_TIMEOUT_MS = 60_000;
const DEFAULT_MAX_DOCUMENTS = 10_000;
/** They run JavaScript from the flow inside the database. */
const REFUSED_OPERATORS = new Set(['$where', '$function', '$accumulator']);

class TooManyDocuments extends Error {}
class RefusedOperator extends Error {}
class ConnectError extends Error {
  constructor(
    message: string,
    readonly retryable: boolean,
  ) {
    super(message);
  }
}

const OPERATIONS = {
  find: {
    needs: [],
    run: (collection, config, limits) => {
      const { filter = {}, projection, sort, skip, limit } = config;
      return gather(collection.find(filter, { projection, sort, skip, limit, ...limits }), config);
    },
  },
  findOne: {
    needs: [],
    run: (collection, { filter = {}, projection, sort, skip }, limits) =>
      collection.findOne(filter, { projection, sort, skip, ...limits }),
  },
  aggregate: {
    needs: ['pipeline'],
    run: (collection, config, limits) => gather(collection.aggregate(config.pipeline, limits), config),
  },
  countDocuments: {
    needs: [],
    run: (collection, { filter = {}, skip, limit }, limits) =>
      collection.countDocuments(filter, { skip, limit, ...limits }),
  },
  insertOne: {
    needs: ['document'],
    run: (collection, { document }, { maxTimeMS }) =>
      collection.insertOne(document as OptionalUnlessRequiredId<Document>, { maxTimeMS }),
  },
  insertMany: {
    needs: ['documents'],
    run: (collection, { documents }, { maxTimeMS }) => collection.insertMany(documents ?? [], { maxTimeMS }),
  },
  updateOne: {
    needs: ['filter', 'update'],
    run: (collection, { filter, update, upsert }, { maxTimeMS }) =>
      collection.updateOne(filter as Filter<Document>, update as UpdateFilter<Document>, {
        upsert,
        maxTimeMS,
      }),
  },
  updateMany: {
    needs: ['filter', 'update'],
    run: (collection, { filter, update, upsert }, { maxTimeMS }) =>
      collection.updateMany(filter as Filter<Document>, update as UpdateFilter<Document>, {
        upsert,
        maxTimeMS,
      }),
  },
  deleteOne: {
    needs: ['filter'],
    run: (collection, { filter }, { maxTimeMS }) =>
      collection.deleteOne(filter as Filter<Document>, { maxTimeMS }),
  },
  deleteMany: {
    needs: ['filter'],
    run: (collection, { filter }, { maxTimeMS }) =>
      collection.deleteMany(filter as Filter<Document>, { maxTimeMS }),
  },
} satisfies Record<string, Operation>;

const objectSchema = { type: 'object' } as const;
const objectsSchema = { type: 'array', items: objectSchema } as const;

const configSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['connection', 'collection', 'operation'],
  properties: {
    connection: { type: 'string', minLength: 1 },
    database: { type: 'string', minLength: 1, maxLength: 63 },
    collection: { type: 'string', minLength: 1, maxLength: 255 },
    operation: { enum: Object.keys(OPERATIONS) },
    filter: objectSchema,
    projection: objectSchema,
    sort: { type: 'object', additionalProperties: { enum: [1, -1] } },
    skip: { type: 'integer', minimum: 0 },
    limit: { type: 'integer', minimum: 1 },
    document: objectSchema,
    documents: { ...objectsSchema, minItems: 1 },
    update: { type: ['object', 'array'], items: objectSchema },
    pipeline: objectsSchema,
    upsert: { type: 'boolean' },
    timeoutMs: { type: 'integer', minimum: 1, maximum: 86_400_000 },
    maxDocuments: { type: 'integer', minimum: 1, maximum: 1_000_000 },
  },
  allOf: Object.entries(OPERATIONS).map(([operation, { needs }]) => ({
    if: { properties: { operation: { const: operation } } },
    // oxlint-disable-next-line unicorn/no-thenable -- JSON Schema's keyword, not a promise
    then: { required: needs },
  })),
};

/** One operation on a collection. Values are Extended JSON both ways, so `{"_id": {"$oid": "…"}}` works. */
export function mongodbOperationsNode(connections: NamedConnections): {
  handler: NodeHandler;
  close: () => Promise<void>;
} {
  const servers = new OpenConnections<Server>(
    (name) => openServer(connections, name),
    ({ client }) => client.close(),
  );
  const handler = defineNode<MongodbConfig>({
    type: 'mongodb-operations',
    description: 'Runs one operation on a collection of a MongoDB connection of the worker',
    configSchema,
    run: (context) => runOperation(context, servers),
  });
  return { handler, close: () => servers.close() };
}

/** Connects at once: a client whose first connection failed by itself would stay closed for good. */
async function openServer(connections: NamedConnections, name: string): Promise<Server> {
  const url = connectionUrl(connections, name, SCHEMES);
  const driver = await loadDriver('mongodb', () => import('mongodb'));
  const client = new driver.MongoClient(url, { serverSelectionTimeoutMS: CONNECT_TIMEOUT_MS });
  try {
    await client.connect();
  } catch (error) {
    await client.close();
    const retryable = isRetryable(error, driver);
    // The driver's own message may quote parts of the URL.
    throw new ConnectError(
      `cannot connect to "${name}" (${error instanceof Error ? error.name : 'no reason'})`,
      retryable,
    );
  }
  return { driver, client, url };
}

async function runOperation(
  { config, signal }: NodeContext<MongodbConfig>,
  servers: OpenConnections<Server>,
): Promise<NodeOutcome> {
  const timeoutMs = config.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const deadline = AbortSignal.timeout(timeoutMs);
  const either = AbortSignal.any([signal, deadline]);
  let server: Server | undefined;
  const operate = async () => {
    refuseCode(config);
    server = await servers.get(config.connection);
    either.throwIfAborted();
    return execute(server, config, { maxTimeMS: timeoutMs, signal: either });
  };
  try {
    return completed(await untilAborted(operate(), either));
  } catch (error) {
    if (signal.aborted) return { kind: 'cancelled' };
    if (deadline.aborted) {
      const message = `mongodb "${config.connection}": expected an answer within ${timeoutMs} ms, got none`;
      return failed('mongodb_failed', message, { retryable: true });
    }
    return failureOf(error, config, server);
  }
}

async function execute({ driver, client }: Server, config: MongodbConfig, limits: Limits): Promise<unknown> {
  const { EJSON } = driver.BSON;
  const operation: Operation = OPERATIONS[config.operation];
  const values = EJSON.deserialize(config as unknown as Document) as MongodbConfig;
  const collection = client.db(config.database).collection(config.collection);
  const result = await operation.run(collection, values, limits);
  return EJSON.serialize({ result }, { relaxed: true })['result'] as unknown;
}

/** Writes know no signal: their answer is not waited for any longer, though the server may still carry them out. */
function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    work.then(resolve, reject);
  });
}

/** @throws RefusedOperator for an operator that would run code, however deep it stands. */
function refuseCode({ filter, projection, sort, update, pipeline }: MongodbConfig): void {
  const pending: unknown[] = [filter, projection, sort, update, pipeline];
  while (pending.length > 0) {
    const value = pending.pop();
    if (typeof value !== 'object' || value === null) continue;
    for (const [key, child] of Object.entries(value)) {
      if (REFUSED_OPERATORS.has(key))
        throw new RefusedOperator(`expected no operator that runs code, got ${key}`);
      pending.push(child);
    }
  }
}

async function gather(
  cursor: AbstractCursor<Document>,
  { maxDocuments = DEFAULT_MAX_DOCUMENTS }: MongodbConfig,
): Promise<Document[]> {
  const documents: Document[] = [];
  for await (const document of cursor) {
    if (documents.length === maxDocuments) {
      throw new TooManyDocuments(
        `expected at most ${maxDocuments} documents (config.maxDocuments), got more`,
      );
    }
    documents.push(document);
  }
  return documents;
}

function failureOf(error: unknown, { connection }: MongodbConfig, server: Server | undefined): NodeOutcome {
  if (error instanceof ConnectionError) return failed('bad_connection', error.message, { retryable: false });
  if (error instanceof RefusedOperator) return failed('bad_config', error.message, { retryable: false });
  if (error instanceof TooManyDocuments)
    return failed('too_many_documents', error.message, { retryable: false });
  if (error instanceof ConnectError)
    return failed('mongodb_failed', error.message, { retryable: error.retryable });
  const message = `mongodb "${connection}": ${withoutSecrets(messageOf(error), server?.url ?? '')}`;
  return failed('mongodb_failed', message, {
    retryable: server !== undefined && isRetryable(error, server.driver),
  });
}

/** Network trouble and elections pass; a bad query, a duplicate key or a refused login do not. */
function isRetryable(error: unknown, driver: Driver): boolean {
  const { MongoError, MongoNetworkError, MongoServerSelectionError, MongoErrorLabel } = driver;
  if (!(error instanceof MongoError)) return false;
  if ([MongoNetworkError, MongoServerSelectionError].some((type) => error instanceof type)) return true;
  const labels = [
    MongoErrorLabel.RetryableWriteError,
    MongoErrorLabel.RetryableError,
    MongoErrorLabel.TransientTransactionError,
  ];
  return labels.some((label) => error.hasErrorLabel(label));
}
