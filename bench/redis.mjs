/** A private Redis: a port and a folder of its own, nothing of the machine's configuration. */
import { mkdirSync } from 'node:fs';
import { canInstallPackages, installPackages } from '../scripts/apt.mjs';
import { findExecutable, freePort, run } from '../scripts/processes.mjs';
import { PeerMissingError } from './journal.mjs';

const NO_REDIS =
  'No Redis found. Install it (Debian/Ubuntu: apt-get install redis-server; macOS: brew install redis), or leave its contestants out with --peers.';

/** Half a GiB, more than a measure leaves behind. */
const USED_KEYS = 262_144;
const USED_BYTES = 2_000;
const FILL = `for i = 1, ARGV[1] do redis.call('set', 'used:' .. i, string.rep('x', ARGV[2])) end`;
const EMPTY = `for i = 1, ARGV[1] do redis.call('del', 'used:' .. i) end`;

/**
 * @typedef {{ port: number, pid: number, version: string }} Redis
 *
 * @param {object} options
 * @param {string} options.dataDir
 * @param {import('./processes.mjs').Processes} options.processes
 * @param {(message: string) => void} options.log
 * @param {boolean} options.inUse whether it has its memory already, as one that has run for a while
 * @returns {Promise<Redis>}
 */
export async function startRedis({ dataDir, processes, log, inUse }) {
  const server = await provideServer(log);
  const port = await freePort();
  mkdirSync(dataDir, { recursive: true });
  // As BullMQ asks for: an append-only file, synced each second, and nothing ever evicted.
  const settings = {
    port,
    bind: '127.0.0.1',
    dir: dataDir,
    appendonly: 'yes',
    appendfsync: 'everysec',
    save: '',
    'maxmemory-policy': 'noeviction',
    daemonize: 'no',
  };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const child = await processes.start('redis', server, args, {
    readyWhen: /Ready to accept connections/,
    // What it has had it keeps: jemalloc would give it back within seconds.
    env: { MALLOC_CONF: 'dirty_decay_ms:-1,muzzy_decay_ms:-1' },
  });
  if (inUse) await use(port);
  const { stdout } = await run(server, ['--version']);
  const version = /v=(\S+)/.exec(stdout)?.[1] ?? 'unknown';
  log(`Redis ${version} (private) answers on 127.0.0.1:${port}`);
  return { port, pid: child.pid, version };
}

/** @param {number} port */
async function use(port) {
  const { Redis } = await import('ioredis');
  const client = new Redis({ host: '127.0.0.1', port });
  try {
    // Nothing of it belongs into the log.
    await client.config('SET', 'appendonly', 'no');
    await client.eval(FILL, 0, USED_KEYS, USED_BYTES);
    // Not FLUSHALL, which gives the memory back.
    await client.eval(EMPTY, 0, USED_KEYS);
    await client.config('SET', 'appendonly', 'yes');
  } finally {
    client.disconnect();
  }
}

/** @param {(message: string) => void} log */
async function provideServer(log) {
  const find = () => findExecutable('redis-server', ['/usr/bin', '/usr/local/bin', '/opt/homebrew/bin']);
  if (!find() && canInstallPackages()) {
    await installPackages(['redis-server'], log).catch((error) => {
      throw new PeerMissingError(error.message);
    });
  }
  const server = find();
  if (!server) throw new PeerMissingError(NO_REDIS);
  return server;
}
