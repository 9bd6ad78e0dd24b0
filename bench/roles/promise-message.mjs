/**
 * What goes between bare promise's processes and to its record: up to 100 pairs of id and JSON text. NUL parts them, as
 * it stands nowhere in JSON, so that neither side parses or escapes what it only hands on.
 */
const PART = '\0';
const PAIRS = 100;

/**
 * @param {string[]} pairs id, JSON, id, JSON, …
 * @returns {{ from: number, to: number, text: string }[]} `from` and `to` count pairs
 */
export function toMessages(pairs) {
  const messages = [];
  for (let from = 0; from < pairs.length / 2; from += PAIRS) {
    const to = Math.min(from + PAIRS, pairs.length / 2);
    messages.push({ from, to, text: pairs.slice(2 * from, 2 * to).join(PART) });
  }
  return messages;
}

/**
 * @param {string[]} texts
 * @returns {string[]} id, JSON, id, JSON, …
 */
export const fromMessages = (texts) => texts.flatMap((text) => text.split(PART));
