/**
 * `node scripts/audit.mjs`: known holes (npm audit) in what is installed for production. Ends with 1 when one of them
 * is high or critical and not listed in audit-exceptions.json, which holds `{ "<GHSA id>": "<why it does not touch
 * us>" }`. A registry that gives no answer passes, loudly: a build must not depend on it. Node built-ins only.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CHECKOUT } from './checkout.mjs';
import { run } from './processes.mjs';

const GRAVE = new Set(['high', 'critical']);

/**
 * @typedef {object} Advisory
 * @property {string} id GHSA-…
 * @property {string} severity
 * @property {string} name of the package
 * @property {string} title
 * @property {string} url
 */

/** @returns {Record<string, string>} */
function readExceptions() {
  const exceptions = JSON.parse(readFileSync(join(CHECKOUT, 'audit-exceptions.json'), 'utf8'));
  for (const [id, reason] of Object.entries(exceptions)) {
    if (!/^GHSA(-[a-z0-9]{4}){3}$/.test(id) || typeof reason !== 'string' || reason.length < 20) {
      throw new Error(
        `Expected audit-exceptions.json to give each GHSA id a reason of at least 20 characters; ${id} has none.`,
      );
    }
  }
  return exceptions;
}

/**
 * @param {string} report what `npm audit --json` printed
 * @returns {Advisory[] | undefined} undefined when it is no report
 */
export function readReport(report) {
  try {
    const { auditReportVersion, vulnerabilities } = JSON.parse(report);
    if (auditReportVersion !== 2) return undefined;
    // `via` also names packages that are affected through another one: those have entries of their own.
    const advisories = Object.values(vulnerabilities)
      .flatMap(({ via }) => via)
      .filter((one) => typeof one === 'object')
      .map(({ url, severity, name, title }) => ({ id: url.split('/').at(-1), severity, name, title, url }));
    return [...new Map(advisories.map((one) => [one.id, one])).values()];
  } catch {
    return undefined;
  }
}

/**
 * @param {Advisory[]} advisories
 * @param {Record<string, string>} exceptions
 */
export function judge(advisories, exceptions) {
  const grave = advisories.filter(({ severity }) => GRAVE.has(severity));
  return {
    failing: grave.filter(({ id }) => !Object.hasOwn(exceptions, id)),
    excepted: grave.filter(({ id }) => Object.hasOwn(exceptions, id)),
    stale: Object.keys(exceptions).filter((id) => !grave.some((one) => one.id === id)),
  };
}

async function audit() {
  const exceptions = readExceptions();
  const { stdout, stderr } = await run('npm', ['audit', '--omit=dev', '--json'], {
    cwd: CHECKOUT,
    timeoutMs: 120_000,
  });
  const advisories = readReport(stdout);
  if (advisories === undefined) {
    const reason = /npm (?:warn|error) (?:audit )?(\d{3} .*|code .*|.*E[A-Z]{4,}.*)/.exec(stderr)?.[1];
    console.log(`!!! NOT AUDITED: the registry gave no audit report (${reason ?? 'no reason given'}).`);
    console.log('!!! Dependencies were NOT checked for known holes. Run `npm audit --omit=dev` elsewhere.');
    return 0;
  }
  const { failing, excepted, stale } = judge(advisories, exceptions);
  for (const { id, name } of excepted) console.log(`▸ excepted: ${name} ${id}: ${exceptions[id]}`);
  for (const id of stale) console.log(`▸ audit-exceptions.json: ${id} is reported no more; remove it`);
  for (const { severity, name, title, url } of failing)
    console.error(`✗ ${severity}: ${name}: ${title} (${url})`);
  console.log(
    `▸ npm audit: ${advisories.length} known holes, ${failing.length} high or critical and not excepted`,
  );
  return failing.length === 0 ? 0 : 1;
}

if (process.argv[1] === import.meta.filename) process.exit(await audit());
