import { expect, it } from '@jest/globals';
import { RecentKeys } from '../../../src/queue/recent-keys.js';

it('remembers the last so many keys, and forgets the others by the time as many have come again', () => {
  const recent = new RecentKeys(3);
  for (let key = 1; key <= 100; key++) {
    recent.add(String(key));
    const known = Array.from({ length: key }, (_, index) => recent.has(String(index + 1)));
    expect(known.slice(-3)).not.toContain(false);
    expect(known.slice(0, -6)).not.toContain(true);
  }
});

it('forgets a key that is taken', () => {
  const recent = new RecentKeys(2);
  ['a', 'b', 'a'].forEach((key) => recent.add(key));
  expect([recent.take('a'), recent.has('a'), recent.take('a'), recent.has('b')]).toEqual([
    true,
    false,
    false,
    true,
  ]);
});
