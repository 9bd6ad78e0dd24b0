import { WorkerDriver, type WorkerInstance } from '../worker-driver.js';

/** `WORKER_DRIVER=none`: whoever runs the workers starts and ends them. Decisions are still made and shown. */
export class NoDriver extends WorkerDriver {
  start(): Promise<void> {
    return Promise.resolve();
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  reconcile(): Promise<void> {
    return Promise.resolve();
  }

  instances(): Promise<WorkerInstance[] | null> {
    return Promise.resolve(null);
  }

  shutdown(): Promise<void> {
    return Promise.resolve();
  }
}
