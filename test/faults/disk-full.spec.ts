import { afterEach, describe, expect, it } from '@jest/globals';
import { delayFlow } from '../support/api-client.js';
import { expectInvariants, Load, reportFault } from '../support/invariants.js';
import { System } from '../support/system.js';
import { TinyDisk } from '../support/tiny-disk.js';

const DISK_MB = 48;
/** Large enough that a few of them need a new page of the table, and with it room on the disk. */
const LARGE = { padding: Array.from({ length: 4_000 }, () => Math.random()) };

describe('the disk of PostgreSQL', () => {
  let system: System;
  let disk: TinyDisk;
  afterEach(async () => {
    disk.free();
    await system.stop();
    await disk.unmount();
  });

  it('is full under load: 503, and everything goes on once there is room', async () => {
    system = await System.start({ store: 'postgres', ownPostgres: true, orchestrators: 0 });
    disk = await TinyDisk.mount(`${system.dataDir}-disk`, DISK_MB, `/proc/${system.postgres!.pid}`);
    const database = new URL(system.databaseUrl).pathname.slice(1);
    await system.postgres!.run(`CREATE TABLESPACE tiny LOCATION '${disk.folder('tablespace')}'`);
    await system.postgres!.run(`ALTER DATABASE "${database}" SET TABLESPACE tiny`);
    await system.startOrchestrator();
    await Promise.all(['worker-1', 'worker-2'].map((id) => system.startWorker(id)));
    const load = new Load(system, 20, delayFlow(30, { inputs: LARGE }));
    await system.until('load flows', async () => load.accepted.length > 20);
    disk.fill();
    await system.until('submissions are refused', async () => {
      const { status, headers } = await system.api.execute(delayFlow(1, { inputs: LARGE }));
      return status === 503 && headers.get('retry-after') !== null;
    });
    // Full for a while, not for an instant.
    const refused = load.refused;
    await system.until('many are refused', async () => load.refused > refused + 40);
    disk.free();
    const freedAt = Date.now();
    await system.until(
      'a flow runs',
      async () => (await system.api.execute(delayFlow(1), '?waitMs=3000')).body.state === 'completed',
    );
    const recoveryMs = Date.now() - freedAt;
    const ids = await load.stop();
    expect(await expectInvariants(system, ids)).toEqual({ completed: ids.length });
    reportFault('disk of PostgreSQL full under load, then freed', { executions: ids.length, recoveryMs });
  });
});
