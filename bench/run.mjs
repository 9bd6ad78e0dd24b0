/** `npm run bench`: the product beside its peers, in one run. See bench/README.md. */
import { known, readOptions } from './options.mjs';
import { commit, machine, ratiosOf, toMarkdown, writeReport } from './report.mjs';
import { log, prepare, withServers } from './session.mjs';
import { createStable } from './stable.mjs';

const HELP = `npm run bench -- [options]
  --quick          small counts: shows that everything runs, says nothing about speed
  --only a,b       only these measures: MEASURES
  --peers a,b      only these beside the product: PEERS ("" for none)
  --stores a,b     stores of the product: sqlite, postgres (default: both)
  --rounds N       turns of each contestant in a measure (3)
  --flows N        tasks in a turn of a throughput measure (20000)
  --samples N      requests in a turn of a latency measure (1000)
  --backlog N      low flows before a high one (100000)
  --queued N       flows that wait while memory is measured (1000000)
  --rows N         executions that the record is filled with (5000000)
  --help

Results go to bench/results; those of --quick to .data/bench-quick.
Where the CPU time goes: node bench/profile.mjs --help`;

/** @param {import('./options.mjs').Options & { help: boolean }} options */
async function bench({ help, ...options }) {
  await prepare();
  const { LINE_UP, MEASURE_NAMES, PEER_NAMES, contestantsOf } = await import('./line-up.mjs');
  if (help) {
    console.log(HELP.replace('MEASURES', MEASURE_NAMES.join(', ')).replace('PEERS', PEER_NAMES.join(', ')));
    return 0;
  }
  const wanted = known('only', options.only ?? MEASURE_NAMES, MEASURE_NAMES);
  known('peers', options.peers ?? [], PEER_NAMES);
  return withServers(
    async (given) => {
      const surroundings = options.quick ? { ...given, settle: async () => {} } : given;
      const stable = createStable();
      const kindsOf = (/** @type {import('./line-up.mjs').Peer[]} */ peers) => {
        const kinds = contestantsOf(peers, options);
        return options.quick ? kinds.map(stable.shared) : kinds;
      };
      const outcomes = [];
      for (const { measure, peers } of LINE_UP.filter(({ measure }) => wanted.includes(measure.name))) {
        const { name, title, targets } = measure;
        log(`\n▸ ${name}: ${title}`);
        const rows = await measure.run({ kinds: kindsOf(peers), surroundings, options });
        const ratios = ratiosOf(rows, targets);
        // Ratios of small counts would only mislead.
        const outcome = { name, title, rows, ratios: options.quick ? [] : ratios };
        outcomes.push(outcome);
        console.log(`\n${toMarkdown(outcome)}`);
      }
      await stable.stop();
      const { journal } = surroundings;
      const [missing, versions] = [journal.missing(), journal.versions()];
      const date = new Date().toISOString();
      const report = {
        date,
        commit: commit(),
        machine: machine(),
        versions,
        missing,
        options,
        measures: outcomes,
      };
      for (const file of await writeReport(report)) log(`▸ wrote ${file}`);
      for (const [name, reason] of Object.entries(missing)) log(`!!! NOT COMPARED with ${name}: ${reason}`);
    },
    { inUse: !options.quick },
  );
}

try {
  process.exit(await bench(readOptions(process.argv.slice(2))));
} catch (error) {
  log(error instanceof Error ? error.message : String(error));
  process.exit(2);
}
