import { delayFlow } from './api-client.js';
import { System } from './system.js';
import { TcpProxy } from './tcp-proxy.js';

/** A fault as it is injected: resolves when its cause is gone, and everything is to recover. */
export interface Fault {
  name: string;
  inject: (chaos: Chaos) => Promise<void>;
}

interface Replica {
  broker: TcpProxy;
  database: TcpProxy;
  env: Record<string, string>;
}

interface Worker {
  id: string;
  broker: TcpProxy;
  env: Record<string, string>;
}

/** A new quorum queue that has not been written to the disk yet does not survive kill -9 of a 3.10 node. */
const QUEUES_ON_DISK_MS = 2_500;
const HEARTBEATS = { AMQP_HEARTBEAT_S: '1', HEARTBEAT_INTERVAL_MS: '500' };
const LEASE = { LEASE_TTL_MS: '2000', LEASE_RENEW_INTERVAL_MS: '500' };
/** Past every detection: the lease, the worker's heartbeats, the connection's. */
const LONG_MS = 4_000;

/** A system with a broker and a database of its own, each process behind proxies of its own, ready to be broken. */
export class Chaos {
  readonly replicas: Replica[] = [];
  readonly workers: Worker[] = [];

  private constructor(
    readonly system: System,
    private readonly random: () => number,
  ) {}

  static async start(size: { replicas: number; workers: number }, random: () => number): Promise<Chaos> {
    const system = await System.start({
      store: 'postgres',
      ownBroker: true,
      ownPostgres: true,
      orchestrators: 0,
      env: { ...HEARTBEATS, ...LEASE },
      workerEnv: HEARTBEATS,
    });
    const chaos = new Chaos(system, random);
    try {
      for (let index = 0; index < size.replicas; index++) {
        const broker = await TcpProxy.start(system.amqpUrl);
        const database = await TcpProxy.start(system.databaseUrl);
        const env = {
          AMQP_URL: broker.through(system.amqpUrl),
          DATABASE_URL: database.through(system.databaseUrl),
        };
        chaos.replicas.push({ broker, database, env });
        await system.startOrchestrator(env);
      }
      for (let index = 1; index <= size.workers; index++) {
        const broker = await TcpProxy.start(system.amqpUrl);
        const worker = {
          id: `worker-${index}`,
          broker,
          env: { AMQP_URL: broker.through(system.amqpUrl), WORKER_MAX_CONCURRENT_FLOWS: '20' },
        };
        chaos.workers.push(worker);
        await system.startWorker(worker.id, worker.env);
      }
    } catch (error) {
      await chaos.stop();
      throw error;
    }
    return chaos;
  }

  pick<T>(items: T[]): T {
    return items[Math.floor(this.random() * items.length)]!;
  }

  pause(ms: number): Promise<void> {
    return new Promise((next) => setTimeout(next, ms));
  }

  async restartWorker({ id, env }: Worker): Promise<void> {
    await this.system.startWorker(id, env);
  }

  async restartReplica(index: number): Promise<void> {
    await this.system.restartOrchestrator(index, this.replicas[index]!.env);
  }

  /** One of these proxies behaves like this for a while. */
  async breakFor(ms: number, proxy: TcpProxy, mode: 'hole' | 'refuse'): Promise<void> {
    proxy.become(mode);
    await this.pause(ms);
    proxy.become('pass');
  }

  /**
   * Waits until a flow that is given to any replica runs to its end. It goes before the load: what a slow machine is
   * behind with is not what is asked here. @returns how long that took, ms
   */
  async recovered(): Promise<number> {
    const since = performance.now();
    const probe = delayFlow(1, { priority: 'high' });
    for (const [index, api] of this.system.apis.entries()) {
      await this.system.until(
        `a flow given to replica ${index + 1} runs`,
        async () => (await api.execute(probe, '?waitMs=2000')).body.state === 'completed',
        undefined,
        60_000,
      );
    }
    return performance.now() - since;
  }

  async stop(): Promise<void> {
    const proxies = [
      ...this.replicas.flatMap(({ broker, database }) => [broker, database]),
      ...this.workers.map(({ broker }) => broker),
    ];
    proxies.forEach((proxy) => proxy.become('pass'));
    await this.system.stop();
    await Promise.all(proxies.map((proxy) => proxy.close()));
  }
}

export const FAULTS: Fault[] = [
  {
    name: 'kill -9 a worker',
    inject: async (chaos) => {
      const worker = chaos.pick(chaos.workers);
      await chaos.system.workers.get(worker.id)!.kill();
      await chaos.restartWorker(worker);
    },
  },
  {
    name: 'SIGSTOP a worker, SIGCONT',
    inject: async (chaos) => {
      const part = chaos.system.workers.get(chaos.pick(chaos.workers).id)!;
      part.signal('SIGSTOP');
      await chaos.pause(LONG_MS);
      part.signal('SIGCONT');
    },
  },
  {
    name: 'SIGTERM a worker',
    inject: async (chaos) => {
      const worker = chaos.pick(chaos.workers);
      await chaos.system.workers.get(worker.id)!.stop();
      await chaos.restartWorker(worker);
    },
  },
  {
    name: 'kill -9 the leader',
    inject: async (chaos) => {
      const index = await chaos.system.leaderIndex();
      await chaos.system.orchestrators[index]!.kill();
      await chaos.restartReplica(index);
    },
  },
  {
    name: 'kill -9 a replica that follows',
    inject: async (chaos) => {
      const index = 1 - (await chaos.system.leaderIndex());
      await chaos.system.orchestrators[index]!.kill();
      await chaos.restartReplica(index);
    },
  },
  {
    name: 'SIGSTOP the leader, SIGCONT',
    inject: async (chaos) => {
      const part = chaos.system.orchestrators[await chaos.system.leaderIndex()]!;
      part.signal('SIGSTOP');
      await chaos.pause(LONG_MS);
      part.signal('SIGCONT');
    },
  },
  {
    name: 'SIGTERM the leader',
    inject: async (chaos) => {
      const index = await chaos.system.leaderIndex();
      await chaos.system.orchestrators[index]!.stop();
      await chaos.restartReplica(index);
    },
  },
  {
    name: 'kill -9 the broker',
    inject: async (chaos) => {
      await chaos.pause(QUEUES_ON_DISK_MS);
      await chaos.system.broker.kill();
      await chaos.system.broker.restart();
    },
  },
  {
    name: 'restart the broker',
    inject: (chaos) => chaos.system.broker.restart(),
  },
  {
    name: 'the broker closes every connection',
    inject: async ({ system }) => {
      await system.broker.ctl(['close_all_connections', '--vhost', system.vhost, 'soak']);
    },
  },
  {
    name: 'memory alarm',
    inject: async (chaos) => {
      await chaos.system.broker.ctl(['set_vm_memory_high_watermark', '0.00001']);
      await chaos.pause(LONG_MS / 2);
      await chaos.system.broker.ctl(['set_vm_memory_high_watermark', '0.6']);
    },
  },
  {
    name: 'kill -9 PostgreSQL',
    inject: async (chaos) => {
      await chaos.system.postgres!.kill();
      await chaos.system.postgres!.restart();
    },
  },
  {
    name: 'restart PostgreSQL',
    inject: (chaos) => chaos.system.postgres!.restart(),
  },
  {
    name: 'a replica is cut off from the broker',
    inject: (chaos) => chaos.breakFor(LONG_MS, chaos.pick(chaos.replicas).broker, 'refuse'),
  },
  {
    name: 'a replica is cut off from PostgreSQL',
    inject: (chaos) => chaos.breakFor(LONG_MS, chaos.pick(chaos.replicas).database, 'refuse'),
  },
  {
    name: 'black hole between a replica and the broker',
    inject: (chaos) => chaos.breakFor(LONG_MS, chaos.pick(chaos.replicas).broker, 'hole'),
  },
  {
    name: 'black hole between a replica and PostgreSQL',
    inject: (chaos) => chaos.breakFor(LONG_MS, chaos.pick(chaos.replicas).database, 'hole'),
  },
  {
    name: 'black hole between a worker and the broker',
    inject: (chaos) => chaos.breakFor(LONG_MS, chaos.pick(chaos.workers).broker, 'hole'),
  },
  {
    name: 'connections of a worker cut',
    inject: async (chaos) => chaos.pick(chaos.workers).broker.cut(),
  },
];
