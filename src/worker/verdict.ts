/** What is known of one worker when it is judged. */
export interface WorkerSigns {
  /** Heartbeat suspicion, 0…1000. */
  phi: number;
  silenceMs: number;
  /** Consumers on its queue; null = not looked at in this round. */
  consumers: number | null;
  /** Its queue has been seen with a consumer since it registered. */
  hasConsumed: boolean;
  /** Since it registered: a new worker needs a while to begin consuming. */
  ageMs: number;
}

export interface VerdictLimits {
  suspectPhi: number;
  /** Silence after which it is lost whatever phi says, ms. */
  silenceLimitMs: number;
}

export type Verdict =
  { kind: 'alive' } | { kind: 'suspect'; reason: string } | { kind: 'lost'; reason: string };

/**
 * How long a registered worker may take until it consumes from its queue: several round trips to the broker, however
 * slow they are. Given up sooner, it would lose its queue before it ever reached it, again and again. Should it die
 * meanwhile, its heartbeats stop.
 */
export const CONSUMING_GRACE_MS = 60_000;

/** A queue without a consumer is a closed connection: that shows within milliseconds. Heartbeats show the rest. */
export function judge(signs: WorkerSigns, limits: VerdictLimits): Verdict {
  if (signs.consumers === 0 && signs.hasConsumed) {
    return { kind: 'lost', reason: 'nobody consumes from its queue: its connection closed' };
  }
  if (signs.consumers === 0 && signs.ageMs > CONSUMING_GRACE_MS) {
    return { kind: 'lost', reason: 'it registered and has never consumed from its queue' };
  }
  if (signs.silenceMs >= limits.silenceLimitMs) {
    return { kind: 'lost', reason: `no heartbeat for ${Math.round(signs.silenceMs)} ms` };
  }
  if (signs.phi >= limits.suspectPhi) {
    return { kind: 'suspect', reason: `its heartbeat is late (phi ${signs.phi.toFixed(1)})` };
  }
  return { kind: 'alive' };
}

/** Why we ourselves may be the cause: then nobody is judged. Null = judge. */
export interface SelfSigns {
  /** How much later than planned this round began, ms. */
  loopDelayMs: number;
  /** Since our broker connections came up, ms. */
  linkAgeMs: number;
  intervalMs: number;
}

const LINK_SETTLE_MS = 5_000;

export function selfDoubt(self: SelfSigns): string | null {
  if (self.loopDelayMs > Math.max(1_000, 2 * self.intervalMs)) {
    return `our own loop stalled for ${Math.round(self.loopDelayMs)} ms`;
  }
  if (self.linkAgeMs < LINK_SETTLE_MS) {
    return 'our broker connection is new: workers may be on their way back too';
  }
  return null;
}

/** How long a mass loss has to last before it is believed. */
export const MASS_LOSS_GRACE_MS = 10_000;
const SMALLEST_MASS = 3;

/** More than half of a pool of three or more at once: rather the network or the broker than all of them. */
export function isMassLoss(lost: number, poolSize: number): boolean {
  return poolSize >= SMALLEST_MASS && lost > poolSize / 2;
}
