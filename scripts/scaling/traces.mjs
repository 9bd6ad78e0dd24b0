/** Arrival traces, all of them the same on every run. */

/** @typedef {import('./simulator.mjs').Task} Task */
/**
 * @typedef {object} Trace
 * @property {string} name
 * @property {Task[]} tasks by arrival
 * @property {number} untilMs end of the simulation, unless a task ends later
 * @property {number} startWorkers
 */

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
/** At the end of each trace: time for the pool to shrink again. */
const TAIL_MS = 15 * MINUTE_MS;

/**
 * Real: flights in the USA (vega-datasets, flights-20k.json: 20,000 departures from January to March 2001). Laid over
 * each other by weekday and time, so that 13 weeks make one. A flight is a task of 1.2 s a mile; then time runs faster:
 * a day takes `dayHours`, and a task as much less. So whatever `dayHours` is, as many run at a time.
 *
 * @param {{ date: string, distance: number }[]} flights
 * @param {number} dayHours
 * @returns {Trace}
 */
export function flightsTrace(flights, dayHours) {
  const speed = 24 / dayHours;
  const tasks = flights.map(({ date, distance }) => {
    const departureMs = utcMs(date);
    const ofWeekMs = new Date(departureMs).getUTCDay() * DAY_MS + (departureMs % DAY_MS);
    return { atMs: ofWeekMs / speed, durationMs: (distance * 1_200) / speed };
  });
  return traceOf(`flights, a day in ${dayHours} h`, tasks);
}

/**
 * Real: commits to a repository by the hour (vega-datasets, github.csv: January to May 2015). An hour takes a minute; a
 * commit is 20 tasks of 5 s, as of a build; those of an hour come evenly spread over its minute.
 *
 * @param {string} csv `time,count` by the hour
 * @returns {Trace}
 */
export function commitsTrace(csv) {
  const hours = csv
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.split(','));
  const startMs = utcMs(hours[0][0]);
  const tasks = hours.flatMap(([time, commits]) => {
    const count = Number(commits) * 20;
    const atMs = (utcMs(time) - startMs) / 60;
    return evenly(count, atMs, atMs + MINUTE_MS, 5_000);
  });
  return traceOf('commits', tasks);
}

/** @param {string} time `2001/01/01 01:10` or `2015/01/01 01:00:00` */
function utcMs(time) {
  return Date.parse(`${time.replaceAll('/', '-').replace(' ', 'T')}Z`);
}

/** 5,000 tasks of one second, all at once. @returns {Trace} */
export function burstTrace() {
  return traceOf('burst', evenly(5_000, MINUTE_MS, MINUTE_MS, 1_000));
}

/**
 * A queue that hovers at its high watermark: 1,000 tasks of 2 s wait from the start, and for two hours as many come as
 * the 8 workers of the start can do, ten per cent more and ten per cent fewer in turns of two minutes.
 *
 * @returns {Trace}
 */
export function hoverTrace() {
  const perTurn = 8 * 5 * 60;
  const turns = Array.from({ length: 60 }, (_, turn) => {
    const count = perTurn * (turn % 2 === 0 ? 1.1 : 0.9);
    return evenly(count, turn * 2 * MINUTE_MS, (turn + 1) * 2 * MINUTE_MS, 2_000);
  });
  return { ...traceOf('hover', [...evenly(1_000, 0, 0, 2_000), ...turns.flat()]), startWorkers: 8 };
}

/**
 * A trace of one's own.
 *
 * @param {string} csv a line a task: arrival in seconds from the start, duration in seconds
 * @returns {Trace}
 */
export function csvTrace(csv) {
  const lines = csv.split('\n').filter((line) => line.trim() !== '');
  const tasks = lines.map((line, index) => {
    const [at, duration, ...rest] = line.split(',').map(Number);
    if (!(at >= 0) || !(duration > 0) || rest.length > 0) {
      throw new Error(
        `Expected line ${index + 1} to be the arrival and the duration of a task in seconds, such as 12.5,3; got ${line}`,
      );
    }
    return { atMs: at * 1_000, durationMs: duration * 1_000 };
  });
  return traceOf('your trace', tasks);
}

/**
 * @param {number} count
 * @param {number} fromMs
 * @param {number} toMs
 * @param {number} durationMs
 * @returns {Task[]}
 */
function evenly(count, fromMs, toMs, durationMs) {
  return Array.from({ length: count }, (_, index) => ({
    atMs: fromMs + ((toMs - fromMs) * index) / count,
    durationMs,
  }));
}

/**
 * @param {string} name
 * @param {Task[]} tasks
 * @returns {Trace}
 */
function traceOf(name, tasks) {
  const sorted = tasks.toSorted((a, b) => a.atMs - b.atMs);
  return { name, tasks: sorted, untilMs: (sorted.at(-1)?.atMs ?? 0) + TAIL_MS, startWorkers: 2 };
}
