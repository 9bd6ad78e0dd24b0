/** A V8 CPU profile, summed up: own time by function, by file and by package. */

/**
 * @typedef {object} CpuProfile
 * @property {{ id: number, callFrame: { functionName: string, url: string, lineNumber: number } }[]} nodes
 * @property {number} startTime microseconds of the monotonic clock
 * @property {number[]} samples node ids
 * @property {number[]} timeDeltas microseconds since the sample before
 *
 * @typedef {{ name: string, selfMs: number }} Entry
 */

const NOT_WORK = new Set(['(idle)', '(root)']);

/**
 * @param {CpuProfile} profile
 * @param {{ fromUs: number, toUs: number }} window of the monotonic clock, as process.hrtime has it
 * @returns {{ busyMs: number, idleMs: number, functions: Entry[], files: Entry[], packages: Entry[] }} each list by own
 *   time, the largest first
 */
export function summarise(profile, { fromUs, toUs }) {
  const selfUs = selfTimes(profile, fromUs, toUs);
  /** @type {Record<'functions' | 'files' | 'packages', Map<string, number>>} */
  const sums = { functions: new Map(), files: new Map(), packages: new Map() };
  let busyMs = 0;
  let idleMs = 0;
  for (const { id, callFrame } of profile.nodes) {
    const ms = (selfUs.get(id) ?? 0) / 1_000;
    if (NOT_WORK.has(callFrame.functionName)) {
      idleMs += ms;
      continue;
    }
    busyMs += ms;
    const file = fileOf(callFrame.url);
    add(sums.functions, functionOf(callFrame, file), ms);
    add(sums.files, file || `native ${callFrame.functionName}`, ms);
    add(sums.packages, packageOf(file, callFrame.functionName), ms);
  }
  return {
    busyMs,
    idleMs,
    functions: sorted(sums.functions),
    files: sorted(sums.files),
    packages: sorted(sums.packages),
  };
}

/**
 * @param {CpuProfile} profile
 * @param {number} fromUs
 * @param {number} toUs
 */
function selfTimes({ samples, timeDeltas, startTime }, fromUs, toUs) {
  /** @type {Map<number, number>} */
  const sums = new Map();
  let at = startTime;
  samples.forEach((id, index) => {
    at += timeDeltas[index] ?? 0;
    // A sample stands for the time until the next one.
    if (at >= fromUs && at < toUs) sums.set(id, (sums.get(id) ?? 0) + (timeDeltas[index + 1] ?? 0));
  });
  return sums;
}

/** @param {string} url */
function fileOf(url) {
  const path = url.replace(/^file:\/\//, '');
  const inModules = path.split('/node_modules/').at(-1);
  if (path.includes('/node_modules/')) return `node_modules/${inModules}`;
  return path.replace(/^.*\/(dist|bench)\//, '$1/');
}

/**
 * @param {{ functionName: string, lineNumber: number }} callFrame
 * @param {string} file
 */
function functionOf({ functionName, lineNumber }, file) {
  const name = functionName || '(anonymous)';
  return file ? `${name} ${file}:${lineNumber + 1}` : name;
}

/**
 * @param {string} file
 * @param {string} functionName
 */
function packageOf(file, functionName) {
  if (file.startsWith('node_modules/')) {
    const [, scopeOrName = '', name = ''] = file.split('/');
    return scopeOrName.startsWith('@') ? `${scopeOrName}/${name}` : scopeOrName;
  }
  if (file.startsWith('node:')) return 'node';
  if (file.startsWith('dist/')) return file.split('/').slice(0, 2).join('/');
  return file || (functionName.startsWith('(') ? functionName : 'native code');
}

/**
 * @param {Map<string, number>} sums
 * @param {string} name
 * @param {number} ms
 */
function add(sums, name, ms) {
  sums.set(name, (sums.get(name) ?? 0) + ms);
}

/** @param {Map<string, number>} sums @returns {Entry[]} */
function sorted(sums) {
  return [...sums].map(([name, selfMs]) => ({ name, selfMs })).toSorted((a, b) => b.selfMs - a.selfMs);
}
