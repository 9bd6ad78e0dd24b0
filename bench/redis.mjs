/** A private Redis: a port and a folder of its own, nothing of the machine's configuration. */
import { mkdirSync } from 'node:fs';
import { canInstallPackages, installPackages } from '../scripts/apt.mjs';
import { findExecutable, freePort, run } from '../scripts/processes.mjs';
import { PeerMissingError } from './journal.mjs';

const NO_REDIS =
  'No Redis found. Install it (Debian/Ubuntu: apt-get install redis-server; macOS: brew install redis), or leave its contestants out with --peers.';

/**
 * @typedef {{ port: number, pid: number, version: string }} Redis
 *
 * @param {{ dataDir: string, processes: import('./processes.mjs').Processes, log: (message: string) => void }} options
 * @returns {Promise<Redis>}
 */
export async function startRedis({ dataDir, processes, log }) {
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
  const child = await processes.start('redis', server, args, { readyWhen: /Ready to accept connections/ });
  const { stdout } = await run(server, ['--version']);
  const version = /v=(\S+)/.exec(stdout)?.[1] ?? 'unknown';
  log(`Redis ${version} (private) answers on 127.0.0.1:${port}`);
  return { port, pid: child.pid, version };
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
