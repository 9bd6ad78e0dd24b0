import { createServer, type Server } from 'node:http';
import { receiver } from '../../examples/scaling-webhook/receiver.mjs';
import { WebhookDriver, type WebhookMessage } from '../../src/scaling/drivers/webhook-driver.js';
import { describeWorkerDriver, type OutsideWorker, type WorkerDriverAdapter } from './worker-driver.js';

const SECRET = 'a secret for the tests';

/** On the receiver of examples/, with a platform behind it that does what it is told, as an autoscaling group does. */
function webhookAdapter(): WorkerDriverAdapter {
  let server: Server;
  let port: number;
  let isBroken = false;
  let count = 0;
  const workers = new Map<string, OutsideWorker>();
  const wanted = new Map<string, number>();

  function converge(workerClass: string): void {
    const staying = [...workers.values()].filter(
      (worker) => worker.workerClass === workerClass && worker.askedToEnd === 0,
    );
    for (let missing = (wanted.get(workerClass) ?? 0) - staying.length; missing > 0; missing--) {
      const workerId = `${workerClass}-${(count += 1)}`;
      workers.set(workerId, { workerId, workerClass, askedToEnd: 0 });
    }
  }

  function apply({ workerClass, desired, retire }: WebhookMessage): void {
    if (isBroken) throw new Error('no machine is left');
    for (const worker of workers.values()) {
      if (retire.includes(worker.workerId)) worker.askedToEnd = 1;
    }
    wanted.set(workerClass, desired);
    converge(workerClass);
  }

  return {
    knowsInstances: false,
    seesCrashes: false,
    endsOnShutdown: false,
    endsOnlyWhomItIsTold: true,
    begin: async () => {
      server = createServer(receiver(SECRET, apply));
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      ({ port } = server.address() as { port: number });
    },
    create: () =>
      new WebhookDriver({ url: `http://127.0.0.1:${port}/scale`, secret: SECRET, installation: 'shop-' }),
    outside: async () => [...workers.values()].map((worker) => ({ ...worker })),
    finish: async (workerId) => void workers.delete(workerId),
    crash: async (workerId) => {
      const { workerClass } = workers.get(workerId)!;
      workers.delete(workerId);
      converge(workerClass);
    },
    breakPlace: async () => void (isBroken = true),
    mendPlace: async () => void (isBroken = false),
    end: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

describeWorkerDriver('webhook', webhookAdapter);
