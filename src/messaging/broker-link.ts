import { EventEmitter } from 'node:events';
import type { Writable } from 'node:stream';
import { type AmqpConnectionManager, connect } from 'amqp-connection-manager';
import type { ChannelModel } from 'amqplib';
import type { LoggerService } from '@nestjs/common';
import { explainConnectError, type TlsOptions } from './broker-tls.js';

export interface BrokerLinkOptions {
  /** What this connection is for; shown by `rabbitmqctl list_connections`. */
  name: string;
  /** Tried in turn at each connect. */
  urls: string[];
  tls: TlsOptions;
  heartbeatS: number;
  logger: LoggerService;
}

interface BrokerLinkEvents {
  up: [ChannelModel];
  down: [];
  blocked: [string];
  unblocked: [];
}

const HANDSHAKE_TIMEOUT_MS = 10_000;
const RECONNECT_S = 1;
const CLOSE_TIMEOUT_MS = 3_000;

/**
 * One named connection, kept up for as long as the process lives. Each role (publishing, consuming, control) has
 * its own, so that a blocked or broken one leaves the others alone. Channels are opened on `model` by
 * `ChannelKeeper`: the connection manager's own channel wrapper acks on whichever channel is current, which after a
 * reconnect can ack another message.
 */
export class BrokerLink extends EventEmitter<BrokerLinkEvents> {
  /** Why the broker reads nothing from us at present (memory or disk alarm); null when it does. */
  blockedReason: string | null = null;
  /** The open connection; null while there is none. */
  model: ChannelModel | null = null;
  /** What the last failed connect said, without credentials. */
  lastError: string | null = null;
  private readonly manager: AmqpConnectionManager;
  /** What amqplib first found wrong with the open connection; its 'close' that follows may not say. */
  private fault: string | null = null;

  constructor(private readonly options: BrokerLinkOptions) {
    super();
    this.setMaxListeners(0);
    const { name, urls, tls, heartbeatS, logger } = options;
    this.manager = connect(urls, {
      heartbeatIntervalInSeconds: heartbeatS,
      reconnectTimeInSeconds: RECONNECT_S,
      connectionOptions: {
        ...tls,
        noDelay: true,
        timeout: HANDSHAKE_TIMEOUT_MS,
        clientProperties: { connection_name: name },
      },
    });
    this.manager.on('connect', () => this.up());
    this.manager.on('disconnect', ({ err }: { err?: Error }) => this.down(err));
    this.manager.on('connectFailed', ({ err }: { err: Error }) => {
      this.lastError = explainConnectError(err);
      logger.warn(
        `${name}: no connection to the broker (${this.lastError}); trying again in ${RECONNECT_S} s`,
      );
    });
    this.manager.on('blocked', ({ reason }: { reason: string }) => {
      this.blockedReason = reason;
      logger.warn(`${name}: the broker takes no messages now: ${reason}`);
      this.emit('blocked', reason);
    });
    this.manager.on('unblocked', () => this.unblock());
  }

  get name(): string {
    return this.options.name;
  }

  get isUp(): boolean {
    return this.model !== null;
  }

  async close(): Promise<void> {
    this.model = null;
    // A connection that is half dead may never say that it has closed.
    await Promise.race([
      this.manager.close(),
      new Promise((resolve) => setTimeout(resolve, CLOSE_TIMEOUT_MS).unref()),
    ]);
  }

  private up(): void {
    const model = this.manager.connection ?? null;
    this.model = model;
    this.lastError = null;
    this.fault = null;
    if (model) {
      writeByTheTurn(socketOf(model));
      model.on('error', (error: Error) => {
        this.fault ??= this.model === model ? error.message : null;
      });
      this.options.logger.log(`${this.name}: connected`);
      this.emit('up', model);
    }
  }

  private down(error: Error | undefined): void {
    if (this.model === null) {
      return;
    }
    this.model = null;
    this.lastError = this.fault ?? error?.message ?? 'the connection closed';
    this.unblock();
    this.options.logger.warn(`${this.name}: connection lost (${this.lastError})`);
    this.emit('down');
  }

  private unblock(): void {
    if (this.blockedReason !== null) {
      this.blockedReason = null;
      this.emit('unblocked');
    }
  }
}

/** amqplib's own: nothing that it offers says when it writes. */
function socketOf({ connection }: ChannelModel): Writable {
  return (connection as unknown as { stream: Writable }).stream;
}

/**
 * What is written in one turn of the event loop leaves with one system call, and comes to the broker's reader in one piece.
 * amqplib writes the head and the body of a message apart, and each ack by itself.
 */
function writeByTheTurn(socket: Writable): void {
  const { write } = socket;
  socket.write = function (this: Writable, ...args: Parameters<Writable['write']>): boolean {
    if (this.writableCorked === 0) {
      this.cork();
      process.nextTick(() => this.uncork());
    }
    return write.apply(this, args);
  } as Writable['write'];
}
