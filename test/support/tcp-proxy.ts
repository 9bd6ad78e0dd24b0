import { connect, createServer, type Server, type Socket } from 'node:net';

/**
 * - `pass`: hands everything on.
 * - `hole`: connections stay open and new ones are taken, but nothing gets through; what was held arrives when it
 *   passes again, as TCP would repeat it.
 * - `silent`: new connections are taken and never answered; those that stand go on.
 * - `refuse`: everything that stands is cut, and so is every new connection at once.
 */
export type ProxyMode = 'pass' | 'hole' | 'silent' | 'refuse';

/** A message on its way, held back by the latency. */
interface Direction {
  from: Socket;
  to: Socket;
  /** Delivers in order, one after the other. */
  tail: Promise<void>;
}

/** A TCP proxy that a test puts between one process and a server, and then breaks. */
export class TcpProxy {
  /** Added in each direction, ms. */
  latencyMs = 0;
  private mode: ProxyMode = 'pass';
  private readonly sockets = new Set<Socket>();
  private opened: () => void = () => undefined;
  private gate: Promise<void> = Promise.resolve();
  private watch: { text: string; seen: () => void } | null = null;

  private constructor(
    private readonly server: Server,
    private readonly target: { host: string; port: number },
  ) {}

  /** @param url of the server behind it; only host and port matter */
  static async start(url: string): Promise<TcpProxy> {
    const { hostname, port } = new URL(url);
    const server = createServer({ allowHalfOpen: true });
    const proxy = new TcpProxy(server, { host: hostname, port: Number(port) });
    server.on('connection', (client) => proxy.take(client));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  /** The same URL, through this proxy. */
  through(url: string): string {
    const other = new URL(url);
    other.port = String((this.server.address() as { port: number }).port);
    return other.href;
  }

  get connections(): number {
    return this.sockets.size / 2;
  }

  become(mode: ProxyMode): void {
    this.mode = mode;
    this.opened();
    if (mode === 'hole') {
      this.gate = new Promise((resolve) => {
        this.opened = resolve;
      });
    }
    if (mode === 'refuse') {
      this.cut();
    }
  }

  /** Resets every connection that stands. */
  cut(): void {
    [...this.sockets].forEach((socket) => socket.destroy());
  }

  /** Cuts the connection on which this text goes to the server, right after the server got it and before it can answer. */
  cutAfter(text: string): Promise<void> {
    return new Promise((resolve) => {
      this.watch = { text, seen: resolve };
    });
  }

  async close(): Promise<void> {
    this.become('refuse');
    await new Promise<void>((resolve) => {
      this.server.close(() => resolve());
    });
  }

  private take(client: Socket): void {
    if (this.mode === 'refuse') {
      client.destroy();
      return;
    }
    const upstream = this.mode === 'silent' ? null : connect({ ...this.target, allowHalfOpen: true });
    const pair = upstream ? [client, upstream] : [client];
    for (const socket of pair) {
      this.sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => undefined);
      socket.once('close', () => {
        this.sockets.delete(socket);
        pair.forEach((each) => each.destroy());
      });
    }
    if (!upstream) {
      client.resume();
      return;
    }
    const up: Direction = { from: client, to: upstream, tail: Promise.resolve() };
    const down: Direction = { from: upstream, to: client, tail: Promise.resolve() };
    client.on('data', (bytes) => this.hand(up, bytes, this.watches(bytes)));
    upstream.on('data', (bytes) => this.hand(down, bytes, false));
    client.once('end', () => this.hand(up, null, false));
    upstream.once('end', () => this.hand(down, null, false));
  }

  private watches(bytes: Buffer): boolean {
    return this.watch !== null && bytes.includes(this.watch.text);
  }

  /** @param bytes null: the end of the stream */
  private hand(direction: Direction, bytes: Buffer | null, cutAfterwards: boolean): void {
    const { from, to } = direction;
    const arrivesAt = performance.now() + this.latencyMs;
    if (cutAfterwards) {
      this.watch?.seen();
      this.watch = null;
      // From here on nothing comes back: the answer is what the sender must not get.
      to.removeAllListeners('data').resume();
    }
    direction.tail = direction.tail.then(async () => {
      await this.gate;
      const waitMs = arrivesAt - performance.now();
      if (waitMs > 0) {
        await new Promise((next) => setTimeout(next, waitMs));
      }
      if (to.destroyed) {
        return;
      }
      if (bytes === null) {
        to.end();
      } else {
        to.write(bytes);
      }
      if (cutAfterwards) {
        // An orderly end towards the server, which reads all of it first; a cut towards the sender.
        from.removeAllListeners('close');
        this.sockets.delete(from);
        from.destroy();
        to.end();
      }
    });
  }
}
