import { sql } from 'kysely';
import type { Lease } from './execution-store.js';
import type { StoreSession } from './store-session.js';

/** The one lease there is: whoever holds it dispatches. */
export const LEADER_LEASE = 'leader';

interface LeaseRow {
  holder: string;
  epoch: number;
  remaining_ms: number;
}

/** The leader's lease: one row, moved by the store's clock alone. */
export class Leases {
  constructor(private readonly session: StoreSession) {}

  /**
   * A holder whose lease ran out starts a new term like anybody else, even if nobody took it meanwhile: it may have
   * acted on what it knew before.
   */
  async acquire(holder: string, ttlMs: number): Promise<Lease> {
    const { session } = this;
    for (;;) {
      const now = session.dialect.now();
      const [taken] = await session.rows(sql<LeaseRow>`
        insert into leases (name, holder, epoch, ends_at)
        select ${LEADER_LEASE}, ${holder}, 1, now + ${ttlMs} from (select ${now} as now) as clock where true
        on conflict (name) do update set
          epoch = case when leases.ends_at > ${now} then leases.epoch else leases.epoch + 1 end,
          holder = excluded.holder,
          ends_at = excluded.ends_at
        where leases.holder = excluded.holder or leases.ends_at <= ${now}
        returning holder, epoch, ends_at - ${now} as remaining_ms`);
      const row = taken ?? (await this.current());
      // Gone or run out between the two looks: it is free now.
      if (row !== undefined && row.remaining_ms > 0) {
        return { holder: row.holder, epoch: row.epoch, remainingMs: row.remaining_ms };
      }
      if (taken !== undefined) return { holder: taken.holder, epoch: taken.epoch, remainingMs: 0 };
    }
  }

  async release(holder: string): Promise<void> {
    await this.session.rows(
      sql`update leases set ends_at = 0 where name = ${LEADER_LEASE} and holder = ${holder}`,
    );
  }

  /**
   * Ends whatever term is on record. For the embedded database only: having it open proves that the process which
   * held the lease is gone, so that nobody need wait for its end.
   */
  async endAbandoned(): Promise<void> {
    await this.session.rows(sql`update leases set ends_at = 0 where name = ${LEADER_LEASE}`);
  }

  private async current(): Promise<LeaseRow | undefined> {
    const { session } = this;
    const [row] = await session.rows(
      sql<LeaseRow>`select holder, epoch, ends_at - ${session.dialect.now()} as remaining_ms from leases where name = ${LEADER_LEASE}`,
    );
    return row;
  }
}
