import { describe, expect, it } from '@jest/globals';
import { LazyAbort } from '../../../src/runtime/engine/lazy-abort.js';

describe('a lazy abort', () => {
  it('tells its listeners once, and not those that went', () => {
    const aborter = new LazyAbort();
    const told: string[] = [];
    const gone = () => told.push('gone');
    aborter.addEventListener('abort', () => told.push(`stays: ${String(aborter.reason)}`));
    aborter.addEventListener('abort', gone);
    aborter.removeEventListener('abort', gone);
    expect(aborter).toMatchObject({ aborted: false, reason: undefined });
    aborter.abort('first');
    aborter.abort('second');
    expect(told).toEqual(['stays: first']);
    expect(aborter).toMatchObject({ aborted: true, reason: 'first' });
  });

  it('has one signal, which says the same whether it was asked for before or after', () => {
    const [before, after] = [new LazyAbort(), new LazyAbort()];
    const { signal } = before;
    expect(before.signal).toBe(signal);
    expect(signal.aborted).toBe(false);
    before.abort('why');
    after.abort('why');
    expect(signal).toMatchObject({ aborted: true, reason: 'why' });
    expect(after.signal).toMatchObject({ aborted: true, reason: 'why' });
  });

  it('has the reason of an AbortController when it is given none', () => {
    const aborter = new LazyAbort();
    aborter.abort();
    expect(aborter.reason).toBeInstanceOf(DOMException);
    expect(aborter.signal.reason).toMatchObject({ name: 'AbortError' });
  });
});
