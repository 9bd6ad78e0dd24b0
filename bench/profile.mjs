/**
 * `node bench/profile.mjs [--store sqlite] [--role orchestrator] [--kind batch] [--flows 20000]`: where the CPU time of
 * one of the product's processes goes under load. The profile itself is kept for a viewer such as Chrome's.
 */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CHECKOUT } from '../scripts/checkout.mjs';
import { summarise } from './cpu-profile.mjs';
import { prepare, withServers } from './session.mjs';

const KINDS = ['batch', 'singles', 'chains', 'latency'];
const TOP = 40;
const WARM_UP_FLOWS = 5_000;
const CONNECTIONS = 64;

const { values } = parseArgs({
  options: {
    store: { type: 'string', default: 'sqlite' },
    role: { type: 'string', default: 'orchestrator' },
    flows: { type: 'string', default: '20000' },
    kind: { type: 'string', default: 'batch' },
    help: { type: 'boolean', default: false },
  },
});

const monotonicUs = () => Number(process.hrtime.bigint() / 1_000n);

/**
 * @param {import('./contestants/contestant.mjs').Contestant} contestant
 * @param {number} flows
 */
async function load(contestant, flows) {
  if (values.kind === 'batch') await contestant.runBatch?.(flows);
  if (values.kind === 'chains') await contestant.runChains?.(flows);
  if (values.kind === 'singles') await contestant.runSingles?.(flows, CONNECTIONS);
  if (values.kind === 'latency') {
    for (let seq = 0; seq < flows; seq++) await contestant.requestReply?.(seq);
  }
}

/**
 * @param {string} title
 * @param {import('./cpu-profile.mjs').Entry[]} entries
 * @param {{ busyMs: number, flows: number }} total
 */
function print(title, entries, { busyMs, flows }) {
  console.log(`\n${title}\n    own ms      %   µs a flow`);
  for (const { name, selfMs } of entries.slice(0, TOP)) {
    const columns = [
      selfMs.toFixed(0),
      ((selfMs / busyMs) * 100).toFixed(1),
      ((selfMs / flows) * 1_000).toFixed(1),
    ];
    console.log(`${columns[0].padStart(10)} ${columns[1].padStart(6)} ${columns[2].padStart(11)}  ${name}`);
  }
}

/**
 * One profile a thread, the main thread's first.
 *
 * @param {string} dir
 * @returns {{ thread: string, path: string }[]}
 */
function profilesIn(dir) {
  const profiles = readdirSync(dir)
    .map((name) => ({ thread: /\.(\d+)\.\d+\.cpuprofile$/.exec(name)?.[1] ?? '?', path: join(dir, name) }))
    .toSorted((a, b) => Number(a.thread) - Number(b.thread));
  if (profiles.length > 0) return profiles;
  throw new Error(`Expected a CPU profile in ${dir}; is ${values.role} one of the product's processes?`);
}

async function profile() {
  await prepare();
  const { startProduct } = await import('./contestants/product.mjs');
  const flows = Number(values.flows);
  const dir = join(CHECKOUT, '.data', 'profiles', String(Date.now()));
  mkdirSync(dir, { recursive: true });
  return withServers(async (surroundings) => {
    const product = await startProduct(surroundings, {
      store: /** @type {import('./contestants/product.mjs').Store} */ (values.store),
      nodeArgs: (role) => (role === values.role ? ['--cpu-prof', `--cpu-prof-dir=${dir}`] : []),
    });
    await load(product, Math.min(flows, WARM_UP_FLOWS));
    const fromUs = monotonicUs();
    await load(product, flows);
    const toUs = monotonicUs();
    // Profiles are written as the process ends.
    await product.stop();
    const perSecond = Math.round(flows / ((toUs - fromUs) / 1e6));
    console.log(`\n${values.kind}, ${values.store}: ${flows} flows, ${perSecond} flows/s while profiled`);
    for (const { thread, path } of profilesIn(dir)) {
      const { busyMs, idleMs, ...lists } = summarise(JSON.parse(readFileSync(path, 'utf8')), {
        fromUs,
        toUs,
      });
      const which = thread === '0' ? 'main thread' : `thread ${thread}`;
      console.log(`\n${values.role}, ${which}: ${busyMs.toFixed(0)} ms busy, ${idleMs.toFixed(0)} ms idle`);
      print('By package or room', lists.packages, { busyMs, flows });
      print('By file', lists.files, { busyMs, flows });
      print('By function', lists.functions, { busyMs, flows });
      console.log(`\nprofile: ${path}`);
    }
  });
}

if (values.help || !KINDS.includes(values.kind)) {
  console.log(
    `node bench/profile.mjs [--store sqlite|postgres] [--role orchestrator|worker-1] [--kind ${KINDS.join('|')}] [--flows N]`,
  );
} else {
  process.exit(await profile());
}
