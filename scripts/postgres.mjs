/**
 * The PostgreSQL that the tests talk to. Node built-ins only at load time; `pg` is fetched when the first database
 * is created, and by then the dependencies are installed.
 *
 * A *private cluster* has a port of its own and listens on 127.0.0.1 alone, with no Unix socket. PostgreSQL refuses
 * to run as root: root hands it to user `postgres`. It ends with the process that started it, as the broker does.
 */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { canInstallPackages, installPackages } from './apt.mjs';
import {
  endProcess,
  findExecutable,
  firstAnswer,
  freePort,
  isAlive,
  isExecutable,
  lastLines,
  run,
  signalProcess,
  startGuard,
  waitUntil,
} from './processes.mjs';

const HOST = '127.0.0.1';
const SUPERUSER = 'flow';
const DEBIAN_VERSIONS_DIR = '/usr/lib/postgresql';
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 30_000;

const NO_POSTGRES = `No PostgreSQL found. Expected one of two ways, either will do:
  1. set TEST_DATABASE_URL to a server on which databases may be created and dropped, for instance
     TEST_DATABASE_URL=postgres://user:password@host:5432/postgres
  2. install PostgreSQL's server programs (Debian/Ubuntu: apt-get install postgresql; macOS: brew install
     postgresql@17); a private cluster is then started here`;

/**
 * @typedef {(message: string) => void} Log
 *
 * @typedef {object} PostgresState What another process needs to use a server that this one owns (JSON).
 * @property {'given' | 'private'} kind
 * @property {string} url address of the database from which others are created
 * @property {number} [port]
 * @property {number} [pid] of the postmaster
 *
 * @typedef {object} PostgresControls
 * @property {(name: string) => Promise<string>} createDatabase gives back its address
 * @property {(name: string) => Promise<void>} dropDatabase also ends the sessions in it
 * @property {(sql: string) => Promise<void>} run one statement, as the superuser
 *
 * @typedef {PostgresState & PostgresControls & { stop(): Promise<void> }} Postgres
 *
 * @typedef {object} PrivatePostgresExtras
 * @property {number} port
 * @property {number} pid of the postmaster; another one after restart()
 * @property {() => Promise<void>} kill SIGKILL of the postmaster
 * @property {() => Promise<void>} restart fast shutdown (if it still runs), then start on the same port and data
 *
 * @typedef {Postgres & PrivatePostgresExtras} PrivatePostgres
 *
 * @typedef {{ uid: number, gid: number } | undefined} Account whose processes the cluster runs in; undefined: our own
 */

/**
 * Finds a PostgreSQL: TEST_DATABASE_URL, else a private cluster, else (as root on Debian/Ubuntu) installs it first.
 *
 * @param {{ dataDir: string, log: Log, sharedBuffers?: string }} options
 * @returns {Promise<Postgres>}
 */
export async function providePostgres({ dataDir, log, sharedBuffers }) {
  if (process.env.TEST_DATABASE_URL) return useGivenServer(process.env.TEST_DATABASE_URL, log);
  if (!findPrograms()) await installPostgres(log);
  return startPostgres({ dataDir, log, sharedBuffers });
}

/**
 * Starts a private cluster and waits until it answers. A folder that an earlier cluster left its data in is taken
 * up again.
 *
 * @param {{ dataDir: string, log: Log, port?: number, sharedBuffers?: string }} options `port`: default a free one;
 *   `sharedBuffers`: its cache, default 64MB, which is enough for tests
 * @returns {Promise<PrivatePostgres>}
 */
export async function startPostgres({ dataDir, log, port: wantedPort, sharedBuffers = '64MB' }) {
  const programs = findPrograms();
  if (!programs) throw new Error(NO_POSTGRES);
  const port = wantedPort ?? (await freePort());
  const account = await accountToRunAs();
  const folders = await prepareFolders(resolve(dataDir), account, log);
  const startedAt = Date.now();
  if (!existsSync(join(folders.cluster, 'PG_VERSION'))) await initialise(programs, folders, account);
  const guard = startGuard();
  const start = () => startPostmaster({ programs, folders, account, port, sharedBuffers, guard });
  let postmaster = await start();
  log(`PostgreSQL (private cluster) answers on ${HOST}:${port} after ${Date.now() - startedAt} ms`);

  // SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for every client to leave.
  const stopPostmaster = () => endProcess(postmaster.pid, { signal: 'SIGINT', timeoutMs: STOP_TIMEOUT_MS });
  /** @type {PostgresState} */
  const state = { kind: 'private', url: `postgres://${SUPERUSER}@${HOST}:${port}/postgres`, port };
  return /** @type {PrivatePostgres} */ ({
    ...state,
    ...controlsOf(state.url),
    get pid() {
      return postmaster.pid;
    },
    async kill() {
      signalProcess(postmaster.pid, 'SIGKILL');
      await waitUntil(() => !isAlive(postmaster.pid), { timeoutMs: 5_000, everyMs: 5 });
    },
    async restart() {
      await stopPostmaster();
      postmaster = await start();
    },
    async stop() {
      await stopPostmaster();
      guard.release();
      if (folders.temporary) rmSync(folders.temporary, { recursive: true, force: true });
    },
  });
}

/**
 * Takes hold of a server that another process owns; stopping and restarting stay with the owner.
 *
 * @param {string} stateFile written by savePostgresState
 * @returns {PostgresState & PostgresControls}
 */
export function attachPostgres(stateFile) {
  /** @type {PostgresState} */
  const state = JSON.parse(readFileSync(stateFile, 'utf8'));
  return { ...state, ...controlsOf(state.url) };
}

/**
 * Writes what attachPostgres reads.
 *
 * @param {Postgres} postgres
 * @param {string} stateFile
 */
export function savePostgresState({ kind, url, port, pid }, stateFile) {
  writeFileSync(stateFile, JSON.stringify({ kind, url, port, pid }, null, 2), { mode: 0o600 });
}

// --- databases ---

/**
 * @param {string} serverUrl
 * @returns {PostgresControls}
 */
function controlsOf(serverUrl) {
  return {
    async createDatabase(name) {
      await execute(serverUrl, `CREATE DATABASE ${quoted(name)}`);
      const url = new URL(serverUrl);
      url.pathname = `/${encodeURIComponent(name)}`;
      return url.href;
    },
    async dropDatabase(name) {
      await execute(serverUrl, `DROP DATABASE IF EXISTS ${quoted(name)} WITH (FORCE)`);
    },
    run: (sql) => execute(serverUrl, sql),
  };
}

/**
 * @param {string} url
 * @param {string} sql
 */
async function execute(url, sql) {
  const { default: pg } = await import('pg');
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

/** @param {string} identifier */
function quoted(identifier) {
  return `"${identifier.replaceAll('"', '""')}"`;
}

// --- programs and account ---

/** @typedef {{ initdb: string, postgres: string }} Programs */

/** @returns {Programs | undefined} */
function findPrograms() {
  const versionDirs = debianVersionDirs();
  const initdb = findExecutable('initdb', versionDirs);
  if (!initdb) return undefined;
  // Both from one place: data made by one version is unreadable to another.
  const beside = join(dirname(initdb), 'postgres');
  const postgres = isExecutable(beside) ? beside : findExecutable('postgres', versionDirs);
  return postgres ? { initdb, postgres } : undefined;
}

/** Debian keeps one folder a version; the newest comes first. */
function debianVersionDirs() {
  if (!existsSync(DEBIAN_VERSIONS_DIR)) return [];
  return readdirSync(DEBIAN_VERSIONS_DIR)
    .toSorted((a, b) => Number.parseFloat(b) - Number.parseFloat(a))
    .map((version) => join(DEBIAN_VERSIONS_DIR, version, 'bin'));
}

/** @param {Log} log */
async function installPostgres(log) {
  if (!canInstallPackages()) throw new Error(NO_POSTGRES);
  const configDir = '/etc/postgresql-common';
  const configFile = join(configDir, 'createcluster.conf');
  // Debian's package makes a system cluster as it is installed, unless this says otherwise beforehand.
  if (!existsSync(configFile)) {
    mkdirSync(configDir, { recursive: true });
    writeFileSync(configFile, 'create_main_cluster = false\n');
  }
  await installPackages(['postgresql'], log);
}

/** @returns {Promise<Account>} */
async function accountToRunAs() {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['postgres', 'nobody']) {
    const [uid, gid] = await Promise.all([idOf('-u', name), idOf('-g', name)]);
    if (uid && gid) return { uid, gid };
  }
  throw new Error(
    'Expected a user `postgres` or `nobody`, since PostgreSQL refuses to run as root; this machine has neither. Create one, or run this as an ordinary user.',
  );
}

/**
 * @param {'-u' | '-g'} option
 * @param {string} name
 */
async function idOf(option, name) {
  const { code, stdout } = await run('id', [option, name]);
  return code === 0 ? Number.parseInt(stdout, 10) : undefined;
}

// --- folders ---

/**
 * @typedef {object} Folders
 * @property {string} cluster
 * @property {string} log
 * @property {string} [temporary] to be removed at the end
 */

/**
 * @param {string} dataDir
 * @param {Account} account
 * @param {Log} log
 * @returns {Promise<Folders>}
 */
async function prepareFolders(dataDir, account, log) {
  mkdirSync(dataDir, { recursive: true });
  const temporary = (await canEnter(dataDir, account)) ? undefined : mkdtempSync(join(tmpdir(), 'flow-pg-'));
  if (temporary) {
    chmodSync(temporary, 0o755);
    log(
      `PostgreSQL's user may not enter ${dataDir}; its data goes to ${temporary} and is removed at the end`,
    );
  }
  const cluster = join(temporary ?? dataDir, 'cluster');
  mkdirSync(cluster, { recursive: true, mode: 0o700 });
  if (account) chownSync(cluster, account.uid, account.gid);
  return { cluster, log: join(dataDir, 'postgres.log'), temporary };
}

/**
 * A checkout under /root, say, is closed to user `postgres`.
 *
 * @param {string} dir
 * @param {Account} account
 */
async function canEnter(dir, account) {
  if (!account) return true;
  const entered = await run('/bin/sh', ['-c', 'cd "$1"', 'sh', dir], { ...account, cwd: '/' });
  return entered.code === 0;
}

// --- the cluster ---

/**
 * @param {Programs} programs
 * @param {Folders} folders
 * @param {Account} account
 */
async function initialise({ initdb }, { cluster }, account) {
  const args = [
    '-D',
    cluster,
    '-U',
    SUPERUSER,
    '--auth=trust',
    '--encoding=UTF8',
    '--locale=C',
    '--no-sync',
    '--no-instructions',
  ];
  const { code, stdout, stderr } = await run(initdb, args, {
    ...account,
    cwd: cluster,
    env: plainEnvironment(),
  });
  if (code !== 0) {
    throw new Error(
      `Expected initdb (${initdb}) to make a cluster in ${cluster}; it ended with ${code}: ${stderr || stdout}`,
    );
  }
}

/**
 * @typedef {{ programs: Programs, folders: Folders, account: Account, port: number, sharedBuffers: string }} Cluster
 *
 * @param {Cluster & { guard: ReturnType<typeof startGuard> }} options
 * @returns {Promise<{ pid: number }>}
 */
async function startPostmaster({ guard, ...cluster }) {
  const { programs, folders, port } = cluster;
  // After kill() the old server's children live on for a moment and hold its shared memory.
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const postmaster = spawnPostmaster(cluster);
    const pid = /** @type {number} */ (postmaster.pid);
    guard.watch([pid]);
    const ended = () => postmaster.exitCode !== null || postmaster.signalCode !== null;
    await waitUntil(async () => ended() || (await acceptsSessions(port)), {
      timeoutMs: deadline - Date.now(),
    });
    if (!ended() && (await acceptsSessions(port))) return { pid };
    await endProcess(pid, { signal: 'SIGINT', timeoutMs: 5_000 });
    const words = lastLines(folders.log);
    if (Date.now() > deadline || !words.includes('pre-existing shared memory block'))
      throw startFailure(programs, folders, words);
    await sleep(100);
  }
}

/** @param {Cluster} cluster */
function spawnPostmaster({ programs, folders, account, port, sharedBuffers }) {
  // No Unix socket: its path may have about 100 characters only, and the system's folder for it is not ours.
  const settings = {
    shared_buffers: sharedBuffers,
    max_connections: '200',
    listen_addresses: HOST,
    unix_socket_directories: '',
  };
  const args = ['-D', folders.cluster, '-p', String(port)];
  for (const [name, value] of Object.entries(settings)) args.push('-c', `${name}=${value}`);
  const output = openSync(folders.log, 'w');
  const postmaster = spawn(programs.postgres, args, {
    ...account,
    // Its own process group: Ctrl-C in the terminal must reach us alone.
    detached: true,
    cwd: folders.cluster,
    env: plainEnvironment(),
    stdio: ['ignore', output, output],
  });
  closeSync(output);
  postmaster.unref();
  postmaster.once('error', () => {});
  return postmaster;
}

/**
 * A start-up packet of the wire protocol, version 3.0, as our superuser: 'R' is the answer of a server that lets us in.
 *
 * @param {number} port
 */
async function acceptsSessions(port) {
  const parameters = Buffer.from(`user\0${SUPERUSER}\0database\0postgres\0\0`);
  const header = Buffer.alloc(8);
  header.writeInt32BE(header.length + parameters.length, 0);
  header.writeInt32BE(0x0003_0000, 4);
  try {
    const answer = await firstAnswer({ host: HOST, port, request: Buffer.concat([header, parameters]) });
    return String.fromCharCode(answer[0]) === 'R';
  } catch {
    return false;
  }
}

/** Our own environment without what would steer another PostgreSQL (PGPORT and the like). */
function plainEnvironment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^PG[A-Z]+$/.test(name)));
}

/**
 * @param {Programs} programs
 * @param {Folders} folders
 * @param {string} words
 */
function startFailure({ postgres }, { cluster, log }, words) {
  return new Error(
    `Expected PostgreSQL (${postgres}) to start on ${cluster}; it did not answer within ${START_TIMEOUT_MS / 1000} s. The end of ${basename(log)}:\n${words}\nIf its data is damaged or of another version, delete ${dirname(cluster)} and start again.`,
  );
}

// --- a given server ---

/**
 * @param {string} url
 * @param {Log} log
 * @returns {Promise<Postgres>}
 */
async function useGivenServer(url, log) {
  const address = URL.canParse(url) ? new URL(url).host : 'an address that is no URL';
  try {
    await execute(url, 'SELECT 1');
  } catch (error) {
    throw new Error(
      `Expected a PostgreSQL at ${address}, as TEST_DATABASE_URL says; connecting failed: ${/** @type {Error} */ (error).message}. Start it, correct TEST_DATABASE_URL, or unset it to get a private cluster.`,
      { cause: error },
    );
  }
  log(`PostgreSQL at ${address}, given by TEST_DATABASE_URL`);
  return { kind: 'given', url, ...controlsOf(url), stop: async () => {} };
}
