import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Acks } from '../../../src/messaging/acks.js';

/** A channel as the broker sees it: what it delivered, and what of that was acked. */
function channel(prefetch = 100) {
  const open = new Set<number>();
  const acked: number[] = [];
  const frames: string[] = [];
  let tellSent = (): void => undefined;
  const sent = new Promise<void>((resolve) => (tellSent = resolve));
  const acks = new Acks((tag, upTo) => {
    frames.push(`${upTo ? 'up to ' : ''}${tag}`);
    const settled = upTo ? [...open].filter((each) => each <= tag) : [tag];
    if (!open.has(tag)) throw new Error(`PRECONDITION_FAILED: unknown delivery tag ${tag}`);
    settled.forEach((each) => open.delete(each));
    acked.push(...settled);
    tellSent();
  }, prefetch);
  const deliver = (...tags: number[]): void => {
    for (const tag of tags) {
      open.add(tag);
      acks.delivered(tag);
    }
  };
  const refuse = (tag: number): void => {
    open.delete(tag);
    acks.settled(tag);
  };
  return { acks, open, acked, frames, sent, deliver, refuse };
}

describe('acks', () => {
  it('that come within a moment go as one', async () => {
    const { acks, frames, sent, deliver } = channel();
    deliver(1, 2, 3);
    [2, 1, 3].forEach((tag) => acks.ack(tag));
    expect(frames).toEqual([]);
    await sent;
    expect(frames).toEqual(['up to 3']);
  });

  it('never cover what is still open', () => {
    const { acks, frames, deliver } = channel();
    deliver(1, 2, 3, 4);
    [1, 3, 4].forEach((tag) => acks.ack(tag));
    acks.flush();
    expect(frames).toEqual(['up to 1', '3', '4']);
  });

  it('pass over what was refused', () => {
    const { acks, frames, deliver, refuse } = channel();
    deliver(1, 2, 3);
    acks.ack(1);
    refuse(2);
    acks.ack(3);
    acks.flush();
    expect(frames).toEqual(['up to 3']);
  });

  it('wait for no more than a few', () => {
    const { acks, frames, deliver } = channel(1_000);
    const tags = Array.from({ length: 64 }, (_, index) => index + 1);
    deliver(...tags);
    tags.forEach((tag) => acks.ack(tag));
    expect(frames).toEqual(['up to 64']);
  });

  it('wait for no more than a quarter of what the channel may have unacked', () => {
    const { acks, frames, deliver } = channel(5);
    deliver(1, 2, 3);
    [1, 2].forEach((tag) => acks.ack(tag));
    expect(frames).toEqual(['up to 2']);
  });

  it('go at once, with those that wait, where a copy would do harm', () => {
    const { acks, frames, deliver } = channel();
    deliver(1, 2);
    acks.ack(1);
    acks.ack(2, true);
    expect(frames).toEqual(['up to 2']);
  });

  it('settle each delivery once and no other, in whatever order things happen', () => {
    const steps = fc.array(fc.tuple(fc.constantFrom('deliver', 'ack', 'refuse', 'flush'), fc.nat()), {
      maxLength: 120,
    });
    fc.assert(
      fc.property(steps, (script) => {
        const { acks, open, acked, deliver, refuse } = channel();
        const wanted: number[] = [];
        const left: number[] = [];
        let tag = 0;
        for (const [step, which] of script) {
          const [chosen] =
            step === 'ack' || step === 'refuse' ? left.splice(which % (left.length || 1), 1) : [];
          if (step === 'deliver') {
            left.push(++tag);
            deliver(tag);
          } else if (step === 'flush') {
            acks.flush();
          } else if (step === 'refuse' && chosen !== undefined) {
            refuse(chosen);
          } else if (chosen !== undefined) {
            wanted.push(chosen);
            acks.ack(chosen);
          }
        }
        acks.flush();
        expect(acked.toSorted((a, b) => a - b)).toEqual(wanted.toSorted((a, b) => a - b));
        expect([...open]).toEqual(left);
      }),
      { numRuns: 500 },
    );
  });
});
