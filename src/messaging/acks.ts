/** Settles deliveries on their channel: the one with this tag or, if `upTo`, all that are open up to it. */
export type SendAck = (deliveryTag: number, upTo: boolean) => void;

/** An ack waits so long for others: the broker then settles them in one entry of the queue's log, synced to disk once. */
const GATHER_MS = 100;
/** So many wait for no more. */
const MOST = 64;
/** Nor does this share of what the channel may have unacked: the broker sends nothing in its place. */
const SHARE_OF_PREFETCH = 1 / 4;

/**
 * The acks of one channel, gathered for a moment. A message costs a quorum queue two entries in its log, one when it comes
 * and one when it is acked; the second is shared by all that are acked together. Only what has no open delivery before it
 * can be acked together, so the rest is acked one by one. What is not sent when the channel dies comes again, as ever.
 */
export class Acks {
  /** Tags of what is delivered and not settled, in order: a channel counts up. */
  private readonly open = new Set<number>();
  private readonly done = new Set<number>();
  private timer: NodeJS.Timeout | null = null;

  private readonly enough: number;

  constructor(
    private readonly send: SendAck,
    prefetch: number,
  ) {
    this.enough = Math.min(MOST, Math.ceil(prefetch * SHARE_OF_PREFETCH));
  }

  delivered(tag: number): void {
    this.open.add(tag);
  }

  /** @param atOnce it would do harm to see it again */
  ack(tag: number, atOnce = false): void {
    this.done.add(tag);
    if (atOnce || this.done.size >= this.enough) {
      this.flush();
    } else {
      this.timer ??= setTimeout(() => this.flush(), GATHER_MS);
    }
  }

  /** It was settled in another way. */
  settled(tag: number): void {
    this.open.delete(tag);
  }

  /** Sends what has gathered: before the channel is closed on purpose. */
  flush(): void {
    clearTimeout(this.timer ?? undefined);
    this.timer = null;
    let upTo: number | null = null;
    for (const tag of this.open) {
      if (!this.done.delete(tag)) {
        break;
      }
      this.open.delete(tag);
      upTo = tag;
    }
    if (upTo !== null) {
      this.send(upTo, true);
    }
    for (const tag of this.done) {
      this.open.delete(tag);
      this.send(tag, false);
    }
    this.done.clear();
  }
}
