import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { WorkerClass } from '../../src/config/worker-class.js';
import type { PoolWish, WorkerDriver, WorkerExit } from '../../src/scaling/worker-driver.js';

/** A worker as the place that runs it sees it, whatever the driver knows of it. */
export interface OutsideWorker {
  /** A name by which the adapter finds it again; the `workerId` where the driver knows its instances. */
  workerId: string;
  workerClass: string;
  /** How often it was asked to end (SIGTERM, a deletion, its name in a webhook). */
  askedToEnd: number;
}

/** What the suite needs of an adapter: a driver, and the place in which it starts and ends workers. */
export interface WorkerDriverAdapter {
  /** Whether `instances()` answers a list; else it has to answer null. */
  knowsInstances: boolean;
  /** Whether an `exit` tells of a worker that ended without being asked. */
  seesCrashes: boolean;
  /** Whether workers end at `shutdown`; false where they belong to a platform that outlives the orchestrator. */
  endsOnShutdown: boolean;
  /** Whether a smaller number ends nothing unless `retire` names whom. */
  endsOnlyWhomItIsTold: boolean;
  /** Classes the suite may use; the second one names node types. Default `general` and `sql`. */
  classes?: readonly [WorkerClass, WorkerClass];
  /** Makes the place, with nothing in it. Called before each test. */
  begin(): Promise<void>;
  /** A driver on the place, not started. A later one on the same place follows an earlier one. */
  create(): WorkerDriver;
  /**
   * What runs there at this moment and can be asked to end, those included that were asked and have not ended. A worker
   * that was asked to end is busy: it goes on until `finish`.
   */
  outside(): Promise<OutsideWorker[]>;
  /** A worker that was asked to end has done its last flow, and ends. */
  finish(workerId: string): Promise<void>;
  /** It ends at once without being asked (`kill -9`, out of memory). */
  crash(workerId: string): Promise<void>;
  /** Until `mend`, the place refuses to start anything. Left out where that cannot be. */
  breakPlace?(): Promise<void>;
  mendPlace?(): Promise<void>;
  /** Ends what is left, and removes the place. Called after each test, also one that failed. */
  end(): Promise<void>;
}

const GENERAL: WorkerClass = { name: 'general', minWorkers: 0, maxWorkers: 10, nodeTypes: [] };
const SQL: WorkerClass = { name: 'sql', minWorkers: 0, maxWorkers: 10, nodeTypes: ['postgresql-query'] };

const UNTIL_MS = 20_000;
const LOOK_MS = 20;
/** For what must not happen: long enough for a driver that would do it. */
const QUIET_MS = 400;
const SHUTDOWN_MS = 10_000;

/** What every driver that starts workers has to do; run it on each adapter. */
export function describeWorkerDriver(name: string, newAdapter: () => WorkerDriverAdapter): void {
  describe(`the ${name} driver`, () => {
    let adapter: WorkerDriverAdapter;
    let driver: WorkerDriver;
    let general: WorkerClass;
    let sql: WorkerClass;
    let exits: WorkerExit[];
    let drivers: WorkerDriver[];

    beforeEach(async () => {
      adapter = newAdapter();
      [general, sql] = adapter.classes ?? [GENERAL, SQL];
      exits = [];
      drivers = [];
      await adapter.begin();
      driver = await begun();
    });
    afterEach(async () => {
      await Promise.all(drivers.map((each) => each.stop()));
      await adapter.end();
    });

    /** A driver whose term has begun. */
    async function begun(): Promise<WorkerDriver> {
      const begun = adapter.create();
      drivers.push(begun);
      begun.on('exit', (exit) => exits.push(exit));
      await begun.start();
      return begun;
    }

    /** Rounds with this wish until the place shows what is expected of it, as the service would make them. */
    async function rounds(
      wishes: PoolWish[],
      what: string,
      isSo: (workers: OutsideWorker[]) => boolean,
      by = driver,
    ): Promise<OutsideWorker[]> {
      return until(what, async () => {
        await by.reconcile(wishes);
        const workers = await adapter.outside();
        return isSo(workers) ? workers : null;
      });
    }

    const running = (wanted: number, workerClass = general, by = driver): Promise<OutsideWorker[]> =>
      rounds(
        [wish(workerClass, wanted)],
        `${wanted} workers of ${workerClass.name} run`,
        (workers) => ofClass(workers, workerClass).length === wanted,
        by,
      );

    /** Some more rounds, and the time in which a worker too many would come up. */
    async function quietly(wishes: PoolWish[], by = driver): Promise<OutsideWorker[]> {
      await by.reconcile(wishes);
      await pause(QUIET_MS);
      await by.reconcile(wishes);
      return adapter.outside();
    }

    const known = async (by = driver): Promise<string[]> => {
      const instances = await by.instances();
      return instances!.map(({ workerId }) => workerId).toSorted();
    };

    describe('starting', () => {
      it('starts as many as are wished for, and no more in the rounds that follow', async () => {
        await running(3);
        expect(await quietly([wish(general, 3)])).toHaveLength(3);
        expect(exits).toEqual([]);
      });

      it('starts none twice when rounds overlap', async () => {
        await Promise.all(Array.from({ length: 5 }, () => driver.reconcile([wish(general, 2)])));
        await running(2);
        expect(await quietly([wish(general, 2)])).toHaveLength(2);
      });

      it('keeps the classes apart', async () => {
        const wishes = [wish(general, 2), wish(sql, 1)];
        const workers = await rounds(wishes, 'three workers run', (all) => all.length === 3);
        expect(ofClass(workers, general)).toHaveLength(2);
        expect(ofClass(workers, sql)).toHaveLength(1);
      });

      it('starts nothing where nothing is wished for', async () => {
        expect(await quietly([wish(general, 0)])).toEqual([]);
        expect(await quietly([])).toEqual([]);
      });

      it('says what it runs', async () => {
        expect(await driver.instances()).toEqual(adapter.knowsInstances ? [] : null);
        const since = Date.now();
        const workers = await running(2);
        if (!adapter.knowsInstances) return expect(await driver.instances()).toBeNull();
        expect(await known()).toEqual(idsOf(workers));
        for (const instance of (await driver.instances())!) {
          expect(instance).toMatchObject({ workerClass: general.name, retiring: false });
          // A platform may count in whole seconds.
          expect(instance.startedAtMs).toBeGreaterThan(since - 2_000);
          expect(instance.startedAtMs).toBeLessThan(Date.now() + 2_000);
        }
      });
    });

    describe('retiring', () => {
      it('asks those that are named, once, lets them finish, and starts none in their place', async () => {
        const [first, second] = await running(2);
        const shrink = [wish(general, 1, [first!.workerId])];
        const asked = await rounds(shrink, 'one was asked to end', (all) => all.some(isAsked));
        expect(asked.filter(isAsked).map(({ workerId }) => workerId)).toEqual([first!.workerId]);
        // It is busy, and named again in each round.
        const still = await quietly(shrink);
        expect(still.find(isAsked)).toMatchObject({ workerId: first!.workerId, askedToEnd: 1 });
        expect(still).toHaveLength(2);
        if (adapter.knowsInstances) {
          const retiring = (await driver.instances())!.filter((instance) => instance.retiring);
          expect(retiring.map(({ workerId }) => workerId)).toEqual([first!.workerId]);
        }
        await adapter.finish(first!.workerId);
        const left = await rounds(shrink, 'one is left', (all) => all.length === 1);
        expect(idsOf(left)).toEqual([second!.workerId]);
        expect(idsOf(await quietly([wish(general, 1)]))).toEqual([second!.workerId]);
      });

      it('does not call the end of one that it retired a crash', async () => {
        const [first] = await running(1);
        const shrink = [wish(general, 0, [first!.workerId])];
        await rounds(shrink, 'it was asked to end', (all) => all.some(isAsked));
        await adapter.finish(first!.workerId);
        await rounds(shrink, 'it is gone', (all) => all.length === 0);
        if (adapter.knowsInstances) {
          await until('it is not an instance any more', async () => (await known()).length === 0 || null);
        }
        expect(exits.filter(({ retiring }) => !retiring)).toEqual([]);
        for (const exit of exits) {
          expect(exit).toMatchObject({ workerId: first!.workerId, workerClass: general.name });
        }
      });

      it('replaces those that retire when as many are wished for as before', async () => {
        const [first] = await running(1);
        const renew = [wish(general, 1, [first!.workerId])];
        const both = await rounds(renew, 'another one runs', (all) => all.length === 2);
        expect(both.filter(isAsked).map(({ workerId }) => workerId)).toEqual([first!.workerId]);
        await adapter.finish(first!.workerId);
        await rounds(renew, 'the first is gone', (all) => all.length === 1);
      });

      it('passes over names that it does not know', async () => {
        await running(1);
        const workers = await quietly([wish(general, 1, ['started-by-hand-1', '../../etc/passwd'])]);
        expect(workers.filter(isAsked)).toEqual([]);
        expect(workers).toHaveLength(1);
      });

      it('ends nobody who was not named, where it has a choice', async () => {
        if (!adapter.endsOnlyWhomItIsTold) return;
        await running(2);
        const workers = await quietly([wish(general, 1)]);
        expect(workers).toHaveLength(2);
        expect(workers.filter(isAsked)).toEqual([]);
      });
    });

    describe('workers that end by themselves', () => {
      it('are brought back by the rounds that follow, and told of', async () => {
        const begunAt = Date.now();
        const [first] = await running(2);
        await adapter.crash(first!.workerId);
        if (adapter.seesCrashes) {
          const exit = await until('the crash is told of', async () => exits[0] ?? null);
          expect(exit).toMatchObject({
            workerId: first!.workerId,
            workerClass: general.name,
            retiring: false,
          });
          // One that stands in for a worker may be ended within the millisecond of its start.
          expect(exit.livedMs).toBeGreaterThanOrEqual(0);
          expect(exit.livedMs).toBeLessThanOrEqual(Date.now() - begunAt);
        }
        await running(2);
        if (adapter.knowsInstances) {
          await until('it has two instances', async () => (await known()).length === 2 || null);
        }
        expect(await quietly([wish(general, 2)])).toHaveLength(2);
        expect(exits).toHaveLength(adapter.seesCrashes ? 1 : 0);
      });
    });

    describe('terms', () => {
      it('lets everything run when a term ends, and does nothing until the next one', async () => {
        const workers = await running(2);
        await driver.stop();
        await driver.reconcile([wish(general, 3, [workers[0]!.workerId])]);
        await pause(QUIET_MS);
        const left = await adapter.outside();
        expect(idsOf(left)).toEqual(idsOf(workers));
        expect(left.filter(isAsked)).toEqual([]);
        expect(exits).toEqual([]);
      });

      it('finds its workers again in its next term', async () => {
        const workers = await running(2);
        await driver.stop();
        await driver.start();
        expect(idsOf(await quietly([wish(general, 2)]))).toEqual(idsOf(workers));
        if (adapter.knowsInstances) expect(await known()).toEqual(idsOf(workers));
      });

      it('takes over what the driver of another replica started: none doubled, none forgotten', async () => {
        const workers = await running(2);
        await driver.stop();
        const successor = await begun();
        expect(idsOf(await quietly([wish(general, 2)], successor))).toEqual(idsOf(workers));
        if (adapter.knowsInstances) expect(await known(successor)).toEqual(idsOf(workers));
        const [first] = workers;
        const shrink = [wish(general, 1, [first!.workerId])];
        await rounds(shrink, 'it was asked to end', (all) => all.some(isAsked), successor);
        await adapter.finish(first!.workerId);
        await rounds(shrink, 'it is gone', (all) => all.length === 1, successor);
      });

      it('knows in the next term whom it has asked to end already', async () => {
        const [first] = await running(2);
        const shrink = [wish(general, 1, [first!.workerId])];
        await rounds(shrink, 'one was asked to end', (all) => all.some(isAsked));
        await driver.stop();
        const successor = await begun();
        const workers = await quietly(shrink, successor);
        expect(workers).toHaveLength(2);
        expect(workers.find(isAsked)).toMatchObject({ workerId: first!.workerId, askedToEnd: 1 });
        await adapter.finish(first!.workerId);
        await rounds(shrink, 'it is gone', (all) => all.length === 1, successor);
        expect(exits.filter(({ retiring }) => !retiring)).toEqual([]);
      });
    });

    describe('a place that is broken', () => {
      it('is said in an error, and tried again by the next round', async () => {
        if (!adapter.breakPlace) return;
        await running(1);
        await adapter.breakPlace();
        await expect(driver.reconcile([wish(general, 2)])).rejects.toThrow(/\w/);
        await adapter.mendPlace!();
        await running(2);
        expect(await quietly([wish(general, 2)])).toHaveLength(2);
      });
    });

    describe('the end of the orchestrator', () => {
      it('ends what is its own, gracefully, and is over when they are gone', async () => {
        const workers = await running(2);
        const over = driver.shutdown(SHUTDOWN_MS);
        if (!adapter.endsOnShutdown) {
          await over;
          expect((await adapter.outside()).filter(isAsked)).toEqual([]);
          return;
        }
        await until('all were asked to end', async () => (await adapter.outside()).every(isAsked) || null);
        for (const { workerId } of workers) await adapter.finish(workerId);
        await over;
        expect(await adapter.outside()).toEqual([]);
        expect(exits.filter(({ retiring }) => !retiring)).toEqual([]);
      });

      it('does not wait longer than it may, and kills nobody', async () => {
        await running(1);
        await driver.shutdown(100);
        expect(await adapter.outside()).toHaveLength(1);
      });

      it('leaves the workers alone after its term: another replica has them', async () => {
        const workers = await running(2);
        await driver.stop();
        await begun();
        await driver.shutdown(SHUTDOWN_MS);
        const left = await adapter.outside();
        expect(idsOf(left)).toEqual(idsOf(workers));
        expect(left.filter(isAsked)).toEqual([]);
      });
    });
  });
}

function wish(workerClass: WorkerClass, instances: number, retire: string[] = []): PoolWish {
  return { workerClass, instances, reason: 'a test', retire };
}

const isAsked = ({ askedToEnd }: OutsideWorker): boolean => askedToEnd > 0;

const ofClass = (workers: OutsideWorker[], { name }: WorkerClass): OutsideWorker[] =>
  workers.filter(({ workerClass }) => workerClass === name);

const idsOf = (workers: OutsideWorker[]): string[] => workers.map(({ workerId }) => workerId).toSorted();

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Asks until there is an answer. */
export async function until<T>(what: string, ask: () => Promise<T | null>): Promise<T> {
  for (const deadline = Date.now() + UNTIL_MS; ;) {
    const answer = await ask();
    if (answer !== null) return answer;
    if (Date.now() > deadline) throw new Error(`expected within ${UNTIL_MS} ms that ${what}`);
    await pause(LOOK_MS);
  }
}
