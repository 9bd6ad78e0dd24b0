/**
 * Celery on RabbitMQ: late acks, confirmed publishing, durable queue, two worker processes (prefork), results over
 * AMQP (`rpc://`). Its client is Celery's own, in a Python process that takes commands by line.
 */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { canInstallPackages, installPackages } from '../../scripts/apt.mjs';
import { run } from '../../scripts/processes.mjs';
import { PeerMissingError } from '../journal.mjs';
import { freshName, WORKERS } from './contestant.mjs';

const ROLES = dirname(fileURLToPath(new URL('../roles/celery_app.py', import.meta.url)));
const SYSTEM_PYTHON = '/usr/bin/python3';
const PREFETCH_MULTIPLIER = 100;
/** Publishing threads of the client, a connection each. */
const CLIENT_THREADS = 64;

/** @type {import('./contestant.mjs').ContestantKind} */
export const celery = { name: 'Celery', pace: 0.1, start: startCelery };

/**
 * @param {import('./contestant.mjs').Surroundings} surroundings
 * @returns {Promise<import('./contestant.mjs').Contestant>}
 */
async function startCelery({ servers, processes, journal, log }) {
  const { python, version } = await providePython(log);
  const broker = await servers.broker();
  journal.uses({ Celery: version, RabbitMQ: (await broker.ctl(['version'])).trim() });
  const vhost = freshName('celery');
  const env = {
    CELERY_BROKER: (await broker.createVhost(vhost)).replace(/^amqp:/, 'pyamqp:'),
    CELERY_CLIENT_THREADS: String(CLIENT_THREADS),
    PYTHONDONTWRITEBYTECODE: '1',
    PYTHONUNBUFFERED: '1',
  };
  const workerArgs = [
    '-A',
    'celery_app',
    'worker',
    '--concurrency',
    String(WORKERS),
    '--loglevel',
    'WARNING',
  ];
  const tuning = [
    '--prefetch-multiplier',
    String(PREFETCH_MULTIPLIER),
    '--without-gossip',
    '--without-mingle',
  ];
  const worker = await processes.start('Celery worker', python, ['-m', 'celery', ...workerArgs, ...tuning], {
    cwd: ROLES,
    env,
    readyWhen: /worker is ready/,
  });
  const client = await processes.start('Celery client', python, ['celery_client.py'], {
    cwd: ROLES,
    env,
    readyWhen: /ready/,
  });

  return {
    name: celery.name,
    runBatch: (count) => client.command(`batch ${count}`),
    requestReply: (seq) => client.command(`one ${seq}`),
    roots: async () => ({ workers: [worker.pid], broker: [broker.pid] }),
    async stop() {
      await client.stop();
      await worker.stop();
      await broker.deleteVhost(vhost);
    },
  };
}

/** @param {(message: string) => void} log */
async function providePython(log) {
  const found = await findPython();
  if (found) return found;
  if (canInstallPackages()) {
    await installPackages(['celery'], log).catch((error) => {
      throw new PeerMissingError(error.message);
    });
  }
  const installed = await findPython();
  if (installed) return installed;
  throw new PeerMissingError(
    'no Python here can import celery. Install it (Debian/Ubuntu: apt-get install celery; elsewhere: pip install celery), or set BENCH_PYTHON to a Python that has it.',
  );
}

async function findPython() {
  const candidates = [process.env.BENCH_PYTHON, SYSTEM_PYTHON, 'python3'].filter(
    (name) => name !== undefined,
  );
  for (const python of candidates) {
    const version = await celeryVersion(python);
    if (version) return { python, version };
  }
  return undefined;
}

/** @param {string} python */
async function celeryVersion(python) {
  try {
    const command = ['-c', 'import celery; print(celery.__version__)'];
    const { code, stdout } = await run(python, command, { timeoutMs: 15_000 });
    return code === 0 ? stdout.trim() : undefined;
  } catch {
    return undefined;
  }
}
