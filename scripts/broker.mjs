/**
 * The RabbitMQ that the quickstart and the tests talk to. Node built-ins only: this runs before `npm ci`.
 *
 * A *private node* shares nothing with a RabbitMQ that the machine may already run: node name, ports, Erlang
 * cookie, epmd, configuration and data are its own, under one folder. It runs as whoever starts it, root or not.
 *
 * It ends with the process that started it. `stop()` is the graceful way; if the owner dies without calling it, a
 * guard (see startGuard) ends the node and its epmd. What nothing can cover is a SIGKILL of owner and guard at
 * once: then the process ids are in `<dataDir>/rabbit.pid` and `<dataDir>/epmd.pid`.
 */
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  openSync,
  closeSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { canInstallPackages, installPackages } from './apt.mjs';
import { CHECKOUT } from './checkout.mjs';
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
  succeeds,
  waitUntil,
} from './processes.mjs';

const HOST = '127.0.0.1';
// Debian's script folder comes first: it holds RabbitMQ's own scripts. The /usr/sbin command of the same name is a
// wrapper that becomes user `rabbitmq` and loses our environment, or refuses an ordinary user.
const SERVER_DIRS = [
  '/usr/lib/rabbitmq/bin',
  '/usr/local/sbin',
  '/usr/sbin',
  '/opt/homebrew/sbin',
  '/opt/homebrew/opt/rabbitmq/sbin',
];
const START_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 30_000;
const CTL_TIMEOUT_MS = 60_000;
// RabbitMQ closes the channel of a consumer that holds a message longer than this; the default is 30 minutes.
const CONSUMER_TIMEOUT_MS = 24 * 60 * 60 * 1000;

const NO_BROKER = `No RabbitMQ found. Expected one of three ways, any of them will do:
  1. set AMQP_URL to a broker that is running, for instance AMQP_URL=amqp://user:password@host:5672
  2. install RabbitMQ (Debian/Ubuntu: apt-get install rabbitmq-server; macOS: brew install rabbitmq), or set
     RABBITMQ_SERVER_BIN to its rabbitmq-server script; a private node of it is then started here
  3. start Docker (with its compose plugin); the broker of docker-compose.yml is then used`;

/**
 * @typedef {(message: string) => void} Log
 *
 * @typedef {object} BrokerState What another process needs to talk to a broker that this one owns (JSON).
 * @property {'given' | 'private' | 'docker'} kind
 * @property {string} url AMQP address with user, password and the default vhost
 * @property {number} [amqpPort]
 * @property {number} [distPort]
 * @property {number} [epmdPort]
 * @property {string} [nodeName]
 * @property {string} [dataDir]
 * @property {number} [pid] of the Erlang virtual machine
 * @property {string[]} [ctlCommand] rabbitmqctl with the arguments that come before the subcommand
 * @property {Record<string, string>} [env] environment for rabbitmqctl
 *
 * @typedef {object} BrokerControls
 * @property {(args: string[]) => Promise<string>} ctl runs rabbitmqctl, gives back its output, rejects when it fails
 * @property {(name: string) => Promise<string>} createVhost gives back the vhost's AMQP address
 * @property {(name: string) => Promise<void>} deleteVhost also closes the connections into it
 *
 * @typedef {BrokerState & BrokerControls & { canCreateVhosts: boolean, stop(): Promise<void> }} Broker
 *
 * @typedef {object} PrivateBrokerExtras
 * @property {number} amqpPort
 * @property {number} distPort
 * @property {number} epmdPort
 * @property {string} nodeName
 * @property {string} dataDir
 * @property {number} pid of the Erlang virtual machine; another one after restart()
 * @property {() => Promise<void>} kill SIGKILL of the Erlang virtual machine. RabbitMQ 3.10 writes a new quorum queue's
 *   name to disk about a second after it has confirmed the declaration; killed before that, the queue has no leader
 *   after the restart, for good (measured). Let two seconds pass between declaring queues and killing the node
 * @property {() => Promise<void>} restart graceful stop (if it still runs), then start on the same ports and data
 *
 * @typedef {Broker & PrivateBrokerExtras} PrivateBroker
 */

/**
 * Finds a broker: AMQP_URL, else a private node, else Docker, else (as root on Debian/Ubuntu) installs RabbitMQ.
 *
 * @param {{ dataDir: string, log: Log }} options `dataDir` belongs to the private node, which keeps its data there
 * @returns {Promise<Broker>}
 */
export async function provideBroker({ dataDir, log }) {
  if (process.env.AMQP_URL) return useGivenBroker(process.env.AMQP_URL, log);
  if (findServer()) return startBroker({ dataDir, log });
  if (await dockerAnswers()) return startDockerBroker(log);
  if (!canInstallPackages()) throw new Error(NO_BROKER);
  await installPackages(['rabbitmq-server'], log);
  return startBroker({ dataDir, log });
}

/**
 * Starts a private RabbitMQ node and waits until it answers. A folder that an earlier node left its data in is
 * taken up again, under the name that node had.
 *
 * @param {{ dataDir: string, log: Log, amqpPort?: number, config?: string, advancedConfig?: string }} options
 *   `amqpPort`: default a free one. `config`: further lines of rabbitmq.conf, which win over ours. `advancedConfig`:
 *   Erlang terms for what rabbitmq.conf has no name for
 * @returns {Promise<PrivateBroker>}
 */
export async function startBroker({ dataDir, log, amqpPort, config = '', advancedConfig = '[].' }) {
  const serverBin = findServer();
  if (!serverBin) throw new Error(NO_BROKER);
  const layout = prepareFolder(resolve(dataDir), { config, advancedConfig });
  const nodeName = readOrCreate(layout.nodeName, () => newNodeName(layout.dataDir));
  await refuseRunningNode(layout, nodeName);
  const ports = { amqp: amqpPort ?? (await freePort()), dist: await freePort(), epmd: await freePort() };
  const env = nodeEnvironment(layout, nodeName, ports);
  const guard = startGuard();

  const epmdPid = await startEpmd(ports.epmd, layout, env);
  const startedAt = Date.now();
  let node = await startNode({ serverBin, layout, env, ports, guard, epmdPid }).catch(async (error) => {
    await endEpmd(epmdPid, ports.epmd);
    guard.release();
    throw error;
  });
  log(
    `RabbitMQ (private node ${nodeName}) answers on ${HOST}:${ports.amqp} after ${Date.now() - startedAt} ms`,
  );

  const stopNode = () =>
    endProcess(node.pid, { timeoutMs: STOP_TIMEOUT_MS }).then(() => node.launcherEnded());
  /** @type {BrokerState} */
  const state = {
    kind: 'private',
    url: `amqp://guest:guest@${HOST}:${ports.amqp}`,
    amqpPort: ports.amqp,
    distPort: ports.dist,
    epmdPort: ports.epmd,
    nodeName,
    dataDir: layout.dataDir,
    ctlCommand: [findCtl(serverBin), '-n', nodeName],
    env,
  };
  return /** @type {PrivateBroker} */ ({
    ...state,
    ...controlsOf(state),
    canCreateVhosts: true,
    get pid() {
      return node.pid;
    },
    async kill() {
      signalProcess(node.pid, 'SIGKILL');
      await waitUntil(() => !isAlive(node.pid), { timeoutMs: 5_000, everyMs: 5 });
      await node.launcherEnded();
    },
    async restart() {
      await stopNode();
      node = await startNode({ serverBin, layout, env, ports, guard, epmdPid });
    },
    async stop() {
      await stopNode();
      await endEpmd(epmdPid, ports.epmd);
      guard.release();
      for (const file of [layout.pidFile, layout.epmdPidFile]) rmSync(file, { force: true });
    },
  });
}

/**
 * Takes hold of a broker that another process owns. Stopping and restarting stay with the owner: a test that needs
 * those starts a node of its own.
 *
 * @param {string} stateFile written by saveBrokerState
 * @returns {BrokerState & BrokerControls & { canCreateVhosts: boolean }}
 */
export function attachBroker(stateFile) {
  /** @type {BrokerState} */
  const state = JSON.parse(readFileSync(stateFile, 'utf8'));
  return { ...state, ...controlsOf(state), canCreateVhosts: state.ctlCommand !== undefined };
}

/**
 * Writes what attachBroker reads.
 *
 * @param {Broker} broker
 * @param {string} stateFile
 */
export function saveBrokerState(broker, stateFile) {
  const { kind, url, amqpPort, distPort, epmdPort, nodeName, dataDir, pid, ctlCommand, env } = broker;
  const state = { kind, url, amqpPort, distPort, epmdPort, nodeName, dataDir, pid, ctlCommand, env };
  writeFileSync(stateFile, JSON.stringify(state, null, 2), { mode: 0o600 });
}

/**
 * Whether something speaks AMQP 0-9-1 there.
 *
 * @param {{ host: string, port: number, timeoutMs?: number }} address
 */
export async function answersAmqp({ host, port, timeoutMs }) {
  try {
    const answer = await firstAnswer({
      host,
      port,
      timeoutMs,
      request: Buffer.from('AMQP\x00\x00\x09\x01', 'latin1'),
    });
    // A method frame on channel 0: connection.start.
    return answer[0] === 1 && answer.readUInt16BE(1) === 0;
  } catch {
    return false;
  }
}

// --- the folder and the environment of a private node ---

/**
 * @typedef {object} Layout
 * @property {string} dataDir
 * @property {string} home holds the Erlang cookie
 * @property {string} mnesia
 * @property {string} logs
 * @property {string} startupLog
 * @property {string} config
 * @property {string} noConfig an empty file or folder wherever RabbitMQ would otherwise read the machine's own
 * @property {string} confD
 * @property {string} advancedConfig
 * @property {string} plugins
 * @property {string} nodeName
 * @property {string} pidFile
 * @property {string} epmdPidFile
 */

/**
 * @param {string} dataDir absolute
 * @param {{ config: string, advancedConfig: string }} extra
 * @returns {Layout}
 */
function prepareFolder(dataDir, extra) {
  const at = (/** @type {string[]} */ ...parts) => join(dataDir, ...parts);
  const layout = {
    dataDir,
    home: at('home'),
    mnesia: at('mnesia'),
    logs: at('logs'),
    startupLog: at('logs', 'startup.log'),
    config: at('rabbitmq.conf'),
    noConfig: at('rabbitmq-env.conf'),
    confD: at('conf.d'),
    advancedConfig: at('advanced.config'),
    plugins: at('enabled_plugins'),
    nodeName: at('node-name'),
    pidFile: at('rabbit.pid'),
    epmdPidFile: at('epmd.pid'),
  };
  for (const dir of [layout.home, layout.mnesia, layout.logs, layout.confD])
    mkdirSync(dir, { recursive: true });
  readOrCreate(join(layout.home, '.erlang.cookie'), () => randomBytes(20).toString('hex'), 0o400);
  writeFileSync(layout.config, nodeConfig() + extra.config);
  writeFileSync(layout.advancedConfig, `${extra.advancedConfig}\n`);
  writeFileSync(layout.noConfig, '');
  writeFileSync(layout.plugins, '[].\n');
  return layout;
}

function nodeConfig() {
  return `# Written by scripts/broker.mjs at every start.
consumer_timeout = ${CONSUMER_TIMEOUT_MS}
loopback_users.guest = true
# Alarms stop publishers. On a small or busy machine the defaults would do so for reasons that are not ours.
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.relative = 0.6
# The default write-ahead log of 512 MB is kept in memory as well.
raft.wal_max_size_bytes = 67108864
log.console = false
log.file.level = info
`;
}

/**
 * @param {Layout} layout
 * @param {string} nodeName
 * @param {{ amqp: number, dist: number, epmd: number }} ports
 * @returns {Record<string, string>}
 */
function nodeEnvironment(layout, nodeName, ports) {
  const schedulers = Math.min(2, availableParallelism());
  return {
    ...inheritedEnvironment(),
    HOME: layout.home,
    ERL_EPMD_ADDRESS: HOST,
    ERL_EPMD_PORT: String(ports.epmd),
    RABBITMQ_NODENAME: nodeName,
    RABBITMQ_NODE_IP_ADDRESS: HOST,
    RABBITMQ_NODE_PORT: String(ports.amqp),
    RABBITMQ_DIST_PORT: String(ports.dist),
    RABBITMQ_MNESIA_BASE: layout.mnesia,
    RABBITMQ_MNESIA_DIR: join(layout.mnesia, 'node'),
    RABBITMQ_LOG_BASE: layout.logs,
    RABBITMQ_PID_FILE: layout.pidFile,
    RABBITMQ_CONF_ENV_FILE: layout.noConfig,
    RABBITMQ_CONFIG_FILE: layout.config,
    RABBITMQ_CONFIG_FILES: layout.confD,
    RABBITMQ_ADVANCED_CONFIG_FILE: layout.advancedConfig,
    RABBITMQ_GENERATED_CONFIG_DIR: join(layout.dataDir, 'config'),
    RABBITMQ_ENABLED_PLUGINS_FILE: layout.plugins,
    // Several nodes with two schedulers each must not be bound to the same two cores.
    RABBITMQ_SCHEDULER_BIND_TYPE: 'u',
    // `-flow_node` means nothing to Erlang: it makes the process recognisable by its command line.
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: `+S ${schedulers}:${schedulers} -kernel inet_dist_use_interface {127,0,0,1} -flow_node ${nodeName}`,
  };
}

/** Our own environment without what would steer another RabbitMQ or Erlang. */
function inheritedEnvironment() {
  /** @type {Record<string, string>} */
  const env = {};
  for (const [name, value] of Object.entries(process.env)) {
    const steers = /^(RABBITMQ_|ERL_|npm_)/.test(name) || name === 'NOTIFY_SOCKET';
    if (!steers && value !== undefined) env[name] = value;
  }
  return env;
}

/**
 * The name is kept with the data, because RabbitMQ finds its data by the node's name.
 *
 * @param {string} dataDir
 */
function newNodeName(dataDir) {
  const hash = createHash('sha256').update(dataDir).digest('hex').slice(0, 8);
  return `flow-${hash}-${process.pid}@localhost`;
}

/**
 * @param {string} path
 * @param {() => string} create
 * @param {number} [mode]
 */
function readOrCreate(path, create, mode = 0o644) {
  if (!existsSync(path)) writeFileSync(path, create(), { mode });
  return readFileSync(path, 'utf8');
}

/**
 * A node whose owner has just died may still be on its way down (see startGuard): that one is waited for.
 *
 * @param {Layout} layout
 * @param {string} nodeName
 */
async function refuseRunningNode(layout, nodeName) {
  const pid = readPid(layout.pidFile);
  const gone = await waitUntil(async () => !(await isNode(pid, nodeName)), {
    timeoutMs: 20_000,
    everyMs: 200,
  });
  if (!gone) {
    throw new Error(
      `Expected no RabbitMQ to be running in ${layout.dataDir}; process ${pid} does (its rabbit.pid says so). Use another folder, or end that process first.`,
    );
  }
}

/**
 * Whether that process is the node of that name: after a restart of the machine its number may be anyone's.
 *
 * @param {number | undefined} pid
 * @param {string} nodeName
 */
async function isNode(pid, nodeName) {
  if (pid === undefined || !isAlive(pid)) return false;
  const procFile = `/proc/${pid}/cmdline`;
  const words = existsSync(procFile)
    ? readFileSync(procFile, 'utf8')
    : (await run('ps', ['-o', 'args=', '-p', `${pid}`])).stdout;
  return words.includes(nodeName);
}

/**
 * @param {string} path
 * @returns {number | undefined}
 */
function readPid(path) {
  if (!existsSync(path)) return undefined;
  const pid = Number.parseInt(readFileSync(path, 'utf8'), 10);
  return pid > 0 ? pid : undefined;
}

// --- its processes ---

/**
 * Starts the port mapper in the foreground, so that its process is ours to end: left to itself, Erlang starts one as
 * a daemon that stays for ever.
 *
 * @param {number} port
 * @param {Layout} layout
 * @param {Record<string, string>} env
 * @returns {Promise<number | undefined>} undefined when there is no epmd to be found; Erlang then starts its own
 */
async function startEpmd(port, layout, env) {
  const epmdBin = findExecutable('epmd', ['/usr/lib/erlang/bin', '/usr/local/lib/erlang/bin']);
  if (!epmdBin) return undefined;
  const epmd = spawn(epmdBin, ['-port', String(port), '-address', HOST], {
    stdio: 'ignore',
    detached: true,
    env,
  });
  epmd.unref();
  const answers = await waitUntil(() => hasEnded(epmd) || asksEpmd(port, 'n'), {
    timeoutMs: 10_000,
    everyMs: 10,
  });
  if (!answers || hasEnded(epmd)) {
    throw new Error(
      `Expected epmd (${epmdBin}) to listen on ${HOST}:${port}; it ended with ${epmd.exitCode}. Run it by hand to see why.`,
    );
  }
  writeFileSync(layout.epmdPidFile, String(epmd.pid));
  return epmd.pid;
}

/**
 * @param {number | undefined} pid
 * @param {number} port
 */
async function endEpmd(pid, port) {
  if (pid !== undefined) return void (await endProcess(pid, { timeoutMs: 5_000 }));
  // Erlang started it as a daemon of unknown pid.
  await asksEpmd(port, 'k');
}

/**
 * Sends epmd one of its one-letter requests, `n` for the names it knows or `k` to end, in its own protocol: a length
 * of two bytes and the letter.
 *
 * @param {number} port
 * @param {'n' | 'k'} request
 * @returns {Promise<boolean>} whether it answered
 */
async function asksEpmd(port, request) {
  const bytes = Buffer.from([0, 1, request.charCodeAt(0)]);
  return firstAnswer({ host: HOST, port, request: bytes }).then(
    () => true,
    () => false,
  );
}

/**
 * @param {object} options
 * @param {string} options.serverBin
 * @param {Layout} options.layout
 * @param {Record<string, string>} options.env
 * @param {{ amqp: number }} options.ports
 * @param {ReturnType<typeof startGuard>} options.guard
 * @param {number | undefined} options.epmdPid
 * @returns {Promise<{ pid: number, launcherEnded(): Promise<unknown> }>}
 */
async function startNode({ serverBin, layout, env, ports, guard, epmdPid }) {
  rmSync(layout.pidFile, { force: true });
  const output = openSync(layout.startupLog, 'w');
  // Its own process group: Ctrl-C in the terminal must reach us alone, so that the order of stopping is ours.
  const launcher = spawn(serverBin, [], {
    env,
    detached: true,
    cwd: layout.dataDir,
    stdio: ['ignore', output, output],
  });
  closeSync(output);
  launcher.unref();
  launcher.once('error', () => {});
  const owned = [epmdPid, launcher.pid && -launcher.pid].filter((id) => id !== undefined);
  guard.watch(owned);

  const ready = await waitUntil(
    () => hasEnded(launcher) || answersAmqp({ host: HOST, port: ports.amqp, timeoutMs: 1_000 }),
    {
      timeoutMs: START_TIMEOUT_MS,
    },
  );
  if (!ready || hasEnded(launcher)) {
    await endProcess(launcher.pid, { timeoutMs: 5_000 });
    throw startFailure(serverBin, layout, ready === undefined);
  }
  // The launcher may be a shell that waits for the virtual machine: the pid file names the machine itself.
  const pid = readPid(layout.pidFile) ?? /** @type {number} */ (launcher.pid);
  guard.watch([...owned, pid]);
  return {
    pid,
    launcherEnded: () => waitUntil(() => hasEnded(launcher), { timeoutMs: 10_000, everyMs: 10 }),
  };
}

/** @param {import('node:child_process').ChildProcess} child */
function hasEnded(child) {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
}

/**
 * @param {string} serverBin
 * @param {Layout} layout
 * @param {boolean} timedOut
 */
function startFailure(serverBin, layout, timedOut) {
  const what = timedOut
    ? `did not answer AMQP within ${START_TIMEOUT_MS / 1000} s`
    : 'ended while it was starting';
  return new Error(
    `Expected RabbitMQ (${serverBin}) to start; it ${what}. Its last words:\n${lastLines(layout.startupLog)}\nMore is in ${layout.logs}. If its data there is damaged, delete ${layout.dataDir} and start again.`,
  );
}

// --- finding the binaries ---

/** @returns {string | undefined} */
function findServer() {
  const given = process.env.RABBITMQ_SERVER_BIN;
  if (given && !isExecutable(given)) {
    throw new Error(
      `Expected RABBITMQ_SERVER_BIN to name an executable file; ${given} is none. Correct it, or unset it.`,
    );
  }
  return given || findExecutable('rabbitmq-server', SERVER_DIRS, (path) => !isDistributionWrapper(path));
}

/** @param {string} path */
function isDistributionWrapper(path) {
  return basename(realpathSync(path)) === 'rabbitmq-script-wrapper';
}

/** @param {string} serverBin */
function findCtl(serverBin) {
  const siblings = [serverBin, realpathSync(serverBin)].map((path) => join(dirname(path), 'rabbitmqctl'));
  const found =
    process.env.RABBITMQCTL_BIN ||
    siblings.find((path) => isExecutable(path)) ||
    findExecutable('rabbitmqctl', SERVER_DIRS, (path) => !isDistributionWrapper(path));
  if (found) return found;
  throw new Error(`Expected rabbitmqctl beside ${serverBin}; there is none. Set RABBITMQCTL_BIN to it.`);
}

// --- rabbitmqctl ---

/**
 * @param {BrokerState} state
 * @returns {BrokerControls}
 */
function controlsOf(state) {
  const ctl = (/** @type {string[]} */ args) => runCtl(state, args);
  return {
    ctl,
    async createVhost(name) {
      const { username } = new URL(state.url);
      await ctl(['add_vhost', name]);
      await ctl(['set_permissions', '-p', name, decodeURIComponent(username), '.*', '.*', '.*']);
      return `${state.url}/${encodeURIComponent(name)}`;
    },
    async deleteVhost(name) {
      await ctl(['delete_vhost', name]);
    },
  };
}

/**
 * @param {BrokerState} state
 * @param {string[]} args
 */
async function runCtl({ ctlCommand, env, url }, args) {
  if (!ctlCommand) {
    throw new Error(
      `Expected a broker of our own for \`rabbitmqctl ${args.join(' ')}\`; this one was given by AMQP_URL (${hostOf(url)}), where we may not do that. Separate by AMQP_PREFIX there, or unset AMQP_URL.`,
    );
  }
  const [command, ...first] = ctlCommand;
  const result = await run(command, [...first, ...args], {
    env: env ?? process.env,
    cwd: CHECKOUT,
    timeoutMs: CTL_TIMEOUT_MS,
  });
  if (result.code === 0) return result.stdout;
  throw new Error(
    `Expected \`rabbitmqctl ${args.join(' ')}\` to succeed; it ended with ${result.code}: ${result.stderr || result.stdout}`,
  );
}

// --- a given broker, and one from Docker ---

/**
 * @param {string} url
 * @param {Log} log
 * @returns {Promise<Broker>}
 */
async function useGivenBroker(url, log) {
  const { protocol, hostname, port } = parseAmqpUrl(url);
  const address = { host: hostname, port: Number(port || (protocol === 'amqps:' ? 5671 : 5672)) };
  // Behind TLS the handshake cannot be tried without a client library; the service's own start will tell.
  const reachable =
    protocol === 'amqps:' ||
    (await waitUntil(() => answersAmqp(address), { timeoutMs: 10_000, everyMs: 500 }));
  if (!reachable) {
    throw new Error(
      `Expected a broker at ${address.host}:${address.port}, as AMQP_URL says; nothing there answered AMQP 0-9-1 within 10 s. Start it, correct AMQP_URL, or unset it to get a private node.`,
    );
  }
  log(`RabbitMQ at ${address.host}:${address.port}, given by AMQP_URL`);
  /** @type {BrokerState} */
  const state = { kind: 'given', url };
  return { ...state, ...controlsOf(state), canCreateVhosts: false, stop: async () => {} };
}

/** @param {string} url */
function parseAmqpUrl(url) {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed && ['amqp:', 'amqps:'].includes(parsed.protocol)) return parsed;
  throw new Error(
    'Expected AMQP_URL to be one address like amqp://user:password@host:5672/vhost; what came is no such address. Correct it, or unset it to get a private node.',
  );
}

/** @param {string} url */
function hostOf(url) {
  return new URL(url).host;
}

async function dockerAnswers() {
  return (await succeeds('docker', ['info'])) && (await succeeds('docker', ['compose', 'version']));
}

/**
 * @param {Log} log
 * @returns {Promise<Broker>}
 */
async function startDockerBroker(log) {
  const port = await freePort();
  // A project name of its own: an installation started by hand from the same file stays untouched.
  const compose = ['docker', 'compose', '--project-directory', CHECKOUT, '-p', `flow-broker-${process.pid}`];
  const env = /** @type {Record<string, string>} */ ({
    ...process.env,
    RABBITMQ_PORT: String(port),
    // Compose wants every variable of the file, though the orchestrators that need this one are not started.
    API_KEYS: process.env.API_KEYS ?? 'nobody',
  });
  const composeRun = (/** @type {string[]} */ args) =>
    run(compose[0], [...compose.slice(1), ...args], { env, cwd: CHECKOUT });
  log('RabbitMQ from Docker (docker compose up rabbitmq)');
  const up = await composeRun(['up', '-d', '--wait', 'rabbitmq']);
  const stop = async () => void (await composeRun(['down', '--volumes', '--timeout', '20']));
  if (up.code !== 0) {
    await stop();
    throw new Error(
      `Expected \`docker compose up rabbitmq\` to succeed; it ended with ${up.code}: ${up.stderr}\n${NO_BROKER}`,
    );
  }
  /** @type {BrokerState} */
  const state = {
    kind: 'docker',
    url: `amqp://flow:flow@${HOST}:${port}`,
    amqpPort: port,
    ctlCommand: [...compose, 'exec', '-T', 'rabbitmq', 'rabbitmqctl'],
    env,
  };
  return { ...state, ...controlsOf(state), canCreateVhosts: true, stop };
}
